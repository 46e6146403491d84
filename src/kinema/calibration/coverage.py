"""How well the samples of a session cover a camera: where in the picture, how near, how tilted; what is missing. Pure.

No lens is known yet while samples are taken, so a sample is described by what its corners show: where they are, how
large the board is, and which of its sides is farther away. Source: ROS camera_calibration describes samples by place,
size and skew as well; tilt is the plane's vanishing line, Hartley and Zisserman 2004, chapter 8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.board_pose import points_seen
from kinema.calibration.boards import Board, Corners
from kinema.errors import CalibrationError
from kinema.geometry import Array

FIELDS = (6, 8)  # rows, columns that a picture is divided into

_THIRDS = (("at the top left", "at the top", "at the top right"), ("at the left", "in the middle", "at the right"))
_PLACES = (*_THIRDS, ("at the bottom left", "at the bottom", "at the bottom right"))
_SIDES = ("right", "left", "lower", "upper")  # that a tilt of +x, -x, +y, -y takes away from the camera
_TILTED = 0.6  # of a tilt that counts, some 30 degrees at a normal lens: less leaves the focal length open
_NEARER = 1.6  # times larger the largest board than the smallest
_ENOUGH = 0.5  # [-] of a third's fields
_STILL = 0.5  # [px] that corners may move by, from the first to the last of the frames looked at
_SHARP = 1.3  # [px] of blur
_NEW = np.array([0.12, 0.12, 0.25, 0.2, 0.2])  # of place, size's logarithm and tilt, that make a view another one
_FRAMES = 3  # that must agree that the board is still


@dataclass(frozen=True, eq=False, slots=True)
class Coverage:
    """counts (rows, columns) of corners in the picture's fields, all samples together; share [-] of fields with any."""

    counts: NDArray[np.int64]

    @property
    def share(self) -> float:
        return float((self.counts > 0).mean())


@dataclass(frozen=True, slots=True)
class View:
    """One sample: x, y [-] the corners' middle in the picture, 0..1; size [-] of a whole board to the picture's width;
    tilt [-] (x, y): the logarithm of the distance grows by so much over a picture's width."""

    x: float
    y: float
    size: float
    tilt: tuple[float, float]

    @property
    def values(self) -> Array:
        return np.array([self.x, self.y, math.log(self.size), *self.tilt])


def coverage(samples: Sequence[Corners]) -> Coverage:
    """Of samples of one camera."""
    counts = np.zeros(FIELDS, np.int64)
    for corners in samples:
        share = (corners.pixels + 0.5) / corners.size
        column, row = np.clip((share * FIELDS[::-1]).astype(int), 0, (FIELDS[1] - 1, FIELDS[0] - 1)).T
        np.add.at(counts, (row, column), 1)
    return Coverage(counts)


def view(corners: Corners, board: Board) -> View:
    """Raises CalibrationError for corners that fit no plane."""
    width, height = corners.size
    points = points_seen(corners, board)[:, :2] - np.array(board.size) / 2
    homography, _ = cv2.findHomography(points / board.size[0], corners.pixels / width)
    if homography is None or not np.isfinite(homography).all():
        raise CalibrationError("the corners lie on one line, or fit no plane")
    at = points.mean(axis=0) / board.size[0]
    depth = homography[2] @ [*at, 1.0]
    place = homography[:2] @ [*at, 1.0] / depth
    slope = (homography[:2, :2] - np.outer(place, homography[2, :2])) / depth  # of the picture by the board
    tilt = np.linalg.solve(slope.T, homography[2, :2] / depth)
    x, y = (corners.pixels.mean(axis=0) + 0.5) / (width, height)
    size = math.sqrt(abs(float(np.linalg.det(slope))) * board.size[1] / board.size[0])
    return View(float(x), float(y), size, (float(tilt[0]), float(tilt[1])))


def _tilts(views: Sequence[View]) -> Array:
    """(4,) the largest tilt to each side."""
    tilts = np.array([one.tilt for one in views]).reshape(-1, 2)
    return np.array([(sign * tilts[:, axis]).max(initial=0.0) for axis in (0, 1) for sign in (1, -1)])


def diversity(samples: Sequence[Corners], board: Board) -> float:
    """0..1: how much of what should be seen was seen: tilts to all four sides, and the board near and far."""
    if not samples:
        return 0.0
    views = [view(corners, board) for corners in samples]
    sizes = [one.size for one in views]
    parts = [*np.minimum(_tilts(views) / _TILTED, 1.0), min(math.log(max(sizes) / min(sizes)) / math.log(_NEARER), 1.0)]
    return float(np.mean(parts))


def next_view(samples: Sequence[Corners], board: Board) -> str:
    """What to show next, for a person; '' where nothing is missing."""
    rows, columns = FIELDS[0] // 3, FIELDS[1] / 3
    seen = coverage(samples).counts > 0
    thirds = np.array(
        [
            [seen[rows * r : rows * (r + 1), round(columns * c) : round(columns * (c + 1))].mean() for c in range(3)]
            for r in range(3)
        ]
    )
    if thirds.min() < _ENOUGH:
        r, c = np.unravel_index(int(thirds.argmin()), thirds.shape)
        return f"show the board {_PLACES[r][c]} of the picture"
    views = [view(corners, board) for corners in samples]
    tilts = _tilts(views)
    if tilts.min() < _TILTED:
        return f"tilt the board: its {_SIDES[int(tilts.argmin())]} side away from the camera, by 30 to 50 degrees"
    sizes = [one.size for one in views]
    if max(sizes) < _NEARER * min(sizes):
        return "show the board nearer" if max(sizes) < 0.6 else "show the board farther away"
    return ""


def not_yet(frames: Sequence[Corners], samples: Sequence[Corners], board: Board) -> str:
    """Why the last of some frames (oldest first) is no sample to take by itself; '' where it is: still, sharp, new."""
    if len(frames) < _FRAMES:
        return f"the board was seen in {len(frames)} frames, {_FRAMES} are needed"
    last = frames[-1]
    for earlier in frames[-_FRAMES:-1]:
        _, here, there = np.intersect1d(last.ids, earlier.ids, return_indices=True)
        moved = last.pixels[here] - earlier.pixels[there]
        if not len(moved) or np.linalg.norm(moved, axis=1).mean() > _STILL:
            return "the board moves: hold it still"
    if last.blur > _SHARP:
        return f"the board is blurred by {last.blur:.1f} px: hold it still, or focus"
    new = view(last, board).values
    if any((np.abs(new - view(sample, board).values) < _NEW).all() for sample in samples):
        return "this was shown already" + (f": {advice}" if (advice := next_view(samples, board)) else "")
    return ""
