"""Latency from motion, between the samples; and motion that says nothing of time, refused."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.files import Latencies, Latency, Provenance, load, save
from kinema.calibration.latency import Motion, displayed_clock, lag, updated
from kinema.errors import CalibrationError
from kinema.virtual.motion_samples import arm, board, jaw, stamps, tracker, wave

DATE = datetime.date(2026, 11, 20)
GOAL = 0.002  # [s]


@settings(derandomize=True, deadline=None, max_examples=6)
@given(st.integers(0, 1000), st.floats(-0.05, 0.3))
def test_any_lag_of_a_clean_stream_is_found_to_a_tenth_of_a_millisecond(seed, late):
    times = stamps(60.0)
    found = lag(arm(seed), Motion.of("jaw", times + late, wave(seed, times)))
    assert found.seconds == pytest.approx(late, abs=1e-4)
    assert found.unexplained < 1e-4


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_a_trackers_lag_in_spite_of_noise_drift_jumps_and_an_unknown_mount(seed):
    late = 0.0137 + 0.01 * seed
    found = lag(arm(seed), tracker(seed, late, jumps=0.3))
    assert abs(found.seconds - late) < GOAL / 2
    assert abs(found.seconds - late) < 5 * found.std and found.millimetres(0.25) < 0.3
    assert abs(found.seconds - late) <= abs(found.plain - late) + 1e-4


def test_a_jump_is_named_by_its_moment():
    times = stamps(200.0)
    places = wave(1, times) + (times > 5.0)[:, None] * 0.02 * np.ones(3)
    found = lag(
        arm(1), Motion.of("the tracker", times, places + 1e-4 * np.random.default_rng(0).standard_normal(places.shape))
    )
    assert found.outliers and all(5.0 < moment < 5.12 for moment in found.outliers)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_cameras_lag_from_the_places_of_a_board_that_an_arm_carries(seed):
    assert abs(lag(arm(seed), board(seed, 0.041)).seconds - 0.041) < GOAL / 2


def test_a_jaws_lag_behind_its_commands_from_one_axis():
    assert abs(lag(*jaw(3, 0.07)).seconds - 0.07) < GOAL / 2


def test_a_reference_that_moves_along_one_axis_serves():
    times, moved = stamps(60.0), arm(4)
    path = np.zeros((len(moved.times), 6))
    path[:, 1] = moved.values[:, 0]
    places = wave(4, times)[:, :1] @ [[0.3, 0.5, 0.8]] + 1e-4 * np.random.default_rng(0).standard_normal((600, 3))
    found = lag(Motion.of("goals", moved.times, path), Motion.of("arm", times + 0.03, places))
    assert abs(found.seconds - 0.03) < GOAL / 2 and "29.99 ms, deviation 0.0" in found.report()


@pytest.mark.slow
def test_deviations_tell_of_the_errors():
    errors = []
    for seed in range(8):
        found = lag(arm(seed), tracker(seed, 0.02, seconds=5.0))
        errors.append((found.seconds - 0.02) / found.std)
    assert 0.3 < np.sqrt(np.square(errors).mean()) < 2.0


def _circle(times):
    return np.stack([np.cos(3 * times), np.sin(3 * times)], axis=1)


def _sine(times):
    return np.sin(2 * np.pi * 5.0 * times)[:, None]


def _wave(times):
    return wave(1, times)


def _streams(motion, rate=100.0, seconds=10.0, noisy=1e-3, other=None):
    rng, times = np.random.default_rng(0), stamps(rate, seconds)
    around = stamps(rate, seconds + 1.2) - 0.6
    values = (other or motion)(times)
    return Motion.of("a", around, motion(around)), Motion.of(
        "b", times + 0.02, values + noisy * rng.standard_normal(values.shape)
    )


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        (lambda: _streams(_circle), "explain the motion alike|deviation of|end of the search"),
        (lambda: _streams(_sine), "explain the motion alike: it repeats itself"),
        (
            lambda: _streams(_wave, other=lambda t: wave(2, t)),
            "does not follow the reference.*are these the two streams",
        ),
        (lambda: _streams(_wave, noisy=0.2), "does not follow the reference"),
        (
            lambda: _streams(_wave, other=lambda t: np.ones((len(t), 2)), noisy=0.0),
            "the measured stream does not move",
        ),
        (lambda: _streams(_wave, seconds=1.0), "overlap in .* increments"),
        (lambda: _streams(_wave, rate=20.0, seconds=1.5), "b: 30 times, 30 values, needed are 40"),
        (lambda: (Motion.of("a", np.zeros(50), np.zeros(50)),) * 2, "a: times do not rise"),
        (lambda: (Motion.of("a", np.arange(50.0), np.full(50, np.nan)),) * 2, "a: a time or a value is not a number"),
    ],
)
def test_motion_that_says_nothing_of_time_is_refused(streams, words):
    with pytest.raises(CalibrationError, match=words):
        lag(*streams())


def test_a_displayed_clock_tells_a_cameras_lag_less_half_a_refresh():
    rng, period, late = np.random.default_rng(0), 1 / 60, 0.033
    taken = stamps(30.0, seed=1, jitter=0.004)[:300]
    shown = np.floor(taken / period) * period - 0.005
    shown[7] -= 0.4
    seen = taken + late + 1e-4 * rng.standard_normal(len(taken))
    found = displayed_clock(seen, shown, period, display=0.005)
    assert abs(found.seconds - late) < GOAL and found.outliers == (seen[7],)
    with pytest.raises(CalibrationError, match="run in step"):
        displayed_clock(np.arange(60) / 30 + late, np.arange(60) / 30, period)
    with pytest.raises(CalibrationError, match="spread by more than one refresh"):
        displayed_clock(seen, 1.01 * shown, period)
    with pytest.raises(CalibrationError, match="39 pictures"):
        displayed_clock(seen[:39], shown[:39], period)


def test_a_row_measured_anew_comes_on_top_of_what_is_taken_off_already(tmp_path):
    found = lag(arm(0), tracker(0, 0.012))
    first = updated(None, "tracker", "T-1", found, DATE, "LAB")
    assert first.devices["tracker"].seconds == pytest.approx(0.012, abs=0.001)
    later = DATE + datetime.timedelta(days=30)
    second = updated(first, "tracker", "T-1", found, later, "LAB")
    assert second.devices["tracker"].seconds == pytest.approx(0.024, abs=0.002)
    both = updated(second, "jaw", "J-1", found, later + datetime.timedelta(days=30), "LAB")
    assert set(both.devices) == {"tracker", "jaw"} and both.provenance.date == later
    save(tmp_path / "latency.yaml", both)
    assert load(tmp_path / "latency.yaml", Latencies, remedy="", today=later) == both


def test_a_device_cannot_be_early_and_truth_stays_labelled():
    truth = Provenance(serial="V", date=DATE, origin="simulator truth", software_version="0")
    file = Latencies(devices={"jaw": Latency(serial="J", seconds=0.0)}, provenance=truth)
    times = stamps(60.0)
    early = lag(arm(0), Motion.of("jaw", times - 0.02, wave(0, times)))
    with pytest.raises(CalibrationError, match=r"jaw would be -20\.0 ms early"):
        updated(file, "jaw", "J", early, DATE, "V")
    late = lag(arm(0), Motion.of("jaw", times + 0.02, wave(0, times)))
    assert updated(file, "jaw", "J", late, DATE, "V").provenance.origin == "simulator truth"
