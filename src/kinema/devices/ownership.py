"""One opener a device: whoever comes second is refused, and told who came first (FAULTS F21).

Kernel locks (flock) say it: they end with the process that holds them, however it ends, and /proc/locks names it.
"""

import fcntl
import os
from pathlib import Path

from kinema import paths, wire
from kinema.errors import ConfigError, OwnershipError


def owner_of(path: Path) -> str:
    """Who holds a lock on a file, as 'program (process 4711)'; 'another process' where the kernel does not say."""
    status = os.stat(path)
    wanted = os.major(status.st_dev), os.minor(status.st_dev), status.st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "FLOCK" not in words or "->" in words:  # '->': one that waits
            continue
        major, minor, inode = words[words.index("FLOCK") + 4].split(":")
        if (int(major, 16), int(minor, 16), int(inode)) == wanted:
            pid = int(words[words.index("FLOCK") + 3])
            return f"{wire.program(pid)} (process {pid})"
    return "another process"


class Claim:
    """A device held under a name, until closed or until this process ends."""

    def __init__(self, file: int) -> None:
        self._file = file

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def claim(name: str) -> Claim:
    """Hold a device for this process; `name` is the same for whoever might open it, such as 't265-905312110235'.

    For devices whose SDK lets two processes in, or says nothing of the first. Raises OwnershipError naming the owner.
    """
    if "/" in name or name.startswith("."):
        raise ConfigError(f"device name {name!r}: letters, digits, '-' and '_' are allowed")
    path = paths.runtime("devices") / f"{name}.lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise OwnershipError(f"{name} belongs to {owner_of(path)}; it has to end first") from None
    return Claim(file)
