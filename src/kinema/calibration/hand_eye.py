"""Hand-eye calibration: where a camera sits on the arm's tool, or stands beside the arm. Pure.

A sample is the arm's pose at rest and what the camera then sees of a board: the board stands still while the camera
rides on the tool (`hand_eye`), or rides on the tool before a camera that stands still (`eye_on_base`). OpenCV's best
closed solution begins an adjustment of camera, board and arm poses to all corners, for the arm errs too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import radians
from typing import Literal

from kinema.calibration.adjustment import Said, Seen, Term, adjust
from kinema.calibration.board_pose import board_poses, lens, points_seen
from kinema.calibration.boards import Board, Corners
from kinema.calibration.estimate import Estimate
from kinema.calibration.files import CameraInfo
from kinema.calibration.loop_closure import (
    begin,
    check_certainty,
    check_count,
    check_scale,
    check_turning,
    closed_solutions,
    closures,
)
from kinema.errors import CalibrationError
from kinema.geometry import Pose

Mount = Literal["tcp", "base_link"]

_ARM = (0.0005, 0.001)  # [m, rad] an arm's error, up to a factor: joints err, and half a metre from them the tool
_ARM_MOST = (0.005, radians(1))  # [m, rad] beyond which pictures and poses don't belong together
_SQUARES = 0.005  # [-] by which the squares may seem to be of another size, besides what noise explains
_UNSURE = (0.003, radians(0.3))  # [m, rad] standard deviation of a result that is not worth having

_ADVICE = "show the board from more sides, nearer and farther, turned about all axes"


@dataclass(frozen=True, eq=False, slots=True)
class ArmSample:
    """`T_base_tcp` of the arm at rest, by its own joints, and what the camera saw then."""

    T_base_tcp: Pose
    corners: Corners


@dataclass(frozen=True, eq=False, slots=True)
class HandEye:
    """A camera on the arm, or beside it.

    camera   `T_tcp_camera` of one on the tool, `T_base_camera` of one on the base
    T_board  where the board was, on the other of the two: `T_base_board` or `T_tcp_board`
    arm      [m, rad] standard deviation of the arm's poses, as the samples tell it
    """

    camera: Estimate
    T_board: Pose
    arm: tuple[float, float]


def calibrate(samples: Sequence[ArmSample], camera: CameraInfo, board: Board, mount: Mount) -> HandEye:
    """Of the camera that is fixed to `mount`; the board is fixed to the other.

    Raises CalibrationError for too few samples, a mirrored board, arm poses that turn about parallel axes, squares of
    another size than was said, corners or arm poses that don't fit, and samples that leave too much open.
    """
    check_count(len(samples))
    arm = [sample.T_base_tcp for sample in samples]
    check_turning(arm, "the tool")
    seen = [found.T_camera_board for found in board_poses([sample.corners for sample in samples], board, camera)]
    carried = arm if mount == "tcp" else [T.inverse() for T in arm]
    T_mount_camera, T_board = begin(carried, seen)

    terms: list[Term] = []
    for number, sample in enumerate(samples, 1):
        own = number + 1  # 0 is the camera, 1 the board, then the arm's poses
        chain = (~0, ~own, 1) if mount == "tcp" else (~0, own, 1)
        points, info = points_seen(sample.corners, board), lens(camera, sample.corners)
        terms.append(Seen(number, chain, info, points, sample.corners.pixels))
        terms.append(Said(number, (own,), sample.T_base_tcp, "arm", _ARM))
    start = (T_mount_camera, T_board, *arm)
    found = adjust(start, terms, scaled=True, advice=_ADVICE)
    check_scale(found.scale, board, _SQUARES)
    found = adjust(found.poses, terms, factors=found.factors, advice=_ADVICE)

    estimate = Estimate(
        T=found.poses[0],
        covariance=found.covariances[0],
        rms=found.rms,
        closure=closures(carried, found.poses[0], seen, found.poses[1]),
        outliers=found.outliers,
        plain=closed_solutions(carried, seen),
    )
    spread = found.factors["arm"] * _ARM[0], found.factors["arm"] * _ARM[1]
    if spread[0] > _ARM_MOST[0] or spread[1] > _ARM_MOST[1]:
        raise CalibrationError(
            f"arm and camera differ by {1e3 * spread[0]:.1f} mm, {57.3 * spread[1]:.2f} degrees, allowed are "
            f"{1e3 * _ARM_MOST[0]:.0f} mm, {57.3 * _ARM_MOST[1]:.0f} degree: was the arm at rest, was the board loose, "
            f"is the camera the one on {mount}?"
        )
    check_certainty(estimate, _UNSURE, _ADVICE)
    return HandEye(estimate, found.poses[1], spread)
