"""A camera's lens from pictures of a board: pinhole (plumb_bob, rational) or fisheye (equidistant). Pure.

All pictures' poses and the lens are fitted to all corners at once, robustly; pictures that don't fit the others are
named and left out. How good it is, is said by what the fit did not see: every fourth picture is held out, and only its
pose is fitted with the others' lens. Of several models the simplest is taken that does not do worse there.

Sources
- Zhang 2000, "A flexible new technique for camera calibration": a plane in several poses; parallel ones don't help.
- Brown 1971 and OpenCV's rational model; Kannala and Brandt 2006 for the fisheye.
- What the covariance means at a distance: first-order propagation, Hartley and Zisserman 2004, chapter 5.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from kinema import __version__
from kinema.calibration.board_pose import board_pose, points_seen
from kinema.calibration.boards import FEWEST, Board, Corners
from kinema.calibration.coverage import coverage
from kinema.calibration.files import COEFFICIENTS, CameraInfo, Model, Provenance
from kinema.calibration.fit import Fit, fit
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose

PINHOLE: tuple[Model, ...] = ("plumb_bob", "rational_polynomial")  # from the simple to the rich
FISHEYE: tuple[Model, ...] = ("equidistant",)

FEWEST_SAMPLES = 8

_NAMES: dict[Model, tuple[str, ...]] = {
    "plumb_bob": ("k1", "k2", "p1", "p2", "k3"),
    "rational_polynomial": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "equidistant": ("k1", "k2", "k3", "k4"),
}
_HALF_ANGLES = np.radians([12, 20, 30, 42, 55, 70, 88])  # half a picture's width: where the search for a lens begins
_FLOOR = 0.3  # [px] RMS of a picture's residuals that never makes it an outlier
_SHARE = 0.6  # [-] of the picture's fields that corners must have been in
_TILT = math.radians(8)  # by which boards must differ in tilt, as a standard deviation
_FOCAL = 0.003  # [-] that the focal length's standard deviation may be
_SQUARE = 0.02  # [-] by which fx and fy may differ: all sensors' pixels are square today
_BETTER = 0.97  # times a simpler model's held-out error that a richer one must stay below
_HELD_OUT = 4  # one picture in so many
_PLACES = 400  # corners at which the lens' uncertainty is looked at


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """What OpenCV's own function makes of the same pictures, outliers and all; `why` it makes nothing, or ''."""

    matrix: Array
    distortion: Array
    rms: float
    why: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Intrinsics:
    """A lens, and how well it is known. Numbers of samples count from 1.

    matrix, distortion  as in `CameraInfo` of that `model`, for pictures of `size` [px]
    names, std          of the parameters, focal lengths first, and their standard deviations
    covariance          (p, p) of the same
    poses               `T_camera_board` of every sample
    rms                 [px] root mean square distance of corners, of the samples that were used
    misfits             (n,) [px] the same of every sample, of outliers too
    outliers            numbers of the samples that were left out
    held_out            [px] the same of samples that the lens was not fitted to, their poses alone fitted
    at_one_metre        [mm] standard deviation of where a corner's ray is at 1 m, at the worst place seen
    plain               OpenCV's result
    """

    board: Board
    model: Model
    size: tuple[int, int]
    matrix: Array
    distortion: Array
    names: tuple[str, ...]
    std: Array
    covariance: Array
    poses: tuple[Pose, ...]
    rms: float
    misfits: Array
    outliers: tuple[int, ...]
    held_out: float
    at_one_metre: float
    plain: Plain

    def camera_info(self, name: str, serial: str, date: datetime.date) -> CameraInfo:
        """The file for the camera of that name and serial number."""
        provenance = Provenance(
            serial=serial,
            date=date,
            origin="measured",
            software_version=__version__,
            samples=len(self.misfits) - len(self.outliers),
            rms=round(self.rms, 9),
            board=self.board.name,
            covariance=tuple(float(f"{value:.6g}") for value in self.covariance.ravel()),
        )
        return CameraInfo.of(name, self.size, self.matrix, self.model, self.distortion, provenance)

    def report(self) -> str:
        """Some lines for a person."""
        values = np.concatenate([_lens_values(self.matrix), self.distortion])
        lines = [
            f"{self.model}, {len(self.misfits) - len(self.outliers)} of {len(self.misfits)} samples: "
            f"RMS {self.rms:.3f} px, held out {self.held_out:.3f} px, at 1 m {self.at_one_metre:.2f} mm",
            ", ".join(
                f"{name} {value:.5g} +- {std:.2g}"
                for name, value, std in zip(self.names, values, self.std, strict=True)
            ),
        ]
        if self.outliers:
            lines.append("left out: " + ", ".join(f"{k} ({self.misfits[k - 1]:.1f} px)" for k in self.outliers))
        plain = self.plain
        lines.append(
            f"OpenCV: {plain.why}"
            if plain.why
            else f"OpenCV: RMS {plain.rms:.3f} px, fx {plain.matrix[0, 0]:.5g}, fy {plain.matrix[1, 1]:.5g}, "
            f"cx {plain.matrix[0, 2]:.5g}, cy {plain.matrix[1, 2]:.5g}"
        )
        return "\n".join(lines)


def _lens_values(matrix: Array) -> Array:
    return matrix[[0, 1, 0, 1], [0, 1, 2, 2]]


def _matrix(lens: Array) -> Array:
    fx, fy, cx, cy = lens[:4]
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _project(model: Model, lens: Array, pose: Array, points: Array) -> tuple[Array, Array, Array]:
    """Pixels (m, 2) of points (m, 3) at a pose (6,) of rotation vector and position; their derivatives (2m, p) by the
    lens and (2m, 6) by the pose."""
    matrix, distortion = _matrix(lens), lens[4:]
    if model == "equidistant":
        pixels, by_all = cv2.fisheye.projectPoints(points[:, None], pose[:3], pose[3:], matrix, distortion)
        slopes, lens_columns, pose_columns = np.asarray(by_all, float), slice(0, 8), slice(8, 14)
    else:
        pixels, by_all = cv2.projectPoints(points, pose[:3], pose[3:], matrix, distortion)
        slopes, lens_columns, pose_columns = np.asarray(by_all, float), slice(6, None), slice(0, 6)
    return np.asarray(pixels, float).reshape(-1, 2), slopes[:, lens_columns], slopes[:, pose_columns]


class _Problem:
    """Corners' residuals [px] by the lens (p,), then by every sample's pose (6,)."""

    def __init__(self, model: Model, points: Sequence[Array], pixels: Sequence[Array]) -> None:
        self.model, self._points, self._pixels = model, points, pixels
        self.lenses = 4 + COEFFICIENTS[model]
        self.owner = np.repeat(np.arange(1, len(points) + 1), [2 * len(p) for p in points])
        self.own = np.concatenate([np.full(self.lenses, -1), np.repeat(np.arange(1, len(points) + 1), 6)])
        self.names = [
            *("fx", "fy", "cx", "cy", *_NAMES[model]),
            *(f"the board's pose in sample {k}" for k in self.own[self.lenses :]),
        ]

    def residuals(self, x: Array) -> Array:
        poses = x[self.lenses :].reshape(-1, 6)
        lens, samples = x[: self.lenses], zip(poses, self._points, self._pixels, strict=True)
        return np.concatenate([(_project(self.model, lens, *rest)[0] - seen).ravel() for *rest, seen in samples])

    def jacobian(self, x: Array) -> Array:
        full, row = np.zeros((len(self.owner), len(x))), 0
        for k, (pose, points) in enumerate(zip(x[self.lenses :].reshape(-1, 6), self._points, strict=True)):
            _, by_lens, by_pose = _project(self.model, x[: self.lenses], pose, points)
            rows = slice(row, row + 2 * len(points))
            full[rows, : self.lenses] = by_lens
            full[rows, self.lenses + 6 * k : self.lenses + 6 * k + 6] = by_pose
            row = rows.stop
        return full


def _draft(model: Model, size: tuple[int, int], lens: Array) -> CameraInfo:
    """A lens on its way, to find boards' poses with."""
    nobody = Provenance(serial="-", date=datetime.date.min, origin="measured", software_version=__version__)
    return CameraInfo.of("draft", size, _matrix(lens), model, lens[4:], nobody)


def _posed(samples: Sequence[Corners], board: Board, info: CameraInfo) -> tuple[list[int], list[Array], float]:
    """The samples (indices) that a lens can show, their poses (6,), and the median [px] of what those leave."""
    shown, poses, offs = [], [], []
    for k, corners in enumerate(samples):
        try:
            seen = board_pose(corners, board, info)
        except CalibrationError:
            continue
        shown.append(k)
        poses.append(np.concatenate([seen.T_camera_board.rotvec, seen.T_camera_board.position]))
        offs.append(seen.rms)
    return shown, poses, float(np.median(offs)) if offs else math.inf


def _start(model: Model, samples: Sequence[Corners], board: Board) -> Array:
    """Parameters to begin with: the undistorted lens, of several fields of view, that the boards fit best.

    Where that lens can't show all of them, as at a fisheye's rim, one that is fitted to the others does.
    """
    width, height = size = samples[0].size
    lens, shown, poses, least = np.zeros(0), [0][:0], [np.zeros(0)][:0], math.inf
    for half in _HALF_ANGLES:
        focal = width / 2 / (half if model == "equidistant" else math.tan(min(half, 1.3)))
        guess = np.array([focal, focal, (width - 1) / 2, (height - 1) / 2, *np.zeros(COEFFICIENTS[model])])
        found = _posed(samples, board, _draft(model, size, guess))
        if found[2] < least:
            lens, (shown, poses, least) = guess, found
    if len(shown) < FEWEST_SAMPLES:
        raise CalibrationError(f"a {model} lens shows only {len(shown)} of the samples like that; is it another model?")
    if len(shown) < len(samples):
        points = [points_seen(samples[k], board) for k in shown]
        part = _Problem(model, points, [samples[k].pixels for k in shown])
        begin = np.concatenate([lens, *poses])
        better = least_squares(part.residuals, begin, part.jacobian, x_scale="jac", loss="soft_l1", ftol=1e-4)
        lens = better.x[: part.lenses]
        shown, poses, _ = _posed(samples, board, _draft(model, size, lens))
    if missing := [k + 1 for k in range(len(samples)) if k not in shown]:
        raise CalibrationError(
            f"samples {', '.join(map(str, missing))} fit no {model} lens that the others fit: undo them"
        )
    return np.concatenate([lens, *poses])


def _check(samples: Sequence[Corners], board: Board) -> None:
    """What can be told before anything is fitted."""
    if len(samples) < FEWEST_SAMPLES:
        raise CalibrationError(f"{len(samples)} samples, needed are {FEWEST_SAMPLES}, the board everywhere and tilted")
    for number, corners in enumerate(samples, 1):
        if corners.size != samples[0].size:
            raise CalibrationError(
                f"sample {number} is {corners.size[0]} x {corners.size[1]} px, the first is {samples[0].size[0]} x "
                f"{samples[0].size[1]} px: is it another camera's?"
            )
        points = points_seen(corners, board)
        if len(points) < FEWEST:
            raise CalibrationError(f"sample {number} shows {len(points)} corners, needed are {FEWEST}")
        affine, *_ = np.linalg.lstsq(np.column_stack([points[:, :2], np.ones(len(points))]), corners.pixels, rcond=None)
        if np.linalg.det(affine[:2]) <= 0.0:
            raise CalibrationError(
                f"sample {number} shows the board mirrored: is the picture flipped, or the print, "
                f"or is it another board than {board.name!r}?"
            )
    share = coverage(samples).share
    if share < _SHARE:
        raise CalibrationError(
            f"corners were seen in {100 * share:.0f} % of the picture, needed are {100 * _SHARE:.0f} %: "
            "show the board on all sides, and in the corners"
        )


def _held_out(problem: _Problem, x: Array, samples: Sequence[Corners], board: Board, used: list[int]) -> float:
    """[px] of every fourth of the used samples (indices), by a lens that the other ones make."""
    out = used[::_HELD_OUT]
    rest = [k for k in used if k not in out]
    points = [points_seen(samples[k], board) for k in rest]
    part = _Problem(problem.model, points, [samples[k].pixels for k in rest])
    begin = np.concatenate([x[: problem.lenses], *(x[problem.own == k + 1] for k in rest)])
    found = least_squares(part.residuals, begin, part.jacobian, x_scale="jac", xtol=1e-6, ftol=1e-6)
    info = _draft(problem.model, samples[0].size, found.x[: problem.lenses])
    squares = [len(samples[k].ids) * board_pose(samples[k], board, info).rms ** 2 for k in out]
    return math.sqrt(sum(squares) / sum(len(samples[k].ids) for k in out))


def _at_one_metre(problem: _Problem, found: Fit, samples: Sequence[Corners], used: list[int]) -> float:
    """[mm]; see `Intrinsics`."""
    lens = found.parameters[: problem.lenses]
    pixels = np.concatenate([samples[k].pixels for k in used])
    pixels = pixels[np.linspace(0, len(pixels) - 1, min(_PLACES, len(pixels))).astype(int)]
    rays = _draft(problem.model, samples[0].size, lens).rays(pixels)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    _, by_lens, by_pose = _project(problem.model, lens, np.zeros(6), rays)
    side = np.cross(rays, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    tangents = np.stack([side, np.cross(rays, side)], axis=-1)  # (n, 3, 2)
    turned = np.linalg.solve(by_pose[:, 3:].reshape(-1, 2, 3) @ tangents, by_lens.reshape(len(rays), 2, -1))
    spread = np.einsum("nij,jk,nik->n", turned, found.covariance[: problem.lenses, : problem.lenses], turned)
    return 1e3 * math.sqrt(float(spread.max()))


def _plain(model: Model, points: Sequence[Array], samples: Sequence[Corners]) -> Plain:
    """OpenCV's own calibration."""
    nothing = np.full((3, 3), np.nan), np.full(COEFFICIENTS[model], np.nan)
    pixels, size = [corners.pixels for corners in samples], samples[0].size
    try:
        if model == "equidistant":
            rms, matrix, distortion, *_ = cv2.fisheye.calibrate(
                [p[None] for p in points],
                [p[None] for p in pixels],
                size,
                np.eye(3),
                np.zeros((4, 1)),
                flags=cv2.fisheye.CALIB_RECOMPUTE_EXTRINSIC | cv2.fisheye.CALIB_FIX_SKEW,
            )
        else:
            rms, matrix, distortion, *_ = cv2.calibrateCamera(
                [p.astype(np.float32) for p in points],
                [p.astype(np.float32) for p in pixels],
                size,
                np.eye(3),
                np.zeros(COEFFICIENTS[model]),
                flags=cv2.CALIB_RATIONAL_MODEL if model == "rational_polynomial" else 0,
            )
    except cv2.error as error:
        return Plain(*nothing, math.nan, f"gives up ({error.err})")
    return Plain(np.asarray(matrix, float), np.ravel(distortion)[: COEFFICIENTS[model]].astype(float), float(rms))


def _check_result(result: Intrinsics) -> None:
    """What a fit tells of its samples."""
    remedy = "show the board on all sides, near and far, and tilted by 30 to 50 degrees about different axes"
    normals = np.array([pose.rotation[:2, 2] for k, pose in enumerate(result.poses, 1) if k not in result.outliers])
    tilt = math.sqrt(float(np.linalg.eigvalsh(np.cov(normals.T))[-1]))
    if result.model != "equidistant" and tilt < math.sin(_TILT):
        raise CalibrationError(f"the boards are all parallel, to {math.degrees(tilt):.1f} degrees; {remedy}")
    if result.rms > CameraInfo.max_rms:
        raise CalibrationError(
            f"the corners lie {result.rms:.2f} px (RMS) from where the {result.model} lens has them, allowed are "
            f"{CameraInfo.max_rms} px: is the print flat, is it the board {result.board.name!r}, is the model right?"
        )
    fx, fy = result.matrix[0, 0], result.matrix[1, 1]
    unsure = max(result.std[0] / fx, result.std[1] / fy)
    if unsure > _FOCAL:
        raise CalibrationError(
            f"the focal length is known to {100 * unsure:.2f} %, needed are {100 * _FOCAL:.1f} %; {remedy}"
        )
    if abs(fx / fy - 1.0) > _SQUARE:
        raise CalibrationError(
            f"fx is {fx:.1f}, fy {fy:.1f} px, allowed is {100 * _SQUARE:.0f} % between them: is the print stretched?"
        )


def _calibrated(samples: Sequence[Corners], board: Board, model: Model) -> Intrinsics:
    points = [points_seen(corners, board) for corners in samples]
    problem = _Problem(model, points, [corners.pixels for corners in samples])
    found = fit(
        problem.residuals,
        _start(model, samples, board),
        problem.owner,
        problem.names,
        floor=_FLOOR,
        advice=f"is it always the board {board.name!r}, flat, and one camera whose focus stays?",
        jacobian=problem.jacobian,
        own=problem.own,
    )
    used = [k for k in range(len(samples)) if k + 1 not in found.outliers]
    x, lenses = found.parameters, problem.lenses
    result = Intrinsics(
        board=board,
        model=model,
        size=samples[0].size,
        matrix=_matrix(x),
        distortion=x[4:lenses],
        names=tuple(problem.names[:lenses]),
        std=found.std[:lenses],
        covariance=found.covariance[:lenses, :lenses],
        poses=tuple(Pose.from_rotvec(pose[3:], pose[:3]) for pose in x[lenses:].reshape(-1, 6)),
        rms=math.sqrt(2.0) * found.rms,
        misfits=math.sqrt(2.0) * found.misfits[1:],
        outliers=found.outliers,
        held_out=_held_out(problem, x, samples, board, used),
        at_one_metre=_at_one_metre(problem, found, samples, used),
        plain=_plain(model, points, samples),
    )
    _check_result(result)
    return result


def calibrate(samples: Sequence[Corners], board: Board, models: Sequence[Model] = PINHOLE) -> Intrinsics:
    """The lens by the simplest of `models` (simple ones first) that foretells held-out pictures as well as the others.

    The board's size in metres does not matter here: no picture tells a small board from a far one. Raises
    CalibrationError for too few samples, one-sided or parallel ones, a mirrored board, another board's corners, another
    camera's sample, and a lens that fits too badly or is known too little.
    """
    _check(samples, board)
    best: Intrinsics | None = None
    refusal = CalibrationError("no model was given")
    for model in models:
        try:
            result = _calibrated(samples, board, model)
        except CalibrationError as error:
            refusal = error
            continue
        if best is None or result.held_out < _BETTER * best.held_out:
            best = result
    if best is None:
        raise refusal
    return best


def apart(one: CameraInfo, other: CameraInfo, max_angle: float) -> float:
    """[rad] by which two lenses' rays through the same pixels differ at most, up to `max_angle` [rad] off the axis.

    Both cameras may be turned as a whole: calibration of where a camera looks takes that up.
    """
    turn, angle = np.meshgrid(np.linspace(0.0, 2 * math.pi, 36, endpoint=False), np.linspace(0.0, max_angle, 15))
    rays = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], -1).reshape(-1, 3)
    pixels = other.project(rays)
    inside = ((pixels >= 0.0) & (pixels <= np.array(other.size) - 1.0)).all(axis=1)
    seen = one.rays(pixels[inside])
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    turned, _ = Rotation.align_vectors(rays[inside], seen)
    return float(np.linalg.norm(turned.apply(seen) - rays[inside], axis=1).max())
