"""Set a thing upright that lies on its side ("Video Generators are Robot Policies", section 4.6)."""

import itertools
import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Array, Pose, distance, interpolate, so3_exp
from kinema.robots import GRIPPER
from kinema.virtual import catalogue, layout, objects
from kinema.virtual.judging import HAND, TABLE, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Region, Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import ABOVE, MARGIN, NEAR, SLACK, SLIPPED, UP, Stage, Style, Until, aside, squeezed

STANDS = math.cos(math.radians(10))  # of the angle between the thing's axis and the vertical
ON_TABLE = 0.004  # [m] of its foot

_SPOTS = Region((0.38, 0.54), (-0.18, 0.18), (0.43, 0.54))
_ROOM = 0.115  # [m] around the middle of what lies there
_LEANS = (math.radians(45), math.radians(30), math.radians(55))  # of the tool where it takes the thing, an attempt each
_LESS = math.radians(25)  # less of it where the tool would point outwards: there wrists lose a degree of freedom
_ASIDE = (1.1, -1.1)  # [rad] from outwards, where it points when the thing stands
_HELD_AT = 0.55  # [-] of its height


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    target_kind = layout.drawn(rng, pool.side(catalogue.TO_SET_UPRIGHT), 1)[0]
    kinds = [kind for kind in layout.drawn(rng, pool.objects, 4) if kind != target_kind][: int(rng.integers(1, 4))]
    rooms = [(_SPOTS, _ROOM), *((layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds)]
    spot, *others = layout.spread(rng, rooms)
    width, _, height = catalogue.THINGS[target_kind].size
    standing = layout.place(rng, target_kind, pool, spot)
    ahead = np.array([math.cos(standing.yaw), math.sin(standing.yaw)])
    foot = np.array(spot) - height / 2 * ahead
    target = layout.replace(
        standing, position=(float(foot[0]), float(foot[1])), tilt=math.pi / 2, height=width / 2 + 0.001
    )
    distractors = tuple(layout.place(rng, kind, pool, at) for kind, at in zip(kinds, others, strict=True))
    return {
        "text": f"set the {target.name.replace('_', ' ')} upright",
        "target": target,
        "distractors": distractors,
    }


def judge(scenario: Scenario) -> Judge:
    """Upright on the table by itself: released and at rest."""
    target = scenario.target
    assert target is not None
    name = target.name.replace("_", " ")

    def look(moment: Moment) -> Verdict:
        position, rotation = moment.pose(target.name)
        held = moment.touching(target.name, HAND)
        upright = float(rotation[2, 2])
        detail = {"tilt": math.degrees(math.acos(min(max(upright, -1.0), 1.0))), "height": position[2], "held": held}
        if upright < STANDS:
            missing = f"the {name} does not stand upright"
        elif held:
            missing = f"the {name} still touches the gripper"
        elif abs(position[2]) > ON_TABLE or not moment.touching(target.name, TABLE):
            missing = f"the {name} does not stand on the table"
        elif moving(moment, target.name):
            missing = f"the {name} still moves"
        else:
            missing = ""
        return Verdict(missing, detail)

    return look


def _leaning(azimuth: float, lean: float, position: Array, flip: float) -> Pose:
    """The tool at a position, `lean` [rad] from pointing down towards `azimuth`; its closing axis is horizontal."""
    ahead = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    z = math.sin(lean) * ahead - math.cos(lean) * UP
    x = flip * np.cross(UP, ahead)
    return Pose(np.asarray(position, float), np.stack([x, np.cross(z, x), z], axis=1))


class UprightObject:
    """Take it across its axis, the tool leaning over its upper end; raise it, and stand it up as the tool leans back.

    The tool leans as far from the vertical before as after, in opposite directions, so that it never lies flat.
    """

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._style, self._start = style, tcp
        self._target: str = truth.facts["target"]
        self._size = np.asarray(truth.facts["bodies"][self._target]["size"], float)
        self._rest = rest
        pose = truth.poses[self._target]
        outwards = -float(pose.rotation[:2, 2] @ pose.position[:2]) / math.hypot(*pose.position[:2])
        self._lean = _LEANS[attempt % len(_LEANS)] - _LESS * max(outwards, 0.0)
        self._sway = rng.normal(0.0, 1.0, (2, 3)) * style.waypoint_spread
        self._aim = aside(style, rng)
        along = float(np.clip(rng.normal() * style.grasp_spread, -0.008, 0.008))
        self._held_at = _HELD_AT * float(self._size[2]) + along
        self._T_object_tcp = self._chosen(pose)
        self._taken: Pose | None = None
        self._T_tcp_object: Pose | None = None

    def _chosen(self, pose: Pose) -> Pose:
        """`T_object_tcp` of the grasp, leaning towards the foot; of two ways that which turns the tool less in all."""
        top = pose.rotation[:, 2]
        azimuth, at = math.atan2(-top[1], -top[0]), pose.apply([0.0, 0.0, self._held_at])
        ways = []
        for flip in (1.0, -1.0):
            take = _leaning(azimuth, self._lean, at, flip)
            stood = self._stood(take, take.inverse() @ pose)
            ways.append((max(distance(take, self._rest)[1], distance(stood, self._rest)[1]), flip, take))
        return pose.inverse() @ min(ways)[2]

    def _stood(self, taken: Pose, T_tcp_object: Pose) -> Pose:
        """`T_base_tcp` with the thing standing where it was taken, the tool leaning to one side."""
        ways = []
        for side, flip in itertools.product(_ASIDE, (1.0, -1.0)):
            azimuth = math.atan2(taken.position[1], taken.position[0]) + side
            tool = _leaning(azimuth, math.pi / 2 - self._lean, taken.position, flip)
            if (tool @ T_tcp_object).rotation[2, 2] > 0.0:
                ways.append((distance(tool, self._rest)[1], side, tool))
        tool = min(ways)[2]
        off = np.cross((tool @ T_tcp_object).rotation[:, 2], UP)  # what the grip lacks of upright is made good
        tool = Pose(tool.position, so3_exp(off) @ tool.rotation)
        foot = (tool @ T_tcp_object).position[2]
        return Pose(tool.position + (0.003 - foot) * UP, tool.rotation)

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        force, width = self._style.grip_force, float(self._size[0])
        take = self._taken or truth.poses[self._target] @ self._T_object_tcp
        held = self._T_tcp_object or self._T_object_tcp.inverse()
        goal = self._stood(take, held)
        opened, closed = min(width + 2 * SLACK, GRIPPER.stroke), squeezed(width, force)

        def raised(pose: Pose, by: float, sway: Array | float = 0.0) -> Pose:
            return Pose(pose.position + by * UP + sway, pose.rotation)

        front = raised(take, ABOVE)
        high = float(self._size[2]) + MARGIN
        over = Pose(
            0.5 * (self._start.position + front.position) + 0.04 * UP + self._sway[0],
            interpolate(self._start, front, 0.5).rotation,
        )
        lifted, turned = raised(take, high, self._sway[1]), raised(goal, high)
        middle = Pose(0.5 * (lifted.position + turned.position), interpolate(lifted, turned, 0.5).rotation)
        away = goal @ Pose(np.array([0.0, 0.0, -ABOVE]), np.eye(3))
        return (
            Stage("rise", over, opened, Until.PASSED),
            Stage("above", front @ self._aim[0], opened, Until.REACHED),
            Stage("near", raised(take, NEAR) @ self._aim[1], opened, Until.PASSED, pace=0.5),
            Stage("descend", take, opened, Until.ARRIVED, pace=0.4),
            Stage("close", take, closed, Until.GRIPPED, force),
            Stage("lift", lifted, closed, Until.PASSED, force, pace=0.6),
            Stage("turn", middle, closed, Until.PASSED, force, pace=0.8),
            Stage("stand", turned, closed, Until.REACHED, force, pace=0.8),
            Stage("lower", goal, closed, Until.ARRIVED, force, pace=0.3),
            Stage("release", goal, opened, Until.OPENED),
            Stage("retreat", away, opened, Until.ARRIVED, pace=0.4),
            Stage("rest", away, opened, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        self._taken = truth.poses[self._target] @ self._T_object_tcp
        self._T_tcp_object = tcp.inverse() @ truth.poses[self._target]

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        if self._T_tcp_object is None or self.done(truth):
            return False
        return distance(tcp.inverse() @ truth.poses[self._target], self._T_tcp_object)[0] > SLIPPED

    def done(self, truth: Truth) -> bool:
        pose = truth.poses[self._target]
        return bool(pose.rotation[2, 2] > STANDS and abs(pose.position[2]) < 2 * ON_TABLE)
