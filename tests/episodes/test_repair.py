"""FAULTS F26: what a killed recorder leaves is recovered to the last message that reached the disk; and trimming."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rosbags.rosbag2 import Reader

from kinema.clock import NS
from kinema.episodes import facts as facts_file, mcap
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import JawSample, Picture, encode, typestore
from kinema.episodes.reader import Episode
from kinema.episodes.repair import RECOVERED, UNJUDGED, recover, trim
from kinema.episodes.writer import EpisodeWriter
from kinema.errors import EpisodeError
from kinema.topics import TOPICS

ROWS = (TOPICS["jaw/state"], TOPICS["left/image_raw"])
FACTS = Facts(
    source="handheld", text="put it there", began_ns=NS, simulated=True, images=ImageFacts(compression="none")
)


def record(folder, seconds: int = 3) -> Facts:
    """Jaw at 10 Hz, pictures of 0.4 MB at 5 Hz: chunks closed by time and by size."""
    writer = EpisodeWriter(folder, ROWS, typestore(), FACTS)
    for i in range(10 * seconds):
        stamp_ns = NS + i * NS // 10
        writer.write("jaw/state", stamp_ns, encode(typestore(), JawSample(stamp_ns, 0.001 * i, True)))
        if i % 2 == 0:
            image = np.full((300, 450, 3), i, np.uint8)
            writer.write("left/image_raw", stamp_ns, encode(typestore(), Picture(stamp_ns, "left", image)))
    return writer.close(FACTS.replace(ended_ns=stamp_ns, ended="by the operator"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished episode and, of every message in its bag, where it ends."""
    folder = tmp_path_factory.mktemp("episodes") / "2026-11-21_001"
    record(folder)
    data = (folder / f"{folder.name}.mcap").read_bytes()
    return folder, data, mcap.scan(data)


def cut(folder, source, size: int):
    """The folder as it would be had the recorder been killed when the file had that size."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    (folder / "metadata.yaml").unlink()
    with (folder / f"{source.name}.mcap").open("r+b") as stream:
        stream.truncate(size)
    facts_file.save(folder, FACTS)
    return folder


def stamps(folder) -> list[tuple[str, int]]:
    """Read by rosbags, from the summary."""
    with Reader(folder) as reader:
        return [(connection.topic, log_ns) for connection, log_ns, _ in reader.messages()]


def ends_before(scan, size: int) -> list[tuple[str, int]]:
    return [
        (scan.channels[message.channel].topic, message.log_ns)
        for message in scan.messages
        if message.offset + message.size <= size
    ]


@settings(max_examples=60)
@given(part=st.floats(0.0, 1.0))
def test_f26_every_message_that_stands_whole_in_the_file_is_recovered(tmp_path_factory, whole, part):
    source, data, scan = whole
    first = scan.messages[0].offset + scan.messages[0].size
    size = first + round(part * (len(data) - 1 - first))
    folder = cut(tmp_path_factory.getbasetemp() / "cut" / source.name, source, size)
    facts = recover(folder)
    expected = ends_before(scan, size)
    assert sorted(stamps(folder), key=lambda row: row[1]) == expected
    assert facts == facts_file.load(folder)
    assert facts.finished and facts.ended == RECOVERED and facts.rejected == UNJUDGED
    assert facts.ended_ns == expected[-1][1]
    assert sum(facts.messages.values()) == len(expected)
    episode = Episode.open(folder)
    assert [round(width * 1000) for width in episode.streams().jaw.width] == list(range(facts.messages["jaw/state"]))
    assert recover(folder) == facts


def test_f26_cut_off_between_two_chunks_the_file_is_the_one_that_would_have_been_closed(tmp_path, whole):
    source, _, scan = whole
    folder = cut(tmp_path / source.name, source, scan.chunks[-1].end)
    recover(folder)
    for name in (f"{source.name}.mcap", "metadata.yaml"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()


@settings(max_examples=40)
@given(tail=st.binary(min_size=1, max_size=200), chunk=st.integers(0, 2))
def test_f26_whatever_a_crash_left_behind_the_last_chunk_is_cut_off(tmp_path_factory, whole, tail, chunk):
    source, _, scan = whole
    folder = cut(tmp_path_factory.getbasetemp() / "tail" / source.name, source, scan.chunks[chunk].end)
    with (folder / f"{source.name}.mcap").open("ab") as stream:
        stream.write(tail)
    recover(folder)
    assert stamps(folder) == ends_before(scan, scan.chunks[chunk].end)


def test_f26_recovering_that_is_cut_short_can_be_repeated(tmp_path, whole, monkeypatch):
    source, _, scan = whole
    size = scan.chunks[-1].offset + 200_000
    folder = cut(tmp_path / source.name, source, size)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mcap.Storage, "close", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        recover(folder)
    assert not facts_file.load(folder).finished
    recover(folder)
    assert sorted(stamps(folder), key=lambda row: row[1]) == ends_before(scan, size)


def test_f26_a_finished_episode_is_left_alone(whole):
    folder, data, _ = whole
    before = facts_file.load(folder)
    assert recover(folder) == before
    assert (folder / f"{folder.name}.mcap").read_bytes() == data


def test_f26_a_finished_episode_whose_file_was_damaged_since_says_so(tmp_path, whole):
    source, _, scan = whole
    folder = tmp_path / source.name
    shutil.copytree(source, folder)
    with (folder / f"{source.name}.mcap").open("r+b") as stream:
        stream.truncate(scan.chunks[-1].offset)
    with pytest.raises(EpisodeError, match="recover"):
        Episode.open(folder)
    facts = recover(folder)
    assert facts.rejected == UNJUDGED and stamps(folder) == ends_before(scan, scan.chunks[-1].offset)


@pytest.mark.parametrize("size", [0, 5, 40])
def test_f26_nothing_on_the_disk_is_nothing_to_recover(tmp_path, whole, size):
    with pytest.raises(EpisodeError, match=r"no MCAP file|had reached the disk"):
        recover(cut(tmp_path / "e", whole[0], size))


_RECORDER = """
import sys, time
from pathlib import Path
from kinema.clock import NS
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import JawSample, encode, typestore
from kinema.episodes.writer import EpisodeWriter
from kinema.topics import TOPICS

facts = Facts(source="handheld", text="t", began_ns=NS, simulated=True, images=ImageFacts(compression="none"))
writer = EpisodeWriter(Path(sys.argv[1]), [TOPICS["jaw/state"]], typestore(), facts)
for i in range(10**9):
    stamp_ns = NS + i * NS // 50
    writer.write("jaw/state", stamp_ns, encode(typestore(), JawSample(stamp_ns, 0.0, True)))
    if i == 500:
        print("ten seconds", flush=True)
    time.sleep(0.0002)
"""


def test_f26_a_killed_writer_is_not_recovered_before_it_is_dead_and_then_to_its_last_second(tmp_path, start):
    folder = tmp_path / "2026-11-21_001"
    process = start([sys.executable, "-c", _RECORDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ten seconds\n"
    with pytest.raises(EpisodeError, match="being recorded"):
        recover(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(EpisodeError, match="never finished"):
        Episode.open(folder)
    facts = recover(folder)
    assert facts.messages["jaw/state"] >= 451  # ten seconds at 50 Hz, less the last one
    assert sorted(path.name for path in folder.iterdir()) == ["2026-11-21_001.mcap", "episode.yaml", "metadata.yaml"]


def test_trimming_sets_the_interval_and_nothing_else(tmp_path):
    folder = tmp_path / "e"
    record(folder)
    bag = (folder / "e.mcap").read_bytes()
    facts = trim(folder, 0.5, 2.0)
    assert (facts.began_ns, facts.ended_ns) == (1.5 * NS, 3 * NS)
    assert trim(folder, start=-0.5).began_ns == NS
    assert trim(folder, end=2.9).ended_ns == 3.9 * NS
    assert (folder / "e.mcap").read_bytes() == bag


@pytest.mark.parametrize(("start", "end"), [(-0.1, None), (None, 3.0), (2.0, 1.0), (1.0, 1.0)])
def test_an_interval_that_the_bag_does_not_have_is_refused(tmp_path, start, end):
    folder = tmp_path / "e"
    before = record(folder)
    with pytest.raises(EpisodeError, match=r"must lie in 0\.000\.\.2\.900 s"):
        trim(folder, start, end)
    assert facts_file.load(folder) == before


def test_trimming_judges_what_was_recovered(tmp_path, whole):
    source, _, scan = whole
    folder = cut(tmp_path / source.name, source, scan.chunks[-1].offset)
    with pytest.raises(EpisodeError, match="never finished"):
        trim(folder, 0.0, 1.0)
    recover(folder)
    assert trim(folder, end=1.0).rejected.endswith("no images of the reference camera 'gripper'")
