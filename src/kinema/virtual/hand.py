"""The simulated person who demonstrates with the handheld gripper. It reads the simulator's truth.

A session of one episode: rest in the dock, squeeze twice (begin), demonstrate, squeeze twice (end), back to the dock.
What is demonstrated is planned by the scripted expert; how it is done is a person's: the expert lives in a subjective
time that runs faster, slower and sometimes not at all, and the hand is never quite still. If asked to, the person
begins some demonstrations on the way and off course, so that they show how one finds back from there.

The same code moves the gripper live and in lockstep:

    hand = Hand(world, seed)
    while not hand.done:
        world.step(*hand.goal())
"""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.interpolate import PchipInterpolator

from kinema.chunk import ActionChunk, Observation, Truth
from kinema.geometry import Array, Pose, distance, interpolate, pose_error, so3_exp
from kinema.interfaces import ForceSample
from kinema.robots import GRIPPER
from kinema.virtual.demonstrators import Demonstrator
from kinema.virtual.ground_truth import Outcome
from kinema.virtual.handheld import T_BASE_TCP_START
from kinema.virtual.scripting import HUMAN, Style

Goal = tuple[Pose, float]  # T_base_tcp and the opening [m] that the hand squeezes towards

_DOCKED = (0.002, 0.02)  # [m, rad] within which the gripper lies in its dock
_RELAXED = 0.060  # [m] opening of the jaw in a hand that does nothing with it
_LOOK = 0.2  # [s] of subjective time between two looks at the scene
_ABOVE = 0.06  # [m] that the hand rises before it flies home, and keeps above the dock's height
_CONTENT = 2.0  # [s] of waiting for the scene to come to rest before the person gives up
_TIRED = 45.0  # [s] after which a demonstration is given up
_JAW_SPEED = 0.12  # [m/s] outside of gestures
_APPROACH = ("", "rise", "above", "near", "turn", "front")  # the expert's stages before it closes in
_ON_THE_WAY = (0.2, 3.0)  # [s] of the expert's approach before the hand leaves its course
_LOWEST = 0.03  # [m] that it stays above the table then
_FREE = 0.008  # [m] from where it wants to be, a hand touches nothing
_TRIES = 10
_RESTS = "rest"  # the expert's stage after an attempt
_LEANS = "push"  # and that in which the hand presses on until the tool is where it wants it
_LEAN = 4.0  # [1/s] of what the tool lags behind by, and of easing off afterwards
_LEAN_MOST = np.array([0.03] * 3 + [0.4] * 3)  # [m, rad]
_HIGH = Pose(np.array([0.42, 0.0, 0.62]), T_BASE_TCP_START.rotation)  # neither side camera sees the gripper, or a tool
_ASIDE = 0.02  # [m] spread of where about that


class Phase(enum.Enum):
    HOME = "to the dock"
    DOCKED = "in the dock"
    ASTRAY = "elsewhere"
    BEGIN = "squeezes to begin"
    DEMONSTRATE = "demonstrates"
    END = "squeezes to end"
    RETURN = "back to the dock"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a person's movements differ from a plan; spreads are standard deviations.

    dock_time, settle  [s] at rest in the dock before the gesture; between a gesture and what comes next
    squeeze, flank, gap  [m] depth of a gesture's squeeze, [s] of its closing and of its opening, [s] between the two
    haste, haste_time  [-] spread of the logarithm of subjective speed, [s] over which it changes
    pauses, pause      [1/s] how often the hand hesitates; [s] shortest and longest
    sway, tremor       [m] spread of slow (0.3 to 1.5 Hz) and of physiological (8 to 12 Hz) movement, each axis
    lever              [m] that turns sway and tremor into rotations
    grip               [-] spread of an episode's grasp force
    recovery           [-] share of demonstrations that begin off course: somewhere on the way to the grasp, and astray
    astray, astray_turn  [m, rad] spread of how far, each axis
    vain       [-] share of these that close the jaw on nothing first, to show how one begins anew
    out_of_view  the others begin above what the side cameras see, who then see the scene alone ("Dreamitate", 4.1)
    """

    dock_time: tuple[float, float] = (0.9, 1.3)
    settle: tuple[float, float] = (0.25, 0.45)
    squeeze: float = 0.036
    flank: float = 0.16
    gap: float = 0.08
    haste: float = 0.12
    haste_time: float = 1.5
    pauses: float = 0.12
    pause: tuple[float, float] = (0.15, 0.6)
    sway: float = 0.0008
    tremor: float = 0.0006
    lever: float = 0.25
    grip: float = 0.08
    recovery: float = 0.0
    astray: float = 0.04
    astray_turn: float = 0.2
    vain: float = 0.4
    out_of_view: bool = False


class Gripped(Protocol):
    """The handheld gripper's world, as far as the person who holds it needs it; `HandheldWorld` is one."""

    @property
    def t_ns(self) -> int: ...
    @property
    def period(self) -> float: ...
    def T_base_tcp(self) -> Pose: ...
    def width(self) -> float: ...
    def load_cell(self) -> ForceSample: ...
    def truth(self) -> Truth: ...
    def outcome(self) -> Outcome: ...


class _Unrest:
    """Movement of a hand that holds still: (6,) [m, rad], a sum of sines with drawn phases."""

    _SLOW, _FAST = 6, 4

    def __init__(self, manner: Manner, rng: np.random.Generator) -> None:
        hertz = np.concatenate([rng.uniform(0.3, 1.5, (self._SLOW, 6)), rng.uniform(8, 12, (self._FAST, 6))])
        self._omega = 2 * math.pi * hertz
        self._phase = rng.uniform(0, 2 * math.pi, hertz.shape)
        slow, fast = manner.sway * math.sqrt(2 / self._SLOW), manner.tremor * math.sqrt(2 / self._FAST)
        self._amplitude = np.array([slow] * self._SLOW + [fast] * self._FAST)
        self._scale = np.array([1.0] * 3 + [1 / manner.lever] * 3)

    def at(self, t: float) -> Array:
        return self._scale * (self._amplitude @ np.sin(self._omega * t + self._phase))


class _Haste:
    """Subjective seconds per second: log-normal, correlated over `haste_time`, and 0 while the hand hesitates."""

    _RAMP = 0.12  # [s] over which a hesitation begins and ends

    def __init__(self, manner: Manner, rng: np.random.Generator, period: float) -> None:
        self._manner, self._rng, self._period = manner, rng, period
        self._level = float(rng.normal())
        self._pause_left = 0.0
        self._gain = 1.0

    def next(self) -> float:
        """The rate of the next period."""
        manner, dt = self._manner, self._period
        keep = math.exp(-dt / manner.haste_time)
        self._level = keep * self._level + math.sqrt(1 - keep * keep) * float(self._rng.normal())
        if self._pause_left > 0.0:
            self._pause_left -= dt
        elif self._rng.random() < manner.pauses * dt:
            self._pause_left = float(self._rng.uniform(*manner.pause))
        step = dt / self._RAMP
        self._gain = max(self._gain - step, 0.0) if self._pause_left > 0.0 else min(self._gain + step, 1.0)
        return self._gain * math.exp(manner.haste * min(max(self._level, -2.5), 2.5))


class _Path:
    """A chunk as a smooth path from where the hand is now: C1 and without overshoot."""

    def __init__(self, start: Goal, chunk: ActionChunk) -> None:
        assert chunk.width_change is not None
        self._start = start[0]
        knots = [np.array([*np.zeros(6), start[1]])]
        for i in range(len(chunk)):
            width = chunk.width_t0 + chunk.width_change[i]
            knots.append(np.array([*pose_error(self._start, chunk.target(i)), width]))
        times = chunk.offset + chunk.dt * np.arange(-1, len(chunk))
        self._curve = PchipInterpolator(times, np.array(knots), axis=0)

    def at(self, t: float) -> Goal:
        point = self._curve(t)
        rotation = so3_exp(point[3:6]) @ self._start.rotation
        return Pose(self._start.position + point[:3], rotation), float(point[6])


class Hand:
    """One person for one episode; deterministic for a seed and a world. `goal` is asked once a period of the world.

    `gave_up` says why the person ended a demonstration that they saw fail, else ''.
    """

    def __init__(self, world: Gripped, seed: int, style: Style = HUMAN, manner: Manner | None = None) -> None:
        self._world, self._manner = world, manner or Manner()
        self._rng = np.random.default_rng([seed, 3])
        grip = float(np.clip(self._rng.normal(1.0, self._manner.grip), 0.8, 1.2))
        self._seed, self._style = seed, replace(style, grip_force=style.grip_force * grip)
        self._expert = self._new_expert()
        self._unrest = _Unrest(self._manner, self._rng)
        self._haste = _Haste(self._manner, self._rng, world.period)
        self._goal: Goal = world.T_base_tcp(), min(max(world.width(), 0.0), GRIPPER.stroke)
        self._held = 0.0  # how much of the hand's unrest reaches the gripper; none in the dock
        self._lean = np.zeros(6)  # [m, rad] beyond the goal, against what resists
        self._ticks = 0
        self._phase = Phase.HOME
        self.gave_up = ""
        self._session = self._run()

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def rests(self) -> bool:
        """An attempt has come to its end; success shows now, or another one follows."""
        return self._phase is Phase.DEMONSTRATE and self._expert.stage == _RESTS

    @property
    def done(self) -> bool:
        """The gripper lies in its dock again, the episode is over."""
        return self._phase is Phase.DONE

    def goal(self) -> Goal:
        """Where the hand draws the TCP in the next period, and the opening [m] it squeezes towards."""
        self._goal = next(self._session, self._goal)
        self._ticks += 1
        return self._shaken()

    def _new_expert(self) -> Demonstrator:
        return Demonstrator(self._seed, cameras=(), style=self._style)

    # ---- the session

    def _run(self) -> Iterator[Goal]:
        if not self._in_dock():
            yield from self._go_home()
        self._phase = Phase.DOCKED
        yield from self._move(T_BASE_TCP_START, _RELAXED, 0.0)
        yield from self._wait(self._manner.dock_time)
        astray = np.random.default_rng([self._seed, 4])  # its own, so that nobody else's draws depend on it
        vain = False
        if astray.random() < self._manner.recovery:
            vain = astray.random() < self._manner.vain
            self._phase = Phase.ASTRAY
            yield from self._go_astray(astray)
        elif self._manner.out_of_view:
            self._phase = Phase.ASTRAY
            aside = _ASIDE * astray.standard_normal(3)
            yield from self._move(Pose(_HIGH.position + aside * (1, 1, 0), _HIGH.rotation), _RELAXED, 0.3)
        self._phase = Phase.BEGIN
        yield from self._squeeze_twice()
        yield from self._wait(self._manner.settle)
        self._phase = Phase.DEMONSTRATE
        if vain:
            yield from self._move(self._goal[0], 0.0, 0.0)
        yield from self._demonstrate()
        self._phase = Phase.END
        yield from self._squeeze_twice()
        yield from self._wait(self._manner.settle)
        self._phase = Phase.RETURN
        yield from self._go_home()
        yield from self._wait(self._manner.settle)
        self._phase = Phase.DONE

    def _in_dock(self) -> bool:
        gap, angle = distance(self._world.T_base_tcp(), T_BASE_TCP_START)
        return gap < _DOCKED[0] and angle < _DOCKED[1]

    def _go_astray(self, rng: np.random.Generator) -> Iterator[Goal]:
        """Along an expert's approach for a while, then off it; the expert who demonstrates knows nothing of that."""
        lasts, t = float(rng.uniform(*_ON_THE_WAY)), 0.0
        while t < lasts and self._expert.stage in _APPROACH:
            path, began = _Path(self._goal, self._plan(t)), t
            while t < began + _LOOK:
                self._unsettle()
                t += self._world.period
                yield path.at(t - began)
        on_course = self._goal[0]
        for _ in range(_TRIES):
            position = on_course.position + self._manner.astray * rng.standard_normal(3)
            position[2] = max(position[2], _LOWEST)
            turn = so3_exp(self._manner.astray_turn * rng.standard_normal(3))
            yield from self._move(Pose(position, turn @ on_course.rotation), _RELAXED, 0.2)
            yield from self._wait(self._manner.settle)
            if distance(self._world.T_base_tcp(), self._goal[0])[0] < _FREE:
                break  # else something is in the way
        self._expert = self._new_expert()

    def _unsettle(self) -> None:
        """Half a second after it leaves the dock the hand is as unsteady as it gets."""
        self._held = min(self._held + self._world.period / 0.5, 1.0)

    def _demonstrate(self) -> Iterator[Goal]:
        """What the expert plans, looked at anew every moment, until the scene shows success or the person gives up."""
        began_ns, subjective, rested = self._world.t_ns, 0.0, 0.0
        while not self._world.outcome().success:
            if rested > _CONTENT or (self._world.t_ns - began_ns) * 1e-9 > _TIRED:
                self.gave_up = self._world.outcome().text
                break
            path, ends = _Path(self._goal, self._plan(subjective)), subjective + _LOOK
            rested = rested + _LOOK if self._expert.stage == _RESTS else 0.0
            begins = subjective
            while subjective < ends:
                self._unsettle()
                subjective += self._haste.next() * self._world.period
                goal = path.at(subjective - begins)
                self._press_on(goal[0])
                yield goal
        self._lean[:] = 0.0
        yield from self._move(self._goal[0], max(self._goal[1], _RELAXED), 0.0)
        yield from self._wait(self._manner.settle)

    def _press_on(self, goal: Pose) -> None:
        """An arm yields, but whoever pushes sees it and pushes harder."""
        if self._expert.stage == _LEANS:
            rate = pose_error(self._world.T_base_tcp(), goal)
        elif self._lean.any():
            rate = -self._lean
        else:
            return
        lean = self._lean + _LEAN * self._world.period * rate
        self._lean = np.clip(lean, -_LEAN_MOST, _LEAN_MOST)

    def _plan(self, subjective: float) -> ActionChunk:
        world = self._world
        force, truth = world.load_cell(), world.truth()
        seen = Observation(
            stamp_ns=round(subjective * 1e9),
            images={},
            T_base_tcp=(world.T_base_tcp(),),
            width=np.array([world.width()]),
            force=np.array([force.force]) if force.tared else None,
            text=truth.facts["text"],
            truth=truth,
        )
        return self._expert.predict(seen).chunk

    def _go_home(self) -> Iterator[Goal]:
        """Up, over the dock, and down into it."""
        pose = self._goal[0]
        height = max(pose.position[2], T_BASE_TCP_START.position[2]) + _ABOVE
        dock = T_BASE_TCP_START
        for goal, speed in (
            (Pose(np.array([*pose.position[:2], height]), pose.rotation), 0.25),
            (Pose(np.array([*dock.position[:2], height]), dock.rotation), 0.30),
        ):
            yield from self._move(goal, _RELAXED, speed)
        gain = self._held
        for fraction, down in self._way(dock, _RELAXED, 0.15):
            self._held = gain * (1 - fraction)
            yield down

    # ---- movements

    def _move(self, T_base_tcp: Pose, width: float, speed: float) -> Iterator[Goal]:
        for _, goal in self._way(T_base_tcp, width, speed):
            yield goal

    def _way(self, T_base_tcp: Pose, width: float, speed: float) -> Iterator[tuple[float, Goal]]:
        """Along the minimum-jerk profile (Flash and Hogan 1985) with a mean speed [m/s]; fraction of the way, goal."""
        start, opening = self._goal
        gap, angle = distance(start, T_base_tcp)
        lasts = abs(width - opening) / _JAW_SPEED
        if speed > 0.0:
            lasts = max(lasts, gap / speed, angle / (4 * speed))
        n = math.ceil(lasts / self._world.period)
        for k in range(1, n + 1):
            s = k / n
            fraction = s**3 * (10 - 15 * s + 6 * s * s)
            yield fraction, (interpolate(start, T_base_tcp, fraction), opening + fraction * (width - opening))

    def _wait(self, between: tuple[float, float]) -> Iterator[Goal]:
        for _ in range(round(float(self._rng.uniform(*between)) / self._world.period)):
            yield self._goal

    def _squeeze_twice(self) -> Iterator[Goal]:
        pose, opening = self._goal
        manner, slower = self._manner, float(self._rng.uniform(0.9, 1.15))
        flank = round(slower * manner.flank / self._world.period)
        for _ in range(2):
            for k in range(1, 2 * flank + 1):
                closed = 0.5 * (1 - math.cos(math.pi * k / flank))
                yield pose, opening - manner.squeeze * closed
            for _ in range(round(slower * manner.gap / self._world.period)):
                yield pose, opening

    def _shaken(self) -> Goal:
        pose, width = self._goal
        if self._held == 0.0:
            return self._goal
        unrest = self._held * self._unrest.at(self._ticks * self._world.period) + self._lean
        return Pose(pose.position + unrest[:3], so3_exp(unrest[3:]) @ pose.rotation), width
