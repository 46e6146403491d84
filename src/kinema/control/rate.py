"""Real time for the loops that matter: the one impure module of the control core.

`set_up_real_time` is called once, after everything is loaded.
"""

import ctypes
import gc
import os

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
