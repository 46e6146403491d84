"""One demonstration recorded in lockstep: simulated person, sensors, trackers and writer in one process, no clock.

First the person demonstrates, which costs little, and every sensor but the cameras is read. What is worth it is then
seen by the cameras and recorded: from one double squeeze to the next, by the same detector, trackers, messages, writer
and quality report as in the live graph. The same seed gives the same bytes.

Stamps are of a simulated clock that begins a minute for each seed, so that names, which carry date and number, follow
from the seed as well. The arrival of a message is its stamp: nothing takes time here.
"""

import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kinema import cell_file
from kinema.calibration.bundle import GRIPPER_CAMERA, SIDE_CAMERAS, Bundle, load_bundle
from kinema.chunk import Image
from kinema.clock import NS, Every, to_seconds
from kinema.episodes import facts as facts_file, messages
from kinema.episodes.check import hold_to_alignment
from kinema.episodes.facts import Facts, ImageFacts, ScenarioFacts, WorldFacts
from kinema.episodes.gesture import DoubleSqueeze, Gesture
from kinema.episodes.messages import TCP, WORLD
from kinema.episodes.provenance import calibration_origin, versions
from kinema.episodes.quality_monitor import QualityMonitor
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.errors import ConfigError, SimulationError
from kinema.geometry import Array, Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.perception.jaw import JawTracker
from kinema.perception.tool_pose import ANCHOR_SAMPLES, ToolPose, anchor
from kinema.topics import CAMERAS, topic
from kinema.virtual import noise, scenario
from kinema.virtual.hand import Hand, Manner, Phase
from kinema.virtual.handheld import HandheldWorld
from kinema.virtual.objects import SPLITS
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.scenario import Scenario

A_DAY = 500  # seeds, a minute each, from 8 o'clock on
SEEDS = 365 * A_DAY  # of a split, which has a year to itself

_FIRST_YEAR = 2001
_FIRST_HOUR = 8
_TARED_AFTER = 0.5  # [s] in the dock
_PACKAGES = ("mujoco", "numpy", "opencv-contrib-python", "rosbags")
_TOPICS = (
    *(f"{camera}/{kind}" for camera in CAMERAS for kind in ("image_raw/compressed", "camera_info")),
    *("jaw/state", "load_cell/force", "load_cell/wrench", "tracker/odometry", "tracker/pose", "/tf_static", "task"),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the episodes of one set have in common; `quality` is JPEG's, `out` the folder of all episodes.

    recovery  [-] share of demonstrations that begin off course; out_of_view: the others begin where no side camera
              sees the hand (`kinema.virtual.hand.Manner`)
    calibration  folder of the files to record by; None: the cell's
    """

    task: str
    split: str
    out: Path
    cell: Path
    image_size: tuple[int, int]
    quality: int
    recovery: float = 0.0
    out_of_view: bool = False
    calibration: Path | None = None

    def bundle(self) -> Bundle:
        """The calibration to record by; raises CalibrationError as `load_bundle` does."""
        cell = cell_file.load(self.cell).calibrated_by(self.calibration)
        return load_bundle(cell.calibration_folder, cell.serials(handheld=True))

    @property
    def operator(self) -> str:
        """Who demonstrates, so that a folder says it and no two are mixed up."""
        habit = f", {100 * self.recovery:g} % begun off course" if self.recovery else ""
        return f"simulated person{habit}{', begun out of view' if self.out_of_view else ''}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of one seed: a folder, or `rejected` says why there is none; `duration` [s] of the useful interval."""

    seed: int
    text: str
    folder: Path | None
    rejected: str = ""
    duration: float = 0.0


def began(split: str, seed: int) -> datetime.datetime:
    """When the simulated clock has a seed begin; raises ConfigError for a seed that has no place in the year."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed {seed} has no date; allowed: 0 to {SEEDS - 1}")
    first = datetime.datetime(_FIRST_YEAR + list(SPLITS).index(split), 1, 1, _FIRST_HOUR, tzinfo=datetime.UTC)
    return first + datetime.timedelta(days=seed // A_DAY, minutes=seed % A_DAY)


def folder(recipe: Recipe, seed: int) -> Path:
    """Where the episode of a seed stands or would stand."""
    text = scenario.draw(recipe.task, recipe.split, seed).text
    name = f"{began(recipe.split, seed).date().isoformat()}_{seed % A_DAY + 1:03d}"
    return recipe.out / facts_file.slug(text) / name


# ---- first: what happens


class _Moment(NamedTuple):
    """One moment that the cameras see, and whether the task was done by then."""

    stamp_ns: int
    snapshot: Array
    success: bool


@dataclass(frozen=True, eq=False, slots=True)
class _Happening:
    """A demonstration as it happened: the cameras' moments, and the other sensors' samples in the order of stamps."""

    world: HandheldWorld
    moments: tuple[_Moment, ...]
    samples: tuple[TrackedPose | ForceSample, ...]
    T_base_world: Pose


class _UnfitError(Exception):
    """The demonstration is not worth recording; says why."""


def _happen(drawn: Scenario, seed: int, manner: Manner, bundle: Bundle) -> _Happening:
    """Let the person demonstrate until the gesture that ends it; raises _UnfitError as early as that is seen."""
    origin_ns = int(began(drawn.split, seed).timestamp()) * NS
    world = HandheldWorld(drawn, seed=seed, origin_ns=origin_ns)
    hand = Hand(world, seed, manner=manner)
    cameras, load_cell = (Every(topic(name).rate, origin_ns) for name in ("gripper/image_raw", "load_cell/force"))
    tool = ToolPose(bundle.T_tracker_tcp)
    moments: list[_Moment] = []
    samples: list[TrackedPose | ForceSample] = []
    docked: list[TrackedPose] = []
    while hand.phase is not Phase.RETURN:
        try:
            world.step(*hand.goal())
        except SimulationError as error:
            raise _UnfitError(str(error)) from error
        t_ns, tracked = world.t_ns, world.tracked()
        if not world.load_cell().tared and to_seconds(t_ns - origin_ns) >= _TARED_AFTER:
            world.tare()
        if tracked is not None:
            samples.append(tracked)
            tool.take(tracked)
            if tool.segment:
                raise _UnfitError(f"tracker: {tool.reason}")
            if hand.phase is Phase.DOCKED:
                docked.append(tracked)
        if load_cell.due(t_ns):
            samples.append(world.load_cell())
        if cameras.due(t_ns):
            moments.append(_Moment(t_ns, world.snapshot(), world.outcome().success))
        if hand.gave_up:
            raise _UnfitError(hand.gave_up)
    T_base_world = anchor(bundle.T_base_dock, docked[-2 * ANCHOR_SAMPLES :], bundle.T_tracker_tcp)
    return _Happening(world, tuple(moments), tuple(samples), T_base_world)


# ---- then: what is seen and recorded


class _Recorder:
    """Writes the samples of one episode as the live graph's nodes and recorder would."""

    def __init__(self, recipe: Recipe, bundle: Bundle, happening: _Happening, at: Path, began_ns: int) -> None:
        self._recipe, self._store = recipe, messages.typestore()
        self._tool = ToolPose(bundle.T_tracker_tcp)
        self._infos = {name: bundle.camera(name).scaled(recipe.image_size) for name in CAMERAS}
        self.quality = QualityMonitor()
        drawn = happening.world.scenario
        width, height = recipe.image_size
        self.facts = Facts(
            source="handheld",
            text=drawn.text,
            task=drawn.task,
            operator=recipe.operator,
            scenario=ScenarioFacts(task=drawn.task, split=drawn.split, seed=drawn.seed),
            began_ns=began_ns,
            simulated=True,
            images=ImageFacts(compression="jpeg", quality=recipe.quality, width=width, height=height),
            calibration_origin=calibration_origin(bundle),
            tracker="virtual",
            T_base_world=WorldFacts.of(happening.T_base_world, "dock"),
            versions=versions(*_PACKAGES),
        )
        copy_calibration(bundle.folder, at)
        self._writer = EpisodeWriter(at, [topic(name) for name in _TOPICS], self._store, self.facts)
        mounts = [("base_link", self._infos[name].frame_id, bundle.T_base_camera(name)) for name in SIDE_CAMERAS]
        mounts += [(TCP, self._infos[GRIPPER_CAMERA].frame_id, bundle.T_tcp_camera())]
        mounts += [("base_link", WORLD, happening.T_base_world)]
        self._write("/tf_static", began_ns, messages.Transforms(began_ns, tuple(mounts)))
        self._write("task", began_ns, messages.TaskText(began_ns, drawn.text))

    def image(self, camera: str, stamp_ns: int, image: Image) -> None:
        picture = messages.Picture(stamp_ns, self._infos[camera].frame_id, image)
        compressed = messages.compress(picture, "jpeg", self._recipe.quality)
        self.quality.image(camera, stamp_ns, compressed.data)
        self._write(f"{camera}/image_raw/compressed", stamp_ns, compressed)
        self._write(f"{camera}/camera_info", stamp_ns, messages.LensSample(stamp_ns, self._infos[camera]))

    def jaw(self, sample: messages.JawSample) -> None:
        self.quality.jaw(sample.stamp_ns, sample.width, sample.valid, sample.tags)
        self._write("jaw/state", sample.stamp_ns, sample)

    def sample(self, sample: TrackedPose | ForceSample) -> None:
        if isinstance(sample, ForceSample):
            self.quality.force(sample)
            self._write("load_cell/force", sample.stamp_ns, sample)
            closing = np.array([sample.force, 0.0, 0.0, 0.0, 0.0, 0.0])  # the jaws close along the TCP's x
            self._write("load_cell/wrench", sample.stamp_ns, messages.WrenchSample(sample.stamp_ns, TCP, closing))
            return
        self.quality.odometry(sample)
        self._write("tracker/odometry", sample.stamp_ns, sample)
        T_world_tcp = self._tool.take(sample)
        if T_world_tcp is not None:
            self._write("tracker/pose", sample.stamp_ns, messages.StampedPose(sample.stamp_ns, WORLD, T_world_tcp))

    def close(self, ended_ns: int, success: bool) -> Facts:
        report = self.quality.report(self.facts.began_ns, ended_ns)
        facts = self.facts.replace(
            ended_ns=ended_ns,
            ended="by gesture",
            success=success,
            quality=report,
            rejected=report.verdict(),
        )
        return self._writer.close(facts)

    def _write(self, name: str, stamp_ns: int, value: object) -> None:
        self._writer.write(name, stamp_ns, messages.encode(self._store, value))


def _record(recipe: Recipe, bundle: Bundle, happening: _Happening, at: Path) -> Facts:
    """Show the cameras the moments, write what comes between the two gestures; raises _UnfitError without them."""
    world = happening.world
    eyes = CellRenderer(world.model, recipe.image_size, noise.load().camera, world.scenario.seed)
    jaw = JawTracker(bundle.jaw, bundle.camera(GRIPPER_CAMERA).scaled(recipe.image_size), bundle.T_tcp_camera())
    squeezes, recorder = DoubleSqueeze(), None
    try:
        for frame, (moment, samples) in enumerate(_in_order(happening)):
            image = eyes.render(GRIPPER_CAMERA, moment.snapshot, frame)
            reading = jaw.measure(moment.stamp_ns, image)
            gesture: Gesture | None = squeezes.take(reading.stamp_ns, reading.width) if reading.valid else None
            if recorder is not None:
                for sample in samples:
                    recorder.sample(sample)
                recorder.image(GRIPPER_CAMERA, moment.stamp_ns, image)
                recorder.jaw(
                    messages.JawSample(reading.stamp_ns, reading.width, reading.valid, reading.tags, reading.speed)
                )
                for camera in SIDE_CAMERAS:
                    recorder.image(camera, moment.stamp_ns, eyes.render(camera, moment.snapshot, frame))
            if gesture is not None and recorder is None:
                recorder = _Recorder(recipe, bundle, happening, at, gesture.end_ns)
            elif gesture is not None and recorder is not None:
                return recorder.close(gesture.begin_ns, moment.success)
    finally:
        eyes.close()
    raise _UnfitError("no second gesture was seen" if recorder else "no gesture was seen")


def _in_order(happening: _Happening) -> Iterator[tuple[_Moment, list[TrackedPose | ForceSample]]]:
    """Each moment with the samples that came since the last, its own stamp's among them."""
    samples = iter(happening.samples)
    waiting = next(samples, None)
    for moment in happening.moments:
        since = []
        while waiting is not None and waiting.stamp_ns <= moment.stamp_ns:
            since.append(waiting)
            waiting = next(samples, None)
        yield moment, since


def record(recipe: Recipe, seed: int) -> Recorded:
    """Record the demonstration of a seed into its folder, which appears when it is whole; what is unfit leaves none."""
    bundle = recipe.bundle()
    target = folder(recipe, seed)
    drawn = scenario.draw(recipe.task, recipe.split, seed)
    draft = recipe.out / f".{recipe.task}_{recipe.split}_{seed}" / target.name
    shutil.rmtree(draft.parent, ignore_errors=True)
    try:
        happening = _happen(drawn, seed, Manner(recovery=recipe.recovery, out_of_view=recipe.out_of_view), bundle)
        facts = hold_to_alignment(draft, _record(recipe, bundle, happening, draft))
        rejected = facts.rejected or ("" if facts.success else "the task was not done when the recording ended")
        if rejected:
            return Recorded(seed, drawn.text, None, rejected)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)
        return Recorded(seed, drawn.text, target, "", to_seconds(facts.ended_ns - facts.began_ns))
    except _UnfitError as unfit:
        return Recorded(seed, drawn.text, None, str(unfit))
    finally:
        shutil.rmtree(draft.parent, ignore_errors=True)
