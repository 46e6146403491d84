"""Make an episode whole whose recorder was killed (FAULTS F26), and cut an episode's useful interval. Nothing is lost.

A bag is taken up where it was left: what stands whole in the file stays there, the messages of a cut chunk are written
again, and rosbags closes the bag as the recorder would have done.
"""

import struct
from collections import Counter, defaultdict
from io import BytesIO
from pathlib import Path

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_mcap import Channel as BagChannel, PendingChunk, Schema

from kinema.clock import NS, to_ns
from kinema.episodes import facts as facts_file, mcap
from kinema.episodes.check import check
from kinema.episodes.facts import Facts
from kinema.episodes.mcap import Chunk, Scan, Storage
from kinema.episodes.reader import Episode, bag_path, table_name
from kinema.episodes.writer import RESERVE_FILE, being_written
from kinema.errors import EpisodeError, KinemaError

RECOVERED = "recovered"
UNJUDGED = "recovered after its recorder was killed: look at what there is, then trim it to what may be used"

_NEVER = 2**63 - 1  # rosbags' beginning of what holds no message


# ---- the bag


def _chunk_index(chunk: Chunk) -> BytesIO:
    """The chunk's row in the summary (MCAP specification: Chunk Index)."""
    size = chunk.content_end - chunk.content
    row = BytesIO()
    row.write(struct.pack("<QQQQ", chunk.start_ns, chunk.end_ns, chunk.offset, chunk.length))
    row.write(struct.pack("<I", 10 * len(chunk.index)))
    for channel, offset in chunk.index:
        row.write(struct.pack("<HQ", channel, offset))
    row.write(struct.pack("<QIQQ", chunk.end - chunk.offset - chunk.length, 0, size, size))
    return row


def _pending(scan: Scan, data: memoryview) -> PendingChunk:
    """The last chunk as it was before it was written, if it was not written whole."""
    content: BytesIO = BytesIO()
    rows: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    chunk = scan.chunks[-1]
    messages = [] if chunk.whole else [scan.messages[i] for i in chunk.messages]
    if not chunk.whole:
        content.write(data[chunk.content : chunk.content_end])
    for message in messages:
        rows[message.channel].append((message.log_ns, message.offset - mcap.MESSAGE_HEAD.size - chunk.content))
    stamps = [message.log_ns for message in messages]
    return PendingChunk(min(stamps, default=_NEVER), max(stamps, default=0), content, rows)


class _Resumed(Storage):
    """rosbags' storage as it was when the file reached to the end of its last whole chunk."""

    def __init__(self, path: Path, scan: Scan, data: memoryview) -> None:
        channels, whole = scan.channels.values(), [chunk for chunk in scan.chunks if chunk.whole]
        counts = Counter(message.channel for message in scan.messages)
        schemas = {channel.schema: (channel.type, "ros2msg", channel.definition) for channel in channels}
        self.failure = None
        self.schemas = [Schema(key, *row) for key, row in sorted(schemas.items())]
        self.channels = [BagChannel(row.id, row.type, row.topic, "cdr", row.metadata) for row in channels]
        self.channel_stats = {row.id: counts[row.id] for row in channels}
        self.chunks = [_chunk_index(chunk) for chunk in whole]
        self.chunk = _pending(scan, data)
        self.compression, self.compressor = "", bytes
        self.message_start_time = min(message.log_ns for message in scan.messages)
        self.message_end_time = max(message.log_ns for message in scan.messages)
        self.path, self.bio = path, path.open("r+b")  # type: ignore[assignment]
        self.bio.seek(whole[-1].end if whole else scan.chunks[0].offset)

    def mend(self) -> None:
        """Write the last chunk over what there is of it, and cut off what follows; raises OSError."""
        self.sync()
        if self.failure:
            raise self.failure
        self.bio.truncate()


def _finish(folder: Path, path: Path, scan: Scan, data: memoryview) -> None:
    """Write the summary and metadata.yaml that the bag lacks."""
    storage = _Resumed(path, scan, data)
    writer = mcap.bag(folder, storage)
    types = mcap.types(scan.channels.values())
    for row in scan.channels.values():
        qos = ConnectionExtRosbag2("cdr", parse_qos(row.qos))
        definition = MessageDefinition(MessageDefinitionFormat.MSG, row.definition)
        digest = types.hash_rihs01(row.type)
        writer.connections.append(Connection(row.id, row.topic, row.type, definition, digest, 0, qos, writer))
    writer.counts = dict(storage.channel_stats)
    writer.min_timestamp, writer.max_timestamp = storage.message_start_time, storage.message_end_time
    data.release()
    storage.mend()
    writer.close()


# ---- the public verbs


def _scan(path: Path) -> tuple[Scan, memoryview]:
    scan, data = mcap.scan_file(path)
    if not scan.messages:
        raise EpisodeError(f"{path}: no message had reached the disk; remove the folder")
    return scan, data


def _is_bag(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(mcap.MAGIC)))
        ending = stream.read()
    return ending == mcap.MAGIC and path.with_name("metadata.yaml").is_file()


def _judged(folder: Path, facts: Facts) -> Facts:
    try:
        checked = check(Episode.open(folder, facts))
    except KinemaError as error:
        return facts.replace(quality=None, rejected=str(error))
    return facts.replace(quality=checked.quality, rejected="; ".join(checked.faults))


def recover(folder: Path) -> Facts:
    """Make an unfinished episode one that opens, up to the last message that reached the disk; returns its facts.

    It says `ended: recovered` and is rejected until somebody has trimmed it. A finished episode is left alone. Raises
    EpisodeError when there is nothing to recover. Cut short itself, it can be run again.
    """
    if being_written(folder):
        raise EpisodeError(f"{folder}: is being recorded at this moment; stop the recorder first")
    facts, path = facts_file.load(folder), bag_path(folder)
    if facts.finished and _is_bag(path):
        return facts
    scan, data = _scan(path)
    (folder / RESERVE_FILE).unlink(missing_ok=True)
    counts = Counter(scan.channels[message.channel].topic for message in scan.messages)
    topics = [channel.topic for channel in scan.channels.values()]
    last_ns = max(message.log_ns for message in scan.messages)
    if not _is_bag(path):
        _finish(folder, path, scan, data)
    recovered = facts.replace(
        finished=True,
        ended_ns=min(facts.ended_ns or last_ns, last_ns),
        ended=RECOVERED,
        messages={table_name(topic): counts[topic] for topic in topics},
        rejected=facts.rejected or UNJUDGED,
    )
    facts_file.save(folder, recovered)
    return recovered


def trim(folder: Path, start: float | None = None, end: float | None = None) -> Facts:
    """Set the useful interval to `start`..`end` [s], both counted from where it begins now; None leaves that side.

    Only episode.yaml changes, so a trimmed end can be had back. Quality is measured again, and whatever was rejected is
    judged anew by what is in the new interval. Raises EpisodeError saying what the bag spans.
    """
    facts = facts_file.load(folder)
    if not facts.finished:
        raise EpisodeError(f"{folder}: was never finished; run `kinema episodes recover {folder}`")
    scan, data = _scan(bag_path(folder))
    data.release()
    first_ns = min(facts.began_ns, *(message.log_ns for message in scan.messages))
    last_ns = max(facts.ended_ns, *(message.log_ns for message in scan.messages))
    began_ns = facts.began_ns if start is None else facts.began_ns + to_ns(start)
    ended_ns = facts.ended_ns if end is None else facts.began_ns + to_ns(end)
    if not first_ns <= began_ns < ended_ns <= last_ns:
        low, high, now = ((stamp_ns - facts.began_ns) / NS for stamp_ns in (first_ns, last_ns, facts.ended_ns))
        raise EpisodeError(
            f"{folder}: the interval {(began_ns - facts.began_ns) / NS:.3f}..{(ended_ns - facts.began_ns) / NS:.3f} s "
            f"must lie in {low:.3f}..{high:.3f} s, what the bag spans, and not be empty; it is 0..{now:.3f} s now"
        )
    trimmed = _judged(folder, facts.replace(began_ns=began_ns, ended_ns=ended_ns))
    facts_file.save(folder, trimmed)
    return trimmed
