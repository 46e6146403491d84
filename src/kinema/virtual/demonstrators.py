"""The scripted expert of the virtual cell. It reads the simulator's truth, and says so in its name and its spec.

`Demonstrator` implements `kinema.interfaces.Policy`. A script turns the truth into stages (a goal for the tool, a jaw
width, what ends the stage); a reference runs through the stages; a chunk is the reference's next 32 steps. Everything
is planned for the TCP, so that the same expert drives an arm and a free-flying handheld gripper.

The reference chases its goal as a critically damped second-order system chases a target of limited speed: position,
velocity and acceleration stay continuous whatever the goal does, and the next chunk starts from the state in which the
last one left the reference. Stages that depend on contact end only when an observation shows it.
"""

import enum
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction, Truth
from kinema.geometry import Array, Pose, distance, interpolate, pose_error, so3_exp
from kinema.robots import GRIPPER

DT = 1 / 30  # [s] between steps, and from t0 to the first
STEPS = 32
EXECUTABLE = 24

_RATE = 10.0  # [1/s] eigenfrequency of the reference; it trails its target by 2 / rate seconds
_REACHED = (0.005, 0.04)  # [m, rad] reference at its goal
_ARRIVED = (0.012, 0.10)  # [m, rad] measured tool at the goal
_ON_PLAN = (0.08, 0.5)  # [m, rad] measured tool that still follows the reference
_PATIENCE = 1.5  # [s] after which a stage that waits for a measurement ends without it
_SQUEEZE_TIME = 0.25  # [s] the jaw is given to press
_EMPTY = 0.002  # [m] a jaw that closed to within this holds nothing
_SLIPPED = 0.03  # [m] an object moved in the hand by more than this is lost
_ABOVE = 0.08  # [m] from where the tool descends straight onto an object
_NEAR = 0.04  # [m] before the grasp the tool is aside by half of what it was
_MARGIN = 0.04  # [m] kept above what the tool flies over
_SLACK = 0.016  # [m] jaw beyond the object on each side before the grasp; half of it in clutter
_FINGER = 0.014  # [m] thickness of a finger
PALM = 0.072  # [m] free height between the finger tips' centre and the gripper's hand
_TILT = 1.2  # [rad] by which the tool points down where it reaches for a handle
PULLED = 0.75  # [-] of a drawer's travel to which it is pulled
_RETRIES = 3
_YAWS = tuple(float(yaw) for yaw in np.arange(0.0, math.pi, math.pi / 12))
_UP = np.array([0.0, 0.0, 1.0])


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
        return _near(self.T_base_tcp, stage.T_base_tcp, _REACHED)


def _near(a: Pose, b: Pose, tolerance: tuple[float, float]) -> bool:
    gap, angle = distance(a, b)
    return gap <= tolerance[0] and angle <= tolerance[1]


def _advance(reference: Reference, stages: Sequence[Stage], style: Style, dt: float) -> Reference:
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


def _top_down(position: Array, yaw: float) -> Pose:
    """The tool pointing down, its closing axis (x) at `yaw` [rad] from base_link's x."""
    c, s = math.cos(yaw), math.sin(yaw)
    return Pose(np.asarray(position, float), np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]]))


def _at_height(pose: Pose, height: float, sway: Array | float = 0.0) -> Pose:
    return Pose(np.array([pose.position[0], pose.position[1], height]) + sway, pose.rotation)


def _yaw(pose: Pose) -> float:
    return math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])


def _fingers(opening: float) -> Array:
    """Corners (12, 3) [m] of both fingers' tips in the TCP frame, the jaw open by `opening` [m]."""
    along = np.array([opening / 2, opening / 2 + _FINGER])
    x, y = np.meshgrid(np.concatenate([along, -along]), np.array([-1.0, 0.0, 1.0]) * GRIPPER.pad[1])
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, GRIPPER.tip)], axis=1)


def _aside(style: Style, rng: np.random.Generator) -> list[Pose]:
    """How far a tool is off where it should be, when it comes in front of a thing and when it is near it."""
    off, turn = style.aim_spread
    return [
        Pose.from_rotvec([*part * off * rng.standard_normal(2), 0.0], [0.0, 0.0, part * turn * rng.standard_normal()])
        for part in (1.0, 0.5)
    ]


def _closed(width: float, force: float) -> float:
    """The jaw width to ask for [m], so that the drive squeezes something `width` wide with `force` [N]."""
    return max(width - force / GRIPPER.stiffness, 0.0)


@dataclass(frozen=True, eq=False, slots=True)
class _Box:
    """A body's bounding box: `T_base_box` at its centre, full extents `size` (3,) [m]."""

    T_base_box: Pose
    size: Array

    @staticmethod
    def of(name: str, truth: Truth, pose: Pose | None = None) -> "_Box":
        facts = truth.facts["bodies"][name]
        centre = Pose(np.asarray(facts["centre"], float), np.eye(3))
        return _Box((pose or truth.poses[name]) @ centre, np.asarray(facts["size"], float))

    def extent(self, direction: Array) -> float:
        return float(np.abs(direction @ self.T_base_box.rotation) @ self.size)

    @property
    def top(self) -> float:
        return float(self.T_base_box.position[2]) + self.extent(_UP) / 2

    @property
    def bottom(self) -> float:
        return float(self.T_base_box.position[2]) - self.extent(_UP) / 2

    def outside(self, points: Array) -> float:
        """The least horizontal distance [m] of points (n, 3) of base_link from the box; 0 inside."""
        beyond = np.abs(self.T_base_box.inverse().apply(points))[:, :2] - self.size[:2] / 2
        return float(np.linalg.norm(np.maximum(beyond, 0.0), axis=1).min())


class PickAndPlace:
    """Take the target from above, carry it over the clutter into the container, let go, retreat."""

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._style = style
        self._target: str = truth.facts["target"]
        self._container: str = truth.facts["container"]
        self._rest = rest
        self._sway = rng.normal(0.0, 1.0, (2, 3)) * style.waypoint_spread
        self._aim = _aside(style, rng)
        grasps = sorted(self._grasps(truth), key=lambda grasp: grasp.cost)
        self._grasp = self._blurred(grasps[attempt % min(len(grasps), 3)], rng)
        sky = self._skyline(truth) + _MARGIN
        self._fly = max(sky + GRIPPER.tip, _Box.of(self._target, truth).top + _ABOVE)
        self._start = tcp
        self._taken: Pose | None = None  # T_base_tcp of the grip
        self._T_tcp_object: Pose | None = None

    def _blurred(self, grasp: Grasp, rng: np.random.Generator) -> Grasp:
        shift = np.clip(rng.normal(0.0, 1.0, 3) * self._style.grasp_spread, -0.006, 0.006) * (0.5, 1.0, 0.5)
        return replace(grasp, T_object_tcp=grasp.T_object_tcp @ Pose(shift, np.eye(3)))

    def _candidates(self, truth: Truth) -> Iterator[tuple[Array, float, float]]:
        """Points between the pads (3,) [m], yaw of the closing axis [rad], width there [m]; in base_link."""
        facts, pose = truth.facts["bodies"][self._target], truth.poses[self._target]
        upright = pose.rotation[2, 2] > 0.95
        if upright and facts.get("grasps"):
            for grasp in facts["grasps"]:
                for yaw in _YAWS if grasp["yaw"] is None else (grasp["yaw"],):
                    yield pose.apply(grasp["position"]), _yaw(pose) + yaw, grasp["width"]
            return
        box = _Box.of(self._target, truth)
        for yaw in _YAWS:
            across = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            yield box.T_base_box.position, yaw, box.extent(across)

    def _grasps(self, truth: Truth) -> Iterator[Grasp]:
        pose, box = truth.poses[self._target], _Box.of(self._target, truth)
        others = [_Box.of(name, truth) for name in truth.facts["bodies"] if name != self._target]
        ways = list(self._candidates(truth))
        feasible = [way for way in ways if way[2] < GRIPPER.stroke - 0.006]
        feasible = feasible or [min(ways, key=lambda way: way[2])]  # bounding boxes exaggerate: try the narrowest side
        for (point, yaw, width), flip, slack in itertools.product(feasible, (0.0, math.pi), (_SLACK, _SLACK / 2)):
            height = max(min(point[2], box.top - 0.012), box.top - PALM, box.bottom + GRIPPER.tip + 0.006)
            tool = _top_down(np.array([point[0], point[1], height]), yaw + flip)
            opening = min(width + 2 * slack, GRIPPER.stroke)
            fingers = tool.apply(_fingers(opening))
            clearance = min((b.outside(fingers) for b in others if b.top > fingers[0, 2]), default=1.0)
            turn = distance(tool, self._rest)[1]
            cost = 0.4 * turn + 0.1 * (slack < _SLACK) + 2.0 * width + 60.0 * max(0.0, 0.012 - clearance)
            yield Grasp(pose.inverse() @ tool, width, opening, cost)

    def _skyline(self, truth: Truth) -> float:
        """Height [m] of the highest thing on the table but the target."""
        names = (name for name in truth.facts["bodies"] if name != self._target)
        return max((_Box.of(name, truth).top for name in names), default=0.0)

    def _release(self, taken: Pose, held: _Box, truth: Truth) -> Pose:
        """`T_base_tcp` of the release: the object over the container's middle, turned no more than it must be."""
        facts, container = truth.facts["bodies"][self._container], truth.poses[self._container]
        opening = np.asarray(facts["opening"], float)

        def spill(turn: float) -> float:
            sides = container.rotation[:, :2].T @ so3_exp(turn * _UP)
            return max(0.0, float(np.max(np.array([held.extent(side) for side in sides]) + 0.02 - opening)))

        turns = np.arange(-6, 7) * math.pi / 12
        turn = min(turns, key=lambda angle: (round(spill(angle), 3), abs(angle)))
        rotation = so3_exp(turn * _UP)
        middle = rotation @ (held.T_base_box.position - taken.position)
        floor, rim = container.position[2] + facts["floor"], container.position[2] + facts["rim"]
        # open fingers stay above the rim, unless the container is wide enough for them
        inside = self._grasp.width / 2 + _SLACK + _FINGER + 0.02 < float(opening.min()) / 2
        lowest = rim + 0.02 - PALM if inside else rim + GRIPPER.tip + 0.005
        height = max(floor + 0.015 + float(taken.position[2]) - held.bottom, lowest)
        return Pose(np.array([*(container.position[:2] - middle[:2]), height]), rotation @ taken.rotation)

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        grasp, force = self._grasp, self._style.grip_force
        taken = self._taken or truth.poses[self._target] @ grasp.T_object_tcp
        held = _Box.of(self._target, truth, self._T_tcp_object and taken @ self._T_tcp_object)
        release = self._release(taken, held, truth)
        beneath = float(taken.position[2]) - held.bottom
        carry = max(self._skyline(truth) + _MARGIN + beneath, float(taken.position[2]) + _ABOVE)
        rise = max(self._fly, float(self._start.position[2]))
        near = min(max(_Box.of(self._target, truth).top + GRIPPER.tip, float(taken.position[2]) + _NEAR), self._fly)
        opened, closed = grasp.opening, _closed(grasp.width, force)
        let_go = min(grasp.width + 2 * _SLACK, GRIPPER.stroke)
        return (
            Stage("rise", _at_height(self._start, rise, self._sway[0]), opened, Until.PASSED),
            Stage("above", _at_height(taken, self._fly) @ self._aim[0], opened, Until.REACHED),
            Stage("near", _at_height(taken, near) @ self._aim[1], opened, Until.PASSED, pace=0.5),
            Stage("descend", taken, opened, Until.ARRIVED, pace=0.5),
            Stage("close", taken, closed, Until.GRIPPED, force),
            Stage("lift", _at_height(taken, carry, self._sway[1]), closed, Until.PASSED, force, pace=0.7),
            Stage("carry", _at_height(release, carry), closed, Until.REACHED, force),
            Stage("lower", release, closed, Until.ARRIVED, force, pace=0.5),
            Stage("release", release, let_go, Until.OPENED),
            Stage("retreat", _at_height(release, carry), let_go, Until.ARRIVED),
            Stage("rest", _at_height(release, carry), let_go, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        self._taken = truth.poses[self._target] @ self._grasp.T_object_tcp
        self._T_tcp_object = tcp.inverse() @ truth.poses[self._target]

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        if self._T_tcp_object is None or self.done(truth):
            return False
        return distance(tcp.inverse() @ truth.poses[self._target], self._T_tcp_object)[0] > _SLIPPED

    def done(self, truth: Truth) -> bool:
        facts, container = truth.facts["bodies"][self._container], truth.poses[self._container]
        place = container.inverse().apply(_Box.of(self._target, truth).T_base_box.position)
        return bool((np.abs(place[:2]) < np.asarray(facts["opening"]) / 2).all() and place[2] < facts["rim"] + 0.05)


def taken(handle: Pose, bar: Array, rest: Pose, along: float = 0.0, tilt: float = _TILT) -> Pose:
    """`T_base_tcp` with a handle between the fingers, `along` [m] off its middle; of the two ways the less turned one.

    handle  `T_base_handle`, x to the drawer; bar: its full extents (3,) [m]; tilt [rad] by which the tool points down
    """
    out, length = -handle.rotation[:, 0], handle.rotation[:, int(np.argmax(bar))]
    down = -_UP + (_UP @ length) * length  # the part of "down" across the bar
    into = -out * math.cos(tilt) + down * math.sin(tilt)
    into /= np.linalg.norm(into)
    tools = []
    for sign in (1.0, -1.0):
        x = sign * np.cross(length, into)
        rotation = np.stack([x, np.cross(into, x), into], axis=1)
        tools.append(Pose(handle.position + along * length, rotation))
    return min(tools, key=lambda tool: distance(tool, rest)[1])


class OpenDrawer:
    """Take the handle's bar, pull along the drawer's axis, let go, back off."""

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._style = style
        facts = truth.facts["drawer"]
        self._joint: str = facts["joint"]
        self._handle: str = facts["handle"]
        self._travel: float = facts["travel"]
        self._out = np.asarray(facts["axis"], float)
        self._bar = np.asarray(facts["bar"], float)
        self._start = tcp
        self._along = float(np.clip(rng.normal() * style.grasp_spread, -0.01, 0.01))
        self._sway = rng.normal(0.0, 1.0, 3) * style.waypoint_spread
        self._aim = _aside(style, rng)
        handle = truth.poses[self._handle]
        self._T_handle_tcp = handle.inverse() @ taken(handle, self._bar, rest, self._along)
        self._goal: Pose | None = None  # T_base_tcp at the end of the pull
        self._T_tcp_handle: Pose | None = None

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        force, width = self._style.grip_force, float(np.sort(self._bar)[1])
        take = truth.poses[self._handle] @ self._T_handle_tcp
        left = PULLED * self._travel - truth.joints[self._joint]
        goal = self._goal or Pose(take.position + left * self._out, take.rotation)
        opened, closed = min(width + 1.2 * _SLACK, GRIPPER.stroke), _closed(width, force)

        def back(pose: Pose, gap: float) -> Pose:
            return pose @ Pose(np.array([0.0, 0.0, -gap]), np.eye(3))

        front = back(take, 0.10) @ self._aim[0]
        over = Pose(
            0.5 * (self._start.position + front.position) + self._sway, interpolate(self._start, front, 0.5).rotation
        )
        return (
            Stage("turn", over, opened, Until.PASSED),
            Stage("front", front, opened, Until.REACHED),
            Stage("near", back(take, _NEAR) @ self._aim[1], opened, Until.PASSED, pace=0.4),
            Stage("reach", take, opened, Until.ARRIVED, pace=0.4),
            Stage("close", take, closed, Until.GRIPPED, force),
            Stage("pull", goal, closed, Until.ARRIVED, force, pace=0.5),
            Stage("release", goal, opened, Until.OPENED),
            Stage("back off", back(goal, 0.08), opened, Until.ARRIVED, pace=0.5),
            Stage("rest", back(goal, 0.08), opened, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        take = truth.poses[self._handle] @ self._T_handle_tcp
        left = PULLED * self._travel - truth.joints[self._joint]
        self._goal = Pose(take.position + left * self._out, take.rotation)
        self._T_tcp_handle = tcp.inverse() @ truth.poses[self._handle]

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        if self._T_tcp_handle is None:
            return False
        return distance(tcp.inverse() @ truth.poses[self._handle], self._T_tcp_handle)[0] > _SLIPPED

    def done(self, truth: Truth) -> bool:
        return truth.joints[self._joint] > 0.55 * self._travel


SCRIPTS: Mapping[str, Callable[[Pose, Truth, Pose, Style, np.random.Generator, int], Script]] = {
    "pick_and_place": PickAndPlace,
    "open_drawer": OpenDrawer,
}


# ---- the policy


class Demonstrator:
    """Scripted expert that reads the simulator's truth; deterministic for a seed and a sequence of observations.

    After `reset` it begins a new episode with the style's next draw. `stage` names what it is at.
    """

    name = "demonstrator"

    def __init__(
        self, seed: int = 0, cameras: tuple[str, ...] = ("gripper", "left", "right"), style: Style | None = None
    ):
        self.spec = ObservationSpec(cameras=cameras, committed_prefix=EXECUTABLE, simulator_truth=True)
        self._style_drawn_from = style or Style()
        self._rng = np.random.default_rng(seed)
        self._chunks = 0
        self.reset()

    def reset(self) -> None:
        drawn = self._style_drawn_from
        pace = float(np.clip(self._rng.normal(1.0, drawn.speed_spread), 0.6, 1.4))
        self._style = replace(drawn, speed=drawn.speed * pace, turn=drawn.turn * pace)
        self._script: Script | None = None
        self._facts: Mapping[str, Any] = {}
        self._attempt = 0
        self._rest: Pose | None = None
        self._plan: tuple[Reference, ...] = ()  # at t0, then at every step
        self._plan_t0_ns = 0
        self._stage = ""
        self._since_ns = 0

    @property
    def stage(self) -> str:
        return self._stage

    def _begin(self, tcp: Pose, truth: Truth) -> None:
        script = SCRIPTS.get(truth.facts["task"])
        if script is None:
            raise ValueError(f"no demonstration of task {truth.facts['task']!r}; there are: {', '.join(SCRIPTS)}")
        self._rest, self._facts = self._rest or tcp, truth.facts
        self._script = script(tcp, truth, self._rest, self._style, self._rng, self._attempt)

    def _resume(self, observation: Observation, stages: Sequence[Stage]) -> Reference:
        """The reference at t0: on the last plan while the tool follows it, else at rest where the tool is."""
        tcp = observation.T_base_tcp[-1]
        if not self._plan:
            return Reference.at_rest(tcp, float(observation.width[-1]))
        age = (observation.stamp_ns - self._plan_t0_ns) * 1e-9 / DT
        committed = observation.committed
        if committed is not None and committed.t0_ns == self._plan_t0_ns:
            age = min(age, committed.offset / DT)  # a stretched chunk is behind its plan
        played, rest = divmod(min(max(age, 0.0), EXECUTABLE), 1.0)
        planned = _advance(self._plan[int(played)], stages, self._style, rest * DT)
        if age <= EXECUTABLE + 1 and _near(tcp, planned.T_base_tcp, _ON_PLAN):
            return planned
        if not _near(tcp, planned.T_base_tcp, _ON_PLAN):
            gaps = [distance(tcp, past.T_base_tcp)[0] for past in self._plan[: int(played) + 1]]
            planned = self._plan[int(np.argmin(gaps))]
        return Reference.at_rest(tcp, planned.width, planned.stage)

    def _judge(self, reference: Reference, observation: Observation, stages: Sequence[Stage]) -> Reference | None:
        """The reference with its stage moved on where the observation allows it; None where the attempt has failed."""
        assert self._script is not None and observation.truth is not None
        tcp, width = observation.T_base_tcp[-1], float(observation.width[-1])
        force = None if observation.force is None else float(observation.force[-1])
        stage = stages[reference.stage]
        if stage.name != self._stage or not reference.reached(stage):
            self._stage, self._since_ns = stage.name, observation.stamp_ns
        waited = (observation.stamp_ns - self._since_ns) * 1e-9
        if stage.squeeze and self._script.lost(tcp, observation.truth):
            return None
        onward = replace(reference, stage=reference.stage + 1)
        match stage.until:
            case Until.ARRIVED if reference.reached(stage):
                return onward if _near(tcp, stage.T_base_tcp, _ARRIVED) or waited > _PATIENCE else reference
            case Until.GRIPPED if waited > _SQUEEZE_TIME and reference.width <= stage.width:
                if width < stage.width + _EMPTY and waited > _PATIENCE:
                    return None
                if waited > _PATIENCE or (force is not None and force > 0.5 * stage.squeeze):
                    self._script.gripped(tcp, observation.truth)
                    return onward
            case Until.OPENED if width > stage.width - 0.004 or waited > _PATIENCE:
                return onward
            case Until.NEVER if waited > _PATIENCE and not self._script.done(observation.truth):
                return None
        return reference

    def predict(self, observation: Observation) -> Prediction:
        """The next steps of the demonstration as a chunk; raises ValueError without the simulator's truth."""
        truth, tcp, width = observation.truth, observation.T_base_tcp[-1], float(observation.width[-1])
        if truth is None:
            raise ValueError("the demonstrator needs the simulator's truth; only the virtual cell has it")
        if self._script is not None and truth.facts != self._facts:
            self.reset()  # another scenario is on the table
        if self._script is None:
            self._begin(tcp, truth)
        assert self._script is not None
        stages = self._script.stages(truth)
        reference = self._resume(observation, stages)
        judged = self._judge(reference, observation, stages)
        if judged is None and self._attempt < _RETRIES:
            self._attempt += 1
            self._begin(reference.T_base_tcp, truth)
            judged = replace(reference, target=reference.T_base_tcp, stage=0)
        stages = self._script.stages(truth)
        plan = [judged or reference]
        for _ in range(STEPS):
            plan.append(_advance(plan[-1], stages, self._style, DT))
        self._plan, self._plan_t0_ns = tuple(plan), observation.stamp_ns
        self._chunks += 1
        T_tcp_base = tcp.inverse()
        return Prediction(
            ActionChunk(
                id=self._chunks,
                policy=self.name,
                t0_ns=observation.stamp_ns,
                T_base_tcp_t0=tcp,
                width_t0=width,
                dt=DT,
                offset=DT,
                T_rel=np.stack([(T_tcp_base @ step.T_base_tcp).matrix for step in plan[1:]]),
                width_change=np.array([step.width for step in plan[1:]]) - width,
                force=np.array([_force(step, stages[step.stage]) for step in plan[1:]]),
                executable=EXECUTABLE,
            )
        )


def _force(reference: Reference, stage: Stage) -> float:
    """The grasp force [N] to expect: it builds up over the last stretch of closing, as the drive is pushed back."""
    return min(max(stage.squeeze - GRIPPER.stiffness * (reference.width - stage.width), 0.0), stage.squeeze)
