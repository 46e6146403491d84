"""Kinema time: CLOCK_MONOTONIC plus an offset fixed once per boot.

Stamps look like wall time and never jump. The offset lives in a file that is created exclusively by whoever comes
first; everybody else reads it. Stamps are integer nanoseconds (`*_ns`), durations are seconds.

In a virtual cell Kinema time is the world's: what the world falls behind (its slip), Kinema time stands still in all
processes of that cell. So the stamps of drivers, which map their devices' clocks to Kinema time, agree with those that
the world itself makes, however slow the machine is.
"""

import functools
import mmap
import os
import threading
import time
from pathlib import Path

from kinema import paths
from kinema.errors import ConfigError

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


class Slip:
    """How far the virtual cell in `folder` has fallen behind real time [ns]: memory shared by all its processes.

    One writes, the world; the file outlives it, so that whoever has it open sees the next world's slip.
    """

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / "slip", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, 8)
            self._value = memoryview(mmap.mmap(file, 8)).cast("q")
        finally:
            os.close(file)

    @property
    def ns(self) -> int:
        return self._value[0]

    @ns.setter
    def ns(self, slip_ns: int) -> None:
        self._value[0] = slip_ns


@functools.cache
def _own_slip() -> Slip:
    return Slip(paths.runtime())


_newest_ns = 0  # that was handed out


def now_ns() -> int:
    """The present moment in Kinema time [ns]. Never goes back, whatever the wall clock (FAULTS F20) or a world does."""
    global _newest_ns
    _newest_ns = max(_newest_ns, time.monotonic_ns() + _offset_ns() - _own_slip().ns)
    return _newest_ns


class RateKeeper:
    """Absolute deadlines in Kinema time, `period` [s] apart; late ones are skipped (F19).

    It paces a loop whose device has no tick of its own; loops that answer an arm's records need none. Where Kinema time
    stands still, in a virtual cell that falls behind, so does the loop: no two of its cycles have one stamp.
    """

    def __init__(self, period: float):
        if period <= 0.0:
            raise ConfigError(f"period is {period} s; allowed is more than 0")
        self._period_ns = to_ns(period)
        self._deadline_ns = now_ns() + self._period_ns

    def wait(self) -> int:
        """Sleep until the next deadline that still lies ahead; returns how many have passed since the last call."""
        late = max(0, -((self._deadline_ns - now_ns()) // self._period_ns))
        self._deadline_ns += late * self._period_ns
        while (left_ns := self._deadline_ns - now_ns()) > 0:
            time.sleep(to_seconds(left_ns))
        self._deadline_ns += self._period_ns
        return late
