"""Payload: mass, centre and bias from wrenches at rest; what can't tell them apart is refused."""

import datetime

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.files import Payload, load, save
from kinema.calibration.payload import WrenchSample, calibrate
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.robots import GRIPPER
from kinema.virtual.motion_samples import TILTS, wrenches

DATE = datetime.date(2026, 11, 20)
T_FLANGE_TCP = Pose(np.array([0.0, 0.0, GRIPPER.tcp]), np.eye(3))
MASS, CENTRE = 0.95, np.array([0.004, -0.003, 0.055])  # [kg], [m] from the flange
BIAS = np.array([2.0, -1.5, 3.0, 0.1, -0.2, 0.05])
TOUCH = np.array([0.0, 3.0, 6.0, 0.2, 0.0, 0.0])


def _samples(tilts=TILTS, mass=MASS, centre=CENTRE, bias=BIAS, **options):
    return wrenches(mass, centre, bias, T_FLANGE_TCP, tilts=tilts, **options)


def _calibrate(samples, **options):
    return calibrate(samples, T_FLANGE_TCP, "ARM-1", DATE, **options)


@settings(derandomize=True, deadline=None, max_examples=12)
@given(
    st.floats(0.1, 8.0),
    st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3),
    st.lists(st.floats(-5.0, 5.0), min_size=6, max_size=6),
)
def test_without_noise_the_truth_is_found_whatever_it_is(mass, centre, bias):
    payload = _calibrate(_samples(mass=mass, centre=np.array(centre), bias=np.array(bias), seed=None)).payload
    assert payload.mass == pytest.approx(mass, abs=1e-6)
    np.testing.assert_allclose(payload.centre, centre, atol=1e-6)
    np.testing.assert_allclose([*payload.force_bias, *payload.torque_bias], bias, atol=1e-5)


def test_a_sensors_noise_leaves_errors_that_the_deviations_tell_of():
    errors = []
    for seed in range(15):
        result = _calibrate(_samples(seed=seed))
        x, std = result.fit.parameters, result.fit.std
        truth = np.concatenate([[MASS], T_FLANGE_TCP.inverse().apply(CENTRE), BIAS])
        assert abs(x[0] - MASS) < 0.02 and np.abs(x[1:4] - truth[1:4]).max() < 0.006
        errors.append((x - truth) / std)
    spread = np.sqrt(np.square(errors).mean())
    assert 0.7 < spread < 1.4  # one, if deviations are what they say
    assert result.sag(200.0) < 1e-3


def test_the_file_says_what_it_came_from_and_is_read_back(tmp_path):
    result = _calibrate(_samples())
    save(tmp_path / "payload.yaml", result.payload)
    again = load(tmp_path / "payload.yaml", Payload, serial="ARM-1", remedy="", today=DATE)
    assert again == result.payload and again.provenance.samples == len(TILTS)
    covariance = np.array(again.provenance.covariance).reshape(10, 10)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), result.fit.std, rtol=1e-6)


def test_what_the_arm_subtracts_already_is_told_and_not_lost():
    carried = (0.6, (0.0, 0.0, 0.04))
    payload = _calibrate(_samples(carried=carried), carried=carried).payload
    assert payload.mass == pytest.approx(MASS, abs=0.02)
    np.testing.assert_allclose(payload.centre, CENTRE, atol=0.006)


def test_a_pose_in_which_the_tool_touches_something_is_named_and_left_out():
    samples = _samples()
    touched = samples[4]
    samples[4] = WrenchSample(touched.T_base_tcp, touched.wrench + TOUCH)
    result = _calibrate(samples)
    assert (
        result.outliers == (5,)
        and "left out: samples 5" in result.report()
        and result.payload.provenance.samples == len(TILTS) - 1
    )
    assert abs(result.payload.mass - MASS) < 0.02 < abs(result.plain[0] - MASS)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (_samples(TILTS[:5]), "5 poses, needed are 6"),
        (_samples([Pose.from_rotvec([0, 0, 0], [0, 0, k / 2]).rotvec for k in range(8)]), "one-sided"),
        (_samples([(0.1 * np.sin(k), 0.1 * np.cos(k), k) for k in range(8)]), r"one-sided: .* 0\.0\d only"),
        (
            [WrenchSample(s.T_base_tcp, -s.wrench) for s in _samples()],
            r"mass comes out as -0\.\d+ kg: forces have the wrong sign",
        ),
        ([*_samples(), WrenchSample(Pose.identity(), np.full(6, np.nan))], "sample 8: its wrench"),
        (
            [WrenchSample(s.T_base_tcp, s.wrench * (1 + k)) for k, s in enumerate(_samples())],
            "allowed are 0.02 kg|contradict",
        ),
    ],
)
def test_what_cannot_tell_mass_from_bias_is_refused(samples, words):
    with pytest.raises(CalibrationError, match=words):
        _calibrate(samples)
