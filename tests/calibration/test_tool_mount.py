"""The handheld gripper's tracker: its mount and its world, through noise, drift and jumps as a T265 has them."""

import datetime
import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from kinema.calibration.files import Transform
from kinema.calibration.tool_mount import TrackerSample, dock, tool_mount, tracker_world
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance, hat
from kinema.interfaces import TrackedPose
from kinema.virtual import noise
from kinema.virtual.board_samples import BOARD, SIZE, Spread, tracker_samples
from kinema.virtual.cameras import camera, simulator_truth
from kinema.virtual.handheld import T_BASE_TCP_START, T_BASE_WORLD, T_TCP_TRACKER, TrackerSignal

ROW = camera("gripper")
INFO = ROW.info(SIZE)
MOUNT = Transform.of("tcp", ROW.frame_id, ROW.T_mount_camera, simulator_truth(ROW.serial))
T_TRACKER_TCP = T_TCP_TRACKER.inverse()
DATE = datetime.datetime.now(datetime.UTC).date()


@functools.cache
def _samples(count: int = 18, seed: int = 2) -> tuple[TrackerSample, ...]:
    return tuple(tracker_samples(count, seed))


def _displaced(sample: TrackerSample, by: Pose) -> TrackerSample:
    """In a world of the tracker that stands elsewhere."""
    return replace(sample, tracked=tuple(replace(t, T_world_tracker=by @ t.T_world_tracker) for t in sample.tracked))


def test_the_mount_is_found_through_drift_and_a_jump_that_nobody_reported():
    by = Pose.from_rotvec([0.02, -0.01, 0.015], [0.01, 0.02, -0.015])
    samples = [*_samples()[:9], *(_displaced(sample, by) for sample in _samples()[9:])]
    found = tool_mount(samples, INFO, BOARD, MOUNT)
    moved, turned = distance(T_TRACKER_TCP, found.tcp.T)
    assert moved < 0.001
    assert math.degrees(turned) < 0.2
    assert 10 in found.jumps
    assert found.tcp.outliers == ()
    assert (np.abs(found.tcp.T.position - T_TRACKER_TCP.position) < 4 * found.tcp.std[:3]).all()
    assert min(distance(T_TRACKER_TCP, plain.T)[0] for plain in found.tcp.plain.values()) > 2 * moved


@pytest.mark.slow
def test_the_camera_mounts_own_uncertainty_is_added():
    samples = _samples()[:8]
    known = tool_mount(samples, INFO, BOARD, MOUNT)
    covariance = tuple(np.diag([1e-6] * 3 + [1e-5] * 3).ravel().tolist())
    unsure = MOUNT.model_copy(update={"provenance": MOUNT.provenance.model_copy(update={"covariance": covariance})})
    found = tool_mount(samples, INFO, BOARD, unsure)
    lever = float(np.sum(ROW.T_mount_camera.position**2))
    more = np.trace(found.tcp.covariance[:3, :3]) - np.trace(known.tcp.covariance[:3, :3])
    assert more == pytest.approx(3e-6 + 2e-5 * lever, rel=1e-3)
    assert np.trace(found.tcp.covariance[3:, 3:] - known.tcp.covariance[3:, 3:]) == pytest.approx(3e-5, rel=1e-3)


@pytest.mark.slow
def test_a_camera_mount_that_is_unsure_only_of_its_turn_about_the_tcp_leaves_the_tcp_s_place_alone():
    samples = _samples()[:8]
    known = tool_mount(samples, INFO, BOARD, MOUNT)
    swivel = np.vstack([-hat(ROW.T_mount_camera.position), np.eye(3)])
    covariance = tuple((1e-5 * swivel @ swivel.T).ravel().tolist())
    unsure = MOUNT.model_copy(update={"provenance": MOUNT.provenance.model_copy(update={"covariance": covariance})})
    more = tool_mount(samples, INFO, BOARD, unsure).tcp.covariance - known.tcp.covariance
    assert np.abs(more[:3]).max() < 1e-9
    assert np.diag(more)[3:] == pytest.approx([1e-5] * 3)


def _restless(sample: TrackerSample) -> TrackerSample:
    moved = [
        replace(t, T_world_tracker=Pose.from_rotvec([k * 1e-4, 0.0, 0.0], np.zeros(3)) @ t.T_world_tracker)
        for k, t in enumerate(sample.tracked)
    ]
    return replace(sample, tracked=tuple(moved))


def _rolled() -> list[TrackerSample]:
    return tracker_samples(7, 3, spread=Spread(near=0.4, far=0.4, tilt=0.0, roll=math.radians(60), offset=0.0))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (lambda: _samples()[:5], "5 samples, needed are 6"),
        (lambda: [*_samples()[:6], _restless(_samples()[6])], "sample 7: the tool moved"),
        (lambda: [*_samples()[:6], replace(_samples()[6], tracked=())], "sample 7: 0 samples, needed are 60"),
        (_rolled, "parallel rotation axes"),
    ],
)
def test_samples_that_lack_something_are_refused_with_the_reason(samples, words):
    with pytest.raises(CalibrationError, match=words):
        tool_mount(samples(), INFO, BOARD, MOUNT)


def test_a_board_of_another_size_is_refused():
    with pytest.raises(CalibrationError, match=r"squares look like (29|30)\.\d\d mm .* said were 33"):
        tool_mount(_samples()[:10], INFO, replace(BOARD, square=0.033), MOUNT)


def _docked(seed: int, count: int = 100) -> tuple[TrackedPose, ...]:
    calm = replace(noise.load().tracker, jump_rate=0.0)
    signal = TrackerSignal(calm, seed)
    return tuple(signal.sample(5_000_000 * k, T_BASE_TCP_START) for k in range(1, count + 1))


def test_the_trackers_world_by_the_dock():
    visits = tracker_world([_docked(seed) for seed in range(4)], T_BASE_TCP_START, T_TRACKER_TCP)
    moved, turned = distance(T_BASE_WORLD, visits.T)
    assert moved < 0.0005
    assert math.degrees(turned) < 0.02
    file = visits.transform("base_link", "world", "VIRTUAL-TRACKER", DATE)
    assert file.provenance.samples == 4
    assert 0.0 < file.provenance.rms < 0.001
    assert len(file.provenance.covariance) == 36
    assert "4 samples" in visits.report()


def test_one_docking_is_enough_and_says_that_it_knows_no_better():
    visits = tracker_world([_docked(0)], T_BASE_TCP_START, T_TRACKER_TCP)
    assert visits.covariance is None
    assert visits.transform("base_link", "world", "VIRTUAL-TRACKER", DATE).provenance.covariance is None
    assert "take a second one" in visits.report()


def test_the_dock_is_where_the_arm_was_in_it():
    rng = np.random.default_rng(0)
    poses = [
        Pose.from_rotvec(2e-4 * rng.standard_normal(3), 5e-4 * rng.standard_normal(3)) @ T_BASE_TCP_START
        for _ in range(5)
    ]
    visits = dock(poses)
    assert distance(visits.T, T_BASE_TCP_START)[0] < 5e-4
    assert 1e-4 < visits.spread[0] < 1e-3
    poses[2] = Pose(poses[2].position + np.array([0.0, 0.02, 0.0]), poses[2].rotation)
    with pytest.raises(CalibrationError, match=r"samples 3 of 5 lie up to (19|20)\.\d mm"):
        dock(poses)


@pytest.mark.parametrize("nothing", [lambda: dock([]), lambda: tracker_world([], T_BASE_TCP_START, T_TRACKER_TCP)])
def test_no_visit_makes_no_file(nothing):
    with pytest.raises(CalibrationError, match="take a sample"):
        nothing()
