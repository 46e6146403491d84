"""How a calibration board is found in a picture, to a twentieth of a pixel. Pure.

What can't be trusted is refused with the reason: no board, another one, two, a mirrored one, a blurred one.

Sources: ChArUco and ArUco, Garrido-Jurado et al. 2014, by OpenCV; chessboard, Duda and Frese 2018 ("Accurate detection
and localization of checkerboard corners for calibration"), by OpenCV; AprilTag 36h11, Olson 2011.
"""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration import boards
from kinema.calibration.boards import FEWEST, Board, Corners
from kinema.chunk import Image
from kinema.errors import CalibrationError
from kinema.geometry import Array

BLURRED = 2.0  # [px] from which on a picture's corners are not believed

_SAMPLED = 8  # [px] edge of a tag's module when its bit is read
_STRAY = 0.2  # [-] of all tags seen that may be none of the board's
_REACH = 2.1  # [squares] from one tag to those whose place it foretells
_ASTRAY = 0.3  # [-] of that way by which a tag may be elsewhere
_RATIO = 0.06  # [-] by which the tags' size to the squares' may be off
_ROUNDS, _ACROSS = 3, 0.09  # of sharpening tags; [-] of a side to look at on both sides of it
_THIN = 0.4  # [squares] standard deviation across points that are taken to lie on one line
_NARROW, _MOVED = 12.0, 3.0  # [px] side of a tag that is too short to be sharpened; way that is none of sharpening
_SADDLE = 0.3  # [-] of the way to the next corner: half the window that a corner is refined in
_OTHERS = ("4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000", "ARUCO_ORIGINAL", "APRILTAG_25h9", "APRILTAG_36h11")


@functools.lru_cache(maxsize=8)
def _tag_detector(dictionary: str) -> cv2.aruco.ArucoDetector:
    parameters = cv2.aruco.DetectorParameters()
    parameters.perspectiveRemovePixelPerCell = _SAMPLED
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    return cv2.aruco.ArucoDetector(boards.dictionary(dictionary), parameters)


@functools.lru_cache(maxsize=8)
def _charuco_detector(board: Board) -> cv2.aruco.CharucoDetector:
    squares = board.columns, board.rows
    return cv2.aruco.CharucoDetector(
        cv2.aruco.CharucoBoard(squares, board.square, board.marker, boards.dictionary(board.dictionary))
    )


def _quads(grey: NDArray[np.uint8], dictionary: str) -> tuple[list[int], Array]:
    """Numbers and corners (n, 4, 2) [px] of the tags in a picture."""
    quads, ids, _ = _tag_detector(dictionary).detectMarkers(grey)
    numbers = [] if ids is None else [int(number) for number in np.ravel(ids)]
    return numbers, np.asarray(quads, float).reshape(-1, 4, 2)


def _why_no_tags(grey: NDArray[np.uint8], board: Board) -> str:
    """Where none of the board's tags is seen: what is seen instead."""
    if len(_quads(np.ascontiguousarray(grey[:, ::-1]), board.dictionary)[0]) > 1:
        return f"the picture is mirrored, or the print is: only its mirror image shows the board {board.name!r}"
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    if len(_quads(np.asarray(half, np.uint8), board.dictionary)[0]) > 1:
        return f"the board {board.name!r} is blurred or too noisy to be read: hold it still, focus, or give more light"
    for other in _OTHERS:
        numbers, _ = _quads(grey, f"DICT_{other}")
        if len(numbers) > 2:
            return f"no board {board.name!r}, but {len(numbers)} tags of DICT_{other}: it is another board"
    _, _, unread = _tag_detector(board.dictionary).detectMarkers(grey)
    if len(unread) >= FEWEST:
        return f"{len(unread)} squares are seen, none is a tag of {board.name!r}: it is blurred, too far, or none"
    return f"no board {board.name!r} in the picture"


def _checked_tags(grey: NDArray[np.uint8], board: Board) -> tuple[list[int], Array]:
    """The board's tags in a picture; refuses those of another board, of two, or that stand elsewhere than printed."""
    numbers, quads = _quads(grey, board.dictionary)
    if not numbers:
        raise CalibrationError(_why_no_tags(grey, board))
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    if twice:
        raise CalibrationError(f"tag {twice[0]} is seen {numbers.count(twice[0])} times: show one board {board.name!r}")
    foreign = sorted(number for number in numbers if number >= board.tags)
    if len(foreign) > _STRAY * len(numbers):
        raise CalibrationError(
            f"tag {foreign[0]} is seen, the board {board.name!r} has 0..{board.tags - 1}: "
            "it is another board, or there are two"
        )
    known = [k for k, number in enumerate(numbers) if number < board.tags]
    order = sorted(known, key=lambda k: numbers[k])
    numbers, quads = [numbers[k] for k in order], quads[order]
    _check_layout(numbers, quads, board)
    return numbers, quads


def _check_layout(numbers: list[int], quads: Array, board: Board) -> None:
    """Each tag foretells where those around it are: by the homography of its own corners, so whatever the lens."""
    centres = np.array([board.tag(number)[:, :2].mean(axis=0) for number in numbers])
    seen = quads.mean(axis=1)
    off, ratio = [], []
    for k, number in enumerate(numbers):
        homography = cv2.getPerspectiveTransform(
            board.tag(number)[:, :2].astype(np.float32), quads[k].astype(np.float32)
        )
        apart = np.linalg.norm(centres - centres[k], axis=1)
        near = np.flatnonzero((apart > 0.0) & (apart < _REACH * board.square))
        if not len(near):
            continue
        foretold = cv2.perspectiveTransform(centres[near, None], homography)[:, 0]
        way, foretold_way = seen[near] - seen[k], foretold - seen[k]
        length = np.linalg.norm(way, axis=1)
        off += (np.linalg.norm(foretold_way - way, axis=1) / length).tolist()
        ratio += ((foretold_way * way).sum(axis=1) / length**2).tolist()
    if off and np.mean(np.array(off) < _ASTRAY) < 1.0 - _STRAY:
        raise CalibrationError(f"the tags stand elsewhere than on a board {board.name!r}: are columns and rows right?")
    if len(ratio) >= FEWEST and abs(float(np.median(ratio)) - 1.0) > _RATIO:
        true = board.marker / board.square * float(np.median(ratio))
        raise CalibrationError(
            f"the tags' edge is {true:.3f} of the squares', on a board {board.name!r} it is "
            f"{board.marker / board.square:.3f}: measure both on the print"
        )


def _charuco(grey: NDArray[np.uint8], board: Board) -> tuple[NDArray[np.int64], Array]:
    numbers, quads = _checked_tags(grey, board)
    markers = [quad[None].astype(np.float32) for quad in quads]
    pixels, ids, _, _ = _charuco_detector(board).detectBoard(
        grey, markerCorners=markers, markerIds=np.array(numbers, np.int32)[:, None]
    )
    if ids is None:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    return np.ravel(ids).astype(np.int64), np.asarray(pixels, float).reshape(-1, 2)


def _sharpened(grey: NDArray[np.uint8], quads: Array) -> Array:
    """Tags' corners (n, 4, 2) as the crossings of their sides: unlike a saddle's, blur moves a tag's own corners.

    A side lies where the profile across it is steepest, by that steepness' centroid; a parabola through it bends as the
    lens does, and its tangents at the ends cross in the corners.
    """
    narrow = _narrow(quads)
    along = np.linspace(0.1, 0.9, 17)  # [-] of a side, from its first corner
    fit = np.linalg.pinv(np.vander(along, 3, increasing=True))  # (3, 17)
    for _ in range(_ROUNDS):
        sides = np.roll(quads, -1, axis=1) - quads  # (n, 4, 2)
        length = np.linalg.norm(sides, axis=2, keepdims=True)
        inwards = np.stack([-sides[..., 1], sides[..., 0]], axis=-1) / length
        across = np.clip(_ACROSS * narrow, 1.2, 4.0)[:, None, None, None] * np.linspace(-1.0, 1.0, 17)  # (n, 1, 1, 17)
        points = quads[:, :, None] + along[:, None] * sides[:, :, None]
        places = (points[..., None, :] + across[..., None] * inwards[:, :, None, None]).astype(np.float32)
        flat = places.reshape(-1, 17, 2)
        levels = cv2.remap(grey.astype(np.float32), flat[..., 0], flat[..., 1], cv2.INTER_LINEAR)
        slope = -np.gradient(levels.reshape(places.shape[:-1]), axis=-1)  # inwards it gets darker, not so at modules
        slope = np.maximum(slope - 0.3 * slope.max(axis=-1, keepdims=True), 0.0) + 1e-9
        off = (slope * across).sum(axis=-1) / slope.sum(axis=-1)
        a, b, c = np.moveaxis(off @ fit.T, -1, 0)[..., None]  # a side is a + b t + c t^2 inwards of its chord
        begin, end = quads + a * inwards, quads + sides + (a + b + c) * inwards
        to_begin, to_end = sides + b * inwards, sides + (b + 2 * c) * inwards
        quads = _crossing(begin, to_begin, np.roll(end, 1, axis=1), np.roll(to_end, 1, axis=1))
    return quads


def _narrow(quads: Array) -> Array:
    """(n,) [px] the shortest side of each tag."""
    return np.asarray(np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2).min(axis=1))


def _crossing(p: Array, u: Array, q: Array, v: Array) -> Array:
    """Where lines through p along u and through q along v meet, each (..., 2)."""
    between = q - p
    t = (between[..., 0] * v[..., 1] - between[..., 1] * v[..., 0]) / (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])
    return np.asarray(p + t[..., None] * u)


def _aprilgrid(grey: NDArray[np.uint8], board: Board) -> tuple[NDArray[np.int64], Array]:
    numbers, quads = _checked_tags(grey, board)
    sharp = _sharpened(grey, quads)
    good = (_narrow(quads) > _NARROW) & (np.linalg.norm(sharp - quads, axis=2).max(axis=1) < _MOVED)
    if 2 * good.sum() < len(good):
        raise CalibrationError(
            f"the tags of the board {board.name!r} are blurred, or too small: hold it still, or nearer"
        )
    return (4 * np.array(numbers)[good, None] + np.arange(4)).ravel(), sharp[good].reshape(-1, 2)


def _chessboard(grey: NDArray[np.uint8], board: Board) -> tuple[NDArray[np.int64], Array]:
    """All inner corners; the first is the one beside the black corner square."""
    pixels = _chessboard_corners(grey, board)
    if pixels is None:
        raise CalibrationError(
            f"no board {board.name!r} in the picture: all of its inner corners must be seen, sharp, and no more of them"
        )
    rest = grey.copy()
    hull = cv2.convexHull(pixels.astype(np.float32)).reshape(-1, 2)
    cv2.fillConvexPoly(rest, np.rint(hull + 0.3 * (hull - hull.mean(axis=0))).astype(np.int32), float(grey.mean()))
    if _chessboard_corners(rest, board) is not None:
        raise CalibrationError(f"two boards are seen: show one board {board.name!r}")
    grid = _refined(grey, pixels.reshape(board.rows - 1, board.columns - 1, 2))
    across, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    if across[0] * down[1] - across[1] * down[0] < 0.0:
        grid = grid[:, ::-1]
    levels = [_level(grey, corner[:2, :2].reshape(-1, 2).mean(axis=0)) for corner in (grid, grid[::-1, ::-1])]
    if levels[0] > levels[1]:
        grid = grid[::-1, ::-1]
    return np.arange(len(pixels)), grid.reshape(-1, 2)


def _refined(grey: NDArray[np.uint8], grid: Array) -> Array:
    apart = min(np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (0, 1))
    half = int(np.clip(_SADDLE * apart, 2, 8))
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-3)
    corners = grid.reshape(-1, 1, 2).astype(np.float32)
    return np.asarray(cv2.cornerSubPix(grey, corners, (half, half), (-1, -1), criteria), float).reshape(grid.shape)


def _chessboard_corners(grey: NDArray[np.uint8], board: Board) -> Array | None:
    found, pixels = cv2.findChessboardCornersSB(grey, (board.columns - 1, board.rows - 1))
    return np.asarray(pixels, float).reshape(-1, 2) if found else None


def _level(grey: NDArray[np.uint8], at: Array) -> float:
    return float(cv2.getRectSubPix(grey, (3, 3), (float(at[0]), float(at[1]))).mean())


def _thin(board: Board, ids: NDArray[np.int64]) -> bool:
    """Whether the points lie so close to one line that a pose by them would tumble about it."""
    points = board.points[ids, :2]
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] / math.sqrt(len(points))
    return bool(spread < _THIN * board.square)


def _edges(board: Board) -> NDArray[np.int64]:
    """(m, 2) numbers of points between which a straight edge runs."""
    if board.kind == "aprilgrid":
        return np.array([(4 * i + k, 4 * i + (k + 1) % 4) for i in range(board.tags) for k in range(4)])
    numbers = np.arange((board.rows - 1) * (board.columns - 1)).reshape(board.rows - 1, board.columns - 1)
    rows = np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1)
    return np.concatenate([rows, np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1)])


def _blur(grey: NDArray[np.uint8], board: Board, ids: NDArray[np.int64], pixels: Array) -> float:
    """See `Corners.blur`: a step of height C, smeared by a Gaussian of deviation s, is C / (s sqrt(2 pi)) steep."""
    where = np.full(len(board.points), -1)
    where[ids] = np.arange(len(ids))
    ends = where[_edges(board)]
    ends = ends[(ends >= 0).all(axis=1)]
    begin, end = pixels[ends[:, 0]], pixels[ends[:, 1]]
    length = np.linalg.norm(end - begin, axis=1)
    normal = np.stack([begin[:, 1] - end[:, 1], end[:, 0] - begin[:, 0]], axis=1) / length[:, None]
    steps = np.arange(-3.0, 3.25, 0.5)
    places = ((begin + end) / 2)[:, None] + normal[:, None] * steps[:, None]
    at = places.astype(np.float32)
    profile = np.asarray(cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR), float)
    inside = np.zeros_like(grey)
    cv2.fillConvexPoly(inside, np.rint(cv2.convexHull(pixels.astype(np.float32))).astype(np.int32), 1)
    low, high = np.percentile(grey[inside > 0], (5, 95))
    steepest = np.abs(profile[:, 2:] - profile[:, :-2]).max(axis=1)
    return float(np.percentile((high - low) / np.maximum(steepest, 1e-3) / math.sqrt(2 * math.pi), 75))


def detect(image: Image, board: Board) -> Corners:
    """What a picture (height, width, 3) RGB or (height, width) grey shows of a board.

    Raises CalibrationError for no board, too few corners, another board, two, a mirrored one, a blurred one. A mirrored
    chessboard is a chessboard: only boards with tags tell.
    """
    grey = np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    find = {"charuco": _charuco, "chessboard": _chessboard, "aprilgrid": _aprilgrid}[board.kind]
    ids, pixels = find(grey, board)
    if len(ids) < FEWEST or _thin(board, ids):
        raise CalibrationError(
            f"{len(ids)} corners of the board {board.name!r} are seen, needed are {FEWEST}, in two rows at least: "
            "show more of it, nearer or sharper"
        )
    blur = _blur(grey, board, ids, pixels)
    if blur > BLURRED:
        raise CalibrationError(
            f"the board {board.name!r} is blurred by {blur:.1f} px, allowed are {BLURRED} px: hold it still, or focus"
        )
    height, width = grey.shape
    return Corners(ids, pixels, (width, height), blur)
