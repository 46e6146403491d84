"""Calibration boards: what is printed on them, and what a picture shows of one. Pure.

A board's frame is OpenCV's: the origin in the top left corner of the squares, x right, y down, z into the board. Points
of a board have numbers; what is seen of it in one picture are pixels by number (`board_detection` finds them).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.errors import CalibrationError
from kinema.geometry import Array

BoardKind = Literal["charuco", "chessboard", "aprilgrid"]
KINDS: tuple[BoardKind, ...] = get_args(BoardKind)

FEWEST = 8  # corners that a picture must show

_MOST = 40  # columns or rows
_LARGEST = 2.0  # [m] edge of a square
_DIGITS = 6  # of a length in metres: micrometres
_NAME = re.compile(
    r"(?P<kind>[a-z]+) (?P<columns>\d+)x(?P<rows>\d+) (?P<square>\d+(\.\d+)?)mm"
    r"( (?P<marker>\d+(\.\d+)?)mm (?P<dictionary>DICT_\w+))?"
)


@dataclass(frozen=True, slots=True)
class Board:
    """A printed board of `columns` x `rows` squares; raises CalibrationError where it could not be told which way up.

    kind        charuco: a chessboard, an ArUco tag in every white square; its points are the inner corners
                chessboard: its points are the inner corners, all of which must be seen
                aprilgrid: one tag in each of columns x rows squares; its points are the tags' corners
    square      [m] edge of a square; of an aprilgrid the distance from tag to tag
    marker      [m] edge of a tag's black square; 0 for a chessboard
    dictionary  OpenCV's name of the tags' dictionary; empty for a chessboard
    """

    kind: BoardKind
    columns: int
    rows: int
    square: float
    marker: float = 0.0
    dictionary: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CalibrationError(f"board kind {self.kind!r} is unknown; allowed: {', '.join(KINDS)}")
        least = 1 if self.kind == "aprilgrid" else 3
        if not all(least <= n <= _MOST for n in (self.columns, self.rows)) or self.columns * self.rows < 2:
            raise CalibrationError(
                f"{self.kind} of {self.columns} x {self.rows} squares; allowed are {least} to {_MOST} each way"
            )
        if not 0.0 < self.square <= _LARGEST:
            raise CalibrationError(f"squares of {self.square} m; allowed are 0 < square <= {_LARGEST} m")
        for name in ("square", "marker"):
            object.__setattr__(self, name, round(getattr(self, name), _DIGITS))
        if self.kind == "chessboard":
            self._check_chessboard()
        else:
            self._check_tags()

    def _check_chessboard(self) -> None:
        if self.marker != 0.0 or self.dictionary:
            raise CalibrationError("a chessboard has no tags: leave marker and dictionary out")
        if (self.columns + self.rows) % 2 == 0:
            raise CalibrationError(
                f"a chessboard of {self.columns} x {self.rows} squares looks the same upside down; allowed is an odd "
                "number of squares one way and an even one the other"
            )

    def _check_tags(self) -> None:
        if not 0.0 < self.marker < self.square:
            raise CalibrationError(
                f"tags of {self.marker} m in squares of {self.square} m; allowed are 0 < marker < square"
            )
        available = len(dictionary(self.dictionary).bytesList)
        if self.tags > available:
            raise CalibrationError(f"the board needs {self.tags} tags, {self.dictionary} has {available}")

    @staticmethod
    def parse(name: str) -> "Board":
        """The board of that `name`; CalibrationError with an example for what is no name."""
        match = _NAME.fullmatch(name.strip())
        if match is None or match["kind"] not in KINDS:
            raise CalibrationError(
                f"{name!r} names no board; allowed is a kind ({', '.join(KINDS)}), squares, their size, and for tags "
                f"size and dictionary: {DEFAULT.name!r}"
            )
        kind = KINDS[KINDS.index(match["kind"])]
        square, marker = (float(match[key] or 0.0) / 1e3 for key in ("square", "marker"))
        return Board(kind, int(match["columns"]), int(match["rows"]), square, marker, match["dictionary"] or "")

    @property
    def name(self) -> str:
        """All of it in one line, as it stands on the print and in a calibration's provenance."""
        text = f"{self.kind} {self.columns}x{self.rows} {1e3 * self.square:.6g}mm"
        return f"{text} {1e3 * self.marker:.6g}mm {self.dictionary}" if self.marker else text

    @property
    def tags(self) -> int:
        """How many it has; their numbers count from 0, left to right, then downwards."""
        return {"charuco": self.columns * self.rows // 2, "aprilgrid": self.columns * self.rows}.get(self.kind, 0)

    @property
    def size(self) -> tuple[float, float]:
        """Width, height [m] of all squares."""
        return self.columns * self.square, self.rows * self.square

    @property
    def points(self) -> Array:
        """(n, 3) [m] in the board's frame, z = 0, by number.

        Inner corners count left to right, then downwards; of an aprilgrid point 4 i + k is corner k of tag i, clockwise
        from its top left.
        """
        if self.kind == "aprilgrid":
            return np.concatenate([self.tag(i) for i in range(self.tags)])
        y, x = np.mgrid[1 : self.rows, 1 : self.columns] * self.square
        return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)

    def tag(self, number: int) -> Array:
        """(4, 3) [m]: a tag's corners, clockwise from its top left."""
        column, row = self._places()[number]
        half = self.marker / 2
        x, y = (column + 0.5) * self.square, (row + 0.5) * self.square
        return np.array([(x + a * half, y + b * half, 0.0) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])

    def _places(self) -> list[tuple[int, int]]:
        """Column and row of every tag."""
        squares = [(c, r) for r in range(self.rows) for c in range(self.columns)]
        return squares if self.kind == "aprilgrid" else [(c, r) for c, r in squares if (c + r) % 2]

    def black(self) -> Array:
        """(m, 4) [m]: x, y, width, height of the rectangles that are printed black."""
        boxes = [] if self.kind == "aprilgrid" else list(self._black_squares())
        for number in range(self.tags):
            boxes += self._black_modules(number)
        return np.array(boxes)

    def _black_squares(self) -> Iterator[tuple[float, float, float, float]]:
        for row in range(self.rows):
            for column in range(row % 2, self.columns, 2):
                yield column * self.square, row * self.square, self.square, self.square

    def _black_modules(self, number: int) -> list[tuple[float, float, float, float]]:
        """Of a tag, those side by side in one."""
        tags = dictionary(self.dictionary)
        across = tags.markerSize + 2
        bits = np.asarray(tags.generateImageMarker(number, across, borderBits=1)) > 0
        module, (left, top) = self.marker / across, self.tag(number)[0, :2]
        boxes = []
        for row, line in enumerate(bits):
            edges = np.flatnonzero(np.diff(np.concatenate([[True], line, [True]]).astype(int)))
            for begin, end in edges.reshape(-1, 2).tolist():
                boxes.append((left + begin * module, top + row * module, (end - begin) * module, module))
        return boxes


@dataclass(frozen=True, eq=False, slots=True)
class Corners:
    """What one picture shows of a board.

    ids     (m,) numbers of the board's points, ascending
    pixels  (m, 2) where they are seen [px]; the centre of a pixel has whole coordinates
    size    width, height [px] of the picture
    blur    [px] standard deviation of the Gaussian that a step must be smeared by to look like the board's edges; of
            its quarter that is smeared most, so that motion in one direction shows. Pixels alone make some 0.4
    """

    ids: NDArray[np.int64]
    pixels: Array
    size: tuple[int, int]
    blur: float = 0.0


def dictionary(name: str) -> cv2.aruco.Dictionary:
    """OpenCV's of that name; raises CalibrationError for one that OpenCV has not."""
    which = getattr(cv2.aruco, name, None)
    if which is None or not name.startswith("DICT_"):
        raise CalibrationError(f"dictionary {name!r} is unknown; allowed are OpenCV's, such as DICT_5X5_100")
    return cv2.aruco.getPredefinedDictionary(which)


DEFAULT = Board("charuco", 9, 6, 0.030, 0.022, "DICT_5X5_100")  # on A4; not the dictionary of the fingers' tags
