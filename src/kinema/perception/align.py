"""Time alignment, at one place: streams of stamped values in, the observation of one moment out. Pure.

The reference camera's stamp is the moment. Other images are the nearest within the skew budget (FAULTS F11), poses are
interpolated on SE(3), width and force linearly, and no value is used further than 100 ms from a measurement (F12).
Stamps mean acquisition; drivers have taken latencies off, nothing here does.
"""

import bisect
import enum
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cv2
import numpy as np

from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Truth
from kinema.clock import to_ns
from kinema.errors import KinemaError
from kinema.geometry import Array, Pose, interpolate

MAX_GAP_NS = 100_000_000  # F12
HORIZON = 3.0  # [s] that buffers of numbers remember
IMAGE_HORIZON = 1.5  # [s] that buffers of images do: 3 x 45 images of 640 x 480 are 120 MB

_BASELINE_NS = 40_000_000  # extrapolation takes the speed over so long, lest it multiply the noise of two samples

Value = TypeVar("Value")


class Cause(enum.Enum):
    """Why a moment could not be aligned."""

    MISSING = "missing"
    SKEW = "skew"
    GAP = "gap"
    SIZE = "size"


class AlignmentError(KinemaError):
    """A moment that can't be aligned (FAULTS F11, F12); `cause` for counting, the message for people."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class StampedBuffer(Generic[Value]):
    """The last `horizon` seconds of one stream, in the order of their stamps [ns].

    A value whose stamp is not newer than the last one is refused and counted in `disorder`.
    """

    def __init__(self, name: str, horizon: float = HORIZON) -> None:
        self.name = name
        self.disorder = 0
        self._horizon_ns = to_ns(horizon)
        self._stamps: list[int] = []
        self._values: list[Value] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def __iter__(self) -> Iterator[tuple[int, Value]]:
        return iter(zip(self._stamps, self._values, strict=True))

    def push(self, stamp_ns: int, value: Value) -> bool:
        """Whether it was taken."""
        if self._stamps and stamp_ns <= self._stamps[-1]:
            self.disorder += 1
            return False
        self._stamps.append(stamp_ns)
        self._values.append(value)
        old = bisect.bisect_left(self._stamps, stamp_ns - self._horizon_ns)
        del self._stamps[:old], self._values[:old]
        return True

    def clear(self) -> None:
        """Forget everything, as after a reset or where a tracker has jumped: nothing is interpolated across it."""
        self._stamps.clear()
        self._values.clear()

    def latest_ns(self) -> int | None:
        return self._stamps[-1] if self._stamps else None

    def oldest_ns(self) -> int | None:
        return self._stamps[0] if self._stamps else None

    def nearest(self, stamp_ns: int) -> tuple[int, Value]:
        """Stamp and value nearest to a moment; raises AlignmentError when the buffer is empty."""
        if not self._stamps:
            raise AlignmentError(Cause.MISSING, f"{self.name}: nothing has arrived")
        after = min(bisect.bisect_left(self._stamps, stamp_ns), len(self._stamps) - 1)
        before = max(after - 1, 0)
        i = before if stamp_ns - self._stamps[before] <= self._stamps[after] - stamp_ns else after
        return self._stamps[i], self._values[i]

    def at(self, stamp_ns: int, blend: Callable[[Value, Value, float], Value]) -> Value:
        """The value at a moment by `blend(a, b, fraction)` between its neighbours, or beyond the ends.

        Raises AlignmentError when the nearest measurement is more than 100 ms away.
        """
        nearest_ns, nearest = self.nearest(stamp_ns)
        if abs(stamp_ns - nearest_ns) > MAX_GAP_NS:
            raise AlignmentError(
                Cause.GAP,
                f"{self.name}: the nearest measurement is {(stamp_ns - nearest_ns) * 1e-6:+.1f} ms away, "
                f"allowed are {MAX_GAP_NS * 1e-6:.0f} ms",
            )
        if stamp_ns == nearest_ns or len(self._stamps) == 1:
            return nearest
        a, b = self._neighbours(stamp_ns)
        fraction = (stamp_ns - self._stamps[a]) / (self._stamps[b] - self._stamps[a])
        return blend(self._values[a], self._values[b], fraction)

    def _neighbours(self, stamp_ns: int) -> tuple[int, int]:
        stamps = self._stamps
        b = bisect.bisect_left(stamps, stamp_ns)
        if b == 0:
            far = bisect.bisect_left(stamps, stamps[0] + _BASELINE_NS)
            return 0, min(max(far, 1), len(stamps) - 1)
        if b == len(stamps):
            far = bisect.bisect_right(stamps, stamps[-1] - _BASELINE_NS) - 1
            return min(max(far, 0), len(stamps) - 2), len(stamps) - 1
        return b - 1, b


class Buffers:
    """Every stream that observations are made of; `dropped` counts the moments refused, by cause."""

    def __init__(self, cameras: Sequence[str], horizon: float = HORIZON, image_horizon: float = IMAGE_HORIZON) -> None:
        self.images: dict[str, StampedBuffer[Image]] = {name: StampedBuffer(name, image_horizon) for name in cameras}
        self.poses: StampedBuffer[Pose] = StampedBuffer("tool pose", horizon)
        self.width: StampedBuffer[float] = StampedBuffer("jaw width", horizon)
        self.force: StampedBuffer[float] = StampedBuffer("grasp force", horizon)
        self.dropped: Counter[Cause] = Counter()

    def clear(self) -> None:
        for images in self.images.values():
            images.clear()
        self.poses.clear()
        self.width.clear()
        self.force.clear()


@dataclass(frozen=True, slots=True)
class _Moment:
    stamp_ns: int
    images: dict[str, Image]


def lerp(a: float, b: float, fraction: float) -> float:
    return a + fraction * (b - a)


def _camera(buffers: Buffers, name: str) -> StampedBuffer[Image]:
    buffer = buffers.images.get(name)
    if buffer is None:
        raise AlignmentError(Cause.MISSING, f"camera {name!r} is not received; there are: {', '.join(buffers.images)}")
    return buffer


def within(buffer: StampedBuffer[Value], stamp_ns: int, max_skew: float) -> tuple[int, Value]:
    """Stamp and value of the image nearest to a moment; raises AlignmentError when it is over `max_skew` [s] away."""
    found_ns, image = buffer.nearest(stamp_ns)
    if abs(found_ns - stamp_ns) > to_ns(max_skew):
        raise AlignmentError(
            Cause.SKEW,
            f"{buffer.name}: the nearest image is {(found_ns - stamp_ns) * 1e-6:+.1f} ms away, "
            f"allowed are {max_skew * 1e3:.1f} ms",
        )
    return found_ns, image


def sized(image: Image, size: tuple[int, int], camera: str) -> Image:
    """The image at width, height [px]; raises AlignmentError where that is another aspect ratio."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    if width * size[1] != height * size[0]:
        raise AlignmentError(
            Cause.SIZE, f"{camera}: images are {width} x {height} px, {size[0]} x {size[1]} px has another aspect ratio"
        )
    shrinks = size[0] < width
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)


def _moment(spec: ObservationSpec, buffers: Buffers, stamp_ns: int) -> _Moment:
    """The images of one moment: the reference nearest to it, the others nearest to the reference."""
    reference_ns, _ = within(_camera(buffers, spec.cameras[0]), stamp_ns, spec.max_skew)
    images = {name: within(_camera(buffers, name), reference_ns, spec.max_skew)[1] for name in spec.cameras}
    return _Moment(reference_ns, images)


def _check_history(spec: ObservationSpec, buffers: Buffers, stamp_ns: int) -> None:
    """A past that the policy needs and that was not seen yet is waited for; nothing stands in for it."""
    streams: list[tuple[StampedBuffer[Any], float, int]] = [
        (_camera(buffers, spec.cameras[0]), (spec.history - 1) * spec.history_dt, to_ns(spec.max_skew)),
        (buffers.poses, (spec.executed_actions - 1) * spec.executed_dt, MAX_GAP_NS),
    ]
    for buffer, back, slack_ns in streams:
        oldest_ns = buffer.oldest_ns()
        if back > 0 and oldest_ns is not None and oldest_ns - (stamp_ns - to_ns(back)) > slack_ns:
            raise AlignmentError(
                Cause.MISSING,
                f"{buffer.name}: there are {(stamp_ns - oldest_ns) * 1e-9:.2f} s of it, the policy needs the last "
                f"{back:.2f} s: it waits until they are there",
            )


def _measured_chunk(buffers: Buffers, stamp_ns: int, count: int, dt: float, with_force: bool) -> ActionChunk:
    """The last `count` steps as the robot really moved: step i lies at t0 - (count - 1 - i) dt, the last at t0."""
    T_base_tcp_t0 = buffers.poses.at(stamp_ns, interpolate)
    width_t0 = buffers.width.at(stamp_ns, lerp)
    stamps = [stamp_ns - to_ns((count - 1 - i) * dt) for i in range(count)]
    back = T_base_tcp_t0.inverse()
    return ActionChunk(
        id=0,
        policy="executed",
        t0_ns=stamp_ns,
        T_base_tcp_t0=T_base_tcp_t0,
        width_t0=width_t0,
        dt=dt,
        offset=-(count - 1) * dt,
        T_rel=np.stack([(back @ buffers.poses.at(t, interpolate)).matrix for t in stamps]),
        width_change=np.array([buffers.width.at(t, lerp) - width_t0 for t in stamps]),
        force=np.array([buffers.force.at(t, lerp) for t in stamps]) if with_force else None,
        executable=count,
    )


def _force(buffers: Buffers, stamps: Sequence[int]) -> Array | None:
    try:
        return np.array([buffers.force.at(t, lerp) for t in stamps])
    except AlignmentError:
        return None  # a stale load cell is no reason to be blind: the policy sees that there is none


def _assemble(
    spec: ObservationSpec,
    buffers: Buffers,
    stamp_ns: int,
    text: str,
    committed: ActionChunk | None,
    goal_image: Image | None,
    truth: Truth | None,
) -> Observation:
    step_ns = to_ns(spec.history_dt)
    _check_history(spec, buffers, stamp_ns)
    moments = [_moment(spec, buffers, stamp_ns - k * step_ns) for k in reversed(range(spec.history))]
    stamps = [moment.stamp_ns for moment in moments]
    force = _force(buffers, stamps) if spec.force else None
    executed = None
    if spec.executed_actions:
        executed = _measured_chunk(buffers, stamps[-1], spec.executed_actions, spec.executed_dt, force is not None)
    return Observation(
        stamp_ns=stamps[-1],
        images={
            name: np.stack([sized(moment.images[name], spec.image_size, name) for moment in moments])
            for name in spec.cameras
        },
        T_base_tcp=tuple(buffers.poses.at(t, interpolate) for t in stamps),
        width=np.array([buffers.width.at(t, lerp) for t in stamps]),
        force=force,
        text=text if spec.text else "",
        executed_actions=executed,
        committed=committed if spec.committed_prefix else None,
        goal_image=goal_image if spec.goal_image else None,
        truth=truth if spec.simulator_truth else None,
    )


def assemble(
    spec: ObservationSpec,
    buffers: Buffers,
    stamp_ns: int,
    *,
    text: str = "",
    committed: ActionChunk | None = None,
    goal_image: Image | None = None,
    truth: Truth | None = None,
) -> Observation:
    """Exactly what the spec asks for, at the reference image nearest to a moment [ns].

    Executed actions are taken as measured, `executed_dt` apart, the last at the observation's stamp. Raises
    AlignmentError saying which stream is at fault and counts it in `buffers.dropped`.
    """
    try:
        if goal_image is None and spec.goal_image:
            raise AlignmentError(Cause.MISSING, "goal image: the policy needs one and none was given")
        if truth is None and spec.simulator_truth:
            raise AlignmentError(Cause.MISSING, "simulator truth: the policy needs it and none has arrived")
        return _assemble(spec, buffers, stamp_ns, text, committed, goal_image, truth)
    except AlignmentError as error:
        buffers.dropped[error.cause] += 1
        raise


def newest_moment(spec: ObservationSpec, buffers: Buffers, after_ns: int = 0) -> int:
    """The newest reference stamp [ns] later than `after_ns` that every other stream has already caught up with.

    The streams of one moment do not arrive at once: a moment is offered when each other camera has an image within
    the budget, the pose has been measured since, and there is as much of the past as the spec asks for. Raises
    AlignmentError, not counted, when there is none yet; when the newest moments will never be complete, that is
    `assemble`'s to say.
    """
    reference = _camera(buffers, spec.cameras[0])
    budget_ns = to_ns(spec.max_skew)
    caught_up = [(_camera(buffers, name).latest_ns(), budget_ns) for name in spec.cameras[1:]]
    caught_up += [(buffers.poses.latest_ns(), 0), (buffers.width.latest_ns(), MAX_GAP_NS // 2)]
    limits = [latest + slack for latest, slack in caught_up if latest is not None]
    if len(limits) < len(caught_up):
        raise AlignmentError(Cause.MISSING, "not every stream has arrived yet")
    for stamp_ns, _ in reversed(list(reference)):
        if stamp_ns <= after_ns:
            break
        if stamp_ns <= min(limits):
            _check_history(spec, buffers, stamp_ns)
            return stamp_ns
    raise AlignmentError(Cause.MISSING, f"{reference.name}: no new image that the other streams have caught up with")
