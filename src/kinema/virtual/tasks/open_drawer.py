"""Pull a drawer of a cabinet open, the upper or the lower ("Video Generators are Robot Policies", section 4.6)."""

import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Array, Pose, distance, interpolate
from kinema.robots import GRIPPER
from kinema.virtual import layout, objects
from kinema.virtual.judging import HAND, SPEED, Judge, Moment, Verdict
from kinema.virtual.layout import Placed, Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import NEAR, SLACK, SLIPPED, UP, Stage, Style, Until, aside, squeezed

OPENED = 0.5  # [-] of a drawer's travel
PULLED = 0.75  # [-] of it to which the expert pulls
_TILT = 1.2  # [rad] by which the tool points down where it reaches for a handle


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    kind = pool.cabinets[rng.integers(len(pool.cabinets))]
    drawer = ("lower", "upper")[rng.integers(2)]
    y = float(rng.uniform(-0.16, 0.16))
    x = float(rng.uniform(0.66, 0.72)) - 0.25 * abs(y)
    yaw = math.atan2(y, x) * 0.6 + float(rng.uniform(-0.15, 0.15))
    name = pool.colours[rng.integers(len(pool.colours))]
    accent = ((0.75, 0.76, 0.78), (0.16, 0.16, 0.17), (0.72, 0.56, 0.30))[rng.integers(3)]
    cabinet = Placed("cabinet", kind, objects.COLOURS[name], accent, (x, y), yaw)
    return {"text": f"open the {drawer} drawer of the {name} cabinet", "cabinet": cabinet, "drawer": drawer}


def judge(scenario: Scenario) -> Judge:
    """Open over half of its travel, released and at rest."""
    cabinet = scenario.cabinet
    assert cabinet is not None
    travel = objects.CABINETS[cabinet.kind].travel
    drawer = f"drawer_{scenario.drawer}"

    def look(moment: Moment) -> Verdict:
        at, speed = moment.joint(drawer)
        opened, speed = at / travel, abs(speed)
        held = moment.touching(cabinet.name, HAND)
        if opened <= OPENED:
            percent = max(100 * opened, 0.0)
            missing = f"the {scenario.drawer} drawer is {percent:.0f} % open, wanted is over {100 * OPENED:.0f} %"
        elif held:
            missing = "the gripper still touches the cabinet"
        elif speed > SPEED:
            missing = "the drawer still moves"
        else:
            missing = ""
        return Verdict(missing, {"opened": opened, "speed": speed, "held": held})

    return look


def taken(handle: Pose, bar: Array, rest: Pose, along: float = 0.0, tilt: float = _TILT) -> Pose:
    """`T_base_tcp` with a handle between the fingers, `along` [m] off its middle; of the two ways the less turned one.

    handle  `T_base_handle`, x to the drawer; bar: its full extents (3,) [m]; tilt [rad] by which the tool points down
    """
    out, length = -handle.rotation[:, 0], handle.rotation[:, int(np.argmax(bar))]
    down = -UP + (UP @ length) * length  # the part of "down" across the bar
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
        self._aim = aside(style, rng)
        handle = truth.poses[self._handle]
        self._T_handle_tcp = handle.inverse() @ taken(handle, self._bar, rest, self._along)
        self._goal: Pose | None = None  # T_base_tcp at the end of the pull
        self._T_tcp_handle: Pose | None = None

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        force, width = self._style.grip_force, float(np.sort(self._bar)[1])
        take = truth.poses[self._handle] @ self._T_handle_tcp
        left = PULLED * self._travel - truth.joints[self._joint]
        goal = self._goal or Pose(take.position + left * self._out, take.rotation)
        opened, closed = min(width + 1.2 * SLACK, GRIPPER.stroke), squeezed(width, force)

        def back(pose: Pose, gap: float) -> Pose:
            return pose @ Pose(np.array([0.0, 0.0, -gap]), np.eye(3))

        front = back(take, 0.10) @ self._aim[0]
        over = Pose(
            0.5 * (self._start.position + front.position) + self._sway, interpolate(self._start, front, 0.5).rotation
        )
        return (
            Stage("turn", over, opened, Until.PASSED),
            Stage("front", front, opened, Until.REACHED),
            Stage("near", back(take, NEAR) @ self._aim[1], opened, Until.PASSED, pace=0.4),
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
        return distance(tcp.inverse() @ truth.poses[self._handle], self._T_tcp_handle)[0] > SLIPPED

    def done(self, truth: Truth) -> bool:
        return truth.joints[self._joint] > 0.55 * self._travel
