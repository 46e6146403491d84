"""MCAP files that survive: rosbags' storage with two promises added, and a scan that needs neither summary nor footer.

Source: the MCAP specification (mcap.dev/spec): records of opcode u8, length u64, content; little endian. Messages stand
in chunks, here uncompressed, so that a message is a slice of the file.
"""

import functools
import mmap
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionMode
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from kinema.errors import EpisodeError

MAGIC = b"\x89MCAP0\r\n"

_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _INDEX = 0x03, 0x04, 0x05, 0x06, 0x07
_HEADER, _METADATA, _DATA_END = 0x01, 0x0C, 0x0F
_RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<BQHIQQ")
_CHUNK_HEAD = struct.Struct("<QQQI")
_U16, _U32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class Storage(McapWriter):
    """rosbags' MCAP storage whose chunks reach the file whole or not at all.

    When the disk takes no more, `failure` holds the error, and the chunk stays in memory for the next attempt.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CompressionMode.NONE)
        self.failure: OSError | None = None

    def close_chunk(self) -> None:
        at, chunk, count = self.bio.tell(), self.chunk, len(self.chunks)
        try:
            super().close_chunk()
            self.bio.flush()
            self.failure = None
        except OSError as error:
            self.failure, self.chunk = error, chunk
            del self.chunks[count:]
            self._rewind(at)

    def sync(self) -> None:
        """Bring all that has been written to the disk itself."""
        if self.chunk.msgs:
            self.close_chunk()
        os.fsync(self.bio.fileno())

    def _rewind(self, at: int) -> None:
        self.bio.raw.close()  # what its buffer holds must never be written
        os.truncate(self.path, at)
        self.bio = self.path.open("ab")


def bag(folder: Path, storage: Storage) -> Writer:
    """rosbags' writer on a storage that stands already, in a folder that holds other files too."""
    writer = Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.metapath, writer.storage = folder / "metadata.yaml", storage
    return writer


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic of a bag; `definition` is the text of its message type and of all that it is made of."""

    id: int
    topic: str
    type: str
    schema: int
    definition: str
    metadata: bytes

    @property
    def qos(self) -> str:
        """The offered QoS profiles as rosbag2 writes them, in YAML."""
        at, rows = 0, {}
        while at < len(self.metadata):
            key, at = _text(self.metadata, at)
            rows[key], at = _text(self.metadata, at)
        return rows.get("offered_qos_profiles", "")


@dataclass(frozen=True, slots=True)
class Message:
    """Where one serialised message stands in the file."""

    channel: int
    log_ns: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk record; `index` holds channel and offset of its message indexes, `end` is where they end.

    A chunk that the writer did not get to finish is not `whole`: cut itself, or its indexes are.
    """

    offset: int
    length: int
    content: int
    content_end: int
    start_ns: int
    end_ns: int
    index: tuple[tuple[int, int], ...]
    end: int
    whole: bool
    messages: range


@dataclass(frozen=True, slots=True)
class Scan:
    """What is in a file: `finished` when it has its data end, so that a summary and a footer follow."""

    channels: dict[int, Channel]
    messages: list[Message]
    chunks: list[Chunk]
    finished: bool


def _text(data: Any, at: int) -> tuple[str, int]:
    """The string at `at`, and where it ends."""
    (length,) = _U32.unpack_from(data, at)
    at += _U32.size
    return bytes(data[at : at + length]).decode(), at + length


@dataclass(slots=True)
class _Walk:
    """The scan under way; `data` is the whole file."""

    data: Any
    schemas: dict[int, tuple[str, str]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    def record(self, at: int, end: int) -> tuple[int, int, int] | None:
        """Opcode, start and end of the content of the record at `at`; None when it is not whole before `end`."""
        if at + _RECORD.size > end:
            return None
        opcode, length = _RECORD.unpack_from(self.data, at)
        start = at + _RECORD.size
        return (opcode, start, start + length) if start + length <= end else None

    def schema(self, at: int) -> None:
        (key,) = _U16.unpack_from(self.data, at)
        name, at = _text(self.data, at + 2)
        _, at = _text(self.data, at)
        self.schemas[key] = name, _text(self.data, at)[0]

    def channel(self, at: int) -> None:
        key, schema = struct.unpack_from("<HH", self.data, at)
        topic, at = _text(self.data, at + 4)
        _, at = _text(self.data, at)
        (length,) = _U32.unpack_from(self.data, at)
        name, definition = self.schemas[schema]
        metadata = bytes(self.data[at + 4 : at + 4 + length])
        self.channels[key] = Channel(key, topic, name, schema, definition, metadata)

    def content(self, at: int, end: int) -> int:
        """The records inside of a chunk; returns where the last whole one ends."""
        while (record := self.record(at, end)) is not None:
            opcode, start, stop = record
            if opcode == _MESSAGE and stop - start >= MESSAGE_HEAD.size - _RECORD.size:
                _, _, channel, _, log_ns, _ = MESSAGE_HEAD.unpack_from(self.data, at)
                if channel not in self.channels:
                    return at
                offset = at + MESSAGE_HEAD.size
                self.messages.append(Message(channel, log_ns, offset, stop - offset))
            elif opcode == _SCHEMA:
                self.schema(start)
            elif opcode == _CHANNEL:
                self.channel(start)
            else:
                return at
            at = stop
        return at

    def chunk(self, at: int, start: int, stop: int) -> Chunk:
        """The chunk record at `at` whose content is start..stop, which may lie beyond the file's end."""
        first = len(self.messages)
        start_ns, end_ns, size, _ = _CHUNK_HEAD.unpack_from(self.data, start)
        compression, content = _text(self.data, start + _CHUNK_HEAD.size)
        if compression:
            raise EpisodeError(f"a chunk is compressed with {compression!r}; episodes have uncompressed chunks")
        content += _U64.size
        end = self.content(content, min(content + size, len(self.data)))
        messages = range(first, len(self.messages))
        index, index_end = self.index(stop)
        expected = {self.messages[i].channel for i in messages}
        whole = end == content + size and {channel for channel, _ in index} == expected
        return Chunk(at, stop - at, content, end, start_ns, end_ns, index, index_end, whole, messages)

    def index(self, at: int) -> tuple[tuple[tuple[int, int], ...], int]:
        """Channel and offset of the message indexes from `at` on, and where they end."""
        rows = []
        while (record := self.record(at, len(self.data))) is not None and record[0] == _INDEX:
            rows.append((_U16.unpack_from(self.data, record[1])[0], at))
            at = record[2]
        return tuple(rows), at


def scan(data: Any) -> Scan:
    """Every message that is whole in `data` (bytes or mmap of an MCAP file), however the file ends.

    Raises EpisodeError when it is no MCAP file, or one with compressed chunks.
    """
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise EpisodeError("is no MCAP file")
    walk, chunks, at = _Walk(data), [], len(MAGIC)
    while at + _RECORD.size <= len(data):
        opcode, length = _RECORD.unpack_from(data, at)
        start, stop = at + _RECORD.size, at + _RECORD.size + length
        if opcode == _CHUNK:
            count = len(walk.messages)
            try:
                chunks.append(walk.chunk(at, start, stop))
            except (struct.error, UnicodeDecodeError, KeyError):  # what a crash of the machine may leave
                del walk.messages[count:]
                break
            if not chunks[-1].whole:
                break
            at = chunks[-1].end
        elif opcode in (_HEADER, _METADATA) and stop <= len(data):
            at = stop
        else:
            return Scan(walk.channels, walk.messages, chunks, opcode == _DATA_END)
    return Scan(walk.channels, walk.messages, chunks, False)


def scan_file(path: Path) -> tuple[Scan, memoryview]:
    """The scan of a file, and the file itself, mapped into memory; raises EpisodeError naming it."""
    if not path.stat().st_size:
        raise EpisodeError(f"{path}: nothing had reached the disk; remove the folder")
    with path.open("rb") as stream:
        data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return scan(data), data
    except EpisodeError as error:
        raise EpisodeError(f"{path}: {error}") from error


@functools.lru_cache(maxsize=8)
def _types(definitions: frozenset[tuple[str, str]]) -> Typestore:
    store = get_typestore(Stores.EMPTY)
    types: dict[str, Any] = {}
    for name, text in definitions:
        types |= get_types_from_msg(text, name)
    store.register(types)
    return store


def types(channels: Iterable[Channel]) -> Typestore:
    """The message types as the bag itself defines them, whatever they have become since."""
    return _types(frozenset((channel.type, channel.definition) for channel in channels))
