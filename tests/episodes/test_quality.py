"""What a recording's quality says of good streams, and of each way in which streams are bad."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from kinema.clock import to_ns
from kinema.episodes.quality import LIMITS, Quality
from kinema.episodes.quality_monitor import (
    DEPLOYED,
    FORCE,
    HANDHELD,
    JAW,
    ODOMETRY,
    QualityMonitor,
    handheld,
    image_topic,
)
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose

BEGAN = 1_700_000_000_000_000_000
SECONDS = 4.0
ENDED = BEGAN + to_ns(SECONDS)


@dataclass(frozen=True)
class Story:
    """An episode of a hand that swings to and fro; each field breaks something."""

    camera_rate: float = 30.0
    skew: float = 0.005  # [s] of the left camera
    frozen_after: float = 99.0  # [s] the right camera's picture stands still
    jump: float | None = None  # [s]
    mark: bool = True  # whether the tracker says so
    doubt: tuple[float, float] = (99.0, 99.0)  # [s] without confidence
    blind: tuple[float, float] = (99.0, 99.0)  # [s] without tags
    way: float = 0.2  # [m]
    drift: float = 0.0  # [N] at the end
    tared: bool = True
    silent: tuple[float, float] = (99.0, 99.0)  # [s] the tracker says nothing
    tracker_rate: float = 200.0


def stamps(rate: float, offset: float = 0.0) -> list[tuple[float, int]]:
    """From half a second before the useful interval to half a second after it."""
    t = np.arange(-0.5, SECONDS + 0.5, 1.0 / rate) + offset
    return [(float(s), BEGAN + to_ns(float(s))) for s in t]


def tell(story: Story, monitor: QualityMonitor | None = None) -> QualityMonitor:
    monitor = monitor or QualityMonitor()
    rng = np.random.default_rng(0)
    still = rng.bytes(64)
    for camera, offset in (("gripper", 0.0), ("left", story.skew), ("right", -0.003)):
        for t, stamp_ns in stamps(story.camera_rate, offset):
            frozen = camera == "right" and t > story.frozen_after
            monitor.image(camera, stamp_ns, still if frozen else rng.bytes(64))
    for t, stamp_ns in stamps(story.tracker_rate):
        if not story.silent[0] < t < story.silent[1]:
            jumped = story.jump is not None and t >= story.jump
            x = story.way / 2 * np.sin(1.5 * t) + (0.03 if jumped else 0.0)
            position = np.array([x, 0.0, 0.0]) + 2e-4 * rng.standard_normal(3)
            mark = story.mark and story.jump is not None and 0 <= t - story.jump < 0.005
            confidence = 1 if story.doubt[0] < t < story.doubt[1] else 3
            monitor.odometry(TrackedPose(stamp_ns, Pose(position, np.eye(3)), confidence, mark))
    for t, stamp_ns in stamps(30.0):
        seen = not story.blind[0] < t < story.blind[1]
        monitor.jaw(stamp_ns, 0.05 if seen else float("nan"), seen, 2 if seen else 0)
    for t, stamp_ns in stamps(80.0):
        held = 5.0 if 1.0 < t < 3.0 else 0.0
        monitor.force(ForceSample(stamp_ns, held + (story.drift if t > 3.0 else 0.0), False, story.tared))
    return monitor


def quality(story: Story) -> Quality:
    return tell(story).report(BEGAN, ENDED)


def test_a_good_recording_may_be_used_and_its_numbers_are_the_streams_own():
    report = quality(Story())
    assert report.verdict() == ""
    assert report.duration == SECONDS
    assert {topic: stream.rate for topic, stream in report.streams.items()} == pytest.approx(HANDHELD.rates, rel=0.01)
    assert report.streams[ODOMETRY].gap == pytest.approx(0.005, abs=1e-4)
    assert report.cameras["gripper"].skew_max == 0.0
    assert report.cameras["left"].skew_p50 == pytest.approx(0.005, abs=1e-6)
    assert report.cameras["right"].skew_p99 == pytest.approx(0.003, abs=1e-6)
    assert {camera.identical for camera in report.cameras.values()} == {1}
    assert report.tracker is not None and report.jaw is not None and report.force is not None
    assert (report.tracker.jumps, report.tracker.confidence, report.tracker.doubtful) == (0, 3, 0.0)
    expected = 0.1 * np.abs(np.diff(np.sin(1.5 * np.arange(0.0, SECONDS, 0.1)))).sum()
    assert report.tracker.path == pytest.approx(expected, rel=0.03)
    assert report.tracker.speed == pytest.approx(0.15, rel=0.05)
    assert (report.jaw.visible, report.jaw.both) == (1.0, 1.0)
    assert (report.force.start, report.force.end, report.force.peak) == (0.0, 0.0, 5.0)


def test_f10_a_frozen_camera_with_fresh_stamps_refuses_the_episode():
    report = quality(Story(frozen_after=3.5))
    assert report.cameras["right"].identical >= 10 and report.cameras["left"].identical == 1
    assert "right: the picture stood still" in report.verdict()


def test_f10_pictures_are_compared_in_views_as_in_bytes():
    monitor = QualityMonitor()
    picture = np.arange(12, dtype=np.uint8)
    for k in range(3):
        monitor.image("gripper", BEGAN + k * to_ns(0.033), memoryview(picture.copy()))
    assert monitor.report().cameras["gripper"].identical == 3


def test_f11_skew_beyond_the_budget_is_counted():
    assert quality(Story(camera_rate=10.0, skew=0.03)).cameras["left"].skewed == 40
    verdict = tell(Story(camera_rate=10.0, skew=0.03)).report(BEGAN, ENDED).verdict(replace(LIMITS, rate=0.0))
    assert "left: 40 of 40 pictures are more than 20 ms away" in verdict and "right" not in verdict


@pytest.mark.parametrize("mark", [True, False], ids=["marked", "unmarked"])
def test_f12_a_jump_of_the_tracker_refuses_the_episode(mark):
    report = quality(Story(jump=2.0, mark=mark))
    assert report.tracker is not None and report.tracker.jumps == 1
    assert report.verdict().startswith("tracker: it jumped once")
    assert report.tracker.path < 0.45, "the jump itself is no way that was made"


def test_f12_jumps_outside_the_useful_interval_do_not_count():
    assert quality(Story(jump=-0.2)).verdict() == "" and quality(Story(jump=SECONDS + 0.2)).verdict() == ""


def test_f12_a_time_without_confidence_is_doubtful_and_not_moved_through():
    report = quality(Story(doubt=(1.0, 1.5)))
    assert report.tracker is not None
    assert report.tracker.doubtful == pytest.approx(0.125, abs=0.003)
    assert report.tracker.confidence == 1 and report.tracker.gap == pytest.approx(0.5, abs=0.01)
    assert "without a believable pose is 0.5" in report.verdict()


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (Story(camera_rate=20.0), "gripper/image_raw: the rate is 20 Hz, at least 24 Hz are wanted"),
        (Story(silent=(1.0, 1.5)), "tracker/odometry: the longest gap is 0.5"),
        (Story(blind=(1.0, 1.6)), "jaw: the longest time without a tag is 0.6"),
        (Story(drift=-0.8), "load cell: -0.80 N at the end"),
        (Story(tared=False), "load cell: not tared"),
        (Story(way=0.002), "tracker: the way is"),
    ],
)
def test_what_is_bad_is_named_with_what_is_allowed(story, reason):
    assert reason in quality(story).verdict()


def test_drops_and_disorder_are_counted_and_refused_beyond_the_limit():
    monitor = tell(Story())
    monitor.drop(image_topic("left"), 1)
    assert monitor.report(BEGAN, ENDED).verdict() == ""
    monitor.drop(image_topic("left"), 4)
    monitor.jaw(BEGAN + 1, 0.05, True, 2)
    report = monitor.report(BEGAN, ENDED)
    assert report.streams[image_topic("left")].dropped == 5
    assert report.streams[JAW].disorder == 1 and report.streams[JAW].count == 120
    assert "left/image_raw: 5 messages were dropped" in report.verdict()


def test_streams_that_never_came_are_named_and_a_short_episode_is_refused():
    monitor = QualityMonitor()
    monitor.force(ForceSample(BEGAN, 0.0, False, True))
    report = monitor.report(BEGAN, BEGAN + to_ns(0.3))
    assert (report.cameras, report.jaw, report.tracker) == ({}, None, None)
    for topic in HANDHELD.rates.keys() - {FORCE}:
        assert f"{topic}: nothing was recorded" in report.verdict()
    assert "duration is 0.3 s" in report.verdict()
    assert QualityMonitor().report().verdict() != ""


def test_a_deployment_is_judged_without_a_tracker():
    report = tell(Story(), QualityMonitor(DEPLOYED)).report(BEGAN, ENDED)
    assert ODOMETRY not in report.streams and FORCE in report.streams


def test_live_numbers_are_of_the_last_moments_and_survive_forgetting():
    monitor = tell(Story(skew=0.012, doubt=(4.0, 9.0), drift=0.3))
    live = monitor.live()
    assert live.rates == pytest.approx(HANDHELD.rates, rel=0.05)
    assert live.skew == pytest.approx(0.012, abs=1e-6)
    assert (live.tags, live.confidence) == (2, 1)
    assert live.tare_drift == pytest.approx(0.0, abs=0.01), "the least of the last ten seconds: a grip adds to it"
    monitor.forget(ENDED - to_ns(0.5))
    assert monitor.live().tare_drift == pytest.approx(0.3)
    assert len(monitor._odometry.stamps) == 200
    assert monitor.live().rates == pytest.approx(HANDHELD.rates, rel=0.05), "over what is remembered"
    assert QualityMonitor().live().rates == dict.fromkeys(HANDHELD.rates, 0.0)


def test_a_tracker_by_tags_has_its_cameras_rate_and_a_t265_does_not():
    slow = Story(tracker_rate=30.0)
    assert tell(slow, QualityMonitor(handheld("tags"))).report(BEGAN, ENDED).verdict() == ""
    assert "rate is" in tell(slow, QualityMonitor(handheld("t265"))).report(BEGAN, ENDED).verdict()
