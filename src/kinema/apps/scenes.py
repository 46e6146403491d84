"""`kinema scenes`: pictures of the virtual cell with captions, to learn from them what words mean (`kinema ground`).

Each scene of the `train` split is seen from some poses of the handheld gripper, with a caption for every thing that
could be asked for in it: the same sentences as the tasks', each with the places of what it names. These come from the
simulator's truth. No policy sees any of that when it acts; the captions are what, for networks of the full size, the
web's images and captions are.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.apps.rollouts import on_all_cores
from kinema.chunk import Image
from kinema.geometry import Array, Pose, rotation_6d, so3_exp
from kinema.robots import GRIPPER
from kinema.topics import CAMERAS
from kinema.training import scenes
from kinema.training.scenes import Scenes
from kinema.virtual import cameras, noise, objects, scenario, scene
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.scenario import Scenario
from kinema.virtual.tasks import TASKS

FIRST_SEED = 3_000_000  # demonstrations and evaluation have others

_RENDERED = (256, 192)  # [px], then scaled
_DOWN = T_BASE_TCP_START.rotation
_REACH = ((0.30, 0.64), (-0.28, 0.28), (0.04, 0.42))  # [m] where the tool may be
_NEAR = 0.035  # [m] spread of a tool's place above a thing
_TURNED = 1.7  # [rad] of the tool about the vertical, at most
_TILTED = 0.08  # [rad] spread of its other turns
_TILT = 0.37  # [rad] by which it leans towards a cabinet at most


class _Shot(NamedTuple):
    """Pictures (k, cameras, height, width, 3) of one scene and captions, as in `kinema.training.scenes`.

    states (k, 10); places (k, captions, cameras, queries, 2); offsets (k, captions, queries, 3)
    """

    task: str
    seed: int
    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    texts: tuple[str, ...]
    places: NDArray[np.float32]
    offsets: NDArray[np.float32]


def _captions(drawn: Scenario, world: HandheldWorld) -> Iterator[tuple[str, Array, Array | None]]:
    """Each text that the scene allows, with the middle of the thing [m, base_link], and of the goal where there is one.

    No two things of a scene are of one kind, so that a name means one of them.
    """
    poses = world.truth().poses
    if drawn.cabinet is not None:
        for drawer in objects.CABINETS[drawn.cabinet.kind].drawers:
            yield drawn.text.replace(drawn.drawer, drawer), poses[f"handle_{drawer}"].position, None
        return
    assert drawn.container is not None and drawn.target is not None
    goal = poses[drawn.container.name].apply([0.0, 0.0, objects.CONTAINERS[drawn.container.kind].size[2] / 2])
    for placed in (drawn.target, *drawn.distractors):
        name = placed.name.replace("_", " ")
        text = drawn.text.replace(drawn.target.name.replace("_", " "), name, 1)
        yield text, poses[placed.name].apply([0.0, 0.0, objects.OBJECTS[placed.kind].size[2] / 2]), goal


def _viewpoint(things: Array, upright: bool, rng: np.random.Generator) -> Pose:
    """`T_base_tcp`: at the start, anywhere, or near one of the things (n, 3); `upright`: pointing down."""
    kind, turn = rng.random(), rng.uniform(-_TURNED, _TURNED)
    if kind < 0.2:
        position, turn = T_BASE_TCP_START.position + 0.02 * rng.standard_normal(3), 0.1 * rng.standard_normal()
    elif kind < 0.5:
        position = np.array([rng.uniform(*side) for side in _REACH])
    else:
        thing = things[rng.integers(len(things))]
        away = np.zeros(3) if upright else np.array([-rng.uniform(0.0, 0.10), 0.0, 0.0])
        position = thing + away + np.array([*_NEAR * rng.standard_normal(2), rng.uniform(0.0, 0.25)])
    position[2] = max(position[2], _REACH[2][0] - 0.02)
    lean = np.zeros(3) if upright else np.array([0.0, -rng.uniform(0.0, _TILT), 0.0])
    tilt = _TILTED * rng.standard_normal(3) * (1.0, 1.0, 0.0)
    return Pose(position, so3_exp(lean) @ so3_exp(np.array([0.0, 0.0, turn])) @ _DOWN @ so3_exp(tilt))


def _hold(world: HandheldWorld, T_base_tcp: Pose, width: float) -> Array:
    """A snapshot of the scene with the gripper there, its jaw open by `width` [m]; nothing else moves."""
    T_base_flange, quaternion = T_base_tcp @ GRIPPER.T_flange_tcp.inverse(), np.empty(4)
    mujoco.mju_mat2Quat(quaternion, T_base_flange.rotation.ravel())
    held = np.concatenate([T_base_flange.position, quaternion, [width / 2, width / 2]])
    world.data.qpos[: len(held)] = held  # the hand's free joint and the two fingers come first
    return scene.snapshot(world.data)


def _places(points: Array, T_base_tcp: Pose) -> NDArray[np.float32]:
    """Points (n, 3) [m, base_link] in each camera's image (n, cameras, 2); NaN where they are out of sight."""
    found = np.full((len(points), len(CAMERAS), 2), np.nan, np.float32)
    for i, name in enumerate(CAMERAS):
        row = cameras.camera(name)
        T_base_camera = T_base_tcp @ row.T_mount_camera if row.mount == "tcp" else row.T_mount_camera
        seen = T_base_camera.inverse().apply(points)
        place = (2 * row.info(_RENDERED).project(seen) + 1) / _RENDERED - 1
        inside = (np.abs(place) < 1).all(axis=1) & (seen[:, 2] > 0.01)
        found[inside, i] = place[inside]
    return found


def _shoot(task: str, seed: int, views: int, size: tuple[int, int]) -> _Shot:
    """A scene from some viewpoints; the same arguments give the same pictures."""
    drawn, rng = scenario.draw(task, "train", seed), np.random.default_rng([seed, 5])
    world = HandheldWorld(drawn, seed=seed)
    texts, things, goals = zip(*_captions(drawn, world), strict=True)
    targets = np.array([[thing, thing if goal is None else goal] for thing, goal in zip(things, goals, strict=True)])
    eyes = CellRenderer(world.model, _RENDERED, noise.load().camera, seed)
    images: list[list[Image]] = []
    states: list[list[float]] = []
    places: list[NDArray[np.float32]] = []
    offsets: list[Array] = []
    try:
        for view in range(views):
            pose = _viewpoint(targets.reshape(-1, 3), drawn.cabinet is None, rng)
            width = rng.uniform(0.0, GRIPPER.stroke)
            snapshot = _hold(world, pose, width)
            states.append([*pose.position, *rotation_6d(pose.rotation), width])
            pictures = (eyes.render(name, snapshot, view) for name in CAMERAS)
            images.append([np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for image in pictures])
            place = _places(targets.reshape(-1, 3), pose).reshape(len(texts), 2, len(CAMERAS), 2).swapaxes(1, 2)
            offset = pose.inverse().apply(targets.reshape(-1, 3)).reshape(targets.shape)
            without = [goal is None for goal in goals]
            place[without, :, 1], offset[without, 1] = np.nan, np.nan
            places.append(place)
            offsets.append(offset)
    finally:
        eyes.close()
    told = (np.array(values, np.float32) for values in (places, offsets))
    return _Shot(task, seed, np.array(images, np.uint8), np.array(states, np.float32), texts, *told)


def _gathered(shots: list[_Shot], about: dict[str, object]) -> Scenes:
    frames: list[int] = []
    texts: list[str] = []
    first = 0
    for shot in shots:
        for view in range(len(shot.images)):
            frames += [first + view] * len(shot.texts)
            texts += shot.texts
        first += len(shot.images)
    places, offsets = (
        np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
        for parts in ([shot.places for shot in shots], [shot.offsets for shot in shots])
    )
    images, states = np.concatenate([shot.images for shot in shots]), np.concatenate([shot.states for shot in shots])
    return Scenes(about, images, states, np.array(frames), places, offsets, texts)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 128x96") from None
    if min(width, height) < 16 or width * 3 != height * 4:
        raise argparse.ArgumentTypeError(f"{text} is no size of 4 to 3 from 16 px on")
    return width, height


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--scenes", type=positive, default=2000, help="of each task, default %(default)s")
    parser.add_argument("--views", type=positive, default=6, help="of each scene, default %(default)s")
    parser.add_argument("--size", type=_size, default=(128, 96), help="[px], default 128x96")
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes, default: the cores"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, look, write."""
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.scenes)
    wanted = [(task, seed, arguments.views, arguments.size) for task in TASKS for seed in seeds]
    shots: list[_Shot] = []
    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(wanted))
        for shot in on_all_cores(_shoot, wanted, arguments.jobs):
            shots.append(shot)
            progress.advance(bar)
    about = {
        "seeds": [seeds.start, seeds.stop],
        "tasks": list(TASKS),
        "views": arguments.views,
        "size": list(arguments.size),
        "cameras": list(CAMERAS),
    }
    gathered = _gathered(sorted(shots, key=lambda shot: (shot.task, shot.seed)), about)
    scenes.write(arguments.out, gathered)
    told = f"{len(gathered.images)} pictures of {len(wanted)} scenes, {len(gathered.texts)} captions"
    console().print(f"{told}: {arguments.out}")
    return 0
