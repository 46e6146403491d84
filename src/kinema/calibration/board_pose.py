"""Where a board stands before a camera, by one picture's corners. Pure.

Source: a plane's two possible poses by its homography, Collins and Bartoli 2014 ("Infinitesimal plane-based pose
estimation"), by OpenCV; the better one refined by least squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.calibration.boards import FEWEST, Board, Corners
from kinema.calibration.files import CameraInfo
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose

MAX_RMS = 1.0  # [px] of the corners; more is another camera's calibration, or another board

_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)


@dataclass(frozen=True, eq=False, slots=True)
class BoardPose:
    """`T_camera_board`, and what it leaves of the corners: `rms` [px]."""

    T_camera_board: Pose
    rms: float


def points_seen(corners: Corners, board: Board) -> Array:
    """(m, 3) [m] of the corners in the board's frame; raises CalibrationError for corners that the board lacks."""
    points = board.points
    if len(corners.ids) and int(corners.ids.max()) >= len(points):
        raise CalibrationError(f"corner {int(corners.ids.max())} is none of {board.name}, which has {len(points)}")
    return points[corners.ids]


def lens(camera: CameraInfo, corners: Corners) -> CameraInfo:
    """The camera's calibration for pictures of this size; CalibrationError for another aspect ratio."""
    return camera if camera.size == corners.size else camera.scaled(corners.size)


def board_pose(corners: Corners, board: Board, camera: CameraInfo) -> BoardPose:
    """By least squares over the corners.

    Raises CalibrationError for too few corners, corners that are no such board's, and a board that is seen mirrored:
    a mirrored plane fits as well, but from behind.
    """
    if len(corners.ids) < FEWEST:
        raise CalibrationError(f"{len(corners.ids)} corners of the board are seen, needed are {FEWEST}")
    points, info = points_seen(corners, board), lens(camera, corners)
    rays = np.ascontiguousarray(info.rays(corners.pixels)[:, :2])
    _, rotvecs, positions, _ = cv2.solvePnPGeneric(points, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    found = []
    for start_turn, start in zip(rotvecs, positions, strict=True):
        turn, position = cv2.solvePnPRefineLM(points, rays, np.eye(3), None, start_turn, start, _CRITERIA)
        pose = Pose.from_rotvec(np.ravel(position), np.ravel(turn))
        if pose.isfinite():
            found.append(BoardPose(pose, off(corners, points, info, pose)))
    if not found:
        raise CalibrationError("the corners lie on one line, or fit no plane")
    best = min(found, key=lambda seen: seen.rms)
    if best.T_camera_board.rotation[:, 2] @ best.T_camera_board.position <= 0.0:
        raise CalibrationError("the board is seen mirrored: is the picture flipped, or the print?")
    return best


def off(corners: Corners, points: Array, camera: CameraInfo, T_camera_board: Pose) -> float:
    """Root mean square distance [px] of the corners from where a pose puts their points."""
    away = camera.project(T_camera_board.apply(points)) - corners.pixels
    return float(np.sqrt((away**2).sum(axis=-1).mean()))


def board_poses(samples: Sequence[Corners], board: Board, camera: CameraInfo) -> list[BoardPose]:
    """Of every sample; a refusal names the sample by its number, which counts from 1.

    Raises CalibrationError as `board_pose` does, and where most samples fit no pose of the board.
    """
    poses = []
    for number, corners in enumerate(samples, 1):
        try:
            poses.append(board_pose(corners, board, camera))
        except CalibrationError as error:
            raise CalibrationError(f"sample {number}, camera {camera.camera_name}: {error}") from error
    typical = float(np.median([pose.rms for pose in poses]))
    if typical > MAX_RMS:
        raise CalibrationError(
            f"camera {camera.camera_name}: the corners lie {typical:.1f} px off any place of {board.name}, allowed are "
            f"{MAX_RMS} px: is it another board, are these the camera's own pictures and intrinsics?"
        )
    return poses
