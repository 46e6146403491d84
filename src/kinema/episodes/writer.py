"""One episode on disk: a rosbag2 MCAP of raw serialised messages and, beside it, episode.yaml that says what it is.

The chunk in memory is written out by time, so that a killed recorder loses at most FLUSH seconds (FAULTS F26).
episode.yaml says `finished: false` until the episode has been closed in order.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import Qos as BagQos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from kinema.topics import Qos, Topic

FLUSH = 1.0  # [s]


def typestore(definitions: Mapping[str, str]) -> Typestore:
    """The types of ROS 2 Jazzy and those whose definitions (text of .msg files) are given by 'package/msg/Name'."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name, text in definitions.items():
        types |= get_types_from_msg(text, name)
    store.register(types)
    return store


class EpisodeWriter:
    """Writes `folder`/<name>.mcap and episode.yaml; the folder must not exist."""

    def __init__(self, folder: Path, topics: Iterable[Topic], store: Typestore, facts: Mapping[str, Any]) -> None:
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections = {
            row.name: self._writer.add_connection(
                _absolute(row.name), row.type, typestore=store, offered_qos_profiles=[_QOS[row.qos]]
            )
            for row in topics
        }
        self._facts = folder / "episode.yaml"
        self._flushed = time.monotonic()
        self.counts = dict.fromkeys(self._connections, 0)
        self._save({**facts, "finished": False})

    def write(self, topic: str, arrival_ns: int, message: bytes) -> None:
        """One serialised message; its log time is the arrival [ns, Kinema time]."""
        self._writer.write(self._connections[topic], arrival_ns, message)
        self.counts[topic] += 1
        if time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def flush(self) -> None:
        storage: Any = self._writer.storage  # rosbags closes a chunk by size only
        if storage.chunk.msgs:
            storage.close_chunk()
            storage.bio.flush()
        self._flushed = time.monotonic()

    def close(self, facts: Mapping[str, Any]) -> None:
        """Finish the bag, then say so in episode.yaml."""
        self._writer.close()
        self._save({**facts, "finished": True, "messages": self.counts})

    def _save(self, facts: Mapping[str, Any]) -> None:
        self._facts.write_text(yaml.safe_dump(dict(facts), sort_keys=False), encoding="utf-8")


def _absolute(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"


def _qos(reliability: QosReliability, durability: QosDurability, depth: int) -> BagQos:
    never = QosTime(sec=2147483647, nsec=4294967295)
    return BagQos(
        QosHistory.KEEP_LAST, depth, reliability, durability, never, never, QosLiveliness.AUTOMATIC, never, False
    )


_QOS = {
    Qos.SENSOR: _qos(QosReliability.BEST_EFFORT, QosDurability.VOLATILE, 5),
    Qos.STATE: _qos(QosReliability.RELIABLE, QosDurability.VOLATILE, 10),
    Qos.EVENT: _qos(QosReliability.RELIABLE, QosDurability.VOLATILE, 1000),
    Qos.LATCHED: _qos(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, 1),
}
