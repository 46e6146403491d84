"""Alignment of whole episodes, on motions whose value at every moment is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema import paths
from kinema.calibration.bundle import LATENCY
from kinema.calibration.files import Latencies, Latency, load
from kinema.clock import NS
from kinema.episodes.aligned import MAX_SKEW, REFERENCE, Aligned, align_episode, pace
from kinema.episodes.facts import Facts, ImageFacts, WorldFacts
from kinema.episodes.messages import JawSample, Picture, StampedPose, encode, typestore
from kinema.episodes.reader import Episode
from kinema.episodes.repair import trim
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.errors import EpisodeError
from kinema.geometry import Pose, distance, so3_exp
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, TOPICS

T_BASE_WORLD = Pose.from_rotvec([0.2, -0.4, 0.3], [0.0, 0.0, 0.6])
CALIBRATION = paths.root() / "calibration/virtual"
BEGAN, ENDED = 2 * NS, 4 * NS
RATES = {"tracker/odometry": 200.0, "load_cell/force": 80.0, "jaw/state": 30.0, "tcp_pose": 100.0}

Stream = dict[str, list]  # topic -> values, each with a stamp


def T_world_tracker(t: float) -> Pose:
    """A hand at 0.2 m/s and 0.3 rad/s."""
    return Pose.from_rotvec([0.2 * t, 0.05 * np.sin(t), 0.1], [0.3 * t, 0.0, 0.1])


def width(t: float) -> float:
    return 0.05 + 0.02 * np.sin(t)


def force(t: float) -> float:
    return 5.0 + 2.0 * t


def sampled(stamp: Callable[[float, str], float] = lambda t, device: t) -> Stream:
    """All streams from 1 s to 5 s; `stamp(t, device)` [s] is what a device writes on what it took at t."""
    moments = {topic: np.arange(NS, 5 * NS, round(NS / rate)) for topic, rate in RATES.items()}
    frames = np.arange(NS, 5 * NS, NS // 30) + 3_000_000

    def ns(t_ns: int, device: str) -> int:
        return round(stamp(t_ns / NS, device) * NS)

    image = np.zeros((3, 4, 3), np.uint8)
    return {
        "tracker/odometry": [
            TrackedPose(ns(t, "tracker"), T_world_tracker(t / NS), 3, False) for t in moments["tracker/odometry"]
        ],
        "load_cell/force": [
            ForceSample(ns(t, "load_cell"), force(t / NS), False, True) for t in moments["load_cell/force"]
        ],
        "jaw/state": [JawSample(ns(t, "gripper"), width(t / NS), True, 2) for t in frames],
        "tcp_pose": [StampedPose(ns(t, "arm"), "base_link", T_world_tracker(t / NS)) for t in moments["tcp_pose"]],
    } | {f"{camera}/image_raw": [Picture(ns(t, camera), camera, image) for t in frames] for camera in CAMERAS}


def record(folder: Path, streams: Stream, source: str = "handheld") -> Episode:
    facts = Facts(
        source=source,
        text="t",
        began_ns=BEGAN,
        simulated=True,
        images=ImageFacts(compression="none"),
        T_base_world=WorldFacts.of(T_BASE_WORLD, "dock") if source == "handheld" else None,
    )
    copy_calibration(CALIBRATION, folder)
    writer = EpisodeWriter(folder, [TOPICS[topic] for topic in streams], typestore(), facts)
    for topic, values in streams.items():
        for value in values:
            writer.write(topic, value.stamp_ns, encode(typestore(), value))
    writer.close(facts.replace(ended_ns=ENDED))
    return Episode.open(folder)


def check(aligned: Aligned, episode: Episode, steps: slice = slice(None)) -> None:
    """These steps are what the functions above say they were."""
    assert len(aligned.stamps_ns[steps])
    for i in range(len(aligned))[steps]:
        t = aligned.stamps_ns[i] / NS
        T_base_tcp = T_BASE_WORLD @ T_world_tracker(t) @ episode.calibration.T_tracker_tcp
        moved, turned = distance(T_base_tcp, Pose.from_matrix(aligned.T_base_tcp[i]))
        assert moved < 1e-5 and turned < 1e-5
        assert aligned.width[i] == pytest.approx(width(t), abs=1e-5)
        assert aligned.force[i] == pytest.approx(force(t), abs=1e-6)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("aligned") / "e", sampled())


def test_every_step_is_what_was_at_its_moment(recorded):
    aligned = align_episode(recorded)
    check(aligned, recorded)
    assert not aligned.rejected and len(aligned) == 60
    assert aligned.stamps_ns[0] >= BEGAN and aligned.stamps_ns[-1] <= ENDED
    assert np.ptp(np.diff(aligned.stamps_ns)) == 0 and not aligned.segment.any()
    images = recorded.streams().images
    for camera in CAMERAS:
        np.testing.assert_array_equal(images[camera][aligned.frames[camera]], aligned.stamps_ns)


@pytest.mark.parametrize(("rate", "steps"), [(30.0, 60), (15.0, 30), (10.0, 20)])
def test_lower_rates_take_every_second_or_third_image(recorded, rate, steps):
    aligned = align_episode(recorded, rate)
    assert len(aligned) == steps and not aligned.rejected
    np.testing.assert_allclose(np.diff(aligned.stamps_ns) / NS, 1 / rate, atol=1e-6)


def measured(**seconds: float) -> Latencies:
    """The virtual cell's latencies but for these."""
    then = load(CALIBRATION / LATENCY.file, Latencies, remedy="")
    devices = {
        name: Latency(serial=row.serial, seconds=seconds.get(name, row.seconds)) for name, row in then.devices.items()
    }
    return then.model_copy(update={"devices": devices})


@settings(max_examples=6)
@given(late=st.fixed_dictionaries({name: st.floats(0.0, 0.17) for name in (*CAMERAS, "tracker", "load_cell")}))
def test_a_later_measurement_of_latencies_moves_every_stream_to_its_moment(tmp_path_factory, late):
    streams = sampled(lambda t, device: t + late.get(device, 0.0))
    episode = record(tmp_path_factory.mktemp("late") / "e", streams)
    aligned = align_episode(episode, latencies=measured(**late))
    check(aligned, episode)
    assert not aligned.rejected


def test_without_that_measurement_the_error_is_the_way_that_the_hand_made(tmp_path):
    episode = record(tmp_path / "e", sampled(lambda t, device: t + 0.1 * (device == "tracker")))
    late, right = align_episode(episode), align_episode(episode, latencies=measured(tracker=0.1))
    moved = np.linalg.norm(late.T_base_tcp[:, :3, 3] - right.T_base_tcp[:, :3, 3], axis=1)
    assert 0.015 < moved.min() < moved.max() < 0.035


def test_f12_nothing_joins_the_poses_before_a_jump_to_those_after_it(tmp_path):
    by = Pose(np.array([0.03, 0.0, 0.01]), so3_exp(np.array([0.0, 0.1, 0.0])))
    streams, jump_ns = sampled(), round(3.0 * NS)
    streams["tracker/odometry"] = [
        TrackedPose(
            row.stamp_ns,
            by @ row.T_world_tracker if row.stamp_ns >= jump_ns else row.T_world_tracker,
            1 if jump_ns <= row.stamp_ns < jump_ns + NS // 5 else 3,
            row.stamp_ns == jump_ns,
        )
        for row in streams["tracker/odometry"]
    ]
    episode = record(tmp_path / "e", streams)
    aligned = align_episode(episode)
    assert sorted(set(aligned.segment.tolist())) == [0, 1]
    before = int((aligned.segment == 0).sum())
    assert (aligned.stamps_ns[:before] < jump_ns).all()
    check(aligned, episode, slice(before))
    T_base_after = T_BASE_WORLD @ by @ T_BASE_WORLD.inverse()
    straight = align_episode(record(tmp_path / "straight", sampled()))
    truth = {int(t): T for t, T in zip(straight.stamps_ns, straight.T_base_tcp, strict=True)}
    for i in range(before, len(aligned)):
        np.testing.assert_allclose(
            aligned.T_base_tcp[i], T_base_after.matrix @ truth[int(aligned.stamps_ns[i])], atol=1e-5
        )
    assert len(aligned.rejected) == 60 - len(aligned) >= 6
    for stamp_ns, reason in aligned.rejected:
        assert jump_ns - NS // 100 < stamp_ns < jump_ns + NS // 4 and "tool pose" in reason


@pytest.mark.parametrize(("seconds", "lost"), [(0.15, False), (0.4, True)])
def test_f12_short_doubt_is_bridged_and_long_doubt_is_not(tmp_path, seconds, lost):
    streams = sampled()
    streams["tracker/odometry"] = [
        TrackedPose(row.stamp_ns, row.T_world_tracker, 1 if 0 <= row.stamp_ns - 3 * NS < seconds * NS else 3, False)
        for row in streams["tracker/odometry"]
    ]
    aligned = align_episode(record(tmp_path / "e", streams))
    assert bool(aligned.rejected) == lost
    assert all("tool pose" in reason and "100 ms" in reason for _, reason in aligned.rejected)
    assert not aligned.segment.any()


def test_trimming_a_jump_away_makes_an_episode_that_may_be_used(tmp_path):
    streams, rng = sampled(), np.random.default_rng(0)
    streams["load_cell/force"] = [ForceSample(row.stamp_ns, 0.0, False, True) for row in streams["load_cell/force"]]
    streams["tracker/odometry"] = [
        TrackedPose(row.stamp_ns, row.T_world_tracker, 3, row.stamp_ns == 3.5 * NS)
        for row in streams["tracker/odometry"]
    ]
    for camera in CAMERAS:
        rows = streams[f"{camera}/image_raw"]
        images = [rng.integers(0, 255, (3, 4, 3)).astype(np.uint8) for _ in rows]
        streams[f"{camera}/image_raw"] = [
            Picture(row.stamp_ns, camera, image) for row, image in zip(rows, images, strict=True)
        ]
    folder = tmp_path / "e"
    record(folder, streams)
    assert "jump" in trim(folder).rejected
    good = trim(folder, end=1.4)
    assert good.rejected == "" and good.quality.tracker.jumps == 0 and good.quality.duration == pytest.approx(1.4)
    assert "jump" in trim(folder, end=2.0).rejected


def without(streams: Stream, topic: str, begin: float, end: float) -> Stream:
    rows = [row for row in streams[topic] if not begin * NS <= row.stamp_ns < end * NS]
    return streams | {topic: rows}


@pytest.mark.parametrize(
    ("topic", "gap", "rejected", "reason"),
    [
        (f"{REFERENCE}/image_raw", (3.0, 3.1), 3, "gripper: there is no image"),
        ("left/image_raw", (3.0, 3.1), 3, "left: the nearest image is"),
        ("jaw/state", (3.0, 3.15), 0, ""),
        ("jaw/state", (3.0, 3.5), 9, "jaw width"),
        ("load_cell/force", (3.0, 3.5), 9, "grasp force"),
    ],
)
def test_a_moment_that_a_stream_has_left_out_is_rejected_with_the_reason(tmp_path, topic, gap, rejected, reason):
    aligned = align_episode(record(tmp_path / "e", without(sampled(), topic, *gap)))
    assert len(aligned.rejected) == pytest.approx(rejected, abs=1)
    assert len(aligned) + len(aligned.rejected) == 60
    assert all(reason in why and gap[0] - 0.05 <= t / NS <= gap[1] + 0.05 for t, why in aligned.rejected)


def test_f11_a_camera_that_runs_beside_the_others_is_never_joined(tmp_path):
    skew = MAX_SKEW - 0.001
    episode = record(tmp_path / "e", sampled(lambda t, device: t + (skew if device == "right" else 0.0)))
    aligned = align_episode(episode)
    apart = episode.streams().images["right"][aligned.frames["right"]] - aligned.stamps_ns
    assert len(aligned) == 60 and np.abs(apart / NS).max() <= MAX_SKEW


def test_f11_a_moment_without_an_image_of_every_camera_within_the_budget_is_rejected(tmp_path):
    streams = sampled()
    streams["right/image_raw"] = streams["right/image_raw"][::2]
    aligned = align_episode(record(tmp_path / "e", streams))
    assert len(aligned) == len(aligned.rejected) == 30
    assert all(reason.startswith("right: the nearest image is") for _, reason in aligned.rejected)


def test_readings_that_say_not_to_believe_them_are_not_used(tmp_path):
    streams = sampled()
    streams["load_cell/force"] = [ForceSample(row.stamp_ns, 99.0, False, False) for row in streams["load_cell/force"]]
    aligned = align_episode(record(tmp_path / "untared", streams))
    assert not len(aligned) and {reason for _, reason in aligned.rejected} == {"grasp force: nothing has arrived"}
    streams = sampled()
    streams["jaw/state"] = [
        JawSample(row.stamp_ns, float("nan") if i % 3 else row.width, i % 3 == 0, 0 if i % 3 else 2)
        for i, row in enumerate(streams["jaw/state"])
    ]
    episode = record(tmp_path / "blind", streams)
    aligned = align_episode(episode)
    assert not aligned.rejected
    np.testing.assert_allclose(aligned.width, [width(t) for t in aligned.stamps_ns / NS], atol=1e-4)


def test_the_robot_says_itself_where_its_tool_is(tmp_path):
    streams = sampled()
    del streams["tracker/odometry"]
    episode = record(tmp_path / "e", streams, source="deployment")
    aligned = align_episode(episode)
    assert len(aligned) == 60
    for stamp_ns, T_base_tcp in zip(aligned.stamps_ns, aligned.T_base_tcp, strict=True):
        np.testing.assert_allclose(T_base_tcp, T_world_tracker(stamp_ns / NS).matrix, atol=1e-5)


def test_what_is_missing_for_the_whole_episode_is_named(tmp_path, recorded):
    with pytest.raises(EpisodeError, match=r"60 Hz is above .* 30\.0 Hz"):
        align_episode(recorded, 60.0)
    for wrong, message in (({}, r"lack devices\.gripper"), ({"gripper": "OTHER"}, "'OTHER'")):
        devices = {name: Latency(serial=serial, seconds=0.0) for name, serial in wrong.items()}
        with pytest.raises(EpisodeError, match=message):
            align_episode(recorded, latencies=measured().model_copy(update={"devices": devices}))
    streams = sampled()
    del streams["gripper/image_raw"]
    with pytest.raises(EpisodeError, match="reference camera 'gripper'"):
        align_episode(record(tmp_path / "e", streams))


@settings(max_examples=300)
@given(
    period=st.floats(0.0330, 0.0336), seed=st.integers(0, 2**32 - 1), dropped=st.sets(st.integers(1, 38), max_size=6)
)
def test_at_the_cameras_own_rate_every_image_is_taken_and_every_gap_is_seen(period, seed, dropped):
    jitter = np.random.default_rng(seed).uniform(-0.005, 0.005, 40)
    for gone in dropped:  # the shortest gap that a lost image can leave
        jitter[next(i for i in range(gone, -1, -1) if i not in dropped)] = 0.005
        jitter[next(i for i in range(gone, 40) if i not in dropped)] = -0.005
    stamps = np.array([round((i * period + jitter[i]) * NS) for i in range(40) if i not in dropped])
    taken, missing = pace(stamps, 30.0)
    assert taken == list(range(len(stamps)))
    assert len(missing) == len(dropped)
