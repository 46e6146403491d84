"""Rigid transforms as frozen values: closed forms for the control loop, scipy for everything in bulk.

`T_a_b` takes points of frame b into frame a. Rotation vectors and twists are ordered as ROS does: position first,
rotation second. Quaternions are x, y, z, w.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

_SMALL = 1e-7  # [rad] below this the series of exp and log are exact to double precision


@dataclass(frozen=True, eq=False, slots=True)
class Pose:
    """A rigid transform `T_a_b`: `position` (3,) [m] and `rotation` (3, 3), a proper rotation matrix."""

    position: Array
    rotation: Array

    @staticmethod
    def identity() -> "Pose":
        return Pose(np.zeros(3), np.eye(3))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> "Pose":
        """From a homogeneous matrix (4, 4)."""
        m = np.asarray(matrix, float)
        return Pose(m[:3, 3].copy(), m[:3, :3].copy())

    @staticmethod
    def from_quaternion(position: ArrayLike, quaternion: ArrayLike) -> "Pose":
        """From a position (3,) [m] and a quaternion (4,) x, y, z, w of any length but zero."""
        return Pose(np.array(position, float), Rotation.from_quat(np.asarray(quaternion, float)).as_matrix())

    @staticmethod
    def from_rotvec(position: ArrayLike, rotvec: ArrayLike) -> "Pose":
        """From a position (3,) [m] and a rotation vector (3,) [rad]."""
        return Pose(np.array(position, float), so3_exp(np.asarray(rotvec, float)))

    def __matmul__(self, other: "Pose") -> "Pose":
        """`T_a_b @ T_b_c` is `T_a_c`."""
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> "Pose":
        """`T_b_a`."""
        back = self.rotation.T
        return Pose(-(back @ self.position), back)

    def apply(self, points: ArrayLike) -> Array:
        """Points (..., 3) of b, expressed in a."""
        return np.asarray(points, float) @ self.rotation.T + self.position

    @property
    def matrix(self) -> Array:
        """The homogeneous matrix (4, 4)."""
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = self.rotation, self.position
        return m

    @property
    def quaternion(self) -> Array:
        """The rotation as (4,) x, y, z, w, with w >= 0."""
        return Rotation.from_matrix(self.rotation).as_quat(canonical=True)

    @property
    def rotvec(self) -> Array:
        """The rotation as a vector (3,) [rad], of length at most pi."""
        return so3_log(self.rotation)

    def isfinite(self) -> bool:
        return bool(np.isfinite(self.position).all() and np.isfinite(self.rotation).all())


def so3_exp(rotvec: Array) -> Array:
    """Rodrigues' formula: the rotation matrix (3, 3) of a rotation vector (3,) [rad]."""
    x, y, z = float(rotvec[0]), float(rotvec[1]), float(rotvec[2])
    squared = x * x + y * y + z * z
    if squared < _SMALL * _SMALL:
        a, b = 1.0, 0.5
    else:
        angle = math.sqrt(squared)
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / squared
    return np.array(
        [
            [1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y)],
        ]
    )


def so3_log(rotation: Array) -> Array:
    """The rotation vector (3,) [rad] of a rotation matrix (3, 3), of length at most pi; accurate also near pi."""
    r = rotation
    wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    sine = 0.5 * math.sqrt(wx * wx + wy * wy + wz * wz)
    cosine = 0.5 * (r[0, 0] + r[1, 1] + r[2, 2] - 1.0)
    if cosine < -0.99:  # near pi the antisymmetric part vanishes: the axis is in the symmetric one, but for its sign
        i = max(range(3), key=lambda i: r[i, i])
        axis = 0.5 * (r[:, i] + r[i, :])
        axis[i] -= cosine
        axis /= math.copysign(math.sqrt(axis @ axis), wx * axis[0] + wy * axis[1] + wz * axis[2])
        return math.atan2(sine, cosine) * axis
    scale = 0.5 if sine < _SMALL else 0.5 * math.atan2(sine, cosine) / sine
    return np.array([scale * wx, scale * wy, scale * wz])


def hat(v: ArrayLike) -> Array:
    """(..., 3, 3) matrices that take w to v x w, of v (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(v, float), -1, 0)
    o = np.zeros_like(x)
    return np.stack([o, -z, y, z, o, -x, -y, x, o], axis=-1).reshape(*x.shape, 3, 3)


def pose_error(T_a_b: Pose, T_a_goal: Pose) -> Array:
    """What moves b to goal: (6,) translation [m] and rotation vector [rad], both expressed in a."""
    error = np.empty(6)
    error[:3] = T_a_goal.position - T_a_b.position
    error[3:] = so3_log(T_a_goal.rotation @ T_a_b.rotation.T)
    return error


def distance(T_a_b: Pose, T_a_c: Pose) -> tuple[float, float]:
    """How far two poses are apart: translation [m] and rotation angle [rad]."""
    error = pose_error(T_a_b, T_a_c)
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))


def interpolate(T_a_b: Pose, T_a_c: Pose, fraction: float) -> Pose:
    """Straight in translation, shortest arc in rotation: `fraction` 0 is b, 1 is c; values outside extrapolate."""
    error = pose_error(T_a_b, T_a_c)
    return Pose(T_a_b.position + fraction * error[:3], so3_exp(fraction * error[3:]) @ T_a_b.rotation)


def mean_pose(poses: Sequence[Pose], weights: ArrayLike | None = None) -> Pose:
    """The chordal mean: arithmetic in translation, scipy's weighted mean on SO(3)."""
    if not poses:
        raise ValueError("the mean of no poses: give at least one")
    positions = np.average(
        [p.position for p in poses], axis=0, weights=None if weights is None else np.asarray(weights)
    )
    rotation = Rotation.from_matrix(np.stack([p.rotation for p in poses])).mean(
        None if weights is None else np.asarray(weights, float)
    )
    return Pose(positions, rotation.as_matrix())


def rotation_6d(rotation: ArrayLike) -> Array:
    """The first two columns of rotation matrices (..., 3, 3) as (..., 6): Zhou et al. 2019, the policies' layout."""
    r = np.asarray(rotation, float)
    return np.concatenate([r[..., :, 0], r[..., :, 1]], axis=-1)


def rotation_from_6d(columns: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) from two columns (..., 6) by Gram-Schmidt (Zhou et al. 2019)."""
    c = np.asarray(columns, float)
    x = c[..., :3] / np.linalg.norm(c[..., :3], axis=-1, keepdims=True)
    y = c[..., 3:] - (x * c[..., 3:]).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)
