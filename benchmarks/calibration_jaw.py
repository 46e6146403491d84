"""The jaw's opening after calibrate_jaw against the truth, beside plain OpenCV: a row of `calibration.py`.

The jaw is calibrated as in `jaw.py`, by ever fewer of the pictures of it closing and opening once; then pictures of a
demonstration are read. Plain: each tag posed by itself from its printed size, the distance of the two, less what it
is with the jaw closed. Wanted: 0.3 mm RMS.
"""

import math
from collections.abc import Callable, Mapping

import cv2
import jaw
import numpy as np
from rich.table import Table

from kinema.calibration.files import CameraInfo, Jaw, tag_corners
from kinema.calibration.jaw import Sighting
from kinema.errors import CalibrationError
from kinema.geometry import Array
from kinema.perception.jaw import JawTracker, TagFinder
from kinema.virtual.cameras import TAG_DICTIONARY, TAGS

SIZE = (640, 480)
SKIPS = (1, 2, 3, 4, 5)  # of the pictures to calibrate by, every so-manieth
EVERY = 6  # of the demonstration's pictures, so-manieth

_PEAK, _AT_STOP = 3, 0.0005  # the jaw is closed where it is within so much [m] of the narrowest but two


def _apart(tags: Sighting, info: CameraInfo) -> float:
    """[m] between both tags by their printed size; NaN where one is not seen."""
    places = []
    for row in TAGS:
        if row.id not in tags:
            return math.nan
        corners = np.ascontiguousarray(info.rays(tags[row.id])[:, :2])
        square = tag_corners(jaw.DESIGN.size)
        _, _, place = cv2.solvePnP(square, corners, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
        places.append(np.ravel(place))
    return float(np.linalg.norm(places[1] - places[0]))


def _plain(stops: list[Sighting], pictures: list[tuple[int, Mapping[int, Array], float]], info: CameraInfo) -> Array:
    """Errors [m] of the plain method."""
    apart = np.sort([_apart(tags, info) for tags in stops])  # NaN comes last
    closed = np.median(apart[apart <= apart[_PEAK - 1] + _AT_STOP])
    return np.array([_apart(tags, info) - closed - width for _, tags, width in pictures])


def _own(found: Jaw, pictures: list[tuple[int, Mapping[int, Array], float]], info: CameraInfo) -> Array:
    tracker = JawTracker(found, info, jaw.BUNDLE.T_tcp_camera())
    return np.array([tracker.read(stamp_ns, tags).width - width for stamp_ns, tags, width in pictures])


def _said(errors: Array) -> list[str]:
    """How many are none, RMS and worst of the others."""
    good = 1e3 * np.abs(errors[np.isfinite(errors)])
    if not len(good):
        return [str(len(errors)), "", ""]
    return [str(len(errors) - len(good)), f"{np.sqrt((good**2).mean()):.3f}", f"{good.max():.3f}"]


def width() -> Table:
    info, table = jaw.BUNDLE.camera("gripper").scaled(SIZE), Table()
    for column in ("pictures", "read", "invalid", "RMS mm", "max mm", "OpenCV: invalid", "RMS mm", "max mm"):
        table.add_column(column, justify="right")
    stops, finder = jaw.stops(info), TagFinder(TAG_DICTIONARY, info)
    world, moments = jaw.session("pick_and_place", 0)
    pictures = [(stamp, finder.find(image), true) for stamp, image, true in jaw.images(world, moments[::EVERY], SIZE)]
    for skip in SKIPS:
        samples = stops[::skip]
        try:
            own = _said(_own(jaw.calibrated(samples, info), pictures, info))
        except CalibrationError as error:
            own = [f"refused: {str(error)[:24]}", "", ""]
        table.add_row(str(len(samples)), str(len(pictures)), *own, *_said(_plain(samples, pictures, info)))
    return table


ROWS: dict[str, Callable[[], Table]] = {"jaw": width}
