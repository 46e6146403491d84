"""Load cell calibration: a straight line through known loads, from its amplifier's readings. Pure.

Hang known masses on the cell in its closing direction, up and down again, beginning and ending without any: what the
line does not explain is the cell's non-linearity, hysteresis, creep, and mistakes at the scales.
"""

import datetime
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from kinema import __version__
from kinema.calibration.files import ForceScale, LoadPoint, Provenance
from kinema.errors import CalibrationError

GRAVITY = 9.80665  # [m/s^2] standard; it differs by 0.3 % at most between places

_LOADS = 3  # different ones, at least
_SPAN = 0.1  # [-] of the capacity that they must cover
_SETTLED = 0.05  # [N] standard deviation of the readings of one load
_READINGS = 40  # of one load: half a second
_OFF = 0.01  # [-] of the span that one load may lie off the line
_RETURN = 0.005  # [-] of the span by which the unloaded reading may differ between begin and end

_FULL_SCALE = {"count": 2.0**23, "V/V": 1.0}  # readings beyond it there are none
_MOST = 2000.0  # [N] capacity that a file may have

_REMEDY = "put known loads on in the closing direction, at least three of them, none first and last; wait for rest"


def newtons(grams: float) -> float:
    """The weight [N] of a mass [g]: grams end here."""
    return 1e-3 * grams * GRAVITY


def uncalibrated(unit: Literal["count", "V/V"], serial: str, date: datetime.date) -> ForceScale:
    """What an amplifier is read through as long as it has no calibration: the forces mean nothing."""
    return ForceScale(
        unit=unit,
        newtons=_MOST / _FULL_SCALE[unit],
        zero=0.0,
        capacity=_MOST,
        provenance=Provenance(serial=serial, date=date, origin="measured", software_version=__version__),
    )


def load_point(force: float, readings: Sequence[float]) -> LoadPoint:
    """A load [N] and the mean of the readings taken under it; raises CalibrationError when there are too few."""
    if len(readings) < _READINGS:
        raise CalibrationError(f"{force:.2f} N: {len(readings)} readings, needed are {_READINGS}; {_REMEDY}")
    if not np.isfinite(readings).all():
        raise CalibrationError(f"{force:.2f} N: a reading is not a number; look after the cell's wires")
    return LoadPoint(force=force, reading=float(np.mean(readings)))


def _line(points: Sequence[LoadPoint]) -> tuple[float, float, np.ndarray]:
    """Newtons per unit, zero, and how far [N] each load lies off the line; the loads are taken to be exact."""
    force = np.array([point.force for point in points])
    reading = np.array([point.reading for point in points])
    slope, zero = np.polyfit(force, reading, 1)
    span = float(np.ptp(reading))
    if span == 0.0 or abs(slope) * np.ptp(force) < 0.5 * span:
        raise CalibrationError(f"the readings don't follow the loads; look after the cell's wires, or: {_REMEDY}")
    return 1.0 / slope, float(zero), (reading - zero) / slope - force


def calibrate(
    points: Sequence[LoadPoint],
    unit: Literal["count", "V/V"],
    capacity: float,
    serial: str,
    date: datetime.date,
    noise: float = 0.0,
) -> ForceScale:
    """The file for loads in the order in which they were put on; `capacity` [N] is the cell's.

    `noise` is the largest standard deviation [unit] of the readings under one load. Raises CalibrationError saying what
    the loads lack.
    """
    forces = sorted({point.force for point in points})
    if len(forces) < _LOADS:
        raise CalibrationError(f"{len(forces)} different loads, needed are {_LOADS}; {_REMEDY}")
    if min(forces) < 0.0 or max(forces) > capacity:
        raise CalibrationError(f"loads of {forces[0]:.2f}..{forces[-1]:.2f} N, allowed are 0..{capacity:.2f} N")
    span = forces[-1] - forces[0]
    if span < _SPAN * capacity:
        raise CalibrationError(
            f"the loads span {span:.2f} N, needed are {_SPAN * capacity:.2f} N: a tenth of the capacity; {_REMEDY}"
        )
    slope, zero, off = _line(points)
    if abs(slope) * noise > _SETTLED:
        raise CalibrationError(
            f"the readings of one load spread by {abs(slope) * noise:.3f} N, allowed are {_SETTLED} N; {_REMEDY}"
        )
    empty = [point.reading for point in points if point.force == 0.0]
    if len(empty) > 1 and abs(slope * (empty[-1] - empty[0])) > _RETURN * span:
        raise CalibrationError(
            f"without load it read {abs(slope * (empty[-1] - empty[0])):.3f} N more or less at the end than at the "
            f"beginning, allowed are {_RETURN * span:.3f} N; something touches the cell, or it is not screwed down"
        )
    worst = int(np.abs(off).argmax())
    if abs(off[worst]) > _OFF * span:
        raise CalibrationError(
            f"the load of {points[worst].force:.2f} N lies {off[worst]:+.3f} N off the line, allowed are "
            f"{_OFF * span:.3f} N; weigh it again, or: {_REMEDY}"
        )
    scale = ForceScale(
        unit=unit,
        newtons=slope,
        zero=zero,
        capacity=capacity,
        points=tuple(points),
        provenance=Provenance(
            serial=serial,
            date=date,
            origin="measured",
            software_version=__version__,
            samples=len(points),
            rms=round(math.sqrt(float((off**2).mean())), 9),
        ),
    )
    if reason := scale.unusable():
        raise CalibrationError(f"{reason}; {_REMEDY}")
    return scale
