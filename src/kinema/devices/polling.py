"""What the grippers share that speak only when they are asked: when to ask next, and the speed that follows."""

import time

import numpy as np

from kinema import clock
from kinema.errors import DeviceError
from kinema.interfaces import GripperState


class Polling:
    """Asks at most `rate` [Hz] times a second; the time between two answers is what a speed is taken over."""

    def __init__(self, rate: float) -> None:
        self._period_ns = clock.to_ns(1.0 / rate)
        self._next_ns = time.monotonic_ns()
        self._last: GripperState | None = None

    def wait(self, timeout: float) -> bool:
        """Sleep until it is time to ask, but at most `timeout` [s]; whether it is time."""
        left = clock.to_seconds(self._next_ns - time.monotonic_ns())
        if left > timeout:
            time.sleep(max(timeout, 0.0))
            return False
        if left > 0:
            time.sleep(left)
        self._next_ns += self._period_ns
        if self._next_ns <= (now_ns := time.monotonic_ns()):  # late: no burst to catch up
            self._next_ns = now_ns + self._period_ns
        return True

    def state(self, asked_ns: int, width: float, force: float) -> GripperState:
        """A state [m, N] from an answer to what was asked at `asked_ns`: it was taken half-way to now."""
        stamp_ns = (asked_ns + clock.now_ns()) // 2
        last, speed = self._last, 0.0
        if last is not None and stamp_ns > last.stamp_ns:
            speed = (width - last.width) / clock.to_seconds(stamp_ns - last.stamp_ns)
        self._last = GripperState(stamp_ns, width, speed, force)
        return self._last


def check_finite(width: float, speed: float, force: float) -> None:
    """Raise DeviceError for a command that is not one."""
    if not np.isfinite((width, speed, force)).all():
        raise DeviceError(f"jaw command ({width}, {speed}, {force}) is not finite")
