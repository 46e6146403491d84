"""From the callbacks to the disk: one thread writes, others encode pictures, and whoever brings a message never waits.

What does not fit into memory is dropped and counted (FAULTS F27): pictures first, numbers only when their reserve is
full too. When the disk takes no more (F25), the recording is over at that message: nothing lost, nothing more taken.
"""

import queue
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from rosbags.typesys.store import Typestore

from kinema.episodes.messages import Compression, compress, decode, encode
from kinema.errors import KinemaError
from kinema.topics import Topic

RESERVE = 16 << 20  # [bytes] beyond the capacity, for everything that is not a picture

_IMAGE = "sensor_msgs/msg/Image"


class Sink(Protocol):
    """Where messages end; `kinema.episodes.writer.EpisodeWriter` is one. An OSError says that it takes no more."""

    def write(self, topic: str, arrival_ns: int, message: bytes | memoryview) -> None: ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are kept; `quality` is JPEG's, 1 to 100."""

    compression: Compression = "jpeg"
    quality: int = 90

    def topic(self, row: Topic) -> str:
        """Where a row's messages stand in the bag: compressed pictures by image_transport's convention."""
        return f"{row.name}/compressed" if self.applies(row) else row.name

    def applies(self, row: Topic) -> bool:
        return self.compression != "none" and row.type == _IMAGE


@dataclass(frozen=True, eq=False, slots=True)
class _Entry:
    row: Topic
    arrival_ns: int
    message: bytes | memoryview
    cost: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the disk took no more, and when the message arrived [ns] that was the last it took."""

    reason: str
    arrival_ns: int


class Pipeline:
    """Takes messages until `close`; `capacity` [bytes] may wait for encoders and disk."""

    def __init__(self, sink: Sink, store: Typestore, encoding: Encoding, capacity: int, workers: int = 2) -> None:
        self._sink, self._store, self._encoding, self._capacity = sink, store, encoding, capacity
        self._lock = threading.Lock()
        self._held = 0
        self._dropped: Counter[str] = Counter()
        self._failure: Failure | None = None
        self._to_encode: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._to_write: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        encoders = workers if encoding.compression != "none" else 0
        self._encoders = [
            threading.Thread(target=self._encode, name=f"encoder-{i}", daemon=True) for i in range(encoders)
        ]
        self._writer = threading.Thread(target=self._write, name="writer", daemon=True)
        for thread in (*self._encoders, self._writer):
            thread.start()

    @property
    def failure(self) -> Failure | None:
        """Set once the disk takes no more."""
        return self._failure

    @property
    def dropped(self) -> dict[str, int]:
        """Messages by the topic they came from that were not written."""
        with self._lock:
            return dict(self._dropped)

    def put(self, row: Topic, arrival_ns: int, message: bytes) -> None:
        """One serialised message; returns at once, whatever disk and encoders do."""
        limit = self._capacity + (0 if row.type == _IMAGE else RESERVE)
        with self._lock:
            if self._failure:
                return
            if self._held + len(message) > limit:
                self._dropped[row.name] += 1
                return
            self._held += len(message)
        entry = _Entry(row, arrival_ns, message, len(message))
        (self._to_encode if self._encoding.applies(row) else self._to_write).put(entry)

    def close(self) -> None:
        """Wait until everything that was taken is written, as far as the disk takes it."""
        for _ in self._encoders:
            self._to_encode.put(None)
        for thread in self._encoders:
            thread.join()
        self._to_write.put(None)
        self._writer.join()

    def _encode(self) -> None:
        compression = self._encoding.compression
        assert compression != "none"
        while (entry := self._to_encode.get()) is not None:
            try:
                picture = decode(self._store, entry.row.type, entry.message)
                message = encode(self._store, compress(picture, compression, self._encoding.quality))
            except KinemaError:
                with self._lock:
                    self._dropped[entry.row.name] += 1
                    self._held -= entry.cost
                continue
            with self._lock:
                self._held -= entry.cost - len(message)
            self._to_write.put(_Entry(entry.row, entry.arrival_ns, message, len(message)))

    def _write(self) -> None:
        while (entry := self._to_write.get()) is not None:
            if not self._failure:
                try:
                    self._sink.write(self._encoding.topic(entry.row), entry.arrival_ns, entry.message)
                except OSError as error:
                    self._failure = Failure(error.strerror or str(error), entry.arrival_ns)
            with self._lock:
                self._held -= entry.cost
