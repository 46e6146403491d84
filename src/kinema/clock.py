"""Kinema time: CLOCK_MONOTONIC plus an offset fixed once per boot.

Stamps look like wall time and never jump. The offset lives in a file that is created exclusively by whoever comes
first; everybody else reads it. Stamps are integer nanoseconds (`*_ns`), durations are seconds.
"""

import functools
import os
import threading
import time
from pathlib import Path

from kinema import paths

NS = 1_000_000_000


def to_seconds(duration_ns: int) -> float:
    """A difference of two stamps in seconds."""
    return duration_ns / NS


def to_ns(duration: float) -> int:
    """A duration in seconds as whole nanoseconds."""
    return round(duration * NS)


class Every:
    """Due once in every period of a rate [Hz] after the origin, at the first moment not before it.

    `count` numbers the periods from 0; -1: nothing has been due.
    """

    def __init__(self, rate: float, origin_ns: int) -> None:
        self._rate, self._origin_ns = rate, origin_ns
        self.count = -1

    def due(self, t_ns: int) -> bool:
        count = int(to_seconds(t_ns - self._origin_ns) * self._rate + 1e-6)
        due, self.count = count > self.count, count
        return due


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@functools.cache
def _offset_ns() -> int:
    path = paths.runtime("clock") / f"offset-{_boot_id()}"
    mine = time.time_ns() - time.monotonic_ns()
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(str(mine))
    try:
        os.link(draft, path)  # atomic: the file appears whole or was there before
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return int(path.read_text())


def now_ns() -> int:
    """The present moment in Kinema time [ns]. Never steps, whatever happens to the wall clock (FAULTS F20)."""
    return time.monotonic_ns() + _offset_ns()
