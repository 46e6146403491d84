"""`kinema scenes`: pictures of the virtual cell with captions, to learn from them what words mean (`kinema ground`).

Each scene is seen from some poses of the gripper, in a hand or at an arm, with a caption for every thing that could be
asked for in it: the same sentences as the tasks', each with the places of what it names. In some scenes the things are
others than demonstrations have; table, room and light are often drawn anew, from all that there could be. The captions
come from the simulator's truth. No policy sees any of that when it acts; they are what, for networks of the full size,
the web's images and captions are.
"""

import argparse
import colorsys
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from kinema.chunk import Image
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, rotation_6d, so3_exp
from kinema.robots import GRIPPER
from kinema.topics import CAMERAS
from kinema.training import scenes
from kinema.training.scenes import Scenes
from kinema.virtual import cameras, noise, objects, scenario, scene
from kinema.virtual.board_samples import joints
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.objects import Background
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.scenario import Placed, Scenario
from kinema.virtual.scripting import PALM
from kinema.virtual.tasks import TASKS
from kinema.virtual.tasks.open_drawer import PULLED, taken
from kinema.virtual.world import World
from kinema.workers import on_all_cores

FIRST_SEED = 3_000_000  # demonstrations and evaluation have others

CAPTIONED = ("pick_and_place", "open_drawer")  # tasks of whose scenes `_captions` knows what can be said

_RENDERED = (256, 192)  # [px], then scaled
_UNSHOWN = 0.3  # [-] of the scenes whose things no demonstration shows
_ELSEWHERE = 0.6  # [-] of the scenes whose table, room and light no demonstration shows
_HANDHELD = 0.4  # [-] of the scenes; in the others an arm holds the gripper
_ARMS = ("ur5e", "xarm7")
_UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0])
_DOWN = T_BASE_TCP_START.rotation
_REACH = ((0.30, 0.64), (-0.28, 0.28), (0.04, 0.42))  # [m] where the tool may be
_LOWEST = 0.015  # [m] above the table that it may come
_START, _ANYWHERE = 0.15, 0.20  # [-] of the pictures from where demonstrations begin, and from anywhere; else near one
_GOAL, _HELD = 0.25, 0.15  # [-] of those near a thing: at the goal instead; with the thing in the jaw
_DONE, _OPENED = 0.15, 0.4  # [-] of the pictures with a thing in its goal; of the drawers, open some way
_AT = 0.3  # [-] of the pictures of a cabinet: a handle between the fingers, or straight before them
_BEFORE, _COMING = 0.6, 0.08  # [-] of these before them; [m] as far at most, the jaw open by whatever it may be
_ABOVE = 0.25  # [m] that the tool is above a thing at most; mostly much less
_NEAR = (0.008, 0.045)  # [m] spread of a tool's place about a thing at its height: of each picture another, so that the
_WIDER = 0.15  # [-] look leans neither to the thing nor away from it; and how it grows with height
_AROUND, _OPEN = 0.07, 0.06  # [m] from a thing its jaw is open that wide, at least
_TURNED = 1.7  # [rad] of the tool about the vertical, at most
_TILTED = 0.08  # [rad] spread of its other turns
_TILT = 0.37  # [rad] by which it leans towards a cabinet at most


class _Told(NamedTuple):
    """What a caption tells, in base_link [m]: the middle of the thing, and of the goal that it goes to.

    The goal of a handle is where it is when its drawer has been pulled as far as demonstrations do.
    along  (3,) the way of the thing's longer side; shorter where it is nearly as wide, 0 where it is round
    """

    text: str
    thing: Array
    goal: Array
    along: Array


class _Shot(NamedTuple):
    """Pictures (k, cameras, height, width, 3) of one scene and captions, as in `kinema.training.scenes`.

    states (k, 10); places (k, captions, cameras, queries, 2); offsets (k, captions, queries, 3); turns (k, captions, 2)
    """

    task: str
    seed: int
    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    texts: tuple[str, ...]
    places: NDArray[np.float32]
    offsets: NDArray[np.float32]
    turns: NDArray[np.float32]


def _things(drawn: Scenario) -> tuple[Placed, ...]:
    """What could be taken; nothing where there is a cabinet."""
    return () if drawn.target is None else (drawn.target, *drawn.distractors)


def _elsewhere(rng: np.random.Generator) -> Background:
    """Any table, room and light; the lists of unseen backgrounds have some of their own."""

    def colour(most: float, least: float, brightest: float) -> objects.Rgb:
        """`most`: how colourful; from `least` to `brightest`."""
        return colorsys.hsv_to_rgb(rng.random(), most * rng.random() ** 1.5, rng.uniform(least, brightest))

    return Background(
        name="elsewhere",
        table=colour(0.9, 0.05, 0.95),
        pattern=("plain", "wood", "cloth")[rng.integers(3)],
        wall=colour(0.4, 0.35, 0.95),
        floor=colour(0.3, 0.2, 0.7),
        light=(rng.uniform(-0.3, 0.6), rng.uniform(-1.0, 1.0), rng.uniform(1.4, 2.1)),
        brightness=rng.uniform(0.38, 0.62),
        warmth=rng.uniform(-0.12, 0.12),
        ambient=rng.uniform(0.30, 0.44),
    )


def _drawn(task: str, seed: int, rng: np.random.Generator) -> Scenario:
    drawn = scenario.draw(task, "unseen_objects" if rng.random() < _UNSHOWN else "train", seed)
    return replace(drawn, background=_elsewhere(rng)) if rng.random() < _ELSEWHERE else drawn


def _captions(drawn: Scenario, world: HandheldWorld | World) -> Iterator[_Told]:
    """Each text that the scene allows.

    No two things of a scene are of one kind, so that a name means one of them.
    """
    truth = world.truth()
    poses = truth.poses
    if drawn.cabinet is not None:
        cabinet = objects.CABINETS[drawn.cabinet.kind]
        for drawer in cabinet.drawers:
            handle = poses[f"handle_{drawer}"]
            goal = handle.apply([truth.joints[f"drawer_{drawer}"] - PULLED * cabinet.travel, 0.0, 0.0])
            yield _Told(drawn.text.replace(drawn.drawer, drawer), handle.position, goal, handle.rotation[:, 1])
        return
    assert drawn.container is not None and drawn.target is not None
    goal = poses[drawn.container.name].apply([0.0, 0.0, objects.CONTAINERS[drawn.container.kind].size[2] / 2])
    for placed in _things(drawn):
        text = drawn.text.replace(drawn.target.name.replace("_", " "), placed.name.replace("_", " "), 1)
        x, y, z = objects.OBJECTS[placed.kind].size
        pose, longer = poses[placed.name], 4 * (x - y) / (x + y)
        along = pose.rotation[:, 0 if longer > 0 else 1] * min(abs(longer), 1.0)
        yield _Told(text, pose.apply([0.0, 0.0, z / 2]), goal, along)


def _turn(along: Array) -> tuple[float, float]:
    """Of a way (3,) in the tool's frame: cosine and sine of twice its angle about the tool's z, times its length."""
    angle = 2 * math.atan2(along[1], along[0])
    length = math.hypot(along[0], along[1])
    return length * math.cos(angle), length * math.sin(angle)


def _later(drawn: Scenario, world: HandheldWorld | World, rng: np.random.Generator) -> None:
    """Have it be some time later in a task: drawers that are open, a thing that lies in its goal."""
    if drawn.cabinet is not None:
        cabinet = objects.CABINETS[drawn.cabinet.kind]
        for drawer in cabinet.drawers:
            if rng.random() < _OPENED:
                world.data.qpos[world.model.joint(f"drawer_{drawer}").qposadr[0]] = cabinet.travel * rng.random()
    elif rng.random() < _DONE:
        assert drawn.container is not None
        kind, things = objects.CONTAINERS[drawn.container.kind], _things(drawn)
        goal = world.truth().poses[drawn.container.name]
        lies = goal @ Pose.from_rotvec(
            [*(0.01 * rng.standard_normal(2)), kind.floor], [0.0, 0.0, rng.uniform(0.0, 6.3)]
        )
        at = world.model.joint(things[rng.integers(len(things))].name).qposadr[0]
        world.data.qpos[at : at + 7] = _free(lies)


def _at_handle(drawn: Scenario, world: HandheldWorld | World, rng: np.random.Generator) -> tuple[Pose, float]:
    """`T_base_tcp` with a cabinet's handle between the fingers, or some way before them, and their opening [m]."""
    assert drawn.cabinet is not None
    kind = objects.CABINETS[drawn.cabinet.kind]
    handle = world.truth().poses[f"handle_{sorted(kind.drawers)[rng.integers(len(kind.drawers))]}"]
    bar, along, tilt = np.asarray(kind.bar), rng.uniform(-0.02, 0.02), rng.uniform(0.9, 1.4)
    pose, closed = taken(handle, bar, T_BASE_TCP_START, along, tilt), float(np.sort(bar)[1])
    aside, before, width = 0.003 * rng.standard_normal(), 0.005 * rng.standard_normal(), closed
    if rng.random() < _BEFORE:
        before, width = -_COMING * rng.random(), rng.uniform(closed, GRIPPER.stroke)
        aside += 0.3 * before * rng.standard_normal()
    return pose @ Pose(np.array([aside, 0.0, before]), np.eye(3)), width


def _viewpoint(told: Sequence[_Told], upright: bool, rng: np.random.Generator) -> tuple[Pose, int | None]:
    """`T_base_tcp`: at the start, anywhere, or near what a caption names; and the thing that it holds then, if any.

    upright  things stand on the table and are taken from above, no cabinet's handle from before
    """
    kind, turn = rng.random(), rng.uniform(-_TURNED, _TURNED)
    near, held = int(rng.integers(len(told))), None
    if kind < _START:
        position, turn = T_BASE_TCP_START.position + 0.02 * rng.standard_normal(3), 0.1 * rng.standard_normal()
    elif kind < _START + _ANYWHERE:
        position = np.array([rng.uniform(*side) for side in _REACH])
    else:
        thing, goal, height = told[near].thing, told[near].goal, _ABOVE * rng.random() ** 2
        carried = upright and rng.random() < _HELD
        if carried or rng.random() < _GOAL:
            thing = goal
        away = np.zeros(3) if upright else np.array([-0.10 * rng.random() ** 2, 0.0, 0.0])
        spread = (rng.uniform(*_NEAR) + _WIDER * height) * (3.0 if carried else 1.0)
        position = thing + away + np.array([*spread * rng.standard_normal(2), height])
        held = near if carried else None
    position[2] = max(position[2], _LOWEST)
    lean = np.zeros(3) if upright else np.array([0.0, -rng.uniform(0.0, _TILT), 0.0])
    tilt = _TILTED * rng.standard_normal(3) * (1.0, 1.0, 0.0)
    return Pose(position, so3_exp(lean) @ so3_exp(np.array([0.0, 0.0, turn])) @ _DOWN @ so3_exp(tilt)), held


def _free(T_base_body: Pose) -> Array:
    """(7,) of a free body's joint."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, T_base_body.rotation.ravel())
    return np.concatenate([T_base_body.position, quaternion])


def _holding(world: HandheldWorld | World, T_base_tcp: Pose) -> Array | None:
    """(n,) of the hand's free joint, or of the arm's, with the tool at a pose; None where the arm can't reach it."""
    if isinstance(world, HandheldWorld):
        return _free(T_base_tcp @ GRIPPER.T_flange_tcp.inverse())
    q, (lower, upper) = joints(world.arm, T_base_tcp), (world.arm.limits(end) for end in ("lower", "upper"))
    return None if q is None or (q < lower).any() or (q > upper).any() else q


def _take(world: HandheldWorld | World, placed: Placed, T_base_tcp: Pose, rng: np.random.Generator) -> float:
    """Have a thing between the pads of the tool; how far apart they are then [m]."""
    kind = objects.OBJECTS[placed.kind]
    grasp = kind.grasps[rng.integers(len(kind.grasps))]
    yaw = (rng.uniform(-math.pi, math.pi) if grasp.yaw is None else grasp.yaw) + math.pi * rng.integers(2)
    height = max(grasp.position[2], kind.size[2] - PALM)
    T_thing_tcp = Pose.from_rotvec([*grasp.position[:2], height], [0.0, 0.0, yaw]) @ Pose(np.zeros(3), _UPSIDE_DOWN)
    at = world.model.joint(placed.name).qposadr[0]
    world.data.qpos[at : at + 7] = _free(T_base_tcp @ T_thing_tcp.inverse())
    return grasp.width


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
    rng = np.random.default_rng([seed, 5])
    drawn = _drawn(task, seed, rng)
    robot = None if rng.random() < _HANDHELD else _ARMS[rng.integers(len(_ARMS))]
    world = HandheldWorld(drawn, seed=seed) if robot is None else World(drawn, robot, seed=seed)
    standing = world.data.qpos.copy()
    eyes = CellRenderer(world.model, _RENDERED, noise.load().camera, seed)
    images: list[list[Image]] = []
    states: list[list[float]] = []
    places: list[NDArray[np.float32]] = []
    offsets: list[Array] = []
    turns: list[list[tuple[float, float]]] = []
    try:
        for view in range(views):
            world.data.qpos[:] = standing
            _later(drawn, world, rng)
            told, holding, pose, held = list(_captions(drawn, world)), None, T_BASE_TCP_START, None
            width = rng.uniform(0.0, GRIPPER.stroke)
            if drawn.cabinet is not None and rng.random() < _AT:
                pose, width = _at_handle(drawn, world, rng)
                holding = _holding(world, pose)
            while holding is None:
                pose, held = _viewpoint(told, drawn.cabinet is None, rng)
                holding = _holding(world, pose)
                if any(np.linalg.norm(one.thing - pose.position) < _AROUND for one in told):
                    width = max(width, _OPEN)
            if held is not None:
                width = _take(world, _things(drawn)[held], pose, rng)
                told = list(_captions(drawn, world))
            gripper = [*holding, width / 2, width / 2]
            world.data.qpos[: len(gripper)] = gripper  # hand or arm and the two fingers come first
            snapshot = scene.snapshot(world.data)
            states.append([*pose.position, *rotation_6d(pose.rotation), width])
            pictures = (eyes.render(name, snapshot, view) for name in CAMERAS)
            images.append([np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) for image in pictures])
            targets = np.array([[one.thing, one.goal] for one in told])
            place = _places(targets.reshape(-1, 3), pose).reshape(len(told), 2, len(CAMERAS), 2).swapaxes(1, 2)
            offset = pose.inverse().apply(targets.reshape(-1, 3)).reshape(targets.shape)
            places.append(place)
            offsets.append(offset)
            turns.append([_turn(pose.rotation.T @ one.along) for one in told])
    finally:
        eyes.close()
    numbers = (np.array(values, np.float32) for values in (places, offsets, turns))
    texts = tuple(one.text for one in told)
    return _Shot(task, seed, np.array(images, np.uint8), np.array(states, np.float32), texts, *numbers)


def _gathered(shots: list[_Shot], about: dict[str, object]) -> Scenes:
    frames: list[int] = []
    texts: list[str] = []
    first = 0
    for shot in shots:
        for view in range(len(shot.images)):
            frames += [first + view] * len(shot.texts)
            texts += shot.texts
        first += len(shot.images)
    places, offsets, turns = (
        np.concatenate([part.reshape(-1, *part.shape[2:]) for part in parts])
        for parts in zip(*((shot.places, shot.offsets, shot.turns) for shot in shots), strict=True)
    )
    images, states = np.concatenate([shot.images for shot in shots]), np.concatenate([shot.states for shot in shots])
    return Scenes(about, images, states, np.array(frames), places, offsets, turns, texts)


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
    parser.add_argument("--task", nargs="+", default=list(CAPTIONED), choices=TASKS, help="default: all with captions")
    parser.add_argument("--scenes", type=positive, default=2000, help="of each task, default %(default)s")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first scene's, default %(default)s")
    parser.add_argument("--views", type=positive, default=6, help="of each scene, default %(default)s")
    parser.add_argument("--size", type=_size, default=(128, 96), help="[px], default 128x96")
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes, default: the cores"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, look, write."""
    if arguments.seed < FIRST_SEED:
        raise ConfigError(
            f"seed {arguments.seed} may be a demonstration's or an evaluation's; allowed: {FIRST_SEED} on"
        )
    if silent := [task for task in arguments.task if task not in CAPTIONED]:
        raise ConfigError(f"task {', '.join(silent)} has no captions; allowed: {', '.join(CAPTIONED)}")
    seeds = range(arguments.seed, arguments.seed + arguments.scenes)
    wanted = [(task, seed, arguments.views, arguments.size) for task in arguments.task for seed in seeds]
    shots: list[_Shot] = []
    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(wanted))
        for shot in on_all_cores(_shoot, wanted, arguments.jobs):
            shots.append(shot)
            progress.advance(bar)
    about = {
        "seeds": [seeds.start, seeds.stop],
        "tasks": arguments.task,
        "views": arguments.views,
        "size": list(arguments.size),
        "cameras": list(CAMERAS),
    }
    gathered = _gathered(sorted(shots, key=lambda shot: (shot.task, shot.seed)), about)
    scenes.write(arguments.out, gathered)
    told = f"{len(gathered.images)} pictures of {len(wanted)} scenes, {len(gathered.texts)} captions"
    console().print(f"{told}: {arguments.out}")
    return 0
