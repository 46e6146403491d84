"""Poses that corners and devices speak of together: found again whatever they are, weighed by what they deserve."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.adjustment import Said, Seen, adjust
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance
from kinema.virtual.board_samples import BOARD, SIZE, Spread, views
from kinema.virtual.cameras import camera

LENSES = {name: camera(name).info(SIZE) for name in ("left", "gripper")}
POINTS = BOARD.points


def _pair(seed: int, count: int, noise: float, lens: str = "left"):
    """Two cameras of one lens and a board: the true poses (the second camera's first) and what is seen."""
    rng = np.random.default_rng(seed)
    info = LENSES[lens]
    T_first_second = Pose.from_rotvec(rng.uniform(-0.2, 0.2, 3), rng.uniform(-0.3, 0.3, 3))
    boards = [pose for pose, _ in zip(views(BOARD, Spread(near=0.6, far=0.9), rng), range(count), strict=False)]
    terms = []
    for k, T_first_board in enumerate(boards, 1):
        for chain, T in (((k,), T_first_board), ((~0, k), T_first_second.inverse() @ T_first_board)):
            pixels = info.project(T.apply(POINTS))
            terms.append(Seen(k, chain, info, POINTS, pixels + noise * rng.standard_normal(pixels.shape)))
    return [T_first_second, *boards], terms, rng


def _nearby(poses, rng, by=0.03):
    return [Pose.from_rotvec(by * rng.standard_normal(3), by * rng.standard_normal(3)) @ pose for pose in poses]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(LENSES)))
def test_without_noise_the_poses_are_found_again_from_nearby(seed, lens):
    truth, terms, rng = _pair(seed, 3, 0.0, lens)
    found = adjust(_nearby(truth, rng), terms)
    for true, pose in zip(truth, found.poses, strict=True):
        moved, turned = distance(true, pose)
        assert moved < 1e-6
        assert turned < 1e-6
    assert found.outliers == ()


def test_errors_are_as_large_as_the_covariance_says_and_as_the_factor_says():
    off = []
    for seed in range(6):
        truth, terms, rng = _pair(seed, 3, 0.2)
        found = adjust(_nearby(truth, rng, 0.01), terms)
        assert found.factors["corners"] == pytest.approx(2.0, rel=0.15)  # 0.1 px was guessed
        assert found.rms == pytest.approx(0.2 * math.sqrt(2), rel=0.15)
        off.append((found.poses[0].position - truth[0].position) / np.sqrt(np.diag(found.covariances[0])[:3]))
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.4


def test_the_board_may_be_of_another_size_where_a_device_knows_how_large_the_world_is():
    truth, terms, rng = _pair(3, 4, 0.05)
    larger = [Seen(term.sample, term.chain, term.camera, 1.03 * term.points, term.pixels) for term in terms]
    said = Said(None, (0,), truth[0], "arm", (1e-4, 1e-3), known=True)
    found = adjust(_nearby(truth, rng, 0.01), [*larger, said], scaled=True)
    assert found.scale[0] == pytest.approx(1 / 1.03, abs=4 * found.scale[1])
    assert 0.0 < found.scale[1] < 0.003
    assert distance(found.poses[0], truth[0])[0] < 5e-4


def test_a_sample_that_does_not_fit_is_left_out_and_named():
    truth, terms, rng = _pair(5, 6, 0.1)
    terms[7] = Seen(4, terms[7].chain, terms[7].camera, POINTS, terms[7].pixels + np.array([3.0, -2.0]))
    found = adjust(_nearby(truth, rng, 0.01), terms)
    assert found.outliers == (4,)
    assert distance(found.poses[0], truth[0])[0] < 1e-3


def test_samples_that_contradict_each_other_are_refused_by_number():
    truth, terms, rng = _pair(5, 6, 0.1)
    for k, by in ((1, [0.0, 8.0]), (5, [0.0, -8.0])):
        terms[k] = Seen(terms[k].sample, terms[k].chain, terms[k].camera, POINTS, terms[k].pixels + np.array(by))
    with pytest.raises(CalibrationError, match=r"samples 1, 3 of 6 don't fit the others; look"):
        adjust(_nearby(truth, rng, 0.01), terms, advice="look")
