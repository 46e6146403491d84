"""From odometry to the tool (FAULTS F12): a jump is marked and begins a new segment, doubt gives no pose."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance, so3_exp
from kinema.interfaces import TrackedPose
from kinema.perception.tool_pose import ANCHOR_SAMPLES, LIMITS, ToolPose, anchor
from kinema.virtual import noise
from kinema.virtual.handheld import T_BASE_TCP_START, T_BASE_WORLD, T_TCP_TRACKER, TrackerSignal

NOISE = noise.load().tracker
CALM = replace(NOISE, jump_rate=0.0)
STEP = 5_000_000  # [ns]
T_TRACKER_TCP = T_TCP_TRACKER.inverse()


def _wave(t_ns: int) -> Pose:
    """A quick hand: 0.25 m at 0.5 Hz reach 0.8 m/s and 2.5 m/s^2; the wrist 1.6 rad/s."""
    phase = np.pi * t_ns * 1e-9
    position = T_BASE_TCP_START.position + 0.25 * np.array([np.sin(phase), np.cos(phase) - 1.0, 0.3 * np.sin(phase)])
    return Pose(position, so3_exp(np.array([0.5 * np.sin(phase), 0.2, 0.0])) @ T_BASE_TCP_START.rotation)


def _tracked(seconds: float, noise=CALM, seed: int = 0, pose=_wave) -> list[TrackedPose]:
    signal = TrackerSignal(noise, seed)
    return [signal.sample(t_ns, pose(t_ns)) for t_ns in range(STEP, round(seconds * 1e9), STEP)]


def _shifted(tracked: TrackedPose, by: float) -> TrackedPose:
    pose = tracked.T_world_tracker
    return replace(tracked, T_world_tracker=Pose(pose.position + np.array([by, 0.0, 0.0]), pose.rotation))


def test_the_mount_takes_odometry_to_the_tool():
    silent = replace(NOISE, position=0.0, rotation=0.0, drift=0.0, jump_rate=0.0)
    tool = ToolPose(T_TRACKER_TCP)
    for tracked in _tracked(1.0, silent):
        pose = tool.take(tracked)
        assert pose is not None and max(distance(T_BASE_WORLD @ pose, _wave(tracked.stamp_ns))) < 1e-9
    assert tool.reason == "" and tool.segment == 0


def test_noise_and_drift_of_a_quick_hand_are_no_jumps():
    for seed in range(5):
        tool = ToolPose(T_TRACKER_TCP)
        assert all(tool.take(tracked) is not None for tracked in _tracked(20.0, seed=seed)), tool.reason
        assert tool.segment == 0


def test_the_noise_of_the_first_samples_says_nothing_of_the_speed():
    rest = _tracked(1.0, replace(CALM, position=0.0, rotation=0.0), pose=lambda _: T_BASE_TCP_START)
    moments = zip((0, 4_000_000, 10_000_000), (0.0, -0.002, 0.0015), strict=True)  # [ns], [m]
    tool = ToolPose(T_TRACKER_TCP)
    for stamp_ns, by in moments:
        assert tool.take(replace(_shifted(rest[0], by), stamp_ns=stamp_ns)) is not None, tool.reason


def test_f12_a_relocalisation_that_the_device_marks_begins_a_segment_and_gives_no_pose_until_confidence_is_back():
    tracked = _tracked(40.0, replace(NOISE, jump_rate=0.1), seed=4)
    marks = [i for i, sample in enumerate(tracked) if sample.jumped]
    assert marks
    tool = ToolPose(T_TRACKER_TCP)
    taken = [(tool.take(sample), tool.segment, tool.reason) for sample in tracked]
    assert tool.segment == len(marks)
    for i in marks:
        assert taken[i][0] is None and "relocalised" in taken[i][2]
        assert taken[i][1] == taken[i - 1][1] + 1
    for sample, (pose, _, reason) in zip(tracked, taken, strict=True):
        assert (pose is None) == (sample.jumped or sample.confidence < LIMITS.confidence), reason


@pytest.mark.parametrize("by", [0.012, 0.05])
def test_f12_a_jump_that_the_device_does_not_mark_is_found_by_the_motion(by):
    tracked = _tracked(2.0)
    tracked[200:] = [_shifted(sample, by) for sample in tracked[200:]]
    tool = ToolPose(T_TRACKER_TCP)
    taken = [(tool.take(sample), tool.segment) for sample in tracked]
    assert taken[199][1] == 0 and taken[199][0] is not None
    assert taken[200] == (None, 1)
    assert all(pose is not None and segment == 1 for pose, segment in taken[201:])


def test_f12_an_outlier_of_one_sample_is_two_jumps_and_is_not_smoothed_over():
    tracked = _tracked(1.0)
    tracked[100] = _shifted(tracked[100], 0.03)
    tool = ToolPose(T_TRACKER_TCP)
    taken = [tool.take(sample) is not None for sample in tracked]
    assert taken[99] and not taken[100] and not taken[101] and taken[102]
    assert tool.segment == 2


def test_f12_a_lost_tracker_is_silent_and_what_it_finds_is_a_new_segment():
    tracked = _tracked(1.0)
    tracked[50:60] = [replace(sample, confidence=0) for sample in tracked[50:60]]
    tool = ToolPose(T_TRACKER_TCP)
    taken = [(tool.take(sample), tool.segment) for sample in tracked]
    assert all(pose is None for pose, _ in taken[50:61])
    assert taken[59][1] == 0 and taken[60][1] == taken[61][1] == 1 and taken[61][0] is not None


def test_f12_doubt_gives_no_pose_but_no_segment_either():
    tracked = _tracked(1.0)
    tracked[50:60] = [replace(sample, confidence=1) for sample in tracked[50:60]]
    tool = ToolPose(T_TRACKER_TCP)
    taken = [tool.take(sample) for sample in tracked]
    assert all(pose is None for pose in taken[50:60]) and taken[60] is not None
    assert tool.segment == 0


def test_f12_a_gap_is_not_bridged_by_what_was_known_before_it():
    resting = _tracked(3.0, pose=lambda t_ns: T_BASE_TCP_START)
    tool = ToolPose(T_TRACKER_TCP)
    assert tool.take(resting[100]) is not None
    assert tool.take(_shifted(resting[300], 1.0)) is not None, "1 m in 1 s: a hand can do that unseen"
    assert tool.take(_shifted(resting[500], 3.5)) is None, "2.5 m in 1 s: no hand can"
    assert tool.segment == 1


def test_what_is_not_finite_or_out_of_order_gives_no_pose():
    tracked = _tracked(0.1)
    tool = ToolPose(T_TRACKER_TCP)
    tool.take(tracked[3])
    assert tool.take(tracked[2]) is None and "back" in tool.reason
    broken = replace(tracked[4], T_world_tracker=Pose(np.full(3, np.nan), np.eye(3)))
    assert tool.take(broken) is None and "finite" in tool.reason
    assert tool.take(tracked[5]) is not None and tool.segment == 0


# ---- anchoring in the dock


def _resting(count: int = 100, seed: int = 0) -> list[TrackedPose]:
    return _tracked((count + 1) * STEP * 1e-9, seed=seed, pose=lambda t_ns: T_BASE_TCP_START)[:count]


def test_the_dock_says_where_the_trackers_world_stands():
    for seed in range(5):
        found = anchor(T_BASE_TCP_START, _resting(seed=seed), T_TRACKER_TCP)
        in_dock = found @ T_BASE_WORLD.inverse() @ T_BASE_TCP_START
        moved, turned = distance(in_dock, T_BASE_TCP_START)
        assert moved < 0.0004 and turned < 0.0005


def test_an_anchor_takes_off_what_the_tracker_had_drifted_before():
    signal = TrackerSignal(replace(CALM, drift=0.05), seed=1)
    for k in range(4000):
        signal.sample(k * STEP, _wave(k * STEP))
    rest = [signal.sample((4000 + k) * STEP, T_BASE_TCP_START) for k in range(101)][1:]
    found = anchor(T_BASE_TCP_START, rest, T_TRACKER_TCP)
    seen = rest[-1].T_world_tracker @ T_TRACKER_TCP
    assert distance(T_BASE_WORLD @ seen, T_BASE_TCP_START)[0] > 0.01
    assert distance(found @ seen, T_BASE_TCP_START)[0] < 0.003


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (_resting()[: ANCHOR_SAMPLES - 1], "59 samples"),
        ([replace(sample, confidence=2) if i == 7 else sample for i, sample in enumerate(_resting())], "confidence"),
        ([replace(sample, jumped=True) if i == 7 else sample for i, sample in enumerate(_resting())], "relocalised"),
        ([_shifted(sample, 2e-5 * i) for i, sample in enumerate(_resting())], "moved"),
        (_tracked(0.6), "moved"),
    ],
    ids=["few", "doubt", "jump", "creep", "motion"],
)
def test_anchoring_refuses_what_is_not_rest_and_says_what_to_do(samples, why):
    with pytest.raises(CalibrationError, match=why) as refusal:
        anchor(T_BASE_TCP_START, samples, T_TRACKER_TCP)
    assert "dock" in str(refusal.value) and "still" in str(refusal.value)
