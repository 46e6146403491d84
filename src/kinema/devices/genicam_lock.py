"""The lock that GenICam leaves shut where a process dies in it.

Opening a camera, GenICam (which pylon stands on) reads its description under a semaphore that the whole machine shares.
A semaphore knows no holder: a process killed inside keeps every later one out, for good and without a word. So cameras
are opened one after another under a lock of the kernel's, which ends with its holder: whoever has it knows that no
process of ours is inside, and takes a semaphore that stays shut out of the way.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from kinema import paths

PATTERN = "sem.*GenICam_XML"
FOLDER = Path("/dev/shm")  # where Linux keeps named semaphores (sem_overview(7))
_PATIENCE = 5.0  # [s] that a program of somebody else's may take to read a description; it takes milliseconds
_LOOK = 0.05  # [s]

_log = logging.getLogger(__name__)


def value(semaphore: Path) -> int:
    """How many processes may still come in: 0 where it is shut; 1 for one that has gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.sem_open.restype = ctypes.c_void_p
    handle = libc.sem_open(_name(semaphore), 0)
    if not handle:
        return 1
    found = ctypes.c_int()
    libc.sem_getvalue(ctypes.c_void_p(handle), ctypes.byref(found))
    libc.sem_close(ctypes.c_void_p(handle))
    return found.value


def _name(semaphore: Path) -> bytes:
    return semaphore.name.replace("sem.", "/", 1).encode()


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """To be held around the opening of a camera; waits until nobody else has it."""
    file = os.open(paths.runtime("devices") / "genicam.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        deadline = time.monotonic() + _PATIENCE
        for semaphore in FOLDER.glob(PATTERN):
            while value(semaphore) == 0:
                if time.monotonic() > deadline:
                    _log.warning("%s was left shut by a process that has died; it is removed", semaphore)
                    semaphore.unlink(missing_ok=True)
                time.sleep(_LOOK)
        yield
    finally:
        os.close(file)
