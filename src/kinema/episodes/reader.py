"""A finished episode, read: its facts, its calibration, every message as a value, and the streams as arrays.

The file is mapped into memory and images are decoded when they are asked for, so that opening costs next to nothing.
Messages are read by the definitions that stand in the bag.
"""

import functools
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kinema import yaml_file
from kinema.calibration.bundle import KINDS, Bundle, load_bundle
from kinema.chunk import Image
from kinema.clock import NS
from kinema.episodes import facts as facts_file, mcap
from kinema.episodes.facts import CALIBRATION, Facts
from kinema.episodes.mcap import Message, Scan
from kinema.episodes.messages import CompressedPicture, JawSample, Picture, StampedPose, decode
from kinema.errors import CalibrationError, EpisodeError
from kinema.geometry import Array
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, TOPICS

Stamps = NDArray[np.int64]

_STAMP = struct.Struct("<iI")  # the header's stamp stands first in every stamped message, after CDR's four bytes
_STAMP_AT = 4


@dataclass(frozen=True, eq=False, slots=True)
class JawStream:
    """Jaw opening (n,) [m], NaN or nonsense where it is not `valid`; `tags` it was measured by."""

    stamps_ns: Stamps
    width: Array
    valid: NDArray[np.bool_]
    tags: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class ForceStream:
    """Grasp force (n,) [N]."""

    stamps_ns: Stamps
    force: Array
    tared: NDArray[np.bool_]
    saturated: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Streams:
    """Every stream that alignment needs, each in the order of its stamps [ns], none twice.

    odometry    what the handheld gripper's tracker said, believable or not; empty on the robot
    tcp         `T_base_tcp` as the robot measured it; empty when handheld
    images      camera -> stamps (n,) of its images; `Episode.image(camera, i)` is the i-th of them
    """

    odometry: tuple[TrackedPose, ...]
    tcp: tuple[StampedPose, ...]
    jaw: JawStream
    force: ForceStream
    images: Mapping[str, Stamps]


def _sorted_by_stamp(values: Iterable[Any]) -> list[Any]:
    """In the order of stamps; of equal ones the first that was written."""
    first: dict[int, Any] = {}
    for value in values:
        first.setdefault(value.stamp_ns, value)
    return [first[stamp_ns] for stamp_ns in sorted(first)]


def _column(rows: list[Any], name: str, kind: type) -> Any:
    return np.array([getattr(row, name) for row in rows], kind)


class Episode:
    """One recorded episode. `topics` maps the topics that hold messages, named as in the table, to their type."""

    def __init__(self, folder: Path, facts: Facts, data: memoryview, scan: Scan) -> None:
        self.folder = folder
        self.facts = facts
        self._data = data
        self._store = mcap.types(scan.channels.values())
        names = {channel.id: table_name(channel.topic) for channel in scan.channels.values()}
        self._types = {names[channel.id]: channel.type for channel in scan.channels.values()}
        self._messages: dict[str, list[Message]] = {name: [] for name in self._types}
        for message in sorted(scan.messages, key=lambda message: message.log_ns):
            self._messages[names[message.channel]].append(message)
        self.topics = {name: kind for name, kind in self._types.items() if self._messages[name]}

    @classmethod
    def open(cls, folder: Path, facts: Facts | None = None) -> Self:
        """`facts` stand in for those in episode.yaml, if given. Raises EpisodeError unless it is a finished episode."""
        facts = facts or facts_file.load(folder)
        if not facts.finished:
            raise EpisodeError(f"{folder}: was never finished; run `kinema episodes recover {folder}`")
        path = bag_path(folder)
        scan, data = mcap.scan_file(path)
        if not scan.finished:
            raise EpisodeError(f"{path}: is cut short; run `kinema episodes recover {folder}`")
        return cls(folder, facts, data, scan)

    @property
    def name(self) -> str:
        """`<task>/<date>_<n>`."""
        return f"{self.folder.resolve().parent.name}/{self.folder.resolve().name}"

    @functools.cached_property
    def calibration(self) -> Bundle:
        """The files that were in force, good for ever. Raises CalibrationError when one is not there or unusable."""
        return load_calibration(self.folder, override=bool(self.facts.calibration_override))

    def read(self, topics: Iterable[str] | None = None) -> Iterator[tuple[str, int, Any]]:
        """Topic, arrival [ns] and value (see `messages`) of every message, in the order of their arrivals.

        Raises EpisodeError naming the topics there are.
        """
        names = list(self.topics) if topics is None else [self._known(name) for name in topics]
        rows = [(message.log_ns, name, message) for name in names for message in self._messages[name]]
        rows.sort(key=lambda row: row[0])
        for log_ns, name, message in rows:
            yield name, log_ns, self._decode(name, message)

    def picture(self, camera: str, i: int) -> Picture | CompressedPicture:
        """The i-th image of a camera as it stands in the bag; both kinds have `.image`, decoding only when asked."""
        topic, messages = self._images[camera]
        value: Picture | CompressedPicture = self._decode(topic, messages[i])
        return value

    def image(self, camera: str, i: int) -> Image:
        """The i-th image of a camera, (height, width, 3) uint8 RGB."""
        return self.picture(camera, i).image

    def streams(self) -> Streams:
        """Everything but the pictures, decoded."""
        jaw: list[JawSample] = self._values("jaw/state")
        force: list[ForceSample] = self._values("load_cell/force")
        return Streams(
            odometry=tuple(self._values("tracker/odometry")),
            tcp=tuple(self._values("tcp_pose")),
            jaw=JawStream(
                _column(jaw, "stamp_ns", np.int64),
                _column(jaw, "width", float),
                _column(jaw, "valid", bool),
                _column(jaw, "tags", np.int64),
            ),
            force=ForceStream(
                _column(force, "stamp_ns", np.int64),
                _column(force, "force", float),
                _column(force, "tared", bool),
                _column(force, "saturated", bool),
            ),
            images={
                camera: np.array([self._stamp_ns(message) for message in messages], np.int64)
                for camera, (_, messages) in self._images.items()
            },
        )

    @functools.cached_property
    def _images(self) -> dict[str, tuple[str, list[Message]]]:
        """Camera -> topic and messages of its images, in the order of their stamps."""
        found = {}
        for camera in CAMERAS:
            for topic in (f"{camera}/image_raw", f"{camera}/image_raw/compressed"):
                if topic in self.topics:
                    first: dict[int, Message] = {}
                    for message in self._messages[topic]:
                        first.setdefault(self._stamp_ns(message), message)
                    found[camera] = topic, [first[stamp_ns] for stamp_ns in sorted(first)]
        return found

    def _known(self, name: str) -> str:
        if name not in self.topics:
            raise EpisodeError(f"{self.folder}: no messages of {name!r}; there are: {', '.join(self.topics)}")
        return name

    def _values(self, topic: str) -> list[Any]:
        return _sorted_by_stamp(self._decode(topic, message) for message in self._messages.get(topic, ()))

    def _decode(self, topic: str, message: Message) -> Any:
        return decode(self._store, self._types[topic], self._data[message.offset : message.offset + message.size])

    def _stamp_ns(self, message: Message) -> int:
        sec, nanosec = _STAMP.unpack_from(self._data, message.offset + _STAMP_AT)
        return int(sec * NS + nanosec)


def find(root: Path) -> dict[str, Path]:
    """Folders of episodes below `root`, or itself, by name, in order; hidden ones hold drafts and are passed over.

    Raises EpisodeError when there is none.
    """
    files = (file.relative_to(root) for file in root.rglob(facts_file.FILE))
    folders = sorted(root / file.parent for file in files if not any(part.startswith(".") for part in file.parts))
    if not folders:
        raise EpisodeError(f"{root}: no episodes here (folders with {facts_file.FILE})")
    return {folder.relative_to(root).as_posix() if folder != root else folder.name: folder for folder in folders}


def bag_path(folder: Path) -> Path:
    """The MCAP file of an episode; raises EpisodeError unless there is exactly one."""
    found = sorted(folder.glob("*.mcap"))
    if len(found) != 1:
        raise EpisodeError(f"{folder}: holds {len(found)} .mcap files; an episode has one")
    return found[0]


def load_calibration(folder: Path, override: bool = False) -> Bundle:
    """The calibration copied into an episode; ages are not judged, it was good when it was used, or overridden.

    Raises CalibrationError when a file is missing or unusable.
    """
    source = folder / CALIBRATION
    kinds = [kind for kind in KINDS if (source / kind.file).exists()]
    serials, dates = {}, []
    for kind in kinds:
        provenance = yaml_file.read(source / kind.file, kind.schema, CalibrationError).provenance
        serials[kind.device] = provenance.serial
        dates.append(provenance.date)
    return load_bundle(source, serials, today=max(dates, default=None), override=override)


def table_name(topic: str) -> str:
    """A bag's absolute topic as `kinema.topics` names it."""
    return topic if topic in TOPICS else topic.removeprefix("/")
