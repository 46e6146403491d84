"""Is a calibration right? Checks apart from fitting, on pictures that the solvers have not seen. Pure.

Sources: epipolar plane, Hartley and Zisserman 2004, chapter 9; triangulation, the same, chapter 12, by OpenCV.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from kinema.calibration.board_pose import board_pose, board_poses
from kinema.calibration.boards import Board, Corners
from kinema.calibration.files import CameraInfo
from kinema.calibration.hand_eye import ArmSample, Mount
from kinema.calibration.loop_closure import closures
from kinema.calibration.stereo import Pair, common
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose


@dataclass(frozen=True, eq=False, slots=True)
class Check:
    """Errors `each` (n,) in `unit`, 'px' or 'm', of what `what` says."""

    what: str
    unit: str
    each: Array

    @property
    def rms(self) -> float:
        return math.sqrt(float((self.each**2).mean()))

    @property
    def worst(self) -> float:
        """The largest without its sign."""
        return float(np.abs(self.each).max())

    def report(self) -> str:
        """One line for a person."""
        scale, unit = (1e3, "mm") if self.unit == "m" else (1.0, self.unit)
        return (
            f"{self.what}: {scale * self.rms:.2f} {unit} RMS, {scale * self.worst:.2f} {unit} at worst, "
            f"{len(self.each)} measured"
        )


def _matched(samples: Sequence[Pair]) -> list[tuple[Array, Array, Array]]:
    found = [common(pair) for pair in samples]
    if not any(len(ids) for ids, *_ in found):
        raise CalibrationError("no corner is seen by both cameras in any sample; hold the board where both see it")
    return [match for match in found if len(match[0])]


def epipolar(samples: Sequence[Pair], first: CameraInfo, second: CameraInfo, T_first_second: Pose) -> Check:
    """How far corners lie off the plane through both lenses and the other camera's ray [px].

    The angle times the focal length: pixels on the axis of a pinhole, anywhere of a fisheye. Every corner counts twice.
    """
    R, t = T_first_second.rotation, T_first_second.position
    each = []
    for _, one, other in _matched(samples):
        rays = [first.rays(one), second.rays(other) @ R.T]  # both in the first camera's axes
        for ray, partner, info in ((rays[0], rays[1], first), (rays[1], rays[0], second)):
            normal = np.cross(t, partner)
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            sine = (normal * ray).sum(axis=1) / np.linalg.norm(ray, axis=1)
            each.append(info.matrix[0, 0] * np.arcsin(np.clip(sine, -1.0, 1.0)))
    return Check("epipolar error", "px", np.concatenate(each))


def triangulate(one: Array, other: Array, first: CameraInfo, second: CameraInfo, T_first_second: Pose) -> Array:
    """Points (m, 3) [m] in the first camera's frame, by where both see them (m, 2) [px]."""
    views = (np.eye(4)[:3], T_first_second.inverse().matrix[:3])
    rays = [np.ascontiguousarray(info.rays(pixels)[:, :2].T) for info, pixels in ((first, one), (second, other))]
    homogeneous = cv2.triangulatePoints(*views, *rays)
    return np.asarray(homogeneous[:3] / homogeneous[3], float).T


def board_lengths(
    samples: Sequence[Pair], first: CameraInfo, second: CameraInfo, T_first_second: Pose, board: Board
) -> Check:
    """In each sample the distance of the two corners that are farthest apart, by both cameras, less what it is [m]."""
    each = []
    for ids, one, other in _matched(samples):
        true = board.points[ids]
        i, j = max(combinations(range(len(ids)), 2), key=lambda ij: float(np.linalg.norm(true[ij[0]] - true[ij[1]])))
        seen = triangulate(one[[i, j]], other[[i, j]], first, second, T_first_second)
        each.append(float(np.linalg.norm(seen[0] - seen[1]) - np.linalg.norm(true[i] - true[j])))
    return Check("length of the board", "m", np.array(each))


def closure(
    samples: Sequence[ArmSample], camera: CameraInfo, board: Board, T_mount_camera: Pose, mount: Mount
) -> Check:
    """How far each sample has the board from where all have it on average [m]: samples of a board in one place."""
    arm = [sample.T_base_tcp if mount == "tcp" else sample.T_base_tcp.inverse() for sample in samples]
    seen = [found.T_camera_board for found in board_poses([sample.corners for sample in samples], board, camera)]
    return Check("hand-eye closure", "m", closures(arm, T_mount_camera, seen)[:, 0])


def touched(
    touches: Mapping[int, Pose], corners: Corners, camera: CameraInfo, board: Board, T_base_camera: Pose
) -> Check:
    """How far the tool's tip was from where the camera has the corner that it touched [m].

    touches        by the corner's number, `T_base_tip` while it touched it: the fingers end beyond the TCP
    corners        the board, in the same place, in one picture; `T_base_camera` then
    """
    missing = sorted(set(touches) - set(range(len(board.points))))
    if missing or not touches:
        raise CalibrationError(
            f"touched corners {missing} are none of {board.name}, which has {len(board.points)}, counted from 0"
            if missing
            else "no corner was touched: guide the tip to some corners of the board"
        )
    T_base_board = T_base_camera @ board_pose(corners, board, camera).T_camera_board
    expected = T_base_board.apply(board.points[list(touches)])
    tips = np.array([T_base_tip.position for T_base_tip in touches.values()])
    return Check("touched corners", "m", np.linalg.norm(tips - expected, axis=1))
