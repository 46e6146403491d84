"""A chain of revolute joints by its DH parameters as the robot's own controller holds them, calibrated in the factory.

Every arm leaves the factory with its own numbers, millimetres off the published ones. A calibration may hold a joint's
`d` of many metres, taken back by the next one along a nearly parallel axis, so its rows can't stand in the robot table;
`calibrated` therefore keeps the table's links, with their masses and shapes, and only moves each joint's axis and the
flange to where they really are.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from kinema import robots
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose
from kinema.robots import ArmModel


@dataclass(frozen=True, eq=False, slots=True)
class Chain:
    """Standard DH, Rz(q + theta) Tz(d) Tx(a) Rx(alpha): theta, alpha (n,) [rad] and a, d (n,) [m]."""

    theta: Array
    a: Array
    d: Array
    alpha: Array

    def frames(self, q: Array) -> list[Pose]:
        """`T_base_i` for i = 0..n at q (n,) [rad]: the axis of joint i is the z axis of frame i, the last the flange.

        `base` is the controller's own, without the robot table's `base_yaw`.
        """
        c, s, ca, sa = np.cos(q + self.theta), np.sin(q + self.theta), np.cos(self.alpha), np.sin(self.alpha)
        rotations = np.array([[c, -s * ca, s * sa], [s, c * ca, -c * sa], [np.zeros(len(c)), sa, ca]])
        positions = np.array([self.a * c, self.a * s, self.d])
        found = [Pose.identity()]
        for i in range(len(c)):
            found.append(found[-1] @ Pose(positions[:, i], rotations[:, :, i]))
        return found

    def jacobian(self, q: Array, T_flange_tcp: Pose) -> tuple[Pose, Array]:
        """`T_base_tcp` and the Jacobian (6, n) of the TCP in base axes, linear rows first."""
        *axes, flange = self.frames(q)
        tcp = flange @ T_flange_tcp
        x, y, z = directions = np.array([frame.rotation[:, 2] for frame in axes]).T
        a, b, c = (tcp.position - np.array([frame.position for frame in axes])).T
        return tcp, np.concatenate([[y * c - z * b, z * a - x * c, x * b - y * a], directions])


def nominal(model: ArmModel) -> Chain:
    """The robot table's own numbers."""
    return Chain(np.zeros(model.dof), *(model.limits(column) for column in ("a", "d", "alpha")))


def calibrated(model: ArmModel, chain: Chain) -> ArmModel:
    """The table's arm with its joint axes and flange where `chain` has them.

    Raises ConfigError unless the chain is that of such an arm: as many joints, and the flange within 50 mm at zero.
    """
    if len(chain.theta) != model.dof:
        raise ConfigError(
            f"a chain of {len(chain.theta)} joints is no calibration of {model.name}, which has {model.dof}"
        )
    zero = np.zeros(model.dof)
    table, real = nominal(model).frames(zero), chain.frames(zero)
    off = float(np.linalg.norm(real[-1].position - table[-1].position))
    if not off <= 0.05:
        raise ConfigError(
            f"the flange of this chain is {off * 1e3:.1f} mm off {model.name}'s with all joints at zero, allowed is "
            "50 mm: it belongs to another type of arm"
        )
    frames = [_on_axis(ours, theirs) for ours, theirs in zip(table[:-1], real[:-1], strict=True)] + [real[-1]]
    joints = [
        replace(joint, correction=_numbers(robots.link_transform(replace(joint, correction=())).inverse() @ moved))
        for joint, moved in zip(model.joints, _steps(frames), strict=True)
    ]
    return replace(model, joints=tuple(joints))


def _on_axis(table: Pose, real: Pose) -> Pose:
    """A frame on the real joint axis: its origin next to the table's, its x axis as near to the table's as can be."""
    z = real.rotation[:, 2]
    position = real.position + z * (z @ (table.position - real.position))
    x = table.rotation[:, 0] - z * (z @ table.rotation[:, 0])
    x /= np.linalg.norm(x)
    return Pose(position, np.column_stack([x, np.cross(z, x), z]))


def _steps(frames: list[Pose]) -> list[Pose]:
    return [before.inverse() @ after for before, after in itertools.pairwise(frames)]


def _numbers(T: Pose) -> tuple[float, ...]:
    return (*T.position.tolist(), *T.rotvec.tolist())
