"""A clock for cameras: a screen shows Kinema time as a pattern, and a camera's picture is read back. Pure.

Four tags say where the clock stands in the picture. Between them are 24 pairs of cells, one white and one black: 16
bits of time, the lowest a quarter of a millisecond, and 8 that check them (CRC-8, polynomial x^8 + x^2 + x + 1). Which
cell of a pair is brighter tells a bit: light, exposure and the screen's gamma don't matter. A picture that was exposed
while the screen changed shows the time that was lit longer; one that shows two times alike is refused.
"""

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.clock import NS
from kinema.errors import CalibrationError
from kinema.geometry import Array

SIZE = 16.0, 12.0  # width, height in units
TICK_NS = NS // 4_000
BITS, CHECKS = 16, 8
POLYNOMIAL = 0x07
CELL = 1.0, 1.5  # units

_DICTIONARY = "DICT_5X5_100"
_TAGS = {92: (0.5, 0.5), 93: (12.5, 0.5), 94: (12.5, 8.5), 95: (0.5, 8.5)}  # beyond those of the default board
_TAG = 3.0  # units of its edge
_ORIGIN = 4.0, 1.5  # of the first pair's upper cell
_COLUMNS = 8
_INNER = np.linspace(-0.25, 0.25, 5)  # [-] of a cell, about its middle: its edges are blurred
_CONTRAST = 20.0  # [grey levels] between white and black
_CLEAR = 0.35  # [-] of the clearest pair's contrast that every other one needs
_NAME = re.compile(r"clock +(?P<rate>\d+(\.\d+)?) ?Hz +(?P<delay>\d+(\.\d+)?) ?ms")


@dataclass(frozen=True, slots=True)
class Clock:
    """What a screen makes of the clock: `rate` [Hz] of its refresh; `delay` [s] from the page's time to its light."""

    rate: float
    delay: float

    @staticmethod
    def parse(name: str) -> "Clock":
        """The clock of that `name`; CalibrationError with an example for what is none."""
        match = _NAME.fullmatch(name.strip())
        if match is None or not 20.0 <= float(match["rate"]) <= 500.0 or float(match["delay"]) > 200.0:
            raise CalibrationError(
                f"{name!r} names no clock; allowed is the screen's refresh, 20 to 500 Hz, and its delay, 0 to 200 ms: "
                "'clock 60Hz 12ms'"
            )
        return Clock(float(match["rate"]), float(match["delay"]) / 1e3)

    @property
    def name(self) -> str:
        """As it stands below the clock, and in a session."""
        return f"clock {self.rate:.6g}Hz {1e3 * self.delay:.6g}ms"


def _check(value: int) -> int:
    """CRC-8 of the time's bits, the highest first."""
    crc = 0
    for k in reversed(range(BITS)):
        out = (crc >> 7) ^ (value >> k) & 1
        crc = ((crc << 1) & 0xFF) ^ (POLYNOMIAL if out else 0)
    return crc


def bits(t_ns: int) -> NDArray[np.bool_]:
    """(24,) what the clock shows at a moment: time, then its check, the highest bit first."""
    value = round(t_ns / TICK_NS) % (1 << BITS)
    word = value << CHECKS | _check(value)
    return np.array([word >> k & 1 for k in reversed(range(BITS + CHECKS))], bool)


def cells() -> Array:
    """(24, 2, 2) middles [units] of each pair's upper and lower cell; a bit that is set has the upper one white."""
    column, row = np.arange(BITS + CHECKS) % _COLUMNS, np.arange(BITS + CHECKS) // _COLUMNS
    x = _ORIGIN[0] + (column + 0.5) * CELL[0]
    y = _ORIGIN[1] + (2 * row + 0.5) * CELL[1]
    return np.stack([np.stack([x, y], 1), np.stack([x, y + CELL[1]], 1)], 1)


def black(t_ns: int | None = None) -> Array:
    """(m, 4) [units]: x, y, width, height of what is black, on white; without a time the tags alone."""
    found: list[tuple[float, float, float, float]] = []
    dictionary = _dictionary()
    across = dictionary.markerSize + 2
    module = _TAG / across
    for number, (left, top) in _TAGS.items():
        image = np.asarray(dictionary.generateImageMarker(number, across, borderBits=1))
        found += [(left + c * module, top + r * module, module, module) for r, c in np.argwhere(image == 0).tolist()]
    if t_ns is not None:
        dark = cells()[np.arange(BITS + CHECKS), bits(t_ns).astype(int)]
        found += [(x - CELL[0] / 2, y - CELL[1] / 2, *CELL) for x, y in dark.tolist()]
    return np.array(found)


def _dictionary() -> cv2.aruco.Dictionary:
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, _DICTIONARY))


def _corners(grey: NDArray[np.uint8]) -> tuple[Array, Array]:
    """The tags' corners on the clock (16, 2) [units] and in the picture [px]."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    quads, ids, _ = cv2.aruco.ArucoDetector(_dictionary(), parameters).detectMarkers(grey)
    seen = {} if ids is None else dict(zip(np.ravel(ids).tolist(), quads, strict=True))
    missing = [number for number in _TAGS if number not in seen]
    if missing:
        raise CalibrationError(
            f"of the clock's four tags {len(_TAGS) - len(missing)} are seen: show all of it, sharp and large enough"
        )
    edge = _TAG * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    return (
        np.concatenate([np.add(place, edge) for place in _TAGS.values()]),
        np.concatenate([np.asarray(seen[number], float).reshape(4, 2) for number in _TAGS]),
    )


def read(image: Image, stamp_ns: int) -> int:
    """The Kinema time [ns] that a picture of the clock (h, w, 3) RGB shows, the one nearest to its stamp.

    The clock begins anew every 16 s; what it shows is taken for less than 8 s from the stamp.

    Raises CalibrationError for no clock, one that is too dark or blurred, or that shows two times.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    on_clock, in_picture = _corners(np.asarray(grey, np.uint8))
    homography, _ = cv2.findHomography(on_clock, in_picture)
    spread = np.stack(np.meshgrid(_INNER * CELL[0], _INNER * CELL[1]), -1).reshape(-1, 2)
    points = cells()[:, :, None] + spread  # (24, 2, 25, 2)
    places = cv2.perspectiveTransform(points.reshape(-1, 1, 2), homography).astype(np.float32)
    levels = cv2.remap(grey.astype(np.float32), places, np.zeros(0), cv2.INTER_LINEAR)
    upper, lower = np.asarray(levels, float).reshape(BITS + CHECKS, 2, -1).mean(axis=2).T
    contrast = float(np.abs(upper - lower).max())
    if contrast < _CONTRAST:
        raise CalibrationError(f"the clock's cells differ by {contrast:.0f} grey levels: more light, or less of it")
    if np.abs(upper - lower).min() < _CLEAR * contrast:
        raise CalibrationError("the picture shows two times alike: the screen changed in its middle")
    word = int("".join("1" if bit else "0" for bit in upper > lower), 2)
    value = word >> CHECKS
    if _check(value) != word & (1 << CHECKS) - 1:
        raise CalibrationError("the clock's bits don't agree with their check: expose for less than a refresh")
    ticks, turn = round(stamp_ns / TICK_NS), 1 << BITS
    return (ticks + (value - ticks + turn // 2) % turn - turn // 2) * TICK_NS
