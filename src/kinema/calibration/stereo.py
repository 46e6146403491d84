"""Two cameras that see one board at the same moments: how they stand to each other, whatever their lenses. Pure.

The board's poses and the cameras' are adjusted to all corners at once, in pixels of each camera's own lens, so a
pinhole goes with a fisheye. Pictures alone don't tell how large the world is: a board of another size moves the cameras
apart by as much. Therefore their distance is asked for, by a tape measure.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from kinema.calibration.adjustment import Seen, Term, adjust
from kinema.calibration.board_pose import board_poses, lens, points_seen
from kinema.calibration.boards import Board, Corners
from kinema.calibration.estimate import Estimate, Plain
from kinema.calibration.files import CameraInfo
from kinema.calibration.loop_closure import central, check_certainty, check_count
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance

Pair = tuple[Corners, Corners]  # what the first and the second camera see at one moment

_TAPE = 0.03  # [-] by which the tape measure's distance may be wrong
_TILTED = math.radians(8)  # root mean square angle of the board's normals from their mean
_COVERED = 0.12  # [-] of each picture's area that the corners of all samples must span
_SWAPPED = 0.95  # times the corners' residuals: exchanged intrinsics that fit so much better are the right ones
_UNSURE = (0.002, math.radians(0.15))  # [m, rad] standard deviation of a result that is not worth having
_ADVICE = "show the board near and far, in all parts of both pictures, tilted to all sides"


def common(pair: Pair) -> tuple[np.ndarray, Array, Array]:
    """Numbers (m,) of the corners that both cameras see, and where each sees them (m, 2) [px]."""
    ids, first, second = np.intersect1d(pair[0].ids, pair[1].ids, return_indices=True)
    return ids, pair[0].pixels[first], pair[1].pixels[second]


def _check_spread(samples: Sequence[Pair], views: Sequence[Sequence[Pose]], names: Sequence[str]) -> None:
    normals = np.array([T.rotation[:, 2] for T in views[0]])
    mean = normals.mean(axis=0) / np.linalg.norm(normals.mean(axis=0))
    tilt = math.sqrt(float((np.arccos(np.clip(normals @ mean, -1.0, 1.0)) ** 2).mean()))
    if tilt < _TILTED:
        raise CalibrationError(
            f"one-sided: the board was tilted by {math.degrees(tilt):.1f} degrees from its mean, needed are "
            f"{math.degrees(_TILTED):.0f}; {_ADVICE}"
        )
    for camera, name in enumerate(names):
        pixels = np.concatenate([pair[camera].pixels for pair in samples]).astype(np.float32)
        width, height = samples[0][camera].size
        covered = cv2.contourArea(cv2.convexHull(pixels)) / (width * height)
        if covered < _COVERED:
            raise CalibrationError(
                f"one-sided: the board was seen in {100 * covered:.0f} % of camera {name}'s picture, needed are "
                f"{100 * _COVERED:.0f} %; {_ADVICE}"
            )


def _check_own_lenses(samples: Sequence[Pair], cameras: tuple[CameraInfo, CameraInfo], board: Board) -> None:
    """Each camera's pictures must fit its own intrinsics better than the other camera's."""

    def residual(infos: Sequence[CameraInfo]) -> float:
        squares = [
            found.rms**2
            for k, info in enumerate(infos)
            for found in board_poses([pair[k] for pair in samples], board, info)
        ]
        return math.sqrt(float(np.mean(squares)))

    if cameras[0].size != cameras[1].size or cameras[0].distortion_model != cameras[1].distortion_model:
        return
    own, exchanged = residual(cameras), residual(cameras[::-1])
    if exchanged < _SWAPPED * own:
        raise CalibrationError(
            f"the cameras look swapped: the pictures of {cameras[0].camera_name} and {cameras[1].camera_name} fit "
            f"their own intrinsics to {own:.2f} px, each other's to {exchanged:.2f} px; look after names and serials"
        )


def plain_stereo(samples: Sequence[Pair], cameras: tuple[CameraInfo, CameraInfo], board: Board) -> Pose:
    """`T_first_second` by cv2.stereoCalibrate with the intrinsics as they are; a fisheye's corners are undistorted."""
    points, seen = [], ([], [])  # type: ignore[var-annotated]
    for pair in samples:
        ids, *pixels = common(pair)
        if len(ids) < 6:
            continue
        points.append(board.points[ids].astype(np.float32))
        for k, info in enumerate(cameras):
            rays = lens(info, pair[k]).rays(pixels[k])[:, :2]
            seen[k].append((info.matrix[0, 0] * rays).astype(np.float32))
    matrices = [np.diag([info.matrix[0, 0], info.matrix[0, 0], 1.0]) for info in cameras]
    none = np.zeros(5)
    found = cv2.stereoCalibrate(
        points, *seen, matrices[0], none, matrices[1], none, cameras[0].size, flags=cv2.CALIB_FIX_INTRINSIC
    )
    return Pose(np.ravel(found[6]).astype(float), np.asarray(found[5], float)).inverse()


def closures(T_first_second: Pose, views: Sequence[Sequence[Pose]]) -> Array:
    """(n, 2) [m, rad]: how far apart the two cameras have the board's corner, and how differently turned."""
    return np.array([distance(a, T_first_second @ b) for a, b in zip(*views, strict=True)])


def calibrate(
    samples: Sequence[Pair],
    first: CameraInfo,
    second: CameraInfo,
    board: Board,
    *,
    apart: float,
    second_is_right: bool | None,
) -> Estimate:
    """`T_first_second` of two cameras that stand still.

    apart            [m] between the lenses by a tape measure, to 3 %
    second_is_right  of the first, seen by it; None where nobody knows

    Raises CalibrationError for too few or one-sided samples, a mirrored board, squares of another size, swapped
    cameras, and samples that don't fit.
    """
    check_count(len(samples))
    cameras, names = (first, second), (first.camera_name, second.camera_name)
    views = [
        [found.T_camera_board for found in board_poses([pair[k] for pair in samples], board, info)]
        for k, info in enumerate(cameras)
    ]
    _check_own_lenses(samples, cameras, board)
    _check_spread(samples, views, names)
    guesses = [a @ b.inverse() for a, b in zip(*views, strict=True)]

    terms: list[Term] = []
    for number, pair in enumerate(samples, 1):
        for chain, corners, info in zip(((number,), (~0, number)), pair, cameras, strict=True):
            points = points_seen(corners, board)
            terms.append(Seen(number, chain, lens(info, corners), points, corners.pixels))
    found = adjust(
        (central(guesses), *views[0]), terms, advice="were both pictures of one moment, with the board at rest?"
    )
    estimate = Estimate(
        T=found.poses[0],
        covariance=found.covariances[0],
        rms=found.rms,
        closure=closures(found.poses[0], views),
        outliers=found.outliers,
        plain={},
    )
    _check_place(estimate.T, names, board, apart, second_is_right)
    check_certainty(estimate, _UNSURE, _ADVICE)
    plain = plain_stereo(samples, cameras, board)
    away = math.sqrt(float((closures(plain, views)[:, 0] ** 2).mean()))
    return replace(estimate, plain={"stereoCalibrate": Plain(plain, away)})


def _check_place(T: Pose, names: Sequence[str], board: Board, apart: float, second_is_right: bool | None) -> None:
    if second_is_right is not None and (T.position[0] > 0.0) != second_is_right:
        side, expected = ("right", "left") if T.position[0] > 0.0 else ("left", "right")
        raise CalibrationError(
            f"the cameras look swapped: {names[1]} stands to the {side} of {names[0]}, not to the {expected}; "
            "look after names and serial numbers"
        )
    found = float(np.linalg.norm(T.position))
    if abs(found / apart - 1.0) > _TAPE:
        raise CalibrationError(
            f"the cameras come out {1e3 * found:.0f} mm apart, the tape measure says {1e3 * apart:.0f} mm: then the "
            f"squares are of {1e3 * board.square * apart / found:.2f} mm, not {1e3 * board.square:.2f}; measure again"
        )
