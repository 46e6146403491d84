"""Hand-eye and eye-on-base: found through noise, better than OpenCV alone, and never a confident wrong answer."""

import datetime
import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.boards import Board, Corners
from kinema.calibration.bundle import FRAMES
from kinema.calibration.files import Transform, load, save
from kinema.calibration.hand_eye import ArmSample, HandEye, calibrate
from kinema.calibration.loop_closure import begin, closed_solutions, closures, turning
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance
from kinema.virtual.board_samples import BOARD, SIZE, Spread, arm_samples
from kinema.virtual.cameras import camera

MOUNTS = {"gripper": "tcp", "left": "base_link"}
DATE = datetime.datetime.now(datetime.UTC).date()
JOINT_NOISE = math.radians(0.02)


@functools.cache
def _samples(name: str, count: int = 15, seed: int = 0) -> tuple[ArmSample, ...]:
    return tuple(arm_samples(name, count, seed, joint_noise=JOINT_NOISE))


def _calibrate(name: str, samples, board: Board = BOARD) -> HandEye:
    return calibrate(samples, camera(name).info(SIZE), board, MOUNTS[name])


@functools.cache
def _found(name: str) -> HandEye:
    return _calibrate(name, _samples(name))


def _moved(sample: ArmSample, by: Pose) -> ArmSample:
    return replace(sample, T_base_tcp=sample.T_base_tcp @ by)


def _pictured(sample: ArmSample, pixels: np.ndarray) -> ArmSample:
    return replace(sample, corners=replace(sample.corners, pixels=pixels))


@pytest.mark.parametrize("name", ["gripper", pytest.param("left", marks=pytest.mark.slow)])
def test_15_poses_of_an_arm_whose_joints_err_by_a_fiftieth_of_a_degree(name):
    found, truth = _found(name), camera(name).T_mount_camera
    moved, turned = distance(truth, found.camera.T)
    assert moved < 0.001
    assert math.degrees(turned) < 0.1
    assert found.camera.outliers == ()
    assert found.camera.rms == pytest.approx(0.08 * math.sqrt(2), rel=0.1)  # the noise table's corner noise
    assert 1e-4 < found.arm[0] < 4e-4
    assert set(found.camera.plain) == {"Tsai", "Park", "Horaud", "Andreff", "Daniilidis"}
    assert (np.abs(found.camera.T.position - truth.position) < 4 * found.camera.std[:3]).all()
    assert 1e3 * found.camera.std.max() < 1.0
    assert 0.1 < found.camera.at_one_metre < 1.5


@pytest.mark.slow
def test_the_refinement_is_worth_it_where_the_board_is_far():
    truth, found = camera("left").T_mount_camera, _found("left").camera
    plain = [distance(truth, method.T)[0] for method in found.plain.values()]
    assert distance(truth, found.T)[0] < 0.6 * min(plain)


def test_the_result_is_a_file_that_may_be_used(tmp_path):
    file = _found("gripper").camera.transform(*FRAMES["T_tcp_gripper.yaml"], "VIRTUAL-GRIPPER", DATE, BOARD.name)
    save(tmp_path / "T.yaml", file)
    loaded = load(tmp_path / "T.yaml", Transform, serial="VIRTUAL-GRIPPER", remedy="")
    assert loaded == file
    assert loaded.provenance.samples == 15
    assert loaded.provenance.board == BOARD.name
    covariance = np.reshape(loaded.provenance.covariance, (6, 6))
    np.testing.assert_allclose(covariance, _found("gripper").camera.covariance, rtol=1e-5)


def test_an_arm_that_was_not_at_rest_is_named_and_left_out():
    samples = list(_samples("gripper"))
    samples[3] = _moved(samples[3], Pose.from_rotvec([0.006, -0.004, 0.003], [0.0, 0.02, 0.0]))
    found = _calibrate("gripper", samples).camera
    assert found.outliers == (4,)
    moved, turned = distance(camera("gripper").T_mount_camera, found.T)
    assert moved < 0.001
    assert math.degrees(turned) < 0.1
    assert "left out: samples 4 (" in found.report()
    assert "14 of 15 samples" in found.report()


def _about_one_axis():
    spread = Spread(near=0.4, far=0.4, tilt=0.0, roll=math.radians(60), offset=0.0)
    return arm_samples("gripper", 8, 1, joint_noise=JOINT_NOISE, spread=spread)


def _mirrored(sample: ArmSample) -> ArmSample:
    return _pictured(sample, sample.corners.pixels * [-1.0, 1.0] + [SIZE[0] - 1, 0.0])


def _other_grid(sample: ArmSample) -> ArmSample:
    """What a board of 6 x 9 squares would show, taken for one of 9 x 6."""
    ids = np.arange(40).reshape(8, 5).T.ravel()[sample.corners.ids]
    order = np.argsort(ids)
    return replace(sample, corners=Corners(ids[order], sample.corners.pixels[order], SIZE))


@pytest.mark.parametrize(
    ("samples", "board", "words"),
    [
        (lambda: _samples("gripper")[:5], BOARD, "5 samples, needed are 6"),
        (_about_one_axis, BOARD, r"about its \(0\.00, .*parallel rotation axes"),
        (lambda: [_mirrored(sample) for sample in _samples("gripper")], BOARD, "sample 1, camera gripper: .*mirrored"),
        (lambda: _samples("gripper"), replace(BOARD, square=0.0294, marker=0.02), r"squares look like 30\.\d\d mm"),
        (lambda: _samples("gripper"), Board.parse("charuco 7x5 30mm 22mm DICT_5X5_100"), "is none of charuco 7x5"),
        (lambda: [_other_grid(sample) for sample in _samples("gripper")], BOARD, "px off any place of charuco 9x6"),
        (lambda: [_pictured(s, s.corners.pixels[::-1]) for s in _samples("gripper")[:1]] * 8, BOARD, "turned by 0"),
    ],
)
def test_samples_that_lack_something_are_refused_with_the_reason(samples, board, words):
    with pytest.raises(CalibrationError, match=words):
        _calibrate("gripper", samples(), board)


def test_poses_of_another_arm_or_a_loose_board_are_no_calibration():
    samples = _samples("gripper")[:8]
    poses = [sample.T_base_tcp for sample in samples]
    shuffled = [replace(sample, T_base_tcp=pose) for sample, pose in zip(samples, poses[1:] + poses[:1], strict=True)]
    with pytest.raises(CalibrationError, match=r"don't fit the others|squares look like|arm and camera differ"):
        _calibrate("gripper", shuffled)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_exact_motions_are_solved_exactly(seed):
    rng = np.random.default_rng(seed)
    T_m_camera = Pose.from_rotvec(rng.uniform(-0.3, 0.3, 3), rng.uniform(-1.0, 1.0, 3))
    T_n_board = Pose.from_rotvec(rng.uniform(-1.0, 1.0, 3), rng.uniform(-1.0, 1.0, 3))
    carried = [Pose.from_rotvec(rng.uniform(-1.0, 1.0, 3), rng.uniform(-1.0, 1.0, 3)) for _ in range(8)]
    seen = [(T @ T_m_camera).inverse() @ T_n_board for T in carried]
    found, board = begin(carried, seen)
    assert distance(found, T_m_camera)[0] < 1e-5
    assert distance(board, T_n_board)[0] < 1e-5
    assert closures(carried, T_m_camera, seen).max() < 1e-9
    assert min(plain.closure for plain in closed_solutions(carried, seen).values()) < 1e-5


def test_turning_tells_by_how_much_and_about_what():
    poses = [Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, angle]) for angle in (0.0, 0.2)]
    amounts, axes = turning(poses)
    np.testing.assert_allclose(amounts, [0.0, 0.0, 0.2], atol=1e-12)
    np.testing.assert_allclose(np.abs(axes[:, 2]), [0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOUNTS)
def test_the_standard_deviations_are_honest(name):
    off = []
    for seed in range(20, 36):
        found = _calibrate(name, _samples(name, seed=seed)).camera
        off.append((found.T.position - camera(name).T_mount_camera.position) / found.std[:3])
    assert 0.6 < math.sqrt(float(np.mean(np.square(off)))) < 1.4
