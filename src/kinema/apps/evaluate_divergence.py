"""`kinema evaluate divergence`: what a policy's imagination usually differs by, and what is noticed by it.

The first half of the scenarios is rolled out as it is. The rollouts that succeed say what is usual, and with it the
threshold, which go into the checkpoint's folder. The other half is rolled out as it is, and once with each mishap: an
object is moved, a hand reaches before a camera, a camera is knocked. The curve (ROC) holds the moments after a mishap,
of the video that was imagined before it, against those in which nothing happened.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from kinema import cell_file, yaml_file
from kinema.apps import evaluate_rollouts, trials
from kinema.apps.console import console
from kinema.apps.evaluate_table import Sheet
from kinema.apps.evaluate_video import Clip, Filming, Imagines
from kinema.apps.rollouts import Player, act
from kinema.apps.trials import Scene, Setting
from kinema.chunk import Image, Observation, Prediction
from kinema.clock import to_ns, to_seconds
from kinema.control.messages import Tick
from kinema.errors import ConfigError
from kinema.geometry import Array
from kinema.interfaces import Policy
from kinema.perception import divergence
from kinema.perception.divergence import Roc, Usual, appearance, difference, roc
from kinema.topics import CAMERAS
from kinema.virtual import cameras, mishaps
from kinema.virtual.world import World
from kinema.workers import on_all_cores

NOTHING, MOVED, HAND, KNOCKED = "nothing", "a moved object", "an occluding hand", "a bumped camera"
MISHAPS = (NOTHING, MOVED, HAND, KNOCKED)

_WHEN = (1.0, 2.0)  # [s] after the rollout's beginning
_MOVE, _TURN = 0.07, np.radians(3.0)  # [m], [rad]


class Mishap:
    """One mishap in a scenario; when, where and how follow from its seed."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = np.random.default_rng([seed, MISHAPS.index(kind)])
        self.kind, self.after = kind, float(rng.uniform(*_WHEN))
        self.at_ns = 0  # known once a rollout has begun
        self._camera, self._hand = CAMERAS[rng.integers(len(CAMERAS))], int(rng.integers(2**31))
        way, axis = rng.uniform(-np.pi, np.pi), rng.normal(size=3)
        self._offset = (float(_MOVE * np.cos(way)), float(_MOVE * np.sin(way)))
        x, y, z = (float(v) for v in _TURN * axis / np.linalg.norm(axis))
        self._turn = (x, y, z)
        self._knock: dict[tuple[int, int], mishaps.Knock] = {}
        self._world: World | None = None

    def begin(self, world: World) -> None:
        self._world, self.at_ns = world, world.t_ns + to_ns(self.after)

    def happen(self) -> None:
        """To the world, once its time has come."""
        world = self._world
        if self.kind == MOVED and world is not None and world.t_ns >= self.at_ns:
            if world.scenario.target is not None:
                mishaps.move(world, world.scenario.target.name, self._offset)
            self._world = None

    def seen(self, camera: str, stamp_ns: int, image: Image) -> Image:
        """What a camera makes of it."""
        if camera != self._camera or stamp_ns < self.at_ns or self.kind not in (HAND, KNOCKED):
            return image
        if self.kind == HAND:
            return mishaps.hand(image, self._hand)
        size = image.shape[1], image.shape[0]
        if size not in self._knock:
            self._knock[size] = mishaps.Knock(cameras.camera(camera).info().scaled(size), self._turn)
        return self._knock[size](image)


class _Surprised:
    """A policy that sees the mishap, too."""

    def __init__(self, policy: Policy, mishap: Mishap) -> None:
        self.name, self.spec = policy.name, policy.spec
        self._policy, self._mishap = policy, mishap

    def reset(self, seed: int | None = None) -> None:
        self._policy.reset(seed)

    def predict(self, observation: Observation) -> Prediction:
        for name, images in observation.images.items():
            images[-1] = self._mishap.seen(name, observation.stamp_ns, images[-1])
        return self._policy.predict(observation)


class Surprising(Filming):
    """Films a rollout into which a mishap falls."""

    def __init__(self, policy: Imagines, scene: Scene, mishap: Mishap) -> None:
        super().__init__(policy, scene)
        self._mishap = mishap

    def begin(self, world: World) -> None:
        self._mishap.begin(world)

    def tick(self, tick: Tick) -> None:
        self._mishap.happen()

    def moment(self, stamp_ns: int, look: Callable[[str], Image]) -> None:
        super().moment(stamp_ns, lambda name: self._mishap.seen(name, stamp_ns, look(name)))


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """What came of one rollout: differences (clips, cameras, frames, 2), each frame's time after the mishap [s]."""

    kind: str
    success: bool
    cameras: tuple[str, ...]
    dt: float
    differences: Array
    since: Array

    @staticmethod
    def of(kind: str, success: bool, clips: Sequence[Clip], at_ns: int) -> "Shown":
        """Of clips that were begun before the mishap; of all where nothing happened."""
        kept = [clip for clip in clips if kind == NOTHING or clip.t0_ns < at_ns]
        if not kept:
            return Shown(kind, success, (), 0.0, np.zeros((0, 0, 0, 2)), np.zeros((0, 0)))
        frames = kept[0].imagined.shape[1]
        stamps = [[clip.t0_ns + to_ns(k * clip.dt) for k in range(1, frames)] for clip in kept]
        since = np.array([[to_seconds(stamp - at_ns) for stamp in row] for row in stamps])
        return Shown(kind, success, kept[0].cameras, kept[0].dt, np.stack([differences(clip) for clip in kept]), since)


def differences(clip: Clip) -> Array:
    """(cameras, frames, 2) of every frame after the first."""
    pairs = [list(zip(i[1:], h[1:], strict=True)) for i, h in zip(clip.imagined, clip.happened, strict=True)]
    return np.array([[difference(appearance(i), appearance(h)) for i, h in camera] for camera in pairs])


def surprise(player: Player, setting: Setting, scene: Scene, cell: Path, kind: str) -> Shown:
    """Roll a policy out in a scenario with a mishap; raises ConfigError for a policy that imagines nothing."""
    policy, mishap = player.make(scene.seed), Mishap(kind, scene.seed)
    if not isinstance(policy, Imagines):
        raise ConfigError(f"policy {policy.name!r} imagines no video; allowed is one that has `imagine`")
    filming = Surprising(policy, scene, mishap)
    result = act(player, _Surprised(policy, mishap), setting, scene, cell, filming)
    return Shown.of(kind, result.success, filming.clips, mishap.at_ns)


def usual(shown: Sequence[Shown], checkpoint: str, mode: str) -> Usual:
    """Of the rollouts that succeeded; raises CheckpointError where they are too few."""
    good = [row for row in shown if row.success and len(row.differences)]
    names, dt = (good[0].cameras, good[0].dt) if good else (CAMERAS, 0.0)
    return Usual.of([row.differences for row in good], names, dt, checkpoint, mode)


def _moments(known: Usual, row: Shown) -> tuple[Array, Array]:
    """Values and times after the mishap (clips, frames); a moment's value is that of the worst camera."""
    if not len(row.differences):
        return np.zeros((0, known.frames)), np.zeros((0, known.frames))
    return known.values(row.differences, row.cameras).max(axis=1), row.since


def curves(known: Usual, shown: Sequence[Shown]) -> dict[str, Roc]:
    """By mishap, those of which there are moments."""
    calm = np.concatenate([_moments(known, row)[0].ravel() for row in shown if row.kind == NOTHING])
    found = {}
    for kind in MISHAPS[1:]:
        parts = [values[since >= 0] for values, since in (_moments(known, row) for row in shown if row.kind == kind)]
        after = np.concatenate(parts) if parts else np.zeros(0)
        if len(after) and len(calm):
            found[kind] = roc(calm, after)
    return found


def noticed(known: Usual, shown: Sequence[Shown], label: str) -> Sheet:
    """What happened, how much of it was above the threshold, and how soon."""
    rows, known_curves = [], curves(known, shown)
    for kind in MISHAPS:
        above, rollouts, delays = [], 0, []
        for values, since in (_moments(known, row) for row in shown if row.kind == kind):
            counts = since >= 0 if kind != NOTHING else np.ones_like(since, bool)
            above.append(values[counts] > known.threshold)
            if counts.any():
                rollouts += 1
                alarms = since[counts & (values > known.threshold)]
                delays += [float(alarms.min())] if len(alarms) else []
        flat = np.concatenate(above) if above else np.zeros(0, bool)
        if not len(flat):
            continue
        area = f"{known_curves[kind].area:.3f}" if kind in known_curves else "-"
        delay = f"{np.median(delays):.1f} s" if delays and kind != NOTHING else "-"
        share = f"{100 * flat.mean():.1f} %"
        rows.append((kind, f"{len(flat)} moments", area, share, f"{len(delays)} of {rollouts}", delay))
    columns = ("what happened", "", "area", "moments above", "rollouts with an alarm", "first alarm after")
    return Sheet(f"{label}: threshold {known.threshold:.2f}", columns, tuple(rows))


def draw(file: Path, found: Mapping[str, Roc]) -> None:
    """The curves as a picture."""
    figure = Figure(figsize=(5.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind, curve in found.items():
        axes.plot(curve.false_alarms, curve.found, label=f"{kind}, area {curve.area:.3f}")
    axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
    axes.set(xlabel="moments above, nothing happened", ylabel="moments above, after it happened")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(file)


def configure(parser: argparse.ArgumentParser) -> None:
    evaluate_rollouts.configure(parser)
    parser.set_defaults(scenarios=20, list=["seen"], purpose="choose")


def run(arguments: argparse.Namespace) -> int:
    """Learn what is usual, write it into the checkpoint's folder, show what is noticed."""
    player = Player.of(arguments.policy, arguments.inference, arguments.like)
    setting, *others = evaluate_rollouts.settings(arguments, player, cell_file.load(arguments.cell).control.execution)
    if others:
        raise ConfigError("one setting can be watched at a time: give one --executed and one --images")
    if arguments.scenarios < 2:
        raise ConfigError("--scenarios is 1; needed are two at least, to learn from one and to try the other")
    scenes = trials.scenes(arguments.task, arguments.list, arguments.purpose, arguments.scenarios)
    half = len(scenes) // 2
    mode = getattr(player.make(scenes[0].seed), "mode", "")
    rows = [(player, setting, scene, arguments.cell, NOTHING) for scene in scenes[:half]]
    rows += [(player, setting, scene, arguments.cell, kind) for scene in scenes[half:] for kind in MISHAPS]
    numbered = [(i, *row) for i, row in enumerate(rows)]
    done = on_all_cores(_numbered, numbered, arguments.jobs)
    shown = dict(track(done, "rolling out", len(rows), console=Console(stderr=True)))
    calm, tried = ([shown[i] for i in part] for part in (range(half), range(half, len(rows))))
    known = usual(calm, setting.checkpoint, mode)
    folder = Path(arguments.policy)
    yaml_file.write(folder / divergence.NAME, known)
    found, sheet = curves(known, tried), noticed(known, tried, setting.label)
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = trials.results_file(arguments.results, setting)
    file = file.with_name(f"{file.stem}{f'_{mode}' if mode else ''}_divergence.json".replace(":", ""))
    points = {kind: [curve.false_alarms.tolist(), curve.found.tolist()] for kind, curve in found.items()}
    file.write_text(json.dumps({"title": sheet.title, "rows": sheet.rows, "roc": points}) + "\n")
    draw(file.with_suffix(".png"), found)
    out = console()
    sheet.print(out)
    out.print(f"threshold: {folder / divergence.NAME}; curves: {file} and .png")
    return 0


def _numbered(number: int, *row: object) -> tuple[int, Shown]:
    return number, surprise(*row)  # type: ignore[arg-type]
