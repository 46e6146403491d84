"""Checks on what the solvers have not seen: a right calibration passes them, a wrong one shows."""

import math

import numpy as np
import pytest

from kinema.calibration.verification import closure, touched
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.virtual import noise
from kinema.virtual.board_samples import BOARD, SIZE, arm_samples, look
from kinema.virtual.board_view import board_on_the_table
from kinema.virtual.cameras import camera

GRIPPER, LEFT = camera("gripper"), camera("left")
KNOCKED = Pose.from_rotvec([0.004, 0.0, 0.0], [0.0, 0.01, 0.0])


@pytest.mark.parametrize(("row", "mount"), [(GRIPPER, "tcp"), (LEFT, "base_link")])
def test_held_out_poses_close_the_loop_unless_the_camera_was_knocked(row, mount):
    samples = arm_samples(row.name, 6, 50, joint_noise=math.radians(0.02))
    good = closure(samples, row.info(SIZE), BOARD, row.T_mount_camera, mount)
    assert good.rms < 0.001
    assert good.unit == "m"
    assert closure(samples, row.info(SIZE), BOARD, row.T_mount_camera @ KNOCKED, mount).rms > 0.0015


def _touched(numbers, T_base_camera=LEFT.T_mount_camera):
    T_base_board = board_on_the_table(BOARD)
    seen = look(
        BOARD,
        LEFT.info(SIZE),
        LEFT.T_mount_camera.inverse() @ T_base_board,
        np.random.default_rng(0),
        noise.load(),
        LEFT.max_angle,
    )
    corners = np.concatenate([BOARD.points, np.zeros((60, 3))])
    touches = {number: Pose(T_base_board.apply(corners[number]), np.diag([1.0, -1.0, -1.0])) for number in numbers}
    return touched(touches, seen, LEFT.info(SIZE), BOARD, T_base_camera)


def test_the_tip_touches_the_corner_where_the_camera_sees_it():
    good = _touched((0, 7, 32, 39))
    assert len(good.each) == 4
    assert good.worst < 0.002
    assert _touched((0, 7, 32, 39), KNOCKED @ LEFT.T_mount_camera).rms > 0.004
    assert good.report().startswith("touched corners: ")
    assert "4 measured" in good.report()


@pytest.mark.parametrize(
    ("numbers", "words"), [((), "no corner was touched"), ((3, 41), r"\[41\] are none of charuco")]
)
def test_corners_that_the_board_lacks_are_refused(numbers, words):
    with pytest.raises(CalibrationError, match=words):
        _touched(numbers)
