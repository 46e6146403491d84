"""A camera's picture with what a session sees in it: the coverage map, the corners of the board, a line of text."""

from collections.abc import Sequence

import cv2
import numpy as np

from kinema.calibration.boards import Corners
from kinema.calibration.coverage import Coverage
from kinema.chunk import Image
from kinema.geometry import Array

_SEEN, _FINE, _LACKING = (60, 160, 60), (80, 255, 80), (255, 150, 40)  # RGB
_OUTLINE = (255, 60, 220)  # RGB
_TINT = 0.25  # [-] of a field that samples have covered
_HEIGHT = 240  # [px] of a picture whose text and dots are drawn at size 1


def trace(image: Image, outlines: Sequence[Array], ring: Array | None) -> Image:
    """A copy with where calibration has the gripper, and a ring (2,) [px] about what is to be touched."""
    drawn = np.array(image)
    scale = max(len(drawn) / _HEIGHT, 0.5)
    for line in outlines:
        points = np.rint(line * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(drawn, [points], True, _OUTLINE, max(round(scale), 1), cv2.LINE_AA, shift=4)
    if ring is not None:
        centre = round(float(ring[0])), round(float(ring[1]))
        cv2.circle(drawn, centre, round(6 * scale), _OUTLINE, max(round(scale), 1), cv2.LINE_AA)
    return drawn


def draw(image: Image, corners: Corners | None, coverage: Coverage, text: str, fine: bool) -> Image:
    """A copy (height, width, 3) RGB; `fine`: what is seen could be a sample."""
    drawn = np.array(image)
    height, width = drawn.shape[:2]
    scale = max(height / _HEIGHT, 0.5)
    rows, columns = coverage.counts.shape
    for row, column in np.argwhere(coverage.counts > 0):
        top, bottom = row * height // rows, (row + 1) * height // rows
        left, right = column * width // columns, (column + 1) * width // columns
        field = drawn[top:bottom, left:right]
        field[:] = (1 - _TINT) * field + _TINT * np.array(_SEEN)
    colour = _FINE if fine else _LACKING
    for x, y in corners.pixels if corners else ():
        cv2.circle(drawn, (round(x), round(y)), round(2 * scale), colour, -1, cv2.LINE_AA)
    at = (round(4 * scale), height - round(6 * scale))
    cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.35 * scale, (0, 0, 0), round(3 * scale), cv2.LINE_AA)
    cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.35 * scale, colour, max(round(scale), 1), cv2.LINE_AA)
    return drawn
