"""The gripper force correction: how much further the jaw closes because the object is held too weakly.

"Video Generators are Robot Policies", appendix A.4: the jaw closes a little while the predicted force exceeds the
measured one by more than a gap. The rules are those of docs/design.md, "Gripper force correction".
"""

import math
from bisect import bisect_right
from collections import deque

from kinema.clock import NS
from kinema.control.settings import ForceCorrection
from kinema.interfaces import ForceSample

_STANDARD_GRAVITY = 9.80665  # [m/s^2]
_ROUNDING = 1e-9  # [m]
_MEMORY_NS, _MEMORY = 20_000_000, 1024  # the past that re-anchoring needs: 20 s


def measured_force(sample: ForceSample | None, t_ns: int, stale_after: float) -> float | None:
    """The force [N] if it can be trusted at t_ns: fresh, tared, not saturated, a number; else None."""
    if sample is None or not sample.tared or sample.saturated or not math.isfinite(sample.force):
        return None
    return None if t_ns - sample.stamp_ns > stale_after * NS else sample.force


def force_fault(sample: ForceSample | None, t_ns: int, stale_after: float) -> str:
    """F13 when the load cell is silent, F14 when it is saturated or gives no number, '' when it works."""
    if sample is None or t_ns - sample.stamp_ns > stale_after * NS:
        return "F13"
    return "F14" if sample.saturated or not math.isfinite(sample.force) else ""


class Correction:
    """`closing` [m] is what comes off the policy's jaw width; it shrinks only when the policy itself opens."""

    def __init__(self, settings: ForceCorrection):
        self._settings = settings
        self._gap = settings.force_gap_grams / 1000 * _STANDARD_GRAVITY
        self._past: deque[tuple[int, float, float]] = deque(maxlen=_MEMORY)
        self.reset()

    def reset(self) -> None:
        """Forget the grasp. The jaw's commanded width is the caller's to keep."""
        self.closing = 0.0
        self._narrowest = math.inf
        self._opening = False
        self._grown_ns: int | None = None
        self._past.clear()

    def update(self, t_ns: int, dt: float, width: float, predicted: float | None, measured: float | None) -> float:
        """One cycle: the policy's width [m], its predicted force [N] if it gives one, the trusted measurement [N].

        `measured` None means stale, untared or saturated: the correction then stays as it is.
        """
        settings = self._settings
        self._narrowest = min(self._narrowest, width)
        if width > self._narrowest + settings.reset_opening and self.closing > 0.0:
            self._opening = True
        if measured is not None:
            if self._opening:
                self._reopen(dt, width)
            elif predicted is not None and predicted - measured > self._gap:
                self._close(t_ns)
        if not self._past or t_ns - self._past[-1][0] >= _MEMORY_NS:
            self._past.append((t_ns, width, self.closing))
        return self.closing

    def anchor(self, width_t0: float, t0_ns: int) -> float:
        """The policy's own width [m] at t0 behind a measured one: what this correction had closed is put back.

        Without it a chunk anchored at the measured width would subtract the correction a second time.
        """
        at = bisect_right(self._past, t0_ns, key=lambda moment: moment[0]) - 1
        if at < 0:
            return width_t0
        _, width, closing = self._past[at]
        return width_t0 + min(max(width - width_t0, 0.0), closing)

    def _close(self, t_ns: int) -> None:
        settings = self._settings
        due = self._grown_ns is None or t_ns - self._grown_ns >= settings.interval * NS
        if due and self.closing + settings.step <= settings.limit + _ROUNDING:
            self.closing += settings.step
            self._grown_ns = t_ns

    def _reopen(self, dt: float, width: float) -> None:
        self.closing = max(self.closing - self._settings.reset_speed * dt, 0.0)
        if self.closing == 0.0:
            self._opening, self._narrowest = False, width
