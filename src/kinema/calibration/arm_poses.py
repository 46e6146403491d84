"""Poses that an arm takes by itself for a calibration: which, in which order, and the jogs that lead there. Pure.

Hand-eye and its kin need rotations about axes that differ (Tsai and Lenz 1989: the error falls with the angle between
the axes, and with the angles turned by). The poses turn the tool about a pivot: what its camera looks at, or the TCP.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import qmc

from kinema.clock import NS
from kinema.control.messages import State
from kinema.control.motion import advance
from kinema.control.settings import Limits
from kinema.episodes.reach import check_arm
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance, interpolate, pose_error, so3_exp
from kinema.robots import ArmModel

_TOO_FEW = (
    "the arm can take {there} of {count} poses around where it stands; begin further from the ends of its workspace "
    "and its joints, or take the samples by hand"
)

Reachable = Callable[[Pose, Pose], bool]  # whether the arm can go straight from one T_base_tcp to another one

_CANDIDATES = 8  # for each pose that is wanted
_STEPS = 6  # of a way that is looked at before anything moves
_LEVER = 0.3  # [m] by which a rotation counts as a way
_TRIES = 3  # jogs to one pose; what counts afterwards is where the arm is, not where it should be
_ASTRAY = (0.04, 0.15)  # [m, rad] from where a jog led: a compliant arm sags less, one that was held has farther to go
_LATE = 3.0  # [s] after a jog's end that the executor may still say that it moves: taking the order lasts, too
_NEAR = (0.005, 0.02)  # [m, rad] from its goal the arm has arrived
_LONGEST = 8.0  # [s] of one jog; the executor takes 10


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the poses lie apart.

    tilt   [rad] the most that the tool's z axis leans, to all sides
    turn   [rad] the most that it turns about that axis, either way
    shift  [m] the most that the pivot moves along each axis of the tool, either way
    """

    tilt: float = math.radians(35)
    turn: float = math.radians(60)
    shift: float = 0.05


SPREAD = Spread()


def _candidates(T_base_tcp: Pose, pivot: Array, count: int, spread: Spread) -> Iterator[Pose]:
    """Evenly spread by Halton's sequence, the same ones each time."""
    for lean, side, turn, *shift in qmc.Halton(6, scramble=False).random(count + 1)[1:]:
        angle, heading = spread.tilt * math.sqrt(lean), 2 * math.pi * side
        tilted = so3_exp(angle * np.array([math.cos(heading), math.sin(heading), 0.0]))
        turned = so3_exp(np.array([0.0, 0.0, spread.turn * (2 * turn - 1)]))
        moved = pivot + spread.shift * (2 * np.array(shift) - 1)
        R = tilted @ turned
        yield T_base_tcp @ Pose(moved - R @ pivot, R)


def _way(T_base_a: Pose, T_base_b: Pose) -> float:
    moved, turned = distance(T_base_a, T_base_b)
    return moved + _LEVER * turned


def plan(
    T_base_tcp: Pose, pivot: ArrayLike, count: int, reachable: Reachable, spread: Spread = SPREAD
) -> tuple[Pose, ...]:
    """`count` poses T_base_tcp around the present one that can be reached from it, each from the one before, near it.

    `pivot` (3,) [m] is the point of the tool's frame that they turn about. Raises CalibrationError where the arm can
    take fewer.
    """
    candidates = _candidates(T_base_tcp, np.asarray(pivot, float), _CANDIDATES * count, spread)
    free = list(itertools.islice(filter(partial(reachable, T_base_tcp), candidates), count))
    if len(free) < count:
        raise CalibrationError(_TOO_FEW.format(there=len(free), count=count))
    ordered = [T_base_tcp]
    while free:
        near = sorted(free, key=partial(_way, ordered[-1]))
        nearest = next(filter(partial(reachable, ordered[-1]), near), None)
        if nearest is None:
            raise CalibrationError(_TOO_FEW.format(there=len(ordered) - 1, count=count))
        free = [pose for pose in free if pose is not nearest]
        ordered.append(nearest)
    return tuple(ordered[1:])


def within(arm: ArmModel, limits: Limits, speed: tuple[float, float]) -> Reachable:
    """By that arm, in its workspace and as the safety chain wants it, at a speed [m/s, rad/s] of the way."""
    low, high = (np.array(corner) for corner in limits.workspace)

    def reachable(T_base_a: Pose, T_base_b: Pose) -> bool:
        way = [interpolate(T_base_a, T_base_b, share) for share in np.linspace(0.0, 1.0, _STEPS)]
        places = np.array([pose.position for pose in way])
        if (places < low).any() or (places > high).any():
            return False
        if any((places @ plane[:3] < plane[3]).any() for plane in limits.planes):
            return False
        moved, turned = distance(T_base_a, T_base_b)
        duration = max(moved / speed[0], turned / speed[1], 1e-3)
        stamps = (np.linspace(0.0, duration, _STEPS) * NS).astype(np.int64)
        return not check_arm(np.array([pose.matrix for pose in way]), stamps, arm, limits).trouble

    return reachable


# ---- going there


@dataclass(frozen=True, eq=False, slots=True)
class Go:
    """A jog: `twist` (6,) [m/s, rad/s] in base_link axes for `duration` [s]."""

    twist: Array
    duration: float


@dataclass(frozen=True, slots=True)
class Take:
    """A sample of the pose with this number is due."""

    number: int


def _jog(T_base_tcp: Pose, T_base_goal: Pose, speed: tuple[float, float]) -> Go:
    """Straight to the goal, or as far as the longest jog leads."""
    error = pose_error(T_base_tcp, T_base_goal)
    duration = max(float(np.linalg.norm(error[:3])) / speed[0], float(np.linalg.norm(error[3:])) / speed[1])
    return Go(error / duration, min(duration, _LONGEST))


class Tour:
    """Leads the arm from goal to goal; `next` is asked again and again, and says what is to be done now.

    `speed` [m/s, rad/s] of the jogs. `number` counts the goals that are done.
    """

    def __init__(self, goals: Sequence[Pose], speed: tuple[float, float]) -> None:
        self.goals = tuple(goals)
        self.number = 0
        self._speed = speed
        self._tries = 0
        self._until = -math.inf  # [s] when the jog under way should be over
        self._led_to: Pose | None = None  # by the last jog

    @property
    def over(self) -> bool:
        return self.number == len(self.goals)

    def next(self, now: float, state: State, T_base_tcp: Pose | None) -> Go | Take | None:
        """`now` [s] of any clock; `T_base_tcp` where the arm is at rest, None while it isn't.

        None: wait. Raises CalibrationError once the executor does not obey any more, somebody else moves the arm, or it
        did not come to where the last jog led: it was held, or something is in its way.
        """
        if state not in (State.READY, State.EXECUTING):
            raise self._broken_off(f"the executor is {state.name}")
        if state is State.EXECUTING and now > self._until + _LATE:
            raise self._broken_off("something else moves the arm")
        if self.over or state is State.EXECUTING or now < self._until or T_base_tcp is None:
            return None
        if self._led_to is not None:
            moved, turned = distance(self._led_to, T_base_tcp)
            if moved > _ASTRAY[0] or turned > _ASTRAY[1]:
                raise self._broken_off(
                    f"the arm is {1e3 * moved:.0f} mm, {math.degrees(turned):.0f} degrees from where its jog led"
                )
        goal = self.goals[self.number]
        moved, turned = distance(T_base_tcp, goal)
        if self._tries == _TRIES or (moved < _NEAR[0] and turned < _NEAR[1]):
            self.number, self._tries = self.number + 1, 0
            return Take(self.number - 1)
        go = _jog(T_base_tcp, goal, self._speed)
        self._tries += 1
        self._until, self._led_to = now + go.duration, advance(T_base_tcp, go.twist, go.duration)
        return go

    def _broken_off(self, why: str) -> CalibrationError:
        left_out = f"poses {self.number + 1}..{len(self.goals)} of {len(self.goals)} are left out"
        return CalibrationError(f"{why}, {left_out}; bring it to READY and begin anew")
