"""How a scripted expert moves: stages towards which a reference runs, and what scripts share.

A script turns the simulator's truth into stages: a goal for the tool, a jaw width, what ends the stage. The reference
chases its goal as a critically damped second-order system chases a target of limited speed: position, velocity and
acceleration stay continuous whatever the goal does. Stages that depend on contact end only when an observation
shows it.
"""

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Array, Pose, distance, interpolate, pose_error, so3_exp
from kinema.robots import GRIPPER

DT = 1 / 30  # [s] between steps, and from t0 to the first

_RATE = 10.0  # [1/s] eigenfrequency of the reference; it trails its target by 2 / rate seconds
_REACHED = (0.005, 0.04)  # [m, rad] reference at its goal
SLIPPED = 0.03  # [m] an object moved in the hand by more than this is lost
ABOVE = 0.08  # [m] from where the tool descends straight onto an object
NEAR = 0.04  # [m] before the grasp the tool is aside by half of what it was
MARGIN = 0.04  # [m] kept above what the tool flies over
SLACK = 0.016  # [m] jaw beyond the object on each side before the grasp; half of it in clutter
FINGER = 0.014  # [m] thickness of a finger
PALM = 0.072  # [m] free height between the finger tips' centre and the gripper's hand
YAWS = tuple(float(yaw) for yaw in np.arange(0.0, math.pi, math.pi / 12))
UP = np.array([0.0, 0.0, 1.0])


# ---- what a demonstration looks like


@dataclass(frozen=True, slots=True)
class Style:
    """How the expert moves; the spreads make demonstrations vary as a person's do.

    speed [m/s], turn [rad/s] of the tool; jaw_speed [m/s] of the opening; grip_force [N]
    speed_spread    [-] standard deviation of an episode's speed
    waypoint_spread [m] standard deviation of where the tool passes in free space
    grasp_spread    [m] standard deviation of where along the pads and the object it grasps
    aim_spread      [m, rad] standard deviation of how far aside, and turned, it comes in front of what it grasps; that
                    is mended on the way there, first by half: so demonstrations show how one corrects (Laskey et al.
                    2017, "DART", inject noise to that end)
    """

    speed: float = 0.25
    turn: float = 0.9
    jaw_speed: float = 0.10
    grip_force: float = 12.0
    speed_spread: float = 0.0
    waypoint_spread: float = 0.0
    grasp_spread: float = 0.0
    aim_spread: tuple[float, float] = (0.0, 0.0)


HUMAN = Style(speed_spread=0.15, waypoint_spread=0.012, grasp_spread=0.003, aim_spread=(0.018, 0.15))


class Until(enum.Enum):
    """What ends a stage: the reference alone, or an observation."""

    PASSED = enum.auto()  # the target has passed the goal; the reference rounds the corner
    REACHED = enum.auto()  # the reference is there
    ARRIVED = enum.auto()  # the measured tool is there
    GRIPPED = enum.auto()  # the jaw presses
    OPENED = enum.auto()  # the jaw is open
    NEVER = enum.auto()


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """One goal: `T_base_tcp`, jaw `width` [m], the squeeze [N] at that width, a factor on speed, and its end."""

    name: str
    T_base_tcp: Pose
    width: float
    until: Until
    squeeze: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """Where the expert wants the tool: `target` runs ahead at limited speed, `T_base_tcp` follows with `twist`."""

    target: Pose
    T_base_tcp: Pose
    twist: Array  # (6,) [m/s, rad/s] in base_link axes
    width: float
    stage: int

    @staticmethod
    def at_rest(T_base_tcp: Pose, width: float, stage: int = 0) -> "Reference":
        return Reference(T_base_tcp, T_base_tcp, np.zeros(6), width, stage)

    def reached(self, stage: Stage) -> bool:
        return near(self.T_base_tcp, stage.T_base_tcp, _REACHED)


def near(a: Pose, b: Pose, tolerance: tuple[float, float]) -> bool:
    gap, angle = distance(a, b)
    return gap <= tolerance[0] and angle <= tolerance[1]


def advance(reference: Reference, stages: Sequence[Stage], style: Style, dt: float) -> Reference:
    """The reference `dt` later: the exact step of x'' = r^2 (target - x) - 2 r x' with the target held."""
    stage = stages[reference.stage]
    gap, angle = distance(reference.target, stage.T_base_tcp)
    needed = max(gap / (style.speed * stage.pace), angle / (style.turn * stage.pace))
    target = stage.T_base_tcp if needed <= dt else interpolate(reference.target, stage.T_base_tcp, dt / needed)
    lag, decay = -pose_error(reference.T_base_tcp, target), math.exp(-_RATE * dt)
    drive = reference.twist + _RATE * lag
    behind = (lag + drive * dt) * decay
    step = style.jaw_speed * dt
    following = Reference(
        target=target,
        T_base_tcp=Pose(target.position + behind[:3], so3_exp(behind[3:]) @ target.rotation),
        twist=(reference.twist - _RATE * drive * dt) * decay,
        width=reference.width + min(max(stage.width - reference.width, -step), step),
        stage=reference.stage,
    )
    met = needed <= dt if stage.until is Until.PASSED else stage.until is Until.REACHED and following.reached(stage)
    if met:
        return replace(following, stage=reference.stage + 1)
    return following


# ---- scripts: from the truth to stages


class Script(Protocol):
    """One attempt at a task. Before the grip its stages follow the object; after it they stand."""

    def stages(self, truth: Truth) -> tuple[Stage, ...]: ...

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        """The jaw holds something: remember how."""
        ...

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        """What was gripped is not in the hand any more, or never was."""
        ...

    def done(self, truth: Truth) -> bool: ...


@dataclass(frozen=True, eq=False, slots=True)
class Grasp:
    """A way to take an object: `T_object_tcp`, `width` [m] of it between the pads, `opening` [m] to go there with."""

    T_object_tcp: Pose
    width: float
    opening: float
    cost: float


def top_down(position: Array, yaw: float) -> Pose:
    """The tool pointing down, its closing axis (x) at `yaw` [rad] from base_link's x."""
    c, s = math.cos(yaw), math.sin(yaw)
    return Pose(np.asarray(position, float), np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]]))


def at_height(pose: Pose, height: float, sway: Array | float = 0.0) -> Pose:
    return Pose(np.array([pose.position[0], pose.position[1], height]) + sway, pose.rotation)


def yaw_of(pose: Pose) -> float:
    return math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])


def finger_tips(opening: float) -> Array:
    """Corners (12, 3) [m] of both fingers' tips in the TCP frame, the jaw open by `opening` [m]."""
    along = np.array([opening / 2, opening / 2 + FINGER])
    x, y = np.meshgrid(np.concatenate([along, -along]), np.array([-1.0, 0.0, 1.0]) * GRIPPER.pad[1])
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, GRIPPER.tip)], axis=1)


def aside(style: Style, rng: np.random.Generator) -> list[Pose]:
    """How far a tool is off where it should be, when it comes in front of a thing and when it is near it."""
    off, turn = style.aim_spread
    return [
        Pose.from_rotvec([*part * off * rng.standard_normal(2), 0.0], [0.0, 0.0, part * turn * rng.standard_normal()])
        for part in (1.0, 0.5)
    ]


def squeezed(width: float, force: float) -> float:
    """The jaw width to ask for [m], so that the drive squeezes something `width` wide with `force` [N]."""
    return max(width - force / GRIPPER.stiffness, 0.0)


@dataclass(frozen=True, eq=False, slots=True)
class Box:
    """A body's bounding box: `T_base_box` at its centre, full extents `size` (3,) [m]."""

    T_base_box: Pose
    size: Array

    @staticmethod
    def of(name: str, truth: Truth, pose: Pose | None = None) -> "Box":
        facts = truth.facts["bodies"][name]
        centre = Pose(np.asarray(facts["centre"], float), np.eye(3))
        return Box((pose or truth.poses[name]) @ centre, np.asarray(facts["size"], float))

    def extent(self, direction: Array) -> float:
        return float(np.abs(direction @ self.T_base_box.rotation) @ self.size)

    @property
    def top(self) -> float:
        return float(self.T_base_box.position[2]) + self.extent(UP) / 2

    @property
    def bottom(self) -> float:
        return float(self.T_base_box.position[2]) - self.extent(UP) / 2

    def outside(self, points: Array) -> float:
        """The least horizontal distance [m] of points (n, 3) of base_link from the box; 0 inside."""
        beyond = np.abs(self.T_base_box.inverse().apply(points))[:, :2] - self.size[:2] / 2
        return float(np.linalg.norm(np.maximum(beyond, 0.0), axis=1).min())


NewScript = Callable[[Pose, Truth, Pose, Style, np.random.Generator, int], Script]  # tcp, truth, rest, style, rng, try
