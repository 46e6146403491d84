"""Two cameras and a board: found, whatever their lenses; swapped, mirrored, one-sided and late pictures are said."""

import datetime
import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from kinema.calibration import verification
from kinema.calibration.boards import Board
from kinema.calibration.estimate import Estimate
from kinema.calibration.files import CameraInfo
from kinema.calibration.stereo import Pair, calibrate
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance
from kinema.virtual.board_samples import BOARD, SIZE, Spread, pair_samples
from kinema.virtual.cameras import camera

LEFT, RIGHT, GRIPPER = (camera(name).info(SIZE) for name in ("left", "right", "gripper"))
T_LEFT_RIGHT = camera("left").T_mount_camera.inverse() @ camera("right").T_mount_camera
T_LEFT_GRIPPER = Pose.from_rotvec([0.25, 0.05, 0.1], [0.05, -0.4, 0.3])
DATE = datetime.datetime.now(datetime.UTC).date()


@functools.cache
def _samples(count: int = 15, seed: int = 0) -> tuple[Pair, ...]:
    return tuple(pair_samples("left", "right", count, seed))


def _calibrate(
    samples, first: CameraInfo = LEFT, second: CameraInfo = RIGHT, board: Board = BOARD, apart: float = 0.66
) -> Estimate:
    return calibrate(samples, first, second, board, apart=apart, second_is_right=True)


@functools.cache
def _found() -> Estimate:
    return _calibrate(_samples())


def test_side_cameras_two_thirds_of_a_metre_apart():
    found = _found()
    moved, turned = distance(T_LEFT_RIGHT, found.T)
    assert moved < 0.0003
    assert math.degrees(turned) < 0.02
    assert found.outliers == ()
    assert found.rms == pytest.approx(0.08 * math.sqrt(2), rel=0.1)
    assert (np.abs(found.T.position - T_LEFT_RIGHT.position) < 4 * found.std[:3]).all()
    assert distance(T_LEFT_RIGHT, found.plain["stereoCalibrate"].T)[0] < 0.0005


def test_a_pinhole_goes_with_a_fisheye():
    spread = Spread(near=0.4, far=0.7, tilt=math.radians(40))
    samples = pair_samples("left", "gripper", 12, 1, spread=spread, T_first_second=T_LEFT_GRIPPER)
    apart = float(np.linalg.norm(T_LEFT_GRIPPER.position))
    found = calibrate(samples, LEFT, GRIPPER, BOARD, apart=apart, second_is_right=None)
    moved, turned = distance(T_LEFT_GRIPPER, found.T)
    assert moved < 0.0005
    assert math.degrees(turned) < 0.05


def test_pictures_of_different_moments_are_named_and_left_out():
    samples = list(_samples())
    moved = samples[6][1].pixels + np.array([2.0, -3.0])  # the board had gone on
    samples[6] = (samples[6][0], replace(samples[6][1], pixels=moved))
    found = _calibrate(samples)
    assert found.outliers == (7,)
    assert distance(T_LEFT_RIGHT, found.T)[0] < 0.0005
    assert found.transform("left_optical_frame", "right_optical_frame", "L", DATE, None).provenance.samples == 14


def _flipped(pair: Pair) -> Pair:
    return pair[0], replace(pair[1], pixels=pair[1].pixels * [-1.0, 1.0] + [SIZE[0] - 1, 0.0])


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (lambda: _samples()[:5], {}, "5 samples, needed are 6"),
        (
            lambda: [pair[::-1] for pair in _samples()],
            {"first": RIGHT, "second": LEFT},
            "left stands to the left of right",
        ),
        (lambda: [pair[::-1] for pair in _samples()], {}, "the cameras look swapped"),
        (
            _samples,
            {"first": RIGHT, "second": LEFT},
            r"swapped: the pictures of right and left fit their own intrinsics",
        ),
        (lambda: [_flipped(pair) for pair in _samples()], {}, "sample 1, camera right: .*mirrored"),
        (
            lambda: _samples()[:8],
            {"board": replace(BOARD, square=0.0285, marker=0.02)},
            r"come out 627 mm apart, the tape measure says 660 mm: then the squares are of 30\.0\d mm, not 28\.50",
        ),
        (lambda: [_samples()[0]] * 8, {}, "one-sided: the board was tilted by 0"),
        (
            lambda: pair_samples("left", "right", 8, 3, spread=Spread(near=1.5, far=1.6, tilt=1.0, offset=0.0)),
            {},
            r"one-sided: the board was seen in \d+ % of camera \w+'s picture",
        ),
        (
            lambda: [(one[0], other[1]) for one, other in zip(_samples(), _samples()[1:], strict=False)],
            {},
            r"don't fit the others|the corners lie .* px off|come out \d+ mm apart",
        ),
    ],
)
def test_samples_that_lack_something_are_refused_with_the_reason(samples, options, words):
    with pytest.raises(CalibrationError, match=words):
        _calibrate(samples(), **options)


def test_held_out_pictures_verify_the_result_and_find_a_camera_that_was_knocked():
    held_out = pair_samples("left", "right", 5, 77)
    good = verification.epipolar(held_out, LEFT, RIGHT, _found().T)
    assert good.rms < 0.2
    lengths = verification.board_lengths(held_out, LEFT, RIGHT, _found().T, BOARD)
    assert lengths.worst < 0.0005
    assert "mm RMS" in lengths.report()
    knocked = _found().T @ Pose.from_rotvec([0.0, 0.003, 0.0], [0.01, 0.0, 0.0])
    assert verification.epipolar(held_out, LEFT, RIGHT, knocked).rms > 1.0
    nearer = Pose(0.98 * _found().T.position, _found().T.rotation)
    shrunk = verification.board_lengths(held_out, LEFT, RIGHT, nearer, BOARD)
    assert shrunk.rms > 0.003
    assert (shrunk.each < 0.0).all()


def test_nothing_in_common_verifies_nothing():
    first, second = _samples()[0]
    apart = (
        replace(first, ids=first.ids[:10], pixels=first.pixels[:10]),
        replace(second, ids=second.ids[10:], pixels=second.pixels[10:]),
    )
    with pytest.raises(CalibrationError, match="no corner is seen by both"):
        verification.epipolar([apart], LEFT, RIGHT, T_LEFT_RIGHT)
