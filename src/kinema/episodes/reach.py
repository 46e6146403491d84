"""What an arm would make of a demonstrated path: reach, joint ranges, joint speed, singularities, clearance.

The joints follow the path as the executor would lead them: step after step from where the arm is, by damped least
squares.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.clock import NS
from kinema.control.model import LENGTH, SCALE, RobotModel
from kinema.control.settings import Limits
from kinema.geometry import Array, Pose, pose_error
from kinema.robots import GRIPPER, ArmModel, GripperModel

_EXACT = (0.0005, 0.003)  # [m, rad] a pose is reached to within this
_DAMPING = 1e-3  # of damped least squares, in units of the scaled Jacobian
_MISSED = 0.003  # [m] off the path: out of reach
_ROUNDS = 200  # of least squares to the first pose; a later one is near
_STRIDE = 0.2  # [rad] the most that a joint turns in one round
_CATCH_UP = 0.02  # [-] of a redundant arm's way to its home posture in one round


@dataclass(frozen=True, slots=True)
class Trouble:
    """A moment that the arm can't follow: [s] after the path's beginning, and why."""

    time: float
    text: str


@dataclass(frozen=True, slots=True)
class ArmReport:
    """How an arm would follow a path of `steps` poses.

    missed    [m] farthest that the tool stays off the path, rotations counted with a lever of 0.3 m
    margin    [rad] least distance of a joint from its end, negative beyond
    speed     [-] largest share of a joint's speed limit
    singular_value  [-] least of the TCP Jacobian (angular rows scaled by 0.3 m)
    clearance [m] least, of the arm from the table and itself
    trouble   the first of each kind, in the order of time; empty: the arm can follow
    """

    arm: str
    steps: int
    missed: float
    margin: float
    speed: float
    singular_value: float
    clearance: float
    trouble: tuple[Trouble, ...]

    def verdict(self) -> str:
        """Why the arm can't follow the path and from when on, or ''."""
        return f"{self.trouble[0].text}, {self.trouble[0].time:.2f} s after the beginning" if self.trouble else ""


def _solve(model: RobotModel, q: Array, T_base_tcp: Pose, home: Array) -> tuple[Array, Array]:
    """Joints (n,) that bring the tool to a pose, from joints nearby; and the error (6,) [m, rad] that is left."""
    redundant = len(q) > 6
    for _ in range(_ROUNDS):
        error = pose_error(model.fk(q), T_base_tcp)
        if np.linalg.norm(error[:3]) < _EXACT[0] and np.linalg.norm(error[3:]) < _EXACT[1]:
            break
        J = SCALE[:, None] * model.jacobian(q)
        gram = J @ J.T + _DAMPING**2 * np.eye(6)
        drift = _CATCH_UP * (home - q) if redundant else np.zeros(len(q))
        step = drift + J.T @ np.linalg.solve(gram, SCALE * error - J @ drift)
        q = q + step * min(1.0, _STRIDE / max(float(np.abs(step).max()), 1e-12))
    return q, pose_error(model.fk(q), T_base_tcp)


@dataclass(frozen=True, eq=False, slots=True)
class _Followed:
    """Path and arm, pose by pose: joints (n, dof), what the tool missed (n,) [m], singular values, clearances (n,)."""

    q: Array
    missed: Array
    singular_values: Array
    clearances: Array
    nearest: list[str]


def _follow(model: RobotModel, T_base_tcp: Array, start: Array | None) -> _Followed:
    home = np.array(model.arm.home)
    q, rows, nearest = home if start is None else start, [], []
    for T in T_base_tcp:
        goal = Pose.from_matrix(T)
        q, error = _solve(model, q, goal, home)
        clearance, between = model.clearance(q)
        missed = float(np.linalg.norm(error[:3]) + LENGTH * np.linalg.norm(error[3:]))
        rows.append([*q, missed, model.min_singular_value_at(q), clearance])
        nearest.append(between)
    found = np.array(rows)
    return _Followed(found[:, : len(home)], found[:, -3], found[:, -2], found[:, -1], nearest)


def check_arm(
    T_base_tcp: Array,
    stamps_ns: NDArray[np.int64],
    arm: ArmModel,
    limits: Limits | None = None,
    start: Array | None = None,
    gripper: GripperModel = GRIPPER,
) -> ArmReport:
    """How an arm would follow poses (n, 4, 4) at stamps (n,) [ns], n >= 2, within the executor's limits.

    `start` (dof,) [rad]: its joints before the first pose; None: its home.
    """
    limits, times = limits or Limits(), (stamps_ns - stamps_ns[0]) / NS
    found = _follow(RobotModel(arm, gripper), T_base_tcp, start)
    lower, upper = arm.limits("lower"), arm.limits("upper")
    margins = np.minimum(found.q - lower, upper - found.q)
    shares = np.zeros_like(found.q)
    shares[1:] = np.abs(np.diff(found.q, axis=0)) / np.diff(times)[:, None] / arm.limits("speed")

    def joint(of: Array) -> str:
        return arm.joints[int(np.argmax(of))].name

    kinds: tuple[tuple[NDArray[np.bool_], Callable[[int], str]], ...] = (
        (found.missed > _MISSED, lambda i: f"out of reach: the tool stays {1000 * found.missed[i]:.0f} mm away"),
        (
            margins.min(axis=1) < limits.joint_margin,
            lambda i: f"{joint(-margins[i])} comes to {margins[i].min():.3f} rad from its end",
        ),
        (
            shares.max(axis=1) > limits.joint_speed,
            lambda i: f"{joint(shares[i])} turns at {100 * shares[i].max():.0f} % of its speed",
        ),
        (
            found.singular_values < limits.min_singular_value,
            lambda i: f"singular: the least singular value is {found.singular_values[i]:.4f}",
        ),
        (
            found.clearances < limits.clearance,
            lambda i: f"{found.nearest[i]} come within {found.clearances[i]:.3f} m",
        ),
    )
    trouble = [Trouble(float(times[i]), text(i)) for bad, text in kinds for i in np.flatnonzero(bad)[:1].tolist()]
    return ArmReport(
        arm=arm.name,
        steps=len(times),
        missed=float(found.missed.max()),
        margin=float(margins.min()),
        speed=float(shares.max()),
        singular_value=float(found.singular_values.min()),
        clearance=float(found.clearances.min()),
        trouble=tuple(sorted(trouble, key=lambda one: one.time)),
    )
