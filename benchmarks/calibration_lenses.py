"""Lenses by calibration against the virtual cell's, beside plain OpenCV: rows of `calibration.py`.

Pictures are rendered with the lenses' distortion, blur and the noise table's noise, their corners found as a session
finds them. `spoiled` pictures show the board while it was bent: such are meant to be named and left out. Wanted for
intrinsics: RMS 0.15 px, focal length within 0.1 %; for the fisheye: RMS 0.2 px, rays at the rim within 0.1 degrees, a
turn of the whole camera aside.
"""

import datetime
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.table import Table

from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT, Corners
from kinema.calibration.files import CameraInfo, Model
from kinema.calibration.intrinsics import FISHEYE, PINHOLE, Intrinsics, apart, calibrate
from kinema.errors import CalibrationError
from kinema.virtual.board_samples import Spread, views
from kinema.virtual.board_view import BoardView
from kinema.virtual.cameras import camera

SIZE = (640, 480)
COUNTS = (25, 15, 10)
BEND = (600.0, 300.0)  # [px/m^2] of a bent board

_TODAY = datetime.datetime.now(datetime.UTC).date()


def _pictures(name: str, count: int, spread: Spread) -> list[Corners]:
    """What is found in rendered pictures of a camera of the cell."""
    rng, board_view, found = np.random.default_rng(0), BoardView(DEFAULT, camera(name).info(SIZE)), []
    for T_camera_board in views(DEFAULT, spread, rng):
        try:
            found.append(detect(board_view.render(T_camera_board, rng), DEFAULT))
        except CalibrationError:
            continue
        if len(found) == count:
            break
    return found


def _bent(corners: Corners) -> Corners:
    across = DEFAULT.points[corners.ids, 0] - DEFAULT.size[0] / 2
    return replace(corners, pixels=corners.pixels + np.outer(across**2, BEND))


def _cells(info: CameraInfo, rms: float, truth: CameraInfo, rim: float) -> list[str]:
    focal = 100 * (info.matrix[0, 0] / truth.matrix[0, 0] - 1)
    return [f"{rms:.3f}", f"{focal:+.3f}", f"{math.degrees(apart(info, truth, rim)):.3f}"]


def _plain(found: Intrinsics) -> CameraInfo:
    plain = found.plain
    info = found.camera_info("plain", "1", _TODAY)
    return CameraInfo.of("plain", found.size, plain.matrix, found.model, plain.distortion, info.provenance)


def _lenses(name: str, models: tuple[Model, ...], spread: Spread, rim: float) -> Table:
    truth, table = camera(name).info(SIZE), Table()
    columns = ("pictures", "spoiled", "model", "RMS px", "focal %", "rim deg", "held out px", "at 1 m mm", "left out")
    for column in (*columns, "OpenCV: RMS px", "focal %", "rim deg"):
        table.add_column(column, justify="right")
    everything = _pictures(name, max(COUNTS), spread)
    for count, spoiled in (*((count, 0) for count in COUNTS), (COUNTS[0], 2)):
        samples = [_bent(corners) if k < spoiled else corners for k, corners in enumerate(everything[:count])]
        try:
            found = calibrate(samples, DEFAULT, models)
        except CalibrationError as error:
            table.add_row(str(count), str(spoiled), f"refused: {error}")
            continue
        own = _cells(found.camera_info(name, "1", _TODAY), found.rms, truth, rim)
        plain = [found.plain.why, "", ""] if found.plain.why else _cells(_plain(found), found.plain.rms, truth, rim)
        said = [f"{found.held_out:.3f}", f"{found.at_one_metre:.2f}", ", ".join(map(str, found.outliers))]
        table.add_row(str(count), str(spoiled), found.model, *own, *said, *plain)
    return table


def intrinsics() -> Table:
    return _lenses("left", PINHOLE, Spread(near=0.3, far=0.5, tilt=math.radians(55), offset=0.3), math.radians(32))


def fisheye() -> Table:
    return _lenses("gripper", FISHEYE, Spread(near=0.12, far=0.3, tilt=math.radians(45), offset=1.2), math.radians(60))


ROWS: dict[str, Callable[[], Table]] = {"intrinsics": intrinsics, "fisheye": fisheye}
