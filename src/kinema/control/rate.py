"""Keeping time in loops that matter: the one impure module of the control core.

`set_up_real_time` is called once, after everything is loaded. `RateKeeper` paces a loop whose device has no tick of its
own; loops that answer an arm's records need none.
"""

import ctypes
import gc
import os
import time

from kinema.clock import to_ns, to_seconds
from kinema.errors import ConfigError

_MCL_CURRENT, _MCL_FUTURE = 1, 2  # <sys/mman.h>


def set_up_real_time(priority: int, core: int | None = None) -> str:
    """Freeze the garbage collector, ask for SCHED_FIFO, locked memory and a core; say in one line what was granted.

    priority 1..99 of SCHED_FIFO, for this thread alone: what it starts runs as usual. A machine that grants none of it
    still runs, only less punctually.
    """
    if not 1 <= priority <= 99:
        raise ConfigError(f"real-time priority {priority}: allowed is 1..99")
    gc.collect()
    gc.freeze()
    gc.disable()
    granted = ["garbage collector off", _scheduler(priority), _memory()]
    if core is not None:
        granted.append(_pin(core))
    return ", ".join(granted)


def _scheduler(priority: int) -> str:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO refused ({error.strerror})"
    return f"SCHED_FIFO {priority}"


def _memory() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        return f"memory not locked ({os.strerror(ctypes.get_errno())})"
    return "memory locked"


def _pin(core: int) -> str:
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        return f"core {core} refused ({error.strerror})"
    return f"on core {core}"


class RateKeeper:
    """Absolute deadlines on the monotonic clock; a late cycle is counted and its deadlines are skipped (F19).

    period [s]; spin [s] before a deadline that is waited for awake, because sleeping wakes up late.
    """

    def __init__(self, period: float, spin: float = 0.0):
        if period <= 0.0 or not 0.0 <= spin < period:
            raise ConfigError(f"period {period} s, spin {spin} s: allowed are period > 0 and 0 <= spin < period")
        self._period_ns, self._spin_ns = to_ns(period), to_ns(spin)
        self._deadline_ns = time.monotonic_ns() + self._period_ns
        self.missed = 0  # deadlines, in all
        self.missed_in_row = 0

    def wait(self) -> int:
        """Sleep until the next deadline that still lies ahead; returns how many have passed since the last call."""
        now = time.monotonic_ns()
        late = max(0, (now - self._deadline_ns) // self._period_ns + 1) if now > self._deadline_ns else 0
        self._deadline_ns += late * self._period_ns
        self.missed += late
        self.missed_in_row = self.missed_in_row + late if late else 0
        left = self._deadline_ns - now - self._spin_ns
        if left > 0:
            time.sleep(to_seconds(left))
        while time.monotonic_ns() < self._deadline_ns:
            pass
        self._deadline_ns += self._period_ns
        return late
