"""Episodes are read back as values, arrays and pictures."""

import shutil

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from kinema import paths
from kinema.clock import NS
from kinema.episodes import facts as facts_file
from kinema.episodes.facts import Facts, ImageFacts, slug
from kinema.episodes.messages import CompressedPicture, JawSample, Picture, TaskText, compress, encode, typestore
from kinema.episodes.reader import Episode, find
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.errors import CalibrationError, EpisodeError
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import TOPICS, Qos, Topic

FACTS = Facts(
    source="handheld",
    text="put it there",
    began_ns=1,
    simulated=True,
    images=ImageFacts(compression="jpeg", quality=90),
)
CALIBRATION = paths.root() / "calibration/virtual"


def picture(i: int) -> Picture:
    return Picture(100 * i, "f", np.full((24, 32, 3), 5 * i, np.uint8))


# arrival, topic, value: stamps out of order and one twice, as a busy recorder may write them
MESSAGES = (
    (1000, "task", TaskText(5, "put it there")),
    (1010, "tracker/odometry", TrackedPose(110, Pose.identity(), 3, False)),
    (1020, "jaw/state", JawSample(220, 0.02, True, 2)),
    (1030, "jaw/state", JawSample(120, 0.01, False, 0)),
    (1040, "jaw/state", JawSample(220, 0.99, True, 2)),
    (1050, "load_cell/force", ForceSample(150, 2.5, True, True)),
    (1060, "left/image_raw/compressed", compress(picture(2), "jpeg")),
    (1070, "left/image_raw/compressed", compress(picture(1), "jpeg")),
    (1080, "gripper/image_raw", picture(3)),
)
_USED = {topic for _, topic, _ in MESSAGES}


def record(folder, messages=MESSAGES, facts=FACTS):
    copy_calibration(CALIBRATION, folder)
    writer = EpisodeWriter(folder, [TOPICS[topic] for topic in sorted(_USED | {"cell/status"})], typestore(), FACTS)
    for arrival_ns, topic, value in messages:
        writer.write(topic, arrival_ns, encode(typestore(), value))
    writer.close(facts)
    return folder


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    return Episode.open(record(tmp_path_factory.mktemp("reader") / "put-it-there" / "2026-11-21_001"))


def test_every_message_comes_in_the_order_of_arrival(episode):
    assert [(topic, arrival_ns) for topic, arrival_ns, _ in episode.read()] == [
        (topic, arrival_ns) for arrival_ns, topic, _ in MESSAGES
    ]
    assert [value for *_, value in episode.read(["jaw/state"])] == [MESSAGES[i][2] for i in (2, 3, 4)]
    assert episode.name == "put-it-there/2026-11-21_001"
    assert episode.facts.messages["jaw/state"] == 3 and episode.facts.messages["cell/status"] == 0


def test_a_topic_without_messages_is_refused_with_those_there_are(episode):
    assert set(episode.topics) == _USED
    with pytest.raises(EpisodeError, match=r"no messages of 'cell/status'; there are: .*jaw/state"):
        list(episode.read(["cell/status"]))


def test_streams_are_in_the_order_of_their_stamps_and_hold_none_twice(episode):
    streams = episode.streams()
    np.testing.assert_array_equal(streams.jaw.stamps_ns, [120, 220])
    np.testing.assert_array_equal(streams.jaw.width, [0.01, 0.02])
    np.testing.assert_array_equal(streams.jaw.valid, [False, True])
    np.testing.assert_array_equal(streams.jaw.tags, [0, 2])
    assert (streams.force.force[0], streams.force.tared[0], streams.force.saturated[0]) == (2.5, True, True)
    assert [sample.stamp_ns for sample in streams.odometry] == [110] and not streams.tcp
    np.testing.assert_array_equal(streams.images["left"], [100, 200])
    np.testing.assert_array_equal(streams.images["gripper"], [300])
    assert "right" not in streams.images


def test_pictures_are_decoded_when_asked_for_and_handed_out_as_recorded(episode):
    for i, expected in ((0, picture(1)), (1, picture(2))):
        assert np.abs(episode.image("left", i).astype(int) - expected.image).max() <= 2
        recorded = episode.picture("left", i)
        assert isinstance(recorded, CompressedPicture)
        assert bytes(recorded.data) == bytes(compress(expected, "jpeg").data)
    np.testing.assert_array_equal(episode.image("gripper", 0), picture(3).image)


def test_the_calibration_is_the_copy_and_never_too_old(tmp_path):
    folder = record(tmp_path / "e")
    file = folder / "calibration/jaw.yaml"
    old = file.read_text().replace("simulator truth", "measured").replace("2026-11-20", "2020-01-01")
    for path in (folder / "calibration").glob("*.yaml"):
        path.write_text(path.read_text().replace("2026-11-20", "2020-01-01"))
    file.write_text(old)
    calibration = Episode.open(folder).calibration
    assert calibration.jaw.provenance.origin == "measured" and calibration.latency("tracker") == 0.0
    file.write_text("nothing: of use\n")
    with pytest.raises(CalibrationError, match=r"jaw\.yaml"):
        _ = Episode.open(folder).calibration


def test_messages_are_read_by_the_definitions_in_the_bag(tmp_path):
    """A recording of a time when JawState had other fields is read as it was written."""
    kind = "kinema_interfaces/msg/Then"
    then = get_typestore(Stores.ROS2_JAZZY)
    then.register(get_types_from_msg("std_msgs/Header header\nfloat32 opening\n", kind))
    row = Topic("then", kind, 0, Qos.STATE, True)
    writer = EpisodeWriter(tmp_path / "e", [row], then, FACTS)
    header = then.types["std_msgs/msg/Header"](then.types["builtin_interfaces/msg/Time"](1, 2), "")
    writer.write("then", 1, then.serialize_cdr(then.types[kind](header, 0.5), kind))
    writer.close(FACTS)
    assert [value.opening for *_, value in Episode.open(tmp_path / "e").read()] == [0.5]


def test_a_moved_or_renamed_episode_opens(tmp_path):
    shutil.move(record(tmp_path / "e"), tmp_path / "another")
    assert len(list(Episode.open(tmp_path / "another").read())) == len(MESSAGES)


def test_what_is_no_finished_episode_is_refused_with_the_remedy(tmp_path):
    EpisodeWriter(tmp_path / "open", [TOPICS["jaw/state"]], typestore(), FACTS)
    with pytest.raises(EpisodeError, match="kinema episodes recover"):
        Episode.open(tmp_path / "open")
    with pytest.raises(EpisodeError, match=r"episode\.yaml: cannot be read"):
        Episode.open(tmp_path)
    folder = record(tmp_path / "e")
    (folder / "e.mcap").write_bytes(b"not at all")
    with pytest.raises(EpisodeError, match="is no MCAP file"):
        Episode.open(folder)
    (folder / "e.mcap").unlink()
    with pytest.raises(EpisodeError, match=r"holds 0 \.mcap files"):
        Episode.open(folder)
    facts_file.save(folder, FACTS)
    (folder / "episode.yaml").write_text((folder / "episode.yaml").read_text().replace("format: 1", "format: 2"))
    with pytest.raises(EpisodeError, match="key 'format' is 2"):
        Episode.open(folder)


def test_episodes_are_found_below_a_folder(tmp_path):
    for name in ("b/2", "a/1"):
        record(tmp_path / name)
    assert list(find(tmp_path)) == ["a/1", "b/2"]
    assert find(tmp_path / "a/1") == {"1": tmp_path / "a/1"}
    with pytest.raises(EpisodeError, match="no episodes here"):
        find(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("Put the cup into the bowl!", "put-the-cup-into-the-bowl"),
        ("Öffne ../die Schublade", "offne-die-schublade"),
        ("打开抽屉", "task"),
        ("x" * 100, "x" * 60),
    ],
)
def test_a_task_becomes_a_folder(text, folder):
    assert slug(text) == folder


def test_a_long_file_is_opened_without_reading_its_pictures(tmp_path):
    """A message's payload is a slice of the mapped file, not a copy."""
    folder = record(tmp_path / "e", [(i * NS, "gripper/image_raw", picture(i)) for i in range(1, 20)])
    image = Episode.open(folder).image("gripper", 3)
    assert not image.flags.owndata and not image.flags.writeable
