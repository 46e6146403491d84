"""How good a recording is, as numbers, and whether it may be used. Pure values; `quality_monitor` measures them."""

from collections.abc import Iterator
from dataclasses import dataclass

from kinema.streams import FROZEN_AFTER


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these an episode must not be used.

    duration     [s] at least
    path         [m] that the tracker moved, at least: without any motion it was a slip of the thumb
    rate         share of the nominal rate, at least
    gap          [s] between two samples of a stream, at most
    lost         share of a stream's messages that were dropped or out of order, at most (FAULTS F27)
    skew         [s] between the stamps of two cameras that make one moment (FAULTS F11)
    skewed       share of the moments beyond it, at most
    identical    pictures in a row, at most (FAULTS F10)
    visible      share of the pictures in which the jaw was measured, at least
    blind        [s] without a measured jaw, at most
    jumps        of the tracker, at most (FAULTS F12)
    doubtful     share of the tracker's poses that may not be believed, at most
    pose_gap     [s] between two poses that may be believed, at most: alignment bridges half of it from either side
    tare         [N] that the unloaded load cell may read at start and end, at most
    saturated    share of saturated force samples, at most
    """

    duration: float = 1.0
    path: float = 0.05
    rate: float = 0.8
    gap: float = 0.2
    lost: float = 0.01
    skew: float = 0.020
    skewed: float = 0.05
    identical: int = FROZEN_AFTER - 1
    visible: float = 0.9
    blind: float = 0.5
    jumps: int = 0
    doubtful: float = 0.05
    pose_gap: float = 0.2
    tare: float = 0.5
    saturated: float = 0.01


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class StreamQuality:
    """One topic: nominal rate and rate [Hz], number of samples, the longest gap [s] (from the episode's beginning, to
    its end), messages that were dropped, messages whose stamp was not newer than the last."""

    nominal: float
    rate: float
    count: int
    gap: float
    dropped: int
    disorder: int


@dataclass(frozen=True, slots=True)
class CameraQuality:
    """One camera: its skew to the reference camera [s], how many of the reference's `moments` were beyond the limit,
    and the longest run of identical pictures (1: no two alike)."""

    skew_p50: float
    skew_p99: float
    skew_max: float
    skewed: int
    moments: int
    identical: int


@dataclass(frozen=True, slots=True)
class JawQuality:
    """Shares of readings that are valid, and that saw both tags; the longest time without a valid one [s]."""

    visible: float
    both: float
    blind: float


@dataclass(frozen=True, slots=True)
class TrackerQuality:
    """Jumps; share of doubtful poses; least confidence (0 to 3); longest time without a believable pose [s]; the
    tracker's way [m] and peak speed [m/s] while it is believable."""

    jumps: int
    doubtful: float
    confidence: int
    gap: float
    path: float
    speed: float


@dataclass(frozen=True, slots=True)
class ForceQuality:
    """The load cell [N] in the first and the last half second, in which nothing is held; its peak [N]; shares of
    samples that are untared and saturated."""

    start: float
    end: float
    peak: float
    untared: float
    saturated: float


@dataclass(frozen=True, slots=True)
class Quality:
    """The report on an episode of `duration` [s]; None where the stream is not asked for or nothing of it came.

    streams  by topic
    cameras  by name; empty when the reference camera gave nothing
    """

    duration: float
    streams: dict[str, StreamQuality]
    cameras: dict[str, CameraQuality]
    jaw: JawQuality | None
    tracker: TrackerQuality | None
    force: ForceQuality | None

    def faults(self, limits: Limits = LIMITS) -> tuple[str, ...]:
        """Why the episode must not be used, the worst first; empty when it may be."""
        return (
            *(_tracker(self.tracker, limits) if self.tracker else ()),
            *(fault for name, stream in self.streams.items() for fault in _stream(name, stream, limits)),
            *(fault for name, camera in self.cameras.items() for fault in _camera(name, camera, limits)),
            *(_jaw(self.jaw, limits) if self.jaw else ()),
            *(_force(self.force, limits) if self.force else ()),
            *((_low("duration", self.duration, limits.duration, "s"),) if self.duration < limits.duration else ()),
        )

    def verdict(self, limits: Limits = LIMITS) -> str:
        """All faults in one line, '' when the episode may be used."""
        return "; ".join(self.faults(limits))


def _low(what: str, value: float, least: float, unit: str) -> str:
    return f"{what} is {value:.4g} {unit}, at least {least:.4g} {unit} are wanted"


def _high(what: str, value: float, most: float, unit: str) -> str:
    return f"{what} is {value:.4g} {unit}, at most {most:.4g} {unit} are allowed"


def _stream(name: str, s: StreamQuality, limits: Limits) -> Iterator[str]:
    if s.count == 0:
        yield f"{name}: nothing was recorded"
        return
    if s.rate < limits.rate * s.nominal:
        yield _low(f"{name}: the rate", s.rate, limits.rate * s.nominal, "Hz")
    if s.gap > limits.gap:
        yield _high(f"{name}: the longest gap", s.gap, limits.gap, "s")
    lost = s.dropped + s.disorder
    if lost > limits.lost * (s.count + lost):
        share = 100 * lost / (s.count + lost)
        yield (
            f"{name}: {s.dropped} messages were dropped and {s.disorder} out of order, {share:.1f} % of all, "
            f"at most {100 * limits.lost:.1f} % are allowed"
        )


def _camera(name: str, c: CameraQuality, limits: Limits) -> Iterator[str]:
    if c.identical > limits.identical:
        yield f"{name}: the picture stood still, {c.identical} in a row are identical"
    if c.skewed > limits.skewed * c.moments:
        yield (
            f"{name}: {c.skewed} of {c.moments} pictures are more than {limits.skew * 1e3:.0f} ms away from the "
            f"reference camera's, at most {100 * limits.skewed:.0f} % are allowed"
        )


def _jaw(j: JawQuality, limits: Limits) -> Iterator[str]:
    if j.visible < limits.visible:
        yield _low("jaw: the share of pictures that show its tags well", 100 * j.visible, 100 * limits.visible, "%")
    if j.blind > limits.blind:
        yield _high("jaw: the longest time without a tag", j.blind, limits.blind, "s")


def _tracker(t: TrackerQuality, limits: Limits) -> Iterator[str]:
    if t.jumps > limits.jumps:
        times = "once" if t.jumps == 1 else f"{t.jumps} times"
        yield f"tracker: it jumped {times}: poses before and after do not belong together; record again"
    if t.doubtful > limits.doubtful:
        yield _high("tracker: the share of doubtful poses", 100 * t.doubtful, 100 * limits.doubtful, "%")
    if t.gap > limits.pose_gap:
        yield _high("tracker: the longest time without a believable pose", t.gap, limits.pose_gap, "s")
    if t.path < limits.path:
        yield _low("tracker: the way", t.path, limits.path, "m")


def _force(f: ForceQuality, limits: Limits) -> Iterator[str]:
    if f.untared > 0:
        yield "load cell: not tared; zero it while nothing is held"
    for when, value in (("start", f.start), ("end", f.end)):
        if f.untared == 0 and abs(value) > limits.tare:
            yield (
                f"load cell: {value:+.2f} N at the {when} with nothing held, at most {limits.tare} N are allowed; "
                "zero it again"
            )
    if f.saturated > limits.saturated:
        yield _high("load cell: the share of saturated samples", 100 * f.saturated, 100 * limits.saturated, "%")
