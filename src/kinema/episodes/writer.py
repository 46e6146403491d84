"""One episode on disk: a rosbag2 MCAP of serialised messages and, beside it, episode.yaml and the calibration in force.

    episodes/<task>/<date>_<n>/<date>_<n>.mcap, metadata.yaml, episode.yaml, calibration/

Messages reach the disk FLUSH seconds after their arrival at the latest, so a killed recorder loses no more than that
(FAULTS F26); episode.yaml says `finished: false` until the episode has been closed in order. When the disk is full
(F25), `write` raises, and `close` still makes a valid bag of all that came before: room is reserved for that, in a
file whose lock says that somebody is writing.
"""

import datetime
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from rosbags.interfaces import Qos as BagQos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.typesys.store import Typestore

from kinema.clock import to_ns
from kinema.episodes import facts as facts_file
from kinema.episodes.facts import CALIBRATION, Facts
from kinema.episodes.mcap import Storage, bag
from kinema.errors import EpisodeError
from kinema.topics import Qos, Topic

FLUSH = 1.0  # [s] between two messages' arrivals, never the clock's: the same messages make the same file
RESERVE = 4 << 20  # [bytes]
RESERVE_FILE = ".reserve"


def new_folder(root: Path, slug: str, date: datetime.date) -> Path:
    """Make the next free `root/<slug>/<date>_<n>`, n counting from 001; two callers never get the same one."""
    parent = root / slug
    parent.mkdir(parents=True, exist_ok=True)
    taken = [path.name.rpartition("_")[2] for path in parent.glob(f"{date.isoformat()}_*")]
    number = max((int(name) for name in taken if name.isdigit()), default=0)
    while True:
        number += 1
        folder = parent / f"{date.isoformat()}_{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def copy_calibration(source: Path, folder: Path) -> None:
    """Copy the calibration files (*.yaml) in force, latencies and all, into the episode."""
    target = folder / CALIBRATION
    target.mkdir(parents=True)
    for file in sorted(source.glob("*.yaml")):
        shutil.copyfile(file, target / file.name)


def being_written(folder: Path) -> bool:
    """Whether a living process writes this episode."""
    try:
        with (folder / RESERVE_FILE).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class EpisodeWriter:
    """Writes one episode into `folder`, which is new or holds no bag yet; its name becomes the bag's.

    `topics` are the rows that may be written. Raises EpisodeError when there is a bag already, OSError when the disk
    has no room to begin with.
    """

    def __init__(self, folder: Path, topics: Iterable[Topic], store: Typestore, facts: Facts) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        try:
            self._storage = Storage(folder)
        except FileExistsError as error:
            raise EpisodeError(f"{folder}: there is a bag already; every episode has a folder of its own") from error
        self._reserve = (folder / RESERVE_FILE).open("wb")
        fcntl.flock(self._reserve, fcntl.LOCK_EX)
        os.posix_fallocate(self._reserve.fileno(), 0, RESERVE)
        facts_file.save(folder, facts)
        self._bag = bag(folder, self._storage)
        self._connections = {
            row.name: self._bag.add_connection(
                _absolute(row.name), row.type, typestore=store, offered_qos_profiles=[_QOS[row.qos]]
            )
            for row in topics
        }
        self._synced_ns: int | None = None
        self.counts = dict.fromkeys(self._connections, 0)

    def write(self, topic: str, arrival_ns: int, message: bytes | memoryview) -> None:
        """One serialised message; its log time is the arrival [ns, Kinema time].

        Raises OSError when the disk takes no more. What was written until then, this message too, is kept in memory
        for `close`.
        """
        self._bag.write(self._connections[topic], arrival_ns, message)
        self.counts[topic] += 1
        if self._synced_ns is None or arrival_ns - self._synced_ns >= to_ns(FLUSH):
            self._synced_ns = arrival_ns
            self._storage.sync()
        self._check()

    def close(self, facts: Facts) -> Facts:
        """Finish the bag, then say so in episode.yaml; returns the facts as they stand there.

        Raises OSError when even the reserve isn't enough; the episode then waits for `kinema episodes recover`.
        """
        self._reserve.truncate(0)
        self._storage.sync()
        self._check()
        self._bag.close()
        final = facts.replace(finished=True, messages=self.counts)
        facts_file.save(self.folder, final)
        (self.folder / RESERVE_FILE).unlink()
        self._reserve.close()
        return final

    def _check(self) -> None:
        if self._storage.failure:
            raise self._storage.failure


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
