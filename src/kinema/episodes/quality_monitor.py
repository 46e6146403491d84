"""Measures the quality of a recording: takes the streams as they come, live, in lockstep or from a file. Pure.

Only stamps count; how late something arrived is the recorder's own business. `report` judges an interval, `live` the
last moments. While nothing is recorded, `forget` keeps the memory short.
"""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinema.clock import to_ns, to_seconds
from kinema.episodes.quality import (
    LIMITS,
    CameraQuality,
    ForceQuality,
    JawQuality,
    Limits,
    Quality,
    StreamQuality,
    TrackerQuality,
)
from kinema.geometry import Array, Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.perception.tool_pose import ToolPose
from kinema.topics import CAMERAS, TOPICS

Stamps = NDArray[np.int64]
Picture = bytes | memoryview
Value = TypeVar("Value")

ODOMETRY, JAW, FORCE = "tracker/odometry", "jaw/state", "load_cell/force"

_EDGE = 0.5  # [s] at either end of an episode in which nothing is held
_RATES = 2.0  # [s] that live rates are taken over
_SKEW = 1.0  # [s] that the live skew is taken over
_TARE = 10.0  # [s] in which the live load cell is looked for unloaded
_MOTION_DT = 0.1  # [s] between the positions that make a path: noise at 200 Hz would lengthen it


def image_topic(camera: str) -> str:
    return f"{camera}/image_raw"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a recording consists of: cameras, the reference first; the nominal rate [Hz] of every topic."""

    cameras: tuple[str, ...]
    rates: Mapping[str, float]


_IMAGES = {image_topic(camera): TOPICS[image_topic(camera)].rate for camera in CAMERAS}
# by its tags the jaw is measured once a picture
HANDHELD = Profile(CAMERAS, {**_IMAGES, ODOMETRY: TOPICS[ODOMETRY].rate, JAW: 30.0, FORCE: TOPICS[FORCE].rate})
BY_TAGS = Profile(
    CAMERAS, {**HANDHELD.rates, ODOMETRY: TOPICS[image_topic(CAMERAS[0])].rate}
)  # its tracker is a camera
DEPLOYED = Profile(CAMERAS, {**_IMAGES, JAW: TOPICS[JAW].rate, FORCE: TOPICS[FORCE].rate})


def handheld(tracker: str) -> Profile:
    """Of a recording by hand; `tracker` is the cell file's backend, as `Facts` keeps it."""
    return BY_TAGS if tracker == "tags" else HANDHELD


@dataclass(frozen=True, slots=True)
class Live:
    """The last moments: rates [Hz] by topic; the largest skew of the last second [s]; tags in the newest picture; the
    tracker's confidence; what the load cell reads unloaded [N]."""

    rates: dict[str, float]
    skew: float
    tags: int
    confidence: int
    tare_drift: float


@dataclass(slots=True)
class _Log(Generic[Value]):
    """A stream in the order of its stamps [ns]; what is not newer than the last is counted and not kept."""

    stamps: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    disorder: list[int] = field(default_factory=list)

    def add(self, stamp_ns: int, value: Value) -> None:
        if self.stamps and stamp_ns <= self.stamps[-1]:
            self.disorder.append(stamp_ns)
            return
        self.stamps.append(stamp_ns)
        self.values.append(value)

    def forget(self, before_ns: int) -> None:
        old = bisect.bisect_left(self.stamps, before_ns)
        del self.stamps[:old], self.values[:old]
        self.disorder = [stamp_ns for stamp_ns in self.disorder if stamp_ns >= before_ns]

    def between(self, first_ns: int, before_ns: int) -> tuple[Stamps, list[Value]]:
        part = slice(bisect.bisect_left(self.stamps, first_ns), bisect.bisect_left(self.stamps, before_ns))
        return np.array(self.stamps[part], np.int64), self.values[part]


@dataclass(frozen=True, eq=False, slots=True)
class _Tracked:
    position: Array
    confidence: int
    segment: int
    believed: bool


@dataclass(frozen=True, slots=True)
class _Jaw:
    valid: bool
    tags: int


def _longest(stamps: Stamps, began_ns: int, ended_ns: int) -> float:
    """[s] the longest time without a sample."""
    return to_seconds(int(np.diff(np.concatenate([[began_ns], stamps, [ended_ns]])).max()))


def skews(reference: Stamps, other: Stamps) -> Array:
    """[s] from each reference stamp to the nearest of another camera; infinite where it has none."""
    if len(other) == 0:
        return np.full(len(reference), np.inf)
    after = np.minimum(np.searchsorted(other, reference), len(other) - 1)
    before = np.maximum(after - 1, 0)
    return np.minimum(np.abs(other[after] - reference), np.abs(other[before] - reference)) * 1e-9


def _share(flags: Sequence[bool]) -> float:
    return round(float(np.mean(flags)), 4)


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 4)


def _camera(reference: Stamps, stamps: Stamps, runs: list[int], limits: Limits) -> CameraQuality:
    skew = skews(reference, stamps)
    p50, p99 = np.percentile(skew, (50, 99))
    return CameraQuality(
        skew_p50=round(float(p50), 6),
        skew_p99=round(float(p99), 6),
        skew_max=round(float(skew.max()), 6),
        skewed=int((skew > limits.skew).sum()),
        moments=len(reference),
        identical=max(runs),
    )


def _jaw(stamps: Stamps, readings: list[_Jaw], began_ns: int, ended_ns: int) -> JawQuality:
    valid = np.array([reading.valid for reading in readings])
    return JawQuality(
        visible=_share([reading.valid for reading in readings]),
        both=_share([reading.tags >= 2 for reading in readings]),
        blind=round(_longest(stamps[valid], began_ns, ended_ns), 4),
    )


def _motion(stamps: Stamps, poses: list[_Tracked]) -> tuple[float, float]:
    """The way [m] and the peak speed [m/s], over the poses that are believed, within segments."""
    way, peak, last = 0.0, 0.0, None
    for stamp_ns, pose in zip(stamps.tolist(), poses, strict=True):
        if not pose.believed:
            continue
        if last is None or last[1].segment != pose.segment:
            last = stamp_ns, pose
        elif stamp_ns - last[0] >= to_ns(_MOTION_DT):
            step = float(np.linalg.norm(pose.position - last[1].position))
            way, peak = way + step, max(peak, step / to_seconds(stamp_ns - last[0]))
            last = stamp_ns, pose
    return way, peak


def _tracker(stamps: Stamps, poses: list[_Tracked], before: int, began_ns: int, ended_ns: int) -> TrackerQuality:
    """`before`: the segment that the episode began in."""
    believed = np.array([pose.believed for pose in poses])
    way, peak = _motion(stamps, poses)
    return TrackerQuality(
        jumps=poses[-1].segment - before,
        doubtful=_share(list(~believed)),
        confidence=min(pose.confidence for pose in poses),
        gap=round(_longest(stamps[believed], began_ns, ended_ns), 4),
        path=round(way, 4),
        speed=round(peak, 4),
    )


def _force(stamps: Stamps, samples: list[ForceSample], began_ns: int, ended_ns: int) -> ForceQuality:
    force = np.array([sample.force for sample in samples])
    finite = np.isfinite(force)
    start = force[finite & (stamps <= began_ns + to_ns(_EDGE))]
    end = force[finite & (stamps >= ended_ns - to_ns(_EDGE))]
    return ForceQuality(
        start=_median(start) if len(start) else 0.0,
        end=_median(end) if len(end) else 0.0,
        peak=round(float(force[finite].max()), 4) if finite.any() else 0.0,
        untared=_share([not sample.tared for sample in samples]),
        saturated=_share([sample.saturated or not ok for sample, ok in zip(samples, finite, strict=True)]),
    )


class QualityMonitor:
    """Takes what the profile names, in any mixture, each stream in its own order."""

    def __init__(self, profile: Profile = HANDHELD) -> None:
        self.profile = profile
        self._images: dict[str, _Log[int]] = {camera: _Log() for camera in profile.cameras}  # length of identical runs
        self._last_picture: dict[str, Picture | None] = dict.fromkeys(profile.cameras)
        self._odometry: _Log[_Tracked] = _Log()
        self._jaw: _Log[_Jaw] = _Log()
        self._force: _Log[ForceSample] = _Log()
        self._tool = ToolPose(Pose.identity())
        self._dropped: Counter[str] = Counter()

    def image(self, camera: str, stamp_ns: int, picture: Picture) -> None:
        """`picture`: the bytes of the image, raw or compressed, without stamps; compared with the last one's (F10).

        It is kept until the next one, so the caller must not write into it.
        """
        log = self._images[camera]
        same = self._last_picture[camera] == picture
        log.add(stamp_ns, log.values[-1] + 1 if same and log.values else 1)
        self._last_picture[camera] = picture

    def odometry(self, tracked: TrackedPose) -> None:
        """Every sample, also those without confidence: else a jump is missed."""
        believed = self._tool.take(tracked) is not None
        position = tracked.T_world_tracker.position
        self._odometry.add(tracked.stamp_ns, _Tracked(position, tracked.confidence, self._tool.segment, believed))

    def jaw(self, stamp_ns: int, width: float, valid: bool, tags: int) -> None:
        self._jaw.add(stamp_ns, _Jaw(valid and bool(np.isfinite(width)), tags))

    def force(self, sample: ForceSample) -> None:
        self._force.add(sample.stamp_ns, sample)

    def drop(self, topic: str, count: int = 1) -> None:
        """Messages of a topic that were received and not written."""
        self._dropped[topic] += count

    def forget(self, before_ns: int) -> None:
        """Drop what is older, and the counts of drops; jumps stay known."""
        for log in self._logs().values():
            log.forget(before_ns)
        self._dropped.clear()

    def report(self, began_ns: int | None = None, ended_ns: int | None = None, limits: Limits = LIMITS) -> Quality:
        """On the useful interval [began, ended) [ns]; without one, from the first to the last sample of any stream."""
        logs = self._logs()
        heard = [log for log in logs.values() if log.stamps]
        began = began_ns if began_ns is not None else min((log.stamps[0] for log in heard), default=0)
        ended = ended_ns if ended_ns is not None else max((log.stamps[-1] + 1 for log in heard), default=0)
        jaw, odometry = self._jaw.between(began, ended), self._odometry.between(began, ended)
        force = self._force.between(began, ended)
        return Quality(
            duration=round(to_seconds(ended - began), 4),
            streams={topic: self._stream(topic, log, began, ended) for topic, log in logs.items()},
            cameras=self._cameras(began, ended, limits),
            jaw=_jaw(*jaw, began, ended) if jaw[1] else None,
            tracker=_tracker(*odometry, self._segment_at(began), began, ended) if odometry[1] else None,
            force=_force(*force, began, ended) if force[1] else None,
        )

    def live(self) -> Live:
        """Of the last moments before the newest stamp of any stream."""
        logs = self._logs()
        now_ns = max((log.stamps[-1] + 1 for log in logs.values() if log.stamps), default=0)
        first_ns = min((log.stamps[0] for log in logs.values() if log.stamps), default=0)
        heard = min(max(to_seconds(now_ns - first_ns), _EDGE), _RATES)
        return Live(
            rates={topic: len(log.between(now_ns - to_ns(_RATES), now_ns)[0]) / heard for topic, log in logs.items()},
            skew=self._live_skew(now_ns),
            tags=self._jaw.values[-1].tags if self._jaw.values else 0,
            confidence=self._odometry.values[-1].confidence if self._odometry.values else 0,
            tare_drift=self._live_tare(now_ns),
        )

    def _logs(self) -> dict[str, _Log]:
        logs: dict[str, _Log] = {image_topic(camera): log for camera, log in self._images.items()}
        logs |= {ODOMETRY: self._odometry, JAW: self._jaw, FORCE: self._force}
        return {topic: logs[topic] for topic in self.profile.rates}

    def _stream(self, topic: str, log: _Log, began_ns: int, ended_ns: int) -> StreamQuality:
        stamps, _ = log.between(began_ns, ended_ns)
        duration = to_seconds(ended_ns - began_ns)
        return StreamQuality(
            nominal=self.profile.rates[topic],
            rate=round(len(stamps) / duration, 3) if duration > 0 else 0.0,
            count=len(stamps),
            gap=round(_longest(stamps, began_ns, ended_ns), 4),
            dropped=self._dropped[topic],
            disorder=sum(began_ns <= stamp_ns < ended_ns for stamp_ns in log.disorder),
        )

    def _cameras(self, began_ns: int, ended_ns: int, limits: Limits) -> dict[str, CameraQuality]:
        parts = {camera: log.between(began_ns, ended_ns) for camera, log in self._images.items()}
        reference = parts[self.profile.cameras[0]][0]
        if len(reference) == 0:
            return {}
        return {camera: _camera(reference, *part, limits) for camera, part in parts.items() if part[1]}

    def _segment_at(self, stamp_ns: int) -> int:
        """The tracker's segment just before a moment."""
        index = bisect.bisect_left(self._odometry.stamps, stamp_ns)
        return self._odometry.values[max(index - 1, 0)].segment

    def _live_skew(self, now_ns: int) -> float:
        """Of the reference's pictures that every other camera can have answered by now."""
        reference, *others = (log.between(now_ns - to_ns(_SKEW), now_ns)[0] for log in self._images.values())
        if not others or any(len(stamps) == 0 for stamps in (reference, *others)):
            return 0.0
        answered = reference[reference <= min(stamps[-1] for stamps in others)]
        return float(max((skews(answered, stamps).max() for stamps in others), default=0.0)) if len(answered) else 0.0

    def _live_tare(self, now_ns: int) -> float:
        """The least median of half a second within the last ten: a held object only adds to it."""
        stamps, samples = self._force.between(now_ns - to_ns(_TARE), now_ns)
        slots = (now_ns - stamps) // to_ns(_EDGE)
        force = np.array([sample.force for sample in samples])
        medians = [float(np.median(force[slots == slot])) for slot in np.unique(slots)]
        return min(medians, key=abs, default=0.0)
