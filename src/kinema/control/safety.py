"""The safety chain: one ordered list of small checks that every outgoing command passes. The first that fails decides.

A check looks at a `Motion`, one cycle's proposal, and returns None or a Verdict. The checks of the measurement and of
the equilibrium come before the law, those of the numbers for the arm after it; CHAIN is the whole list. A clamp changes
the proposal and the chain goes on; anything graver ends it.
"""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kinema.control.model import RobotModel
from kinema.control.motion import Equilibrium, sizes
from kinema.control.player import RefusalError
from kinema.control.settings import Execution, Limits
from kinema.geometry import Array, Pose, interpolate
from kinema.interfaces import ArmMode, ArmState, CommandKind
from kinema.robots import ArmModel

_AXES = ("x", "y", "z")
_LEEWAY = 1.05  # of speed and acceleration, for the numerical differences of the equilibrium
_REACTION = 0.02  # [s] what is judged lies this far beyond the braking time ahead


class Reaction(enum.IntEnum):
    """What a failed check does, in order of gravity."""

    CLAMP = 0  # the command is changed and goes out
    HOLD = 1  # the motion is refused: brake and hold
    STOP = 2  # brake, latched; the equilibrium becomes the measured pose
    FAULT = 3  # the arm's own brakes, latched


@dataclass(frozen=True, slots=True)
class Verdict:
    reaction: Reaction
    fault: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


def _plane(plane: tuple[float, float, float, float]) -> tuple[Array, float]:
    """Unit normal (3,) and distance [m]."""
    length = float(np.linalg.norm(plane[:3]))
    return np.array(plane[:3]) / length, plane[3] / length


def _ranges(lower: Array, upper: Array) -> list[tuple[float, float]]:
    return list(zip(lower.tolist(), upper.tolist(), strict=True))


def _within(values: Array, ranges: list[tuple[float, float]]) -> bool:
    """Whether each of a few values lies in its range; plain floats, half the price of numpy."""
    return all(lower <= value <= upper for value, (lower, upper) in zip(values.tolist(), ranges, strict=True))


class Bounds:
    """The limits as arrays, made once."""

    def __init__(self, arm: ArmModel, limits: Limits, execution: Execution, kind: CommandKind):
        self.arm, self.limits, self.kind, self.max_gap = arm, limits, kind, execution.max_gap
        self.lower, self.upper = np.array(limits.workspace[0]), np.array(limits.workspace[1])
        self.box = _ranges(self.lower, self.upper)
        self.planes = [_plane(plane) for plane in limits.planes]
        self.q_lower: Array = arm.limits("lower") + limits.joint_margin
        self.q_upper: Array = arm.limits("upper") - limits.joint_margin
        self.speed = arm.limits("speed")
        self.torque = arm.limits("torque")
        self.q_range = _ranges(self.q_lower, self.q_upper)
        self.speed_range = _ranges(-self.speed, self.speed)
        self.goal_speed_range = _ranges(-limits.joint_speed * self.speed, limits.joint_speed * self.speed)
        self.values_range = _ranges(-self.torque, self.torque) if kind == CommandKind.TORQUE else self.q_range

    def inside(self, position: Array, before: Array | None = None) -> tuple[Array, str]:
        """The nearest allowed position (3,) [m], and which boundary was in the way ('' for none).

        From a place outside (`before`) one may stay or come back, but not go further out.
        """
        if _within(position, self.box) and all(float(normal @ position) >= d for normal, d in self.planes):
            return position, ""
        lower, upper = self.lower, self.upper
        if before is not None:
            lower, upper = np.minimum(lower, before), np.maximum(upper, before)
        allowed = np.minimum(np.maximum(position, lower), upper)
        text = ""
        if (allowed != position).any():
            i = int(np.argmax(np.abs(allowed - position)))
            text = f"{_AXES[i]} = {position[i]:.3f} m, the workspace has {self.lower[i]} to {self.upper[i]} m"
        for normal, d in self.planes:
            least = d if before is None else min(d, float(normal @ before))
            short = least - float(normal @ allowed)
            if short > 0:
                allowed = allowed + short * normal
                text = f"{short:.3f} m behind the plane {normal.round(3).tolist()} . p >= {d:.3f} m"
        return allowed, text

    def targets(self, positions: Array) -> tuple[Array, str]:
        """`inside` for the knots (n + 1, 3) of a chunk; the first, where the arm was, is left alone.

        Raises RefusalError where targets outside are to be refused.
        """
        allowed = positions.copy()
        allowed[1:] = np.minimum(np.maximum(positions[1:], self.lower), self.upper)
        for normal, d in self.planes:
            allowed[1:] += np.maximum(d - allowed[1:] @ normal, 0.0)[:, None] * normal
        away = np.abs(allowed - positions).max(axis=1)
        if away.max() <= 0.0:
            return allowed, ""
        _, text = self.inside(positions[int(np.argmax(away))])
        if self.limits.on_workspace == "refuse":
            raise RefusalError("F29", text)
        return allowed, text


class Motion:
    """What one cycle is about to send, with all that is needed to judge it.

    gap     [s] since the arm's last record
    before  pose and twist of the equilibrium when the cycle began
    goal    the equilibrium, `dt` [s] further; a clamping check moves it
    turning (n,) [rad/s] of the joints, where the way is laid out in joints
    values  (n,) for the arm, after the law
    """

    def __init__(self, state: ArmState, model: RobotModel, goal: Equilibrium, gap: float):
        self.state, self.model, self.goal, self.gap = state, model, goal, gap
        self.before, self.dt = (goal.pose, goal.twist), 0.0
        self.turning: Array | None = None
        self.values = np.zeros(0)
        self._joint_speed: Array | None = None
        self._ahead: Array | None = None

    def begin(self, dt: float, turning: Array | None = None) -> None:
        """From here the equilibrium moves on by dt."""
        self.before, self.dt, self.turning = (self.goal.pose, self.goal.twist), dt, turning
        self._joint_speed = turning

    def take_back(self) -> None:
        """Undo what the equilibrium moved since `begin`."""
        self.goal.pose, self.goal.twist = self.before
        self.goal.acceleration = np.zeros(6)

    @property
    def moving(self) -> bool:
        return bool(self.goal.twist.any())

    def joint_speed(self) -> Array:
        """(n,) [rad/s] that the equilibrium's twist asks of the joints."""
        if self._joint_speed is None:
            self._joint_speed = self.model.joint_speed(self.goal.twist)
        return self._joint_speed

    def slow_down(self, share: float) -> None:
        """Go only this share of the cycle's way."""
        self.goal.pose = interpolate(self.before[0], self.goal.pose, share)
        self.goal.twist = share * self.goal.twist
        self._joint_speed = None if self.turning is None else share * self.turning
        self._ahead = None

    def ahead(self, limits: Limits) -> Array:
        """Joint positions (n,) where the arm would come to rest if it began to brake a moment from now."""
        if self._ahead is None:
            linear, angular = sizes(self.goal.twist)
            braking = max(linear / limits.deceleration[0], angular / limits.deceleration[1])
            self._ahead = self.state.q + (_REACTION + 0.5 * braking) * self.joint_speed()
        return self._ahead


Check = Callable[[Motion, Bounds], Verdict | None]


def finite(values: Array) -> bool:
    """No NaN and no infinity; squares that overflow count as infinite."""
    return math.isfinite(np.vdot(values, values))


def _joint_verdict(ratio: Array, values: Array, bounds: Bounds, reaction: Reaction, what: str, unit: str) -> Verdict:
    i = int(np.argmax(ratio))
    name = bounds.arm.joints[i].name
    text = f"{name} {what} {values[i]:.3f} {unit}"
    return Verdict(reaction, "F29", text, {"axis": name, "value": float(values[i])})


# ---- the measurement


def measured_finite(motion: Motion, bounds: Bounds) -> Verdict | None:
    state = motion.state
    for name, values in (("q", state.q), ("dq", state.dq), ("wrench", state.wrench)):
        if not finite(values):
            i = int(np.argmin(np.isfinite(values)))
            return Verdict(Reaction.FAULT, "F28", f"the arm reports {name}[{i}] = {values[i]}")
    return None


def measured_dimension(motion: Motion, bounds: Bounds) -> Verdict | None:
    state, arm = motion.state, bounds.arm
    for name, got, wanted in (
        ("q", len(state.q), arm.dof),
        ("dq", len(state.dq), arm.dof),
        ("wrench", len(state.wrench), 6),
    ):
        if got != wanted:
            return Verdict(Reaction.FAULT, "F02", f"the arm reports {got} values of {name}, {arm.name} has {wanted}")
    return None


def arm_mode(motion: Motion, bounds: Bounds) -> Verdict | None:
    mode = motion.state.mode
    if mode == ArmMode.RUNNING:
        return None
    fault = {ArmMode.DIVERGED: "F28", ArmMode.PROTECTIVE_STOP: "F18"}.get(mode, "F16")
    return Verdict(Reaction.FAULT, fault, f"the arm reports {ArmMode(mode).name}: clear it on the arm, then reset")


def fresh(motion: Motion, bounds: Bounds) -> Verdict | None:
    if 0.0 < motion.gap <= bounds.max_gap:
        return None
    allowed = f"more than 0 and at most {bounds.max_gap} s"
    return Verdict(Reaction.STOP, "F19", f"{motion.gap:.3f} s between two records of the arm, allowed is {allowed}")


def contact(motion: Motion, bounds: Bounds) -> Verdict | None:
    wrench, limits = motion.state.wrench, bounds.limits
    force, torque = sizes(wrench)
    if force <= limits.force and torque <= limits.torque:
        return None
    name, size, most, unit, part = (
        ("force", force, limits.force, "N", wrench[:3])
        if force > limits.force
        else ("torque", torque, limits.torque, "N m", wrench[3:])
    )
    axis = _AXES[int(np.argmax(np.abs(part)))]
    text = f"contact {name} {size:.1f} {unit}, mostly along {axis}; the ceiling is {most} {unit}"
    return Verdict(Reaction.STOP, "F15", text, {"axis": axis, "value": size})


def overspeed(motion: Motion, bounds: Bounds) -> Verdict | None:
    if _within(motion.state.dq, bounds.speed_range):
        return None
    ratio = np.abs(motion.state.dq) / bounds.speed
    return _joint_verdict(ratio, motion.state.dq, bounds, Reaction.STOP, "turns faster than it may:", "rad/s")


# ---- the equilibrium


def goal_finite(motion: Motion, bounds: Bounds) -> Verdict | None:
    goal = motion.goal
    if all(finite(values) for values in (goal.pose.position, goal.pose.rotation, goal.twist, goal.acceleration)):
        return None
    return Verdict(Reaction.FAULT, "F01", "the commanded equilibrium is not finite")


def workspace(motion: Motion, bounds: Bounds) -> Verdict | None:
    goal = motion.goal
    position = goal.pose.position
    allowed, text = bounds.inside(position, motion.before[0].position)
    if not text:
        return None
    data = {"position": position.tolist()}
    if bounds.limits.on_workspace == "refuse":
        return Verdict(Reaction.HOLD, "F29", text, data)
    goal.pose = Pose(allowed, goal.pose.rotation)
    goal.twist = goal.twist.copy()
    goal.twist[:3] = (allowed - motion.before[0].position) / motion.dt
    return Verdict(Reaction.CLAMP, "F29", text, data)


def joint_range(motion: Motion, bounds: Bounds) -> Verdict | None:
    if not motion.moving:
        return None
    q, ahead = motion.state.q, motion.ahead(bounds.limits)
    if _within(ahead, bounds.q_range):
        return None
    over = np.maximum(ahead - np.maximum(bounds.q_upper, q), np.minimum(bounds.q_lower, q) - ahead)
    if over.max() <= 0.0:
        return None
    return _joint_verdict(over, ahead, bounds, Reaction.HOLD, "would leave its range: at", "rad")


def joint_speed(motion: Motion, bounds: Bounds) -> Verdict | None:
    if not motion.moving:
        return None
    speed = motion.joint_speed()
    if _within(speed, bounds.goal_speed_range):
        return None
    ratio = np.abs(speed) / (bounds.limits.joint_speed * bounds.speed)
    motion.slow_down(1.0 / float(ratio.max()))
    return _joint_verdict(ratio, speed, bounds, Reaction.CLAMP, "was asked to turn at", "rad/s")


def cartesian(motion: Motion, bounds: Bounds) -> Verdict | None:
    """Speed and gain of speed of the equilibrium; its jerk is bounded where it is made (motion.py)."""
    limits, goal, (pose, twist) = bounds.limits, motion.goal, motion.before
    linear, angular = sizes(goal.twist)
    was_linear, was_angular = sizes(twist)
    moved = goal.pose.position - pose.position
    step = math.sqrt(float(moved @ moved)) / motion.dt
    for name, value, most in (
        ("speed [m/s]", max(linear, step), limits.speed[0]),
        ("speed [rad/s]", angular, limits.speed[1]),
        ("acceleration [m/s^2]", (linear - was_linear) / motion.dt, limits.acceleration[0]),
        ("acceleration [rad/s^2]", (angular - was_angular) / motion.dt, limits.acceleration[1]),
    ):
        if value > most * _LEEWAY:
            text = f"Cartesian {name} {value:.2f}, allowed is {most}"
            return Verdict(Reaction.HOLD, "F03", text, {"axis": name, "value": value})
    return None


def singularity(motion: Motion, bounds: Bounds) -> Verdict | None:
    """Where a small motion of the tool may turn joints fast; none does on a way that is laid out in joints."""
    if not motion.moving or motion.turning is not None:
        return None
    model, least = motion.model, bounds.limits.min_singular_value
    value = model.min_singular_value()
    if value >= least or model.min_singular_value_at(motion.ahead(bounds.limits)) >= value:
        return None
    text = f"the arm is {value:.4f} from a singularity (least singular value), allowed is {least}"
    return Verdict(Reaction.HOLD, "F29", text, {"axis": "singular value", "value": value})


def clearance(motion: Motion, bounds: Bounds) -> Verdict | None:
    if not motion.moving:
        return None
    model, least, q_ahead = motion.model, bounds.limits.clearance, motion.ahead(bounds.limits)
    if model.clears(q_ahead, least):
        return None
    ahead, between = model.clearance(q_ahead)
    if model.clearance(motion.state.q)[0] <= ahead:
        return None
    text = f"{between} would come within {ahead:.3f} m, allowed is {least} m"
    return Verdict(Reaction.HOLD, "F29", text, {"axis": between, "value": ahead})


# ---- the numbers for the arm


def values_finite(motion: Motion, bounds: Bounds) -> Verdict | None:
    if finite(motion.values):
        return None
    return Verdict(Reaction.FAULT, "F01", f"the law gave {motion.values.tolist()}")


def values_dimension(motion: Motion, bounds: Bounds) -> Verdict | None:
    if motion.values.shape == (bounds.arm.dof,):
        return None
    return Verdict(
        Reaction.FAULT, "F02", f"the law gave {motion.values.shape} values, {bounds.arm.name} takes {bounds.arm.dof}"
    )


def values_range(motion: Motion, bounds: Bounds) -> Verdict | None:
    """Torques within the joints' own, positions within their range; from outside one may come back."""
    values = motion.values
    if _within(values, bounds.values_range):
        return None
    if bounds.kind == CommandKind.TORQUE:
        lower, upper, unit = -bounds.torque, bounds.torque, "N m"
    else:
        q = motion.state.q
        lower, upper, unit = np.minimum(bounds.q_lower, q), np.maximum(bounds.q_upper, q), "rad"
    allowed = np.minimum(np.maximum(values, lower), upper)
    if (allowed == values).all():
        return None
    motion.values = allowed
    return _joint_verdict(np.abs(allowed - values), values, bounds, Reaction.CLAMP, "was commanded", unit)


MEASURED: tuple[Check, ...] = (measured_finite, measured_dimension, arm_mode, fresh, contact, overspeed)
EQUILIBRIUM: tuple[Check, ...] = (
    goal_finite,
    workspace,
    joint_range,
    joint_speed,
    cartesian,
    singularity,
    clearance,
)
VALUES: tuple[Check, ...] = (values_finite, values_dimension, values_range)
CHAIN = MEASURED + EQUILIBRIUM + VALUES


def judge(checks: tuple[Check, ...], motion: Motion, bounds: Bounds) -> list[tuple[str, Verdict]]:
    """Run checks in order, up to the first verdict graver than a clamp; each with its check's name."""
    found = []
    for check in checks:
        verdict = check(motion, bounds)
        if verdict is not None:
            found.append((check.__name__, verdict))
            if verdict.reaction > Reaction.CLAMP:
                break
    return found
