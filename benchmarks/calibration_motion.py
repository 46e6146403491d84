"""Latencies and payload by calibration against known truth, beside plain methods: rows of `calibration.py`.

Streams with the noise table's errors: a tracker (200 Hz, drift, jumps), a camera that sees a board (30 Hz), a jaw
(60 Hz), each drawn several times. Plain: the peak of the cross-correlation of speeds on the slower stream's grid; a
mass by ordinary least squares. Wanted: latency within 2 ms.
"""

import datetime
from collections.abc import Callable

import numpy as np
from rich.table import Table

from kinema.calibration.latency import LagResult, lag
from kinema.calibration.payload import calibrate
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.robots import GRIPPER
from kinema.virtual.motion_samples import TILTS, arm, board, jaw, tracker, wrenches

SEEDS = 6
LATE = 0.0373  # [s]
MASS, CENTRE = 0.95, np.array([0.004, -0.003, 0.055])  # [kg], [m]
BIAS = np.array([2.0, -1.5, 3.0, 0.1, -0.2, 0.05])  # [N], [N m]
TOUCH = np.array([0.0, 3.0, 6.0, 0.2, 0.0, 0.0])  # [N], [N m] what a tool feels that touches something

_TODAY = datetime.datetime.now(datetime.UTC).date()
_T_FLANGE_TCP = Pose(np.array([0.0, 0.0, GRIPPER.tcp]), np.eye(3))

STREAMS: dict[str, Callable[[int, float], LagResult]] = {
    "tracker": lambda seed, seconds: lag(arm(seed, seconds), tracker(seed, LATE, seconds)),
    "camera": lambda seed, seconds: lag(arm(seed, seconds), board(seed, LATE, seconds)),
    "jaw": lambda seed, seconds: lag(*jaw(seed, LATE, seconds)),
}


def _spread(values: list[float]) -> list[str]:
    if not values:
        return ["", ""]
    return [f"{np.sqrt(np.square(values).mean()):.3f}", f"{np.abs(values).max():.3f}"]


def latencies() -> Table:
    table = Table()
    for column in ("device", "motion s", "refused", "RMS ms", "max ms", "said std ms", "plain: RMS ms", "max ms"):
        table.add_column(column, justify="right")
    for name, measure in STREAMS.items():
        for seconds in (20.0, 10.0, 5.0, 3.0):
            found: list[LagResult] = []
            for seed in range(SEEDS):
                try:
                    found.append(measure(seed, seconds))
                except CalibrationError:
                    continue
            own = _spread([1e3 * (row.seconds - LATE) for row in found])
            plain = _spread([1e3 * (row.plain - LATE) for row in found])
            std = f"{1e3 * np.mean([row.std for row in found]):.3f}" if found else ""
            table.add_row(name, f"{seconds:g}", f"{SEEDS - len(found)} of {SEEDS}", *own, std, *plain)
    return table


def payload() -> Table:
    table = Table()
    columns = ("poses", "touching", "refused", "mass RMS g", "max g", "centre RMS mm", "plain: mass RMS g", "max g")
    for column in columns:
        table.add_column(column, justify="right")
    tilts = (*TILTS, *(Pose.from_rotvec([0, 0, 0], 0.7 * np.array(tilt)).rotvec for tilt in TILTS))
    for count, touching in ((14, 0), (7, 0), (6, 0), (7, 1)):
        mass, centre, plain, refused = [], [], [], 0
        for seed in range(SEEDS):
            samples = wrenches(MASS, CENTRE, BIAS, _T_FLANGE_TCP, tilts=tilts[:count], seed=seed)
            for k in range(touching):
                samples[k] = type(samples[k])(samples[k].T_base_tcp, samples[k].wrench + TOUCH)
            try:
                found = calibrate(samples, _T_FLANGE_TCP, "ARM", _TODAY)
            except CalibrationError:
                refused += 1
                continue
            mass.append(1e3 * (found.payload.mass - MASS))
            centre.append(1e3 * float(np.linalg.norm(np.subtract(found.payload.centre, CENTRE))))
            plain.append(1e3 * (found.plain[0] - MASS))
        own = [*_spread(mass), _spread(centre)[0]]
        table.add_row(str(count), str(touching), f"{refused} of {SEEDS}", *own, *_spread(plain))
    return table


ROWS: dict[str, Callable[[], Table]] = {"latency": latencies, "payload": payload}
