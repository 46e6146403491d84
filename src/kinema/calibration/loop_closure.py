"""A camera on a body that moves and a board on one that does not: what all such calibrations share. Pure.

`n` is what the board is fixed to, `m` what the camera is fixed to: the chain n, m, camera, board closes at every
sample. OpenCV's five closed solutions begin an adjustment; what the samples can't tell is found out and said.

Sources: Tsai and Lenz 1989, also for why parallel axes leave the solution open; Park and Martin 1994; Horaud and
Dornaika 1995; Andreff et al. 1999; Daniilidis 1999; all by OpenCV.
"""

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from kinema.calibration.board_pose import MAX_RMS
from kinema.calibration.boards import Board
from kinema.calibration.estimate import Estimate, Plain
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance, mean_pose, so3_log

FEWEST = 6  # samples

_METHODS = {
    "Tsai": cv2.CALIB_HAND_EYE_TSAI,
    "Park": cv2.CALIB_HAND_EYE_PARK,
    "Horaud": cv2.CALIB_HAND_EYE_HORAUD,
    "Andreff": cv2.CALIB_HAND_EYE_ANDREFF,
    "Daniilidis": cv2.CALIB_HAND_EYE_DANIILIDIS,
}
_TURN = math.radians(8)  # root mean square rotation between samples, about the axis that is second to the most used
_FOLLOWS = 3.0  # times the median closure within which a sample is trusted to begin with


def check_count(count: int) -> None:
    """Raises CalibrationError for too few samples."""
    if count < FEWEST:
        raise CalibrationError(
            f"{count} samples, needed are {FEWEST}, better 15: from different sides, turned differently"
        )


def central(poses: Sequence[Pose]) -> Pose:
    """The one that the others are closest to: outliers don't move it."""
    apart = [sum(math.hypot(*distance(one, other)) for other in poses) for one in poses]
    return poses[int(np.argmin(apart))]


def turning(poses: Sequence[Pose]) -> tuple[Array, Array]:
    """Root mean square rotation (3,) [rad] between the poses of b in `T_a_b`, and its principal axes (3, 3) in b, as
    columns, least used first."""
    turns = np.array([so3_log(a.rotation.T @ b.rotation) for i, a in enumerate(poses) for b in poses[:i]])
    squares, axes = np.linalg.eigh(turns.T @ turns / len(turns))
    return np.sqrt(squares.clip(0.0)), axes


def check_turning(poses: Sequence[Pose], what: str) -> None:
    """Raises CalibrationError unless the poses turn about two axes at least."""
    amounts, axes = turning(poses)
    second, most = np.degrees(amounts[1:])
    if second < math.degrees(_TURN):
        x, y, z = (axes[:, 2] * np.sign(axes[np.abs(axes[:, 2]).argmax(), 2])).round(2) + 0.0
        raise CalibrationError(
            f"{what} turned by {most:.1f} degrees about its ({x:.2f}, {y:.2f}, {z:.2f}), and by {second:.1f} about any "
            f"other axis, needed are {math.degrees(_TURN):.0f}: parallel rotation axes leave open where the camera is "
            "along them; turn about a second axis, some 30 degrees each way"
        )


def closed_solutions(T_n_m: Sequence[Pose], T_camera_board: Sequence[Pose]) -> Mapping[str, Plain]:
    """`T_m_camera` by each of OpenCV's methods, those that give one; the board stands still in n."""
    arm = [T.rotation for T in T_n_m], [T.position for T in T_n_m]
    seen = [T.rotation for T in T_camera_board], [T.position for T in T_camera_board]
    found = {}
    for name, method in _METHODS.items():
        try:
            rotation, position = cv2.calibrateHandEye(*arm, *seen, method=method)
        except cv2.error:
            continue
        T = Pose(np.ravel(position).astype(float), np.asarray(rotation, float))
        if T.isfinite() and abs(float(np.linalg.det(T.rotation)) - 1.0) < 1e-6:
            found[name] = Plain(T, math.sqrt(float((closures(T_n_m, T, T_camera_board)[:, 0] ** 2).mean())))
    return found


def closures(
    T_n_m: Sequence[Pose], T_m_camera: Pose, T_camera_board: Sequence[Pose], T_n_board: Pose | None = None
) -> Array:
    """(n, 2) [m, rad]: by each sample, how far the board is from `T_n_board`, or from where all have it on average."""
    boards = [T @ T_m_camera @ seen for T, seen in zip(T_n_m, T_camera_board, strict=True)]
    where = T_n_board or mean_pose(boards)
    return np.array([distance(where, board) for board in boards])


def begin(T_n_m: Sequence[Pose], T_camera_board: Sequence[Pose]) -> tuple[Pose, Pose]:
    """`T_m_camera` by the closed solution that fits best, without the samples that fit it least, and `T_n_board`."""
    kept = np.arange(len(T_n_m))
    for last in (False, True):
        carried, seen = [T_n_m[int(k)] for k in kept], [T_camera_board[int(k)] for k in kept]
        plain = closed_solutions(carried, seen)
        if not plain:
            raise CalibrationError("no closed solution exists: the poses don't turn about two axes, or are no numbers")
        fits = {name: np.median(closures(carried, method.T, seen)[:, 0]) for name, method in plain.items()}
        T = plain[min(fits, key=lambda name: fits[name])].T
        if not last:
            away = closures(carried, T, seen)[:, 0]
            kept = kept[away <= _FOLLOWS * np.median(away)]
    return T, mean_pose([a @ T @ b for a, b in zip(carried, seen, strict=True)])


def check_scale(scale: tuple[float, float], board: Board, slack: float) -> None:
    """Raises CalibrationError where the board's squares are of another size than was said."""
    value, deviation = scale
    if abs(value - 1.0) > slack + 3.0 * deviation:
        raise CalibrationError(
            f"the squares look like {1e3 * value * board.square:.2f} mm +- {1e3 * deviation * board.square:.2f}, said "
            f"were {1e3 * board.square:.2f} mm: measure them with a caliper, or choose the right board"
        )


def check_certainty(estimate: Estimate, unsure: tuple[float, float], advice: str) -> None:
    """Raises CalibrationError where the corners don't fit, or the samples leave too much open."""
    if estimate.rms > MAX_RMS:
        raise CalibrationError(
            f"the corners lie {estimate.rms:.2f} px off, allowed are {MAX_RMS} px: are these the camera's own pictures "
            "and intrinsics, and is it the right board?"
        )
    position, rotation = estimate.std[:3].max(), estimate.std[3:].max()
    if position > unsure[0] or rotation > unsure[1]:
        raise CalibrationError(
            f"one-sided: the samples leave {1e3 * position:.1f} mm, {math.degrees(rotation):.2f} degrees open "
            f"(one deviation), allowed are {1e3 * unsure[0]:.1f}, {math.degrees(unsure[1]):.2f}; {advice}"
        )
