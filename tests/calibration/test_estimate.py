"""What a transform's uncertainty means somewhere else than at its origin."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.calibration.estimate import at_one_metre, carried
from kinema.geometry import Pose, hat, so3_exp

T_BASE_CAMERA = Pose.from_rotvec([0.4, -0.5, 0.6], [2.0, -0.4, 0.3])
TURN = 2e-3  # [rad] standard deviation about each axis


def _swivel(way: np.ndarray) -> np.ndarray:
    """(6, 6) of a pose that is unsure only of how it turns about the point `way` from its origin."""
    lever = np.vstack([hat(way), np.eye(3)])  # the origin moves by -rotvec x way
    return TURN**2 * lever @ lever.T


def test_what_turns_about_a_point_one_metre_ahead_leaves_that_point_where_it_is():
    ahead = T_BASE_CAMERA.rotation[:, 2]
    assert at_one_metre(T_BASE_CAMERA, _swivel(ahead)) == pytest.approx(0.0, abs=1e-6)
    assert at_one_metre(T_BASE_CAMERA, _swivel(-ahead)) == pytest.approx(2e3 * math.sqrt(2) * TURN)
    assert at_one_metre(T_BASE_CAMERA, _swivel(np.zeros(3))) == pytest.approx(1e3 * math.sqrt(2) * TURN)


@given(st.integers(0, 10_000))
def test_a_covariance_is_carried_as_the_poses_it_is_of(seed):
    rng = np.random.default_rng(seed)
    way, root = rng.uniform(-1.0, 1.0, 3), 1e-7 * rng.normal(size=(6, 6))
    points = T_BASE_CAMERA.position + way
    moved = [Pose(T_BASE_CAMERA.position + x[:3], so3_exp(x[3:]) @ T_BASE_CAMERA.rotation) for x in root.T]
    off = [T.apply(T_BASE_CAMERA.inverse().apply(points)) - points for T in moved]
    expected = np.vstack([np.array(off).T, root[3:]])
    np.testing.assert_allclose(carried(root @ root.T, way), expected @ expected.T, rtol=1e-4, atol=1e-19)
