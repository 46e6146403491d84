"""Load cell calibration: a line through known loads, and everything that is none."""

import datetime

import numpy as np
import pytest

from kinema.calibration.bundle import LOAD_CELL
from kinema.calibration.files import ForceScale, LoadPoint, load, save
from kinema.calibration.load_cell import calibrate, load_point, newtons
from kinema.errors import CalibrationError

COUNTS_PER_NEWTON, ZERO, CAPACITY = -21_500.0, 81_234.0, 98.0
GRAMS = (0, 500, 2000, 5000, 2000, 500, 0)
DATE = datetime.datetime.now(datetime.UTC).date()


def _points(grams=GRAMS, bend=0.0, end=0.0, noise=400.0):
    rng = np.random.default_rng(0)
    points = []
    for k, mass in enumerate(grams):
        force = newtons(mass)
        reading = ZERO + COUNTS_PER_NEWTON * (force + bend * force**2 + end * (k == len(grams) - 1))
        points.append(load_point(force, reading + noise * rng.standard_normal(80)))
    return points


def _calibrate(points, **options):
    return calibrate(points, "count", CAPACITY, "LC-1", DATE, **options)


def test_grams_end_at_the_edge():
    assert newtons(1000.0) == pytest.approx(9.80665)


def test_a_cell_reads_unseen_loads_right_and_closing_is_positive(tmp_path):
    scale = _calibrate(_points())
    for force in (1.0, 30.0, 90.0):
        assert scale.force(ZERO + COUNTS_PER_NEWTON * force) == pytest.approx(force, abs=0.02)
        assert scale.force(scale.reading(force)) == pytest.approx(force)
    save(tmp_path / LOAD_CELL.file, scale)
    assert load(tmp_path / LOAD_CELL.file, ForceScale, serial="LC-1", remedy="") == scale
    with pytest.raises(CalibrationError, match="serial is 'LC-1', the device's is 'LC-2'"):
        load(tmp_path / LOAD_CELL.file, ForceScale, serial="LC-2", remedy=LOAD_CELL.remedy)


@pytest.mark.parametrize(
    ("points", "options", "words"),
    [
        (_points((0, 5000)), {}, "2 different loads, needed are 3"),
        (_points((0, 100, 200)), {}, r"span 1\.96 N, needed are 9\.80 N"),
        (_points((0, 5000, 20000)), {}, r"loads of 0\.00\.\.196\.13 N, allowed are 0\.\.98\.00 N"),
        (_points(bend=0.004), {}, r"the load of \d+\.\d\d N lies .* off the line"),
        (_points(end=0.4), {}, "something touches the cell"),
        (_points(), {"noise": 2000.0}, r"spread by 0\.093 N, allowed are 0\.05 N"),
        ([LoadPoint(force=f, reading=ZERO) for f in (0.0, 20.0, 50.0)], {}, "don't follow the loads"),
        ([LoadPoint(force=f, reading=r) for f, r in ((0.0, 0.0), (20.0, 9e5), (50.0, 0.0))], {}, "don't follow"),
    ],
)
def test_loads_that_make_no_line_are_refused(points, options, words):
    with pytest.raises(CalibrationError, match=words):
        _calibrate(points, **options)


def test_a_load_needs_readings_that_are_numbers():
    with pytest.raises(CalibrationError, match="39 readings, needed are 40"):
        load_point(1.0, [5.0] * 39)
    with pytest.raises(CalibrationError, match="not a number"):
        load_point(1.0, [5.0] * 39 + [float("nan")])
