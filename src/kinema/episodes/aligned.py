"""An episode as policies see it: one step for each image of the reference camera, every other stream at that moment.

Alignment itself is `kinema.perception.align`'s, as in the running system; here whole streams go through it. Poses of
the handheld gripper are believed by `ToolPose` and never joined across a jump of the tracker (FAULTS F12).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import Latencies
from kinema.chunk import ObservationSpec
from kinema.clock import NS, to_ns
from kinema.episodes.reader import Episode, Stamps, Streams
from kinema.errors import EpisodeError
from kinema.geometry import Array, Pose, interpolate
from kinema.perception.align import AlignmentError, Cause, StampedBuffer, lerp, within
from kinema.perception.tool_pose import ToolPose
from kinema.topics import CAMERAS

RATE = 30.0  # [Hz]
REFERENCE = CAMERAS[0]

MAX_SKEW = ObservationSpec().max_skew  # [s]

_FOR_EVER = 1e6  # [s]
_LATE = 0.6  # [-] of a step by which an image may come later than even steps would have it, before one is missing


@dataclass(frozen=True, eq=False, slots=True)
class Aligned:
    """n steps of an episode, 1/rate [s] apart but for those that were rejected.

    stamps_ns    (n,) [ns, Kinema time] of the reference camera's images
    T_base_tcp   (n, 4, 4)
    width        (n,) [m] jaw opening
    force        (n,) [N] grasp force, tared
    frames       camera -> (n,) which of its images belongs to the step: `Episode.image(camera, frames[camera][i])`
    segment      (n,) counts the tracker's jumps: poses of two segments do not belong together
    rejected     moments [ns] that could not be aligned, each with the reason
    """

    rate: float
    stamps_ns: Stamps
    T_base_tcp: Array
    width: Array
    force: Array
    frames: Mapping[str, NDArray[np.int64]]
    segment: NDArray[np.int64]
    rejected: tuple[tuple[int, str], ...]

    def __len__(self) -> int:
        return len(self.stamps_ns)


# ---- which moments


def pace(stamps_ns: Stamps, rate: float) -> tuple[list[int], list[int]]:
    """Which of a camera's stamps [ns] make steps at `rate` [Hz], and the moments [ns] at which an image is missing.

    At the camera's own rate that is every stamp, jitter and all. Raises EpisodeError for a rate above the camera's.
    """
    if len(stamps_ns) < 2:
        return list(range(len(stamps_ns))), []
    gaps = np.diff(stamps_ns)
    short = np.quantile(gaps, 0.3)  # lost images make gaps longer, never shorter
    period = float(gaps.sum() / np.maximum(np.rint(gaps / short), 1).sum())
    step = NS / rate
    if step < 0.9 * period:
        raise EpisodeError(f"the rate {rate:g} Hz is above the reference camera's {NS / period:.1f} Hz")
    every = step < 1.1 * period
    taken, due = [0], int(stamps_ns[0]) + step
    for i, stamp_ns in enumerate(stamps_ns[1:].tolist(), start=1):
        if every or stamp_ns >= due - period / 2:
            taken.append(i)
            due = due + step if stamp_ns - due < step / 2 else stamp_ns + step
    missing = []
    for a, b in itertools.pairwise(stamps_ns[taken].tolist()):
        missing += [a + round(k * step) for k in range(1, int((b - a) / step + 1 - _LATE))]
    return taken, missing


# ---- the streams


def _buffer(name: str, stamps_ns: Stamps, values: Any, usable: Any, shift_ns: int) -> StampedBuffer[Any]:
    buffer: StampedBuffer[Any] = StampedBuffer(name, _FOR_EVER)
    for stamp_ns, value in zip(stamps_ns[usable].tolist(), values[usable].tolist(), strict=True):
        buffer.push(stamp_ns + shift_ns, value)
    return buffer


class _Tool:
    """The tool's poses in segments between which nothing is interpolated."""

    def __init__(self) -> None:
        self._segments: dict[int, StampedBuffer[Pose]] = {}

    def push(self, stamp_ns: int, T_base_tcp: Pose, segment: int) -> None:
        self._segments.setdefault(segment, StampedBuffer("tool pose", _FOR_EVER)).push(stamp_ns, T_base_tcp)

    def at(self, stamp_ns: int) -> tuple[Pose, int]:
        """Pose and segment; raises AlignmentError where no segment spans the moment."""
        for segment, poses in self._segments.items():
            (first_ns, _), (last_ns, _) = poses.nearest(0), poses.nearest(2**63 - 1)
            if first_ns <= stamp_ns <= last_ns:
                return poses.at(stamp_ns, interpolate), segment
        raise AlignmentError(Cause.GAP, "tool pose: the tracker was lost, in doubt or in a jump, or was not recorded")


def _handheld_tool(episode: Episode, streams: Streams, T_base_world: Pose | None, shift_ns: int) -> _Tool:
    if T_base_world is None:
        if episode.facts.T_base_world is None:
            raise EpisodeError(f"{episode.folder}: T_base_world is not known; give the one in force")
        T_base_world = episode.facts.T_base_world.pose
    tool, tracker = _Tool(), ToolPose(episode.calibration.T_tracker_tcp)
    for tracked in streams.odometry:
        T_world_tcp = tracker.take(tracked)
        if T_world_tcp is not None:
            tool.push(tracked.stamp_ns + shift_ns, T_base_world @ T_world_tcp, tracker.segment)
    return tool


def _robot_tool(streams: Streams, shift_ns: int) -> _Tool:
    tool = _Tool()
    for sample in streams.tcp:
        tool.push(sample.stamp_ns + shift_ns, sample.pose, 0)
    return tool


def _shift(episode: Episode, latencies: Latencies | None, device: str) -> int:
    """[ns] to add to a device's stamps: drivers took off the latency then in force, so only the difference is left."""
    if latencies is None:
        return 0
    then = episode.calibration.latencies.devices.get(device)
    now = latencies.devices.get(device)
    if then is None or now is None:
        where = "the episode's latency file" if then is None else "the latencies given"
        raise EpisodeError(f"{episode.folder}: {where} lack devices.{device}")
    if now.serial != then.serial:
        raise EpisodeError(
            f"{episode.folder}: devices.{device}.serial of the latencies given is {now.serial!r}, "
            f"the episode was recorded with {then.serial!r}"
        )
    return to_ns(then.seconds) - to_ns(now.seconds)


# ---- the episode


@dataclass(frozen=True, slots=True)
class _Step:
    stamp_ns: int
    T_base_tcp: Pose
    segment: int
    width: float
    force: float
    frames: Mapping[str, int]


class _Whole:
    """Every stream of one episode, ready to be asked for a moment."""

    def __init__(self, episode: Episode, latencies: Latencies | None, T_base_world: Pose | None) -> None:
        streams, handheld = episode.streams(), episode.facts.source == "handheld"
        if REFERENCE not in streams.images:
            raise EpisodeError(f"{episode.folder}: no images of the reference camera {REFERENCE!r}")
        self.reference = streams.images[REFERENCE]
        shifts = {device: _shift(episode, latencies, device) for device in (*CAMERAS, "load_cell")}
        self.shift_ns = shifts[REFERENCE]
        if handheld:
            shift_ns = _shift(episode, latencies, "tracker")
            self._tool = _handheld_tool(episode, streams, T_base_world, shift_ns)
        else:
            self._tool = _robot_tool(streams, _shift(episode, latencies, "arm"))
        # the handheld gripper's opening is measured in images of the gripper camera, whose stamps it has
        jaw_ns = shifts[REFERENCE] if handheld else _shift(episode, latencies, "jaw")
        jaw, force = streams.jaw, streams.force
        self._width = _buffer("jaw width", jaw.stamps_ns, jaw.width, jaw.valid, jaw_ns)
        self._force = _buffer("grasp force", force.stamps_ns, force.force, force.tared, shifts["load_cell"])
        self._images: dict[str, StampedBuffer[int]] = {}
        for camera in CAMERAS[1:]:
            stamps_ns = streams.images.get(camera, np.empty(0, np.int64))
            every = np.ones(len(stamps_ns), bool)
            self._images[camera] = _buffer(camera, stamps_ns, np.arange(len(stamps_ns)), every, shifts[camera])

    def at(self, i: int) -> _Step:
        """The step of the i-th reference image; raises AlignmentError."""
        stamp_ns = int(self.reference[i]) + self.shift_ns
        T_base_tcp, segment = self._tool.at(stamp_ns)
        frames = {camera: within(images, stamp_ns, MAX_SKEW)[1] for camera, images in self._images.items()}
        return _Step(
            stamp_ns,
            T_base_tcp,
            segment,
            self._width.at(stamp_ns, lerp),
            self._force.at(stamp_ns, lerp),
            {REFERENCE: i} | frames,
        )


def align_episode(
    episode: Episode, rate: float = RATE, latencies: Latencies | None = None, T_base_world: Pose | None = None
) -> Aligned:
    """The useful interval of an episode in steps.

    `latencies` is a later measurement; its difference to the one in force when recording is applied. `T_base_world`
    replaces the recorded one. Raises EpisodeError or CalibrationError when the whole episode can't be aligned; single
    moments are rejected, each with its reason.
    """
    whole = _Whole(episode, latencies, T_base_world)
    interval = (whole.reference >= episode.facts.began_ns) & (whole.reference <= episode.facts.ended_ns)
    useful = np.flatnonzero(interval)
    taken, missing = pace(whole.reference[useful], rate)
    steps: list[_Step] = []
    rejected = [(stamp_ns + whole.shift_ns, f"{REFERENCE}: there is no image") for stamp_ns in missing]
    for i in useful[taken].tolist():
        try:
            steps.append(whole.at(i))
        except AlignmentError as error:
            rejected.append((int(whole.reference[i]) + whole.shift_ns, str(error)))
    return Aligned(
        rate=rate,
        stamps_ns=np.array([step.stamp_ns for step in steps], np.int64),
        T_base_tcp=np.array([step.T_base_tcp.matrix for step in steps]).reshape(-1, 4, 4),
        width=np.array([step.width for step in steps], float),
        force=np.array([step.force for step in steps], float),
        frames={camera: np.array([step.frames[camera] for step in steps], np.int64) for camera in CAMERAS},
        segment=np.array([step.segment for step in steps], np.int64),
        rejected=tuple(sorted(rejected)),
    )
