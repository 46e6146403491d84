"""Episodes on disk: what was written can be read back, and a full disk loses nothing of it."""

import datetime
import json

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from kinema import paths
from kinema.clock import NS
from kinema.control.messages import Event
from kinema.episodes import facts as facts_file, writer
from kinema.episodes.audit import AuditLog
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import JawSample, Picture, encode, typestore
from kinema.episodes.writer import EpisodeWriter, copy_calibration, new_folder
from kinema.errors import EpisodeError
from kinema.topics import TOPICS

ROWS = (TOPICS["jaw/state"], TOPICS["left/image_raw"])
FACTS = Facts(
    source="handheld", text="put it there", began_ns=1000, simulated=True, images=ImageFacts(compression="none")
)


def jaw(i: int) -> bytes:
    return bytes(encode(typestore(), JawSample(i, 0.001 * i, True)))


def picture(i: int) -> Picture:
    return Picture(i, "left_optical_frame", np.full((200, 300, 3), i, np.uint8))


def read_back(folder) -> list[tuple[str, int, float]]:
    store = typestore()
    with Reader(folder) as reader:
        return [
            (c.topic, t, store.deserialize_cdr(raw, c.msgtype).width)
            for c, t, raw in reader.messages()
            if c.topic == "/jaw/state"
        ]


def test_an_episode_comes_back_as_it_was_written(tmp_path):
    folder = new_folder(tmp_path, "put-it-there", datetime.date(2026, 11, 21))
    assert folder.relative_to(tmp_path).as_posix() == "put-it-there/2026-11-21_001"
    episode = EpisodeWriter(folder, ROWS, typestore(), FACTS)
    assert facts_file.load(folder) == FACTS
    for i in range(5):
        episode.write("jaw/state", 1000 + i, jaw(i))
    episode.close(FACTS.replace(ended_ns=1004, ended="by the operator"))
    assert read_back(folder) == [("/jaw/state", 1000 + i, 0.001 * i) for i in range(5)]
    facts = facts_file.load(folder)
    assert facts.finished and facts.messages == {"jaw/state": 5, "left/image_raw": 0}
    assert sorted(path.name for path in folder.iterdir()) == ["2026-11-21_001.mcap", "episode.yaml", "metadata.yaml"]


def test_a_folder_is_never_given_out_twice(tmp_path):
    date = datetime.date(2026, 11, 21)
    (tmp_path / "t/2026-11-21_007").mkdir(parents=True)
    assert [new_folder(tmp_path, "t", date).name for _ in range(2)] == ["2026-11-21_008", "2026-11-21_009"]
    assert new_folder(tmp_path, "t", datetime.date(2026, 11, 22)).name == "2026-11-22_001"


def test_a_folder_with_a_bag_is_refused_and_left_alone(tmp_path):
    EpisodeWriter(tmp_path / "e", ROWS, typestore(), FACTS)
    with pytest.raises(EpisodeError, match="a bag already"):
        EpisodeWriter(tmp_path / "e", ROWS, typestore(), FACTS.replace(text="another"))
    assert facts_file.load(tmp_path / "e").text == FACTS.text


def test_messages_reach_the_disk_a_second_after_their_arrival(tmp_path):
    episode = EpisodeWriter(tmp_path / "e", ROWS, typestore(), FACTS)
    file = tmp_path / "e/e.mcap"
    for arrival_ns, on_disk in ((5 * NS, 1), (5 * NS + 1, 1), (6 * NS - 1, 1), (6 * NS, 4), (6 * NS + 5, 4)):
        episode.write("jaw/state", arrival_ns, jaw(7))
        assert file.read_bytes().count(jaw(7)) == on_disk
    episode.close(FACTS)
    assert file.read_bytes().count(jaw(7)) == 5


def test_the_same_messages_make_the_same_file(tmp_path):
    for parent in ("a", "b"):
        episode = EpisodeWriter(tmp_path / parent / "e", ROWS, typestore(), FACTS)
        for i in range(100):
            episode.write("jaw/state", i * NS // 30, jaw(i))
            episode.write("left/image_raw", i * NS // 30, encode(typestore(), picture(i)))
        episode.close(FACTS)
    for name in ("e.mcap", "metadata.yaml", "episode.yaml"):
        assert (tmp_path / "a/e" / name).read_bytes() == (tmp_path / "b/e" / name).read_bytes()


@pytest.mark.parametrize("room", [200_000, 1_000_000, 2_500_000])
def test_f25_what_was_written_before_the_disk_was_full_is_kept(tmp_path, small_disk, room):
    folder = small_disk(writer.RESERVE + room) / "e"
    episode = EpisodeWriter(folder, ROWS, typestore(), FACTS)
    written = 0
    with pytest.raises(OSError, match="No space left"):
        while True:
            written += 1
            episode.write("jaw/state", written, jaw(written))
            episode.write("left/image_raw", written, encode(typestore(), picture(written)))
    final = episode.close(FACTS)
    assert [t for _, t, _ in read_back(folder)] == list(range(1, written + 1))
    assert final.messages["jaw/state"] == written and facts_file.load(folder) == final


def test_f25_without_room_for_the_reserve_nothing_begins(small_disk):
    with pytest.raises(OSError, match="No space left"):
        EpisodeWriter(small_disk(writer.RESERVE // 2) / "e", ROWS, typestore(), FACTS)


def test_the_calibration_in_force_is_copied_whole(tmp_path):
    copy_calibration(paths.root() / "calibration/virtual", tmp_path / "e")
    copied = {path.name: path.read_text() for path in (tmp_path / "e/calibration").iterdir()}
    assert copied == {path.name: path.read_text() for path in (paths.root() / "calibration/virtual").glob("*.yaml")}


def test_the_audit_log_holds_one_line_an_event(tmp_path):
    log = AuditLog(tmp_path / "run" / "audit.jsonl")
    log.write(
        [
            Event(1, "step", "s", data={"chunk": 3, "command": np.arange(3.0), "n": np.int64(4)}),
            Event(2, "x", "", "F01"),
        ]
    )
    first, second = map(json.loads, (tmp_path / "run/audit.jsonl").read_text().splitlines())
    assert first == {
        "t_ns": 1,
        "kind": "step",
        "fault": "",
        "text": "s",
        "data": {"chunk": 3, "command": [0, 1, 2], "n": 4},
    }
    assert second["fault"] == "F01"
    log.close()
