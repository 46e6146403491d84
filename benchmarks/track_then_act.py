"""What an arm does that follows a tool in a video, where the video is right: "Dreamitate" with a person in place of its
generator.

    python benchmarks/track_then_act.py --scenarios 20

In each scenario of the evaluation's lists the simulated person demonstrates the task with the handheld gripper, out of
the arm's world; the side cameras' pictures of that, so many frames from its beginning to its end, are what the policy
then takes for the video that it has imagined, in the same scenario. All the rest is what a deployment does: the scene
without the tool, the tracker, two views, the plan, the executor, impedance, physics. `tracked` are frames that passed
the gates, beside those in which the tool is really in both views, and how far off they are from the simulator's truth.
A demonstration that the person fails is not counted. In push-shape the person shows one push, and a new one in each of
its rounds, of the shape as it then lies; success is the best of the rounds, what is tracked that of the first film.
`--picture FILE` shows the first task's first film as it was followed.

`--imagined CHECKPOINT` lets a generator imagine after all. No video of its own has a truth, so `mm` and `degrees` then
are from the way that the person went in the same scenario, at the same time from the beginning: the generator's error,
the tracker's, and that there is more than one way to do a thing.
"""

import argparse
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from films import demonstrate, pictures
from rich.console import Console
from rich.progress import track
from rich.table import Table

from kinema import cell_file, paths, robots
from kinema.apps.lockstep import run_episode
from kinema.apps.trials import LISTS, PURPOSES, ROBOT
from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.chunk import Image, Observation, Prediction, Truth
from kinema.control.messages import Mode
from kinema.control.pacing import Pace
from kinema.errors import NoPlanError
from kinema.geometry import Pose, distance
from kinema.perception import tool_mesh
from kinema.perception.stereo_tool import View
from kinema.perception.tool_tracker import ModelTracker
from kinema.policies import checkpoint
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.codec import PatchesConfig
from kinema.policies.dreamitate import dream, policy
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.dream import Place, held
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.dreamitate.policy import Dreamitate
from kinema.policies.text import WordsConfig
from kinema.policies.video_policy.config import LeanConfig
from kinema.training.success import success_rate
from kinema.virtual import scenario, tool_files
from kinema.virtual.cameras import CAMERAS, TABLE_DATE
from kinema.virtual.scenario import Scenario
from kinema.virtual.tasks import push_shape
from kinema.workers import on_all_cores

TASKS = {"rotate_object": "fork", "sweep": "brush", "scoop": "scoop", "push_shape": "pusher"}  # and their tools
ROUNDS = {"push_shape": push_shape.ATTEMPTS}  # of imagining and acting, else one
SIZE = (256, 192)  # [px] of the pictures
FRAMES = 32
LATENCY = 5.0  # [s] from looking to the plan, declared
TIME_LIMIT = 90.0  # [s] of a round, going out of view among it

_HIGH = Pose(np.array([0.4, 0.0, 0.62]), np.diag([1.0, -1.0, -1.0]))  # T_base_tcp out of view
_EVERY = 17  # periods between two pictures that are kept: 30 Hz
_CHANGED = 20  # of 255: more than a camera's noise


@dataclass(frozen=True, eq=False, slots=True)
class Film:
    """images (2, 1 + frames, height, width, 3) of the side cameras, the scene alone first; poses `T_base_tcp` of the
    hand in each frame; dt [s] between frames; what the person said where they gave up."""

    images: Image
    poses: tuple[Pose, ...]
    dt: float
    gave_up: str


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a scenario: `frames` with the tool in both views, of which `position` [mm] and `rotation` [deg] are
    known as tracked; why no plan came of it."""

    task: str
    demonstrated: bool
    success: bool = False
    outcome: str = ""
    frames: int = 0
    position: tuple[float, ...] = ()
    rotation: tuple[float, ...] = ()
    reason: str = ""


def film(drawn: Scenario, frames: int, dt: float = 0.0, seen: bool = True) -> Film:
    """A person demonstrates; moments `dt` [s] apart, 0: evenly over that. No images unless `seen`."""
    shown = demonstrate(drawn, _EVERY, out_of_view=True, once=drawn.task in ROUNDS)
    last = len(shown.snapshots) - 1
    dt = dt or last * shown.dt / frames
    at = np.minimum((np.arange(1 + frames) * dt / shown.dt).round().astype(int), last)
    images = pictures(shown, at.tolist() if seen else [], SIDE_CAMERAS, SIZE)
    return Film(images, tuple(shown.T_base_tcp[k] for k in at), dt, shown.gave_up)


def moved(drawn: Scenario, truth: Truth) -> Scenario:
    """The same with the target where it lies now."""
    assert drawn.target is not None
    T = truth.poses[drawn.target.name]
    yaw = math.atan2(T.rotation[1, 0], T.rotation[0, 0])
    return replace(drawn, target=replace(drawn.target, position=(float(T.position[0]), float(T.position[1])), yaw=yaw))


class _Seen(Dreamitate):
    """Remembers what was tracked in the first film that a plan came of."""

    tracked: tuple[dream.StereoPose, ...] = ()
    reason = ""

    def predict(self, observation: Observation) -> Prediction:
        try:
            found = super().predict(observation)
        except NoPlanError as error:
            self.reason = str(error)
            raise
        if self._route is not None and not self.tracked:
            self.tracked = self._route.dream.tracked
        return found


class _Person(_Seen):
    """Takes for its video what a person does in this very scenario; in a later round, what they then do."""

    def __init__(self, facts: Checkpoint, model: DreamitateModel, place: Place, drawn: Scenario, shown: Film) -> None:
        super().__init__(facts, model, place)
        self._drawn, self._shown = drawn, shown
        self.spec = replace(self.spec, simulator_truth=model.config.rounds > 1)

    def _imagined(self, observation: Observation, now: torch.Tensor, timing: dict[str, float]) -> torch.Tensor:
        shown = self._shown
        if self._done:
            assert observation.truth is not None
            shown = film(moved(self._drawn, observation.truth), len(shown.poses) - 1)
            space = self.checkpoint.action.model_copy(update={"dt": shown.dt, "offset": shown.dt})
            self.checkpoint = self.checkpoint.model_copy(update={"action": space})
        change = shown.images.astype(int) - shown.images[:, :1]
        seen = np.where(np.abs(change).max(axis=-1, keepdims=True) > _CHANGED, shown.images, now.numpy()[:, None])
        return torch.from_numpy(seen[:, 1:].astype(np.uint8))  # the arm may be seen in what is there now


def remembering(drawn: Scenario, shown: Film, place: Place) -> _Seen:
    """Dreamitate whose video is this film, and in later rounds what the person then does."""
    torch.manual_seed(0)
    config = DreamitateConfig(
        codec=PatchesConfig(patch=16, predicted=8, shown=8),
        text=WordsConfig(width=8),
        unet=LeanConfig(channels=(16, 32), heads=2, layers=1, label=16),
        change=True,
        frames=len(shown.poses) - 1,
        stride=1,
        rounds=ROUNDS.get(drawn.task, 1),
        latency={"few:1": LATENCY},
    )
    model = DreamitateModel(config, len(SIDE_CAMERAS), SIZE).eval()
    space = ActionSpace(horizon=1, dt=shown.dt, offset=shown.dt, executable=1, mean=(0.0,) * WIDTH, std=(1.0,) * WIDTH)
    facts = Checkpoint(
        kind="dreamitate",
        config=config.model_dump(mode="json"),
        action=space,
        cameras=SIDE_CAMERAS,
        image_size=SIZE,
        dataset="",
        calibration_origin=(),
        latency=config.latency,
        training={"placed": TABLE_DATE.isoformat()},
    )
    return _Person(facts, model, place, drawn, shown)


def picture(task: str, name: str, seed: int, frames: int, robot: str) -> Image:
    """A film as it is followed: six of its frames, both views, the tool's outline as tracked."""
    drawn = scenario.draw(task, LISTS[name], seed)
    shown, place = film(drawn, frames), placed(task, robot)
    clips = shown.images[:, 1:]
    found = dream.interpret(place, ModelTracker(), shown.images[:, 0], clips, _HIGH, shown.dt)
    at = np.linspace(frames // 4, frames, 6).round().astype(int)
    return np.vstack([np.hstack(found.video[camera][at]) for camera in SIDE_CAMERAS])


def placed(task: str, robot: str) -> Place:
    """The virtual cell, the arm holding the task's tool."""
    cell = cell_file.load(cell_file.VIRTUAL)
    left, right = (View(CAMERAS[camera].info(SIZE), CAMERAS[camera].T_mount_camera) for camera in SIDE_CAMERAS)
    tool = tool_mesh.load_tool(paths.root() / tool_files.FOLDER / TASKS[task] / tool_mesh.FILE)
    arm = robots.arm(cell.check_robot(robot))
    return Place(tool, (left, right), arm, robots.GRIPPER, cell.control.limits)


def attempt(task: str, name: str, seed: int, frames: int, robot: str, imagined: Path | None) -> Row:
    """One scenario."""
    torch.set_num_threads(1)
    drawn, place = scenario.draw(task, LISTS[name], seed), placed(task, robot)
    if imagined:
        facts, model = checkpoint.read(imagined), policy.network(imagined)
        shown = film(drawn, model.frames, model.stride * facts.action.dt, seen=False)
        acts, latency = _Seen(facts, model, place, seed=seed), next(iter(facts.latency.values()))
    else:
        shown = film(drawn, frames)
        acts, latency = remembering(drawn, shown, place), LATENCY
    if shown.gave_up:
        return Row(task, False)
    result = run_episode(
        task, LISTS[name], seed, robot, acts,
        pace=Pace(Mode.STOP_AND_GO), latency=latency, render=True, time_limit=ROUNDS.get(task, 1) * TIME_LIMIT,
    )  # fmt: skip
    off, turned, seen = [], [], 0
    for pose, found in zip(shown.poses[1:], acts.tracked, strict=False):
        seen += all(dream.in_view(place.tool, view, held(place, pose)) for view in place.views)
        if found.T_base_tool is not None:
            away = distance(found.T_base_tool, held(place, pose))
            off.append(1e3 * away[0])
            turned.append(math.degrees(away[1]))
    return Row(task, True, result.success, result.outcome, seen, tuple(off), tuple(turned), acts.reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--list", default="seen", choices=LISTS)
    parser.add_argument("--scenarios", type=int, default=20, help="of each task, default %(default)s")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each view, default %(default)s")
    parser.add_argument("--robot", default=ROBOT)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--imagined", type=Path, metavar="CHECKPOINT", help="by this generator, not the person's film")
    parser.add_argument("--verbose", action="store_true", help="a line for each scenario")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="show one film as it is followed, and nothing else"
    )
    asked = parser.parse_args()
    first = PURPOSES["report"]
    if asked.picture:
        shown = picture(asked.task[0], asked.list, first, asked.frames, asked.robot)
        cv2.imwrite(str(asked.picture), shown[..., ::-1])
        return
    work = [
        (task, asked.list, seed, asked.frames, asked.robot, asked.imagined)
        for seed in range(first, first + asked.scenarios)
        for task in asked.task
    ]
    rows = []
    for row in track(
        on_all_cores(attempt, work, asked.jobs), "following", total=len(work), console=Console(stderr=True)
    ):
        rows.append(row)
        if asked.verbose:
            print(row.task, row.success, row.outcome, row.reason[:300], len(row.position), row.frames, flush=True)
    table = Table("task", "success", "no plan", "tracked", "mm: median", "90 %", "degrees: median", "90 %")
    for task in asked.task:
        some = [row for row in rows if row.task == task and row.demonstrated]
        good = sum(row.success for row in some)
        rate = success_rate(good, len(some))
        off, turned = (np.concatenate([[], *(getattr(row, name) for row in some)]) for name in ("position", "rotation"))
        planned = [row for row in some if row.position]
        table.add_row(
            task,
            f"{good} of {len(some)} ({rate.low:.2f}..{rate.high:.2f})",
            str(len(some) - len(planned)),
            f"{len(off)} of {sum(row.frames for row in planned)}",
            *(f"{np.percentile(values, q):.1f}" if len(values) else "-" for values in (off, turned) for q in (50, 90)),
        )
    console = Console(width=120)
    console.print(table)
    video = f"{asked.frames} frames of {SIZE[0]} x {SIZE[1]} px a view"
    console.print(f"list {asked.list}, {asked.robot}, {f'imagined by {asked.imagined}' if asked.imagined else video}")


if __name__ == "__main__":
    main()
