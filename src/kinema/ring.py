"""A seqlock ring in a memory-mapped file: one writer that never waits, any number of readers that never disturb it.

Every slot carries a version: odd while it is being written, `2 * sequence` once it holds that record. A reader copies
and looks at the version again; had the writer come by meanwhile, the copy is thrown away. (Lameter, "Effective
synchronization on Linux/NUMA systems", 2005, on seqlocks. The order of stores is that of the x86-64 memory model.)

A writer that starts anew makes a new file in place of the old one, whose numbers it continues; readers notice and
follow. A plain file, not `multiprocessing.shared_memory`, whose exiting attachers delete the segment.
"""

import fcntl
import mmap
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from kinema.errors import DeviceError, OwnershipError

_MAGIC = 0x4B494E52494E4731
_HEADER = np.dtype(
    [("magic", "u8"), ("layout", "u8"), ("slot", "u8"), ("capacity", "u8"), ("head", "u8"), ("pid", "u8")], align=True
)
_START = 128  # of the first slot; the header has cache lines of its own


def _layout(record: np.dtype) -> int:
    return zlib.crc32(repr((record.descr, record.itemsize)).encode())


def _slots(record: np.dtype) -> np.dtype:
    size = -(-record.itemsize // 8) * 8
    return np.dtype({"names": ["version", "data"], "formats": ["u8", record], "offsets": [0, 8], "itemsize": 8 + size})


class _Mapping:
    """The arrays that lie in one ring file."""

    def __init__(self, memory: mmap.mmap, record: np.dtype, capacity: int) -> None:
        header = np.frombuffer(memory, _HEADER, 1)
        slots = np.frombuffer(memory, _slots(record), capacity, _START)
        self.header, self.capacity = header, capacity
        self.head, self.version, self.data = header["head"], slots["version"], slots["data"]


class RingWriter:
    """The writing end of a ring of `capacity` records of one dtype.

    Raises OwnershipError naming the process that writes this ring already.
    """

    def __init__(self, path: Path, record: DTypeLike, capacity: int) -> None:
        self.path, self.dtype = path, np.dtype(record)
        sequence = self._retire()
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")
        self._file = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = _START + capacity * _slots(self.dtype).itemsize
        os.posix_fallocate(self._file, 0, size)  # a full memory shows here, not as a bus error later
        self._map = _Mapping(mmap.mmap(self._file, size), self.dtype, capacity)
        header = (_MAGIC, _layout(self.dtype), self._map.data.strides[0], capacity, sequence, os.getpid())
        self._map.header[0] = header
        os.rename(self._draft, path)
        self._sequence = sequence

    def _retire(self) -> int:
        """The last sequence of the file to be replaced, 0 if there is none."""
        try:
            old = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            header = np.frombuffer(os.pread(old, _HEADER.itemsize, 0).ljust(_HEADER.itemsize, b"\0"), _HEADER)[0]
            fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return int(header["head"]) if header["magic"] == _MAGIC else 0
        except BlockingIOError:
            raise OwnershipError(f"{self.path}: is being written by process {header['pid']}; one writer only") from None
        finally:
            os.close(old)

    def write(self, record: np.ndarray | np.void) -> int:
        """Append one record; returns its sequence number, from 1 upwards."""
        self._sequence += 1
        ring, sequence = self._map, self._sequence
        slot = sequence % ring.capacity
        ring.version[slot] = 2 * sequence - 1
        ring.data[slot] = record
        ring.version[slot] = 2 * sequence
        ring.head[0] = sequence
        return sequence

    def close(self) -> None:
        """Give the ring up and remove its file, unless somebody has replaced it already."""
        if self._file < 0:
            return
        try:
            if os.stat(self.path).st_ino == os.fstat(self._file).st_ino:
                self.path.unlink()
        except FileNotFoundError:
            pass
        fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping holds a descriptor of its own
        os.close(self._file)
        self._file = -1


class RingReader:
    """A reading end. The file may come later, go, or be replaced by a new writer; until there is one, there is nothing.

    Raises DeviceError where the file holds records of another layout.
    """

    def __init__(self, path: Path, record: DTypeLike) -> None:
        self.path, self.dtype = path, np.dtype(record)
        self._map: _Mapping | None = None
        self._inode, self._seen = -1, -1

    def _follow(self) -> _Mapping | None:
        """The mapping in force. The file system is asked only while the writer shows nothing new."""
        ring = self._map
        if ring is not None and int(ring.head[0]) != self._seen:
            return ring
        try:
            if ring is None or os.stat(self.path).st_ino != self._inode:
                self._open()
        except FileNotFoundError:
            pass  # the last records of a writer that has gone stay readable
        return self._map

    def _open(self) -> None:
        file = os.open(self.path, os.O_RDONLY)
        try:
            status = os.fstat(file)
            memory = mmap.mmap(file, status.st_size, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        header = np.frombuffer(memory, _HEADER, 1)[0]
        if header["magic"] != _MAGIC or header["layout"] != _layout(self.dtype):
            raise DeviceError(
                f"{self.path}: does not hold records of {self.dtype.itemsize} bytes in the layout wanted; "
                "writer and reader must be of the same version"
            )
        self._map, self._inode = _Mapping(memory, self.dtype, int(header["capacity"])), status.st_ino

    def _copy(self, ring: _Mapping, sequence: int) -> np.void | None:
        slot = sequence % ring.capacity
        if ring.version[slot] != 2 * sequence:
            return None
        record = ring.data[slot].copy()
        return record if ring.version[slot] == 2 * sequence else None

    @property
    def head(self) -> int:
        """The sequence of the newest record, 0 before the first."""
        ring = self._follow()
        return 0 if ring is None else int(ring.head[0])

    def latest(self) -> tuple[int, np.void] | None:
        """The newest record and its sequence; None before the first."""
        ring = self._follow()
        if ring is None:
            return None
        while (head := int(ring.head[0])) > 0:  # ends: a torn copy means that the writer has gone on
            record = self._copy(ring, head)
            if record is not None:
                self._seen = head
                return head, record
            if head == int(ring.head[0]):
                return None  # a new file that has not been written yet
        return None

    def since(self, sequence: int, limit: int = 1_000_000) -> list[tuple[int, np.void]]:
        """The records after `sequence` that are still there, oldest first, the newest `limit` of them at most."""
        ring = self._follow()
        if ring is None:
            return []
        head = self._seen = int(ring.head[0])
        first = max(sequence + 1, head - min(limit, ring.capacity) + 1, 1)
        numbered = ((number, self._copy(ring, number)) for number in range(first, head + 1))
        return [(number, record) for number, record in numbered if record is not None]
