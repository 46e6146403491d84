"""Turn a thing counterclockwise on the table ("Dreamitate", section 4.2). The tool is a fork."""

import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Pose, distance, so3_exp
from kinema.virtual import catalogue, held, layout, objects
from kinema.virtual.judging import HAND, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import MARGIN, NEAR, UP, Box, Stage, Style, Until, aside, at_height, top_down, yaw_of

TURNED = math.radians(25)  # at least
FLAT = math.cos(math.radians(20))  # of what the thing may have tilted
_LET_GO = 5  # judgements without contact (20 ms each) that end a touch: prongs may chatter
_BY = math.radians(45)  # that the expert turns; "up to 45 degrees" in the paper
_DONE = math.radians(30)
_OFF = 0.005  # [m] of the prongs above the table
_ROOM = 0.006  # [m] beside the thing, on each side, for a prong that comes down
_OVER = 0.015  # [m] above the thing from where they come straight down


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    target_kind = layout.drawn(rng, pool.side(catalogue.TO_TURN), 1)[0]
    kinds = [kind for kind in layout.drawn(rng, pool.objects, 3) if kind != target_kind][: int(rng.integers(0, 3))]
    kind = catalogue.THINGS[target_kind]
    rooms = [(layout.TARGETS, max(math.hypot(*kind.size[:2]) / 2, layout.GRIPPER_ROOM) + 0.01)]
    rooms += [(layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds]
    spot, *others = layout.spread(rng, rooms)
    target = layout.place(rng, target_kind, pool, spot)
    return {
        "text": f"turn the {target.name.replace('_', ' ')} counterclockwise",
        "target": target,
        "distractors": tuple(layout.place(rng, kind, pool, at) for kind, at in zip(kinds, others, strict=True)),
        "tool": "fork",
    }


def _heading(rotation: Any) -> float:
    return math.atan2(rotation[1, 0], rotation[0, 0])


def judge(scenario: Scenario) -> Judge:
    """Turned within one unbroken touch, and at rest; what comes after that touch doesn't count."""
    target = scenario.target
    assert target is not None
    name = target.name.replace("_", " ")
    last: float | None = None  # heading [rad] at the last judgement
    turned, away, reached = 0.0, _LET_GO, 0.0

    def look(moment: Moment) -> Verdict:
        nonlocal last, turned, away, reached
        _, rotation = moment.pose(target.name)
        heading, held = _heading(rotation), moment.touching(target.name, HAND)
        step = 0.0 if last is None else math.remainder(heading - last, 2 * math.pi)
        last, away = heading, 0 if held else away + 1
        turned = turned + step if away < _LET_GO else 0.0
        reached = turned if held else reached
        detail = {"turned": math.degrees(reached), "held": held}
        if reached < TURNED:
            wanted = f"wanted are {math.degrees(TURNED):.0f}"
            missing = f"the {name} is turned by {math.degrees(max(reached, 0.0)):.0f} degrees in one touch, {wanted}"
        elif rotation[2, 2] < FLAT:
            missing = f"the {name} has been tipped over"
        elif moving(moment, target.name):
            missing = f"the {name} still moves"
        else:
            missing = ""
        return Verdict(missing, detail)

    return look


def _turned(tool: Pose, angle: float) -> Pose:
    return Pose(tool.position, so3_exp(angle * UP) @ tool.rotation)


class RotateObject:
    """Bring the fork down around it, turn it about the vertical, back a little, rise.

    The fork comes down askew, so that its prongs almost touch the thing's sides: then it has little to turn before it
    meets them, and does so far from the middle. Afterwards it goes back at once, and as far: a prong that brushes the
    thing anew begins another touch.
    """

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._start, self._target = tcp, str(truth.facts["target"])
        tool, thing = truth.facts["tool"], truth.facts["bodies"][self._target]
        self._depth, prong = tool["depth"], tool["thick"] / 2
        self._sway = rng.normal(0.0, 1.0, 3) * style.waypoint_spread
        self._aim = aside(style, rng)
        self._across = min(thing["grasps"], key=lambda grasp: grasp["width"])
        askew = math.acos(min((self._across["width"] / 2 + prong + _ROOM) / (tool["width"] / 2 - prong), 1.0))
        self._heading, self._play, self._most = yaw_of(truth.poses[self._target]), 0.0, math.pi / 2 - askew
        self._askew = self._across["yaw"] + askew
        ways = [self._astride(truth), _turned(self._astride(truth), math.pi)]
        self._down = min(ways, key=lambda way: max(distance(end, rest)[1] for end in (way, _turned(way, _BY))))
        self._askew += math.pi * (self._down is ways[1])

    def _astride(self, truth: Truth) -> Pose:
        """The fork around the thing as it now lies, touching nothing."""
        pose = truth.poses[self._target]
        at = np.array([*pose.apply(self._across["position"])[:2], self._depth + _OFF])
        return top_down(at, yaw_of(pose) + self._askew)

    def _goal(self, truth: Truth) -> Pose:
        """As far as the thing is to turn, and as the fork is seen to turn before it meets it."""
        tool = truth.poses["tool"]
        if tool.position[2] - self._depth < Box.of(self._target, truth).top:
            ahead = yaw_of(tool) - yaw_of(self._down) - (yaw_of(truth.poses[self._target]) - self._heading)
            self._play = min(max(self._play, math.remainder(ahead, 2 * math.pi)), self._most)
        return _turned(self._down, _BY + self._play)

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        width, down = held.WIDTH, self._down
        eased = Pose(down.position, self._astride(truth).rotation)
        tops = {name: Box.of(name, truth).top for name in truth.facts["bodies"]}
        fly, over = self._depth + max(tops.values()) + MARGIN, self._depth + tops[self._target] + _OVER
        rise = at_height(self._start, max(fly, float(self._start.position[2])), self._sway)
        return (
            Stage("rise", rise, width, Until.PASSED),
            Stage("above", at_height(down, fly) @ self._aim[0], width, Until.REACHED),
            Stage("near", at_height(down, over + NEAR) @ self._aim[1], width, Until.PASSED, pace=0.5),
            Stage("over", at_height(down, over), width, Until.REACHED, pace=0.5),
            Stage("descend", down, width, Until.ARRIVED, pace=0.5),
            Stage("rotate", self._goal(truth), width, Until.PASSED, pace=0.5),
            Stage("ease", eased, width, Until.REACHED),
            Stage("retreat", at_height(eased, fly), width, Until.ARRIVED),
            Stage("rest", at_height(eased, fly), width, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        """The fork is always in the hand."""

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        return False

    def done(self, truth: Truth) -> bool:
        turned = yaw_of(truth.poses[self._target]) - self._heading
        return math.remainder(turned, 2 * math.pi) > _DONE
