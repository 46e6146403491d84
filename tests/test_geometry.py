"""Closed forms against scipy, and the group's laws."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from kinema.geometry import (
    Pose,
    distance,
    hat,
    interpolate,
    mean_pose,
    pose_error,
    rotation_6d,
    rotation_from_6d,
    so3_exp,
    so3_log,
)

vectors = arrays(float, 3, elements=st.floats(-3.0, 3.0))
directions = vectors.filter(lambda v: np.linalg.norm(v) > 1e-3).map(lambda v: v / np.linalg.norm(v))
angles = st.one_of(st.floats(0.0, math.pi), st.floats(0.0, 1e-6), st.floats(math.pi - 1e-6, math.pi))
rotvecs = st.builds(lambda direction, angle: direction * angle, directions, angles)
poses = st.builds(Pose.from_rotvec, vectors, rotvecs)


def assert_close(one: Pose, other: Pose, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(one.matrix, other.matrix, atol=tolerance)


@given(rotvecs)
def test_exp_agrees_with_scipy(rotvec: np.ndarray) -> None:
    np.testing.assert_allclose(so3_exp(rotvec), Rotation.from_rotvec(rotvec).as_matrix(), atol=1e-9)


@given(rotvecs)
def test_log_undoes_exp(rotvec: np.ndarray) -> None:
    back = so3_log(so3_exp(rotvec))
    assert np.linalg.norm(back) <= math.pi + 1e-9
    np.testing.assert_allclose(so3_exp(back), so3_exp(rotvec), atol=1e-7)  # at pi either sign is right


@given(rotvecs.filter(lambda r: np.linalg.norm(r) < math.pi - 1e-3))
def test_log_agrees_with_scipy(rotvec: np.ndarray) -> None:
    matrix = Rotation.from_rotvec(rotvec).as_matrix()
    np.testing.assert_allclose(so3_log(matrix), Rotation.from_matrix(matrix).as_rotvec(), atol=1e-7)


@given(poses, poses, poses)
def test_composition_is_associative_and_agrees_with_matrices(a: Pose, b: Pose, c: Pose) -> None:
    assert_close((a @ b) @ c, a @ (b @ c))
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-9)


@given(poses, vectors)
def test_inverse_takes_points_back(T: Pose, point: np.ndarray) -> None:
    assert_close(T @ T.inverse(), Pose.identity())
    np.testing.assert_allclose(T.inverse().apply(T.apply(point)), point, atol=1e-8)


@given(poses)
def test_quaternion_and_matrix_carry_the_whole_pose(T: Pose) -> None:
    assert_close(Pose.from_quaternion(T.position, T.quaternion), T)
    assert_close(Pose.from_matrix(T.matrix), T)
    assert T.quaternion[3] >= 0.0


@given(poses, poses)
def test_error_moves_one_pose_onto_the_other(a: Pose, b: Pose) -> None:
    error = pose_error(a, b)
    assert_close(Pose(a.position + error[:3], so3_exp(error[3:]) @ a.rotation), b, 1e-6)
    moved, turned = distance(a, b)
    assert (moved, turned) == pytest.approx((np.linalg.norm(error[:3]), np.linalg.norm(error[3:])))


@given(poses, poses, st.floats(0.0, 1.0))
def test_interpolation_goes_straight_from_one_to_the_other(a: Pose, b: Pose, fraction: float) -> None:
    assert_close(interpolate(a, b, 0.0), a)
    assert_close(interpolate(a, b, 1.0), b, 1e-6)
    whole, part = distance(a, b), distance(a, interpolate(a, b, fraction))
    assert part == pytest.approx((fraction * whole[0], fraction * whole[1]), abs=1e-6)


@given(poses, st.integers(1, 5))
def test_the_mean_of_copies_is_the_pose(T: Pose, copies: int) -> None:
    assert_close(mean_pose([T] * copies), T, 1e-8)


def test_the_mean_weighs_and_refuses_nothing() -> None:
    a, b = Pose.identity(), Pose.from_rotvec([1.0, 0.0, 0.0], [0.0, 0.0, 0.4])
    middle = mean_pose([a, b])
    np.testing.assert_allclose(middle.position, [0.5, 0, 0])
    np.testing.assert_allclose(middle.rotvec, [0, 0, 0.2], atol=1e-9)
    np.testing.assert_allclose(mean_pose([a, b], [3.0, 1.0]).position, [0.25, 0, 0])
    with pytest.raises(ValueError, match="at least one"):
        mean_pose([])


@given(rotvecs, st.floats(0.1, 10.0))
def test_six_numbers_carry_a_rotation(rotvec: np.ndarray, scale: float) -> None:
    rotation = so3_exp(rotvec)
    np.testing.assert_allclose(rotation_from_6d(scale * rotation_6d(rotation)), rotation, atol=1e-8)


def test_finite_is_told_from_infinite() -> None:
    assert Pose.identity().isfinite()
    assert not Pose(np.array([0.0, math.nan, 0.0]), np.eye(3)).isfinite()
    assert not Pose(np.zeros(3), np.full((3, 3), math.inf)).isfinite()


@given(vectors, vectors)
def test_hat_is_the_cross_product(v, w):
    np.testing.assert_allclose(hat(v) @ w, np.cross(v, w), atol=1e-12)
    np.testing.assert_array_equal(hat(np.array([v, w]))[1], hat(w))
