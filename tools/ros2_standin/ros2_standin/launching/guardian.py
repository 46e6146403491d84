"""A small process that outlives its launcher just long enough to stop what the launcher left behind.

Every child of a launch leads a process group and writes its id into a pipe before it becomes another program. When the
pipe's other end closes, because the launcher ended in whatever way, the guardian stops every group that still lives.
"""

import os
import signal
import time
from pathlib import Path
from typing import Self

GRACE = 5.0  # [s] between SIGINT and SIGTERM, and between SIGTERM and SIGKILL, as the real launch does


class Guardian:
    """Use as a context manager in a process that has one thread."""

    def __enter__(self) -> Self:
        read, self._write = os.pipe()  # not inherited by other programs
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._write)
            try:
                _watch(read)
            finally:
                os._exit(0)
        os.close(read)
        return self

    def enrol(self) -> None:
        """Called in a child that leads its own group, before it becomes another program."""
        os.write(self._write, b"%d\n" % os.getpid())

    def dismiss(self, group: int) -> None:
        """Nobody is left in the group; its number may come to mean somebody else."""
        os.write(self._write, b"%d\n" % -group)

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        os.waitpid(self._pid, 0)


def _watch(read: int) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with os.fdopen(read) as lines:
        for line in lines:
            group = int(line)
            groups.add(group) if group > 0 else groups.discard(-group)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        groups = {group for group in groups if signal_group(group, number)}
        until = time.monotonic() + GRACE
        while groups and time.monotonic() < until:
            time.sleep(0.1)
            groups = {group for group in groups if group_lives(group)}


def group_lives(group: int) -> bool:
    """Whether somebody runs in a process group; who has ended and only waits to be reaped does not count."""
    return signal_group(group, 0) and any(_runs_in(group, stat) for stat in Path("/proc").glob("[0-9]*/stat"))


def _runs_in(group: int, stat: Path) -> bool:
    try:
        state, _, member_of, *_ = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state != "Z" and int(member_of) == group


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; false if nobody is in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
