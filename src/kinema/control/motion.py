"""The commanded equilibrium: a pose that moves with continuous velocity and limited speed, acceleration and jerk.

`follow` is a critically damped tracking filter with velocity and acceleration feed-forward: on a reference that keeps
the limits it has no lag; it joins a reference from any state of motion within about 4 / bandwidth.
"""

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin

from kinema.control.settings import Limits
from kinema.geometry import Array, Pose

_STILL = 1e-9  # [m/s, rad/s] less is rounding


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """Where the equilibrium should be: pose, twist (6,) [m/s, rad/s], acceleration (6,), in base_link axes."""

    pose: Pose
    twist: Array
    acceleration: Array


def advance(pose: Pose, twist: Array, dt: float) -> Pose:
    """A pose moved on by a twist (6,) in base_link axes for dt [s]."""
    return Pose(pose.position + dt * twist[:3], pin.exp3(dt * twist[3:]) @ pose.rotation)


def difference(pose: Pose, goal: Pose) -> Array:
    """What moves `pose` to `goal`: (6,) [m, rad] in base_link axes; `geometry.pose_error` at the price of a tick."""
    error = np.empty(6)
    error[:3] = goal.position - pose.position
    error[3:] = pin.log3(goal.rotation @ pose.rotation.T)
    return error


def bounded(vector: Array, most: tuple[float, float]) -> Array:
    """A (6,) vector whose linear and angular halves are shortened to at most these lengths."""
    linear, angular = sizes(vector)
    if linear <= most[0] and angular <= most[1]:
        return vector
    shorter = vector.copy()
    if linear > most[0]:
        shorter[:3] *= most[0] / linear
    if angular > most[1]:
        shorter[3:] *= most[1] / angular
    return shorter


def sizes(vector: Array) -> tuple[float, float]:
    """The lengths of the linear and the angular half of a (6,) vector."""
    x, y, z, a, b, c = vector.tolist()  # plain floats: half the price of numpy for six numbers
    return math.sqrt(x * x + y * y + z * z), math.sqrt(a * a + b * b + c * c)


class Equilibrium:
    """pose, twist and acceleration of the commanded equilibrium, and how it may change.

    bandwidth  [rad/s] of the tracking filter, linear and angular: so low that braking from the full speed never
               overshoots within the limits
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self.bandwidth = tuple(
            min(2.5 * a / v, 0.4 * j / a)
            for v, a, j in zip(limits.speed, limits.acceleration, limits.jerk, strict=True)
        )
        self._omega = np.repeat(self.bandwidth, 3)
        self.pose = Pose.identity()
        self.twist, self.acceleration = np.zeros(6), np.zeros(6)

    def place(self, pose: Pose) -> None:
        """Put the equilibrium at rest at a pose, whatever it was."""
        self.pose, self.twist, self.acceleration = pose, np.zeros(6), np.zeros(6)

    def follow(self, reference: Reference, dt: float) -> None:
        """Move on by dt [s] towards and along a reference that is given for the end of this step."""
        limits = self._limits
        gained = dt * reference.acceleration  # what the reference's own acceleration brings within this step
        error = difference(self.pose, reference.pose) - dt * (self.twist + 0.5 * gained)
        wanted = bounded(reference.twist + 0.5 * self._omega * error, limits.speed)
        acceleration = reference.acceleration + 2 * self._omega * (wanted - self.twist - gained)
        change = bounded(acceleration - self.acceleration, (limits.jerk[0] * dt, limits.jerk[1] * dt))
        self._move(bounded(self.acceleration + change, limits.acceleration), dt)

    def brake(self, dt: float) -> None:
        """Move on by dt [s] while decelerating along the way, as a stop is configured; then rest."""
        if max(sizes(self.twist)) > _STILL:
            self._move(bounded(-self.twist / dt, self._limits.deceleration), dt)
        elif self.twist.any() or self.acceleration.any():
            self.place(self.pose)

    @property
    def resting(self) -> bool:
        return max(sizes(self.twist)) < 1e-4 and max(sizes(self.acceleration)) < 1e-2

    def _move(self, acceleration: Array, dt: float) -> None:
        twist = bounded(self.twist + dt * acceleration, self._limits.speed)
        self.pose = advance(self.pose, 0.5 * (self.twist + twist), dt)
        self.acceleration = (twist - self.twist) / dt
        self.twist = twist
