"""Latency from motion, between the samples; and motion that says nothing of time, refused."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.files import Latencies, Latency, Provenance, load, save
from kinema.calibration.latency import Motion, displayed_clock, lag, updated
from kinema.errors import CalibrationError
from kinema.virtual import noise

DATE = datetime.date(2026, 11, 20)
GOAL = 0.002  # [s]
NOISE = noise.load()


class Wave:
    """An uneven motion, [m] in three axes, smooth, the same for a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._rates = rng.uniform(0.2, 1.6, (6, 3))  # [Hz]
        self._phases = rng.uniform(0, 2 * np.pi, (6, 3))

    def __call__(self, times):
        angles = 2 * np.pi * self._rates * np.asarray(times)[:, None, None] + self._phases
        return (0.03 / self._rates * np.sin(angles)).sum(1)


def _times(rate, seconds=10.0, seed=0, jitter=0.0):
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, seconds, 1.0 / rate)
    return times + jitter * rng.uniform(-1, 1, len(times))


def _tracker(seed, late, seconds=10.0):
    """A T265's stream of the motion: turned, drifting, jumping; its stamps are late."""
    rng, wave = np.random.default_rng(seed), Wave(seed)
    times = _times(200.0, seconds, seed, 0.001)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    places = wave(times) @ turn.T
    way = np.cumsum(np.linalg.norm(np.diff(places, axis=0, prepend=places[:1]), axis=1))
    drift = NOISE.tracker.drift * way[:, None] * rng.standard_normal(3) / np.sqrt(3)
    jumps = (rng.random(len(times)) < 0.3 / 200.0)[:, None] * NOISE.tracker.jump_position * rng.standard_normal(3)
    stream = places + drift + np.cumsum(jumps, axis=0) + NOISE.tracker.position * rng.standard_normal(places.shape)
    return Motion.of("the tracker", times + late, stream)


def _arm(seed, seconds=10.0):
    times = _times(500.0, seconds + 1.2) - 0.6
    return Motion.of("the arm", times, Wave(seed)(times))


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.floats(-0.05, 0.3))
def test_any_lag_of_a_clean_stream_is_found_to_a_tenth_of_a_millisecond(seed, late):
    times = _times(60.0)
    found = lag(_arm(seed), Motion.of("jaw", times + late, Wave(seed)(times)))
    assert found.seconds == pytest.approx(late, abs=1e-4)
    assert found.unexplained < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_a_trackers_lag_in_spite_of_noise_drift_jumps_and_an_unknown_mount(seed):
    late = 0.0137 + 0.01 * seed
    found = lag(_arm(seed), _tracker(seed, late))
    assert abs(found.seconds - late) < GOAL / 2
    assert abs(found.seconds - late) < 5 * found.std and found.millimetres(0.25) < 0.3
    assert abs(found.seconds - late) <= abs(found.plain - late) + 1e-4


def test_a_jump_is_named_by_its_moment():
    times = _times(200.0)
    places = Wave(1)(times) + (times > 5.0)[:, None] * 0.02 * np.ones(3)
    found = lag(
        _arm(1), Motion.of("the tracker", times, places + 1e-4 * np.random.default_rng(0).standard_normal(places.shape))
    )
    assert found.outliers and all(5.0 < moment < 5.12 for moment in found.outliers)


@pytest.mark.parametrize("seed", range(3))
def test_a_cameras_lag_from_the_places_of_a_board_that_an_arm_carries(seed):
    rng = np.random.default_rng(seed)
    times = _times(30.0, seed=seed, jitter=0.001)
    places = Wave(seed)(times) @ np.linalg.qr(rng.standard_normal((3, 3)))[0].T + [0.1, 0.0, 0.8]
    lateral = NOISE.camera.corner * 0.8 / 600.0  # [m] at 0.8 m; distances are worse by far
    places += lateral * np.array([1.0, 1.0, 10.0]) * rng.standard_normal(places.shape)
    found = lag(_arm(seed), Motion.of("camera", times + 0.041, places))
    assert abs(found.seconds - 0.041) < GOAL / 2


def test_a_jaws_lag_behind_its_commands_from_one_axis():
    times = _times(60.0)
    opening = (
        0.04 + 0.3 * Wave(3)(times)[:, :1] + NOISE.jaw.position * np.random.default_rng(0).standard_normal((600, 1))
    )
    commanded = _arm(3)
    found = lag(Motion.of("commands", commanded.times, commanded.values[:, 0]), Motion.of("jaw", times + 0.07, opening))
    assert abs(found.seconds - 0.07) < GOAL


def test_a_reference_that_moves_along_one_axis_serves():
    times, arm = _times(60.0), _arm(4)
    path = np.zeros((len(arm.times), 6))
    path[:, 1] = arm.values[:, 0]
    places = Wave(4)(times)[:, :1] @ [[0.3, 0.5, 0.8]] + 1e-4 * np.random.default_rng(0).standard_normal((600, 3))
    found = lag(Motion.of("goals", arm.times, path), Motion.of("arm", times + 0.03, places))
    assert abs(found.seconds - 0.03) < GOAL / 2 and "29.99 ms, deviation 0.0" in found.report()


def test_deviations_tell_of_the_errors():
    errors = []
    for seed in range(8):
        found = lag(_arm(seed), _tracker(seed, 0.02, seconds=5.0))
        errors.append((found.seconds - 0.02) / found.std)
    assert 0.3 < np.sqrt(np.square(errors).mean()) < 2.0


def _circle(times):
    return np.stack([np.cos(3 * times), np.sin(3 * times)], axis=1)


def _sine(times):
    return np.sin(2 * np.pi * 5.0 * times)[:, None]


def _streams(motion, rate=100.0, seconds=10.0, noisy=1e-3, other=None):
    rng, times = np.random.default_rng(0), _times(rate, seconds)
    around = _times(rate, seconds + 1.2) - 0.6
    values = (other or motion)(times)
    return Motion.of("a", around, motion(around)), Motion.of(
        "b", times + 0.02, values + noisy * rng.standard_normal(values.shape)
    )


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        (lambda: _streams(_circle), "explain the motion alike|deviation of|end of the search"),
        (lambda: _streams(_sine), "explain the motion alike: it repeats itself"),
        (lambda: _streams(Wave(1), other=Wave(2)), "does not follow the reference.*are these the two streams"),
        (lambda: _streams(Wave(1), noisy=0.2), "does not follow the reference"),
        (
            lambda: _streams(Wave(1), other=lambda t: np.ones((len(t), 2)), noisy=0.0),
            "the measured stream does not move",
        ),
        (lambda: _streams(Wave(1), seconds=1.0), "overlap in .* increments"),
        (lambda: _streams(Wave(1), rate=20.0, seconds=1.5), "b: 30 times, 30 values, needed are 40"),
        (lambda: (Motion.of("a", np.zeros(50), np.zeros(50)),) * 2, "a: times do not rise"),
        (lambda: (Motion.of("a", np.arange(50.0), np.full(50, np.nan)),) * 2, "a: a time or a value is not a number"),
    ],
)
def test_motion_that_says_nothing_of_time_is_refused(streams, words):
    with pytest.raises(CalibrationError, match=words):
        lag(*streams())


def test_a_displayed_clock_tells_a_cameras_lag_less_half_a_refresh():
    rng, period, late = np.random.default_rng(0), 1 / 60, 0.033
    taken = _times(30.0, seed=1, jitter=0.004)[:300]
    shown = np.floor(taken / period) * period - 0.005
    shown[7] -= 0.4
    stamps = taken + late + 1e-4 * rng.standard_normal(len(taken))
    found = displayed_clock(stamps, shown, period, display=0.005)
    assert abs(found.seconds - late) < GOAL and found.outliers == (stamps[7],)
    with pytest.raises(CalibrationError, match="run in step"):
        displayed_clock(np.arange(60) / 30 + late, np.arange(60) / 30, period)
    with pytest.raises(CalibrationError, match="spread by more than one refresh"):
        displayed_clock(stamps, 1.01 * shown, period)
    with pytest.raises(CalibrationError, match="39 pictures"):
        displayed_clock(stamps[:39], shown[:39], period)


def test_a_row_measured_anew_comes_on_top_of_what_is_taken_off_already(tmp_path):
    found = lag(_arm(0), _tracker(0, 0.012))
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
    times = _times(60.0)
    early = lag(_arm(0), Motion.of("jaw", times - 0.02, Wave(0)(times)))
    with pytest.raises(CalibrationError, match=r"jaw would be -20\.0 ms early"):
        updated(file, "jaw", "J", early, DATE, "V")
    late = lag(_arm(0), Motion.of("jaw", times + 0.02, Wave(0)(times)))
    assert updated(file, "jaw", "J", late, DATE, "V").provenance.origin == "simulator truth"
