"""Push a foam shape onto a goal pose, in up to four attempts ("Dreamitate", section 4.5)."""

import itertools
import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, distance, so3_exp
from kinema.virtual import held, layout, letters, objects
from kinema.virtual.judging import HAND, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Placed, Region, Scenario
from kinema.virtual.letters import CELL, FIGURES, HEIGHT, Figure
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import MARGIN, UP, Stage, Style, Until, aside, at_height, top_down

GOOD = 0.7  # [-] intersection over union; the paper's policy reaches 0.73 on average
ATTEMPTS = 4

_FIELD = Region((0.38, 0.54), (-0.17, 0.17), (0.40, 0.53))
_WAY, _TURN = (0.05, 0.14), (math.radians(10), math.radians(50))  # [m], [rad] from where it lies to the goal

_OFF = 0.004  # [m] of the pusher above the table
_BEFORE = 0.025  # [m] from pusher to shape when it comes down
_SKEWED = math.radians(9)  # what a straight push doesn't mend: its plate straightens the face
_CLOSE = 0.003  # [m] that needs no push
_RADII = (0.07, 0.10, 0.14, 0.20, 0.30)  # [m] of the arcs on which a shape is turned; tighter ones slip off the plate
_STEP = math.radians(8)


def _flat(angle: float) -> Array:
    return np.array([math.cos(angle), math.sin(angle)])


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    name = layout.drawn(rng, pool.side(letters.LETTERS), 1)[0]
    figure = FIGURES[name]
    for _ in range(layout.TRIES):
        start, goal = _FIELD.draw(rng), _FIELD.draw(rng)
        turn = float(rng.uniform(*_TURN)) * (1 if rng.random() < 0.5 else -1)
        if _WAY[0] <= math.dist(start, goal) <= _WAY[1] and abs(figure.off(turn) - turn) < 1e-9:
            break
    else:
        raise ConfigError(f"no way for {name} in {layout.TRIES} tries")
    colour = layout.drawn(rng, pool.colours, 1)[0]
    shade, yaw = objects.COLOURS[colour], float(rng.uniform(-math.pi, math.pi))
    called = f"{colour}_{name}"
    target = Placed(called, name, shade, shade, start, yaw)
    return {
        "text": f"push the {called.replace('_', ' ')} onto its goal",
        "target": target,
        "goal": layout.replace(target, name="goal", position=goal, yaw=yaw + turn),
        "tool": "pusher",
    }


def _left(figure: Figure, position: Array, heading: float, goal: Array, goal_heading: float) -> tuple[float, float]:
    """IoU with the goal, and the rotation [rad] that is left."""
    offset = _turned(position - goal, -goal_heading)
    turn = figure.off(heading - goal_heading)
    return figure.iou(offset, turn), abs(turn)


def _turned(vector: Array, angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def _heading(rotation: Array) -> float:
    return math.atan2(rotation[1, 0], rotation[0, 0])


def judge(scenario: Scenario) -> Judge:
    """The best of what attempts have led to; one begins with a touch and ends when the tool has been lifted."""
    target, goal = scenario.target, scenario.goal
    assert target is not None and goal is not None
    figure, there = FIGURES[target.kind], np.array(goal.position)
    clear = held.tool(scenario.tool).depth + HEIGHT  # [m] height of the TCP from which the tool is above the shape
    attempts, lifted, best, left = 0, True, 0.0, 0.0
    last: tuple[float, ...] = ()

    def look(moment: Moment) -> Verdict:
        nonlocal attempts, lifted, best, left, last
        held_now = moment.touching(target.name, HAND)
        attempts += held_now and lifted
        lifted = not held_now and (lifted or bool(moment.pose("tool")[0][2] > clear))
        still = not held_now and not moving(moment, target.name)
        if still and 0 < attempts <= ATTEMPTS:
            position, rotation = moment.pose(target.name)
            place = (*position[:2], _heading(rotation))
            if not last or max(abs(a - b) for a, b in zip(place, last, strict=True)) > 1e-5:
                last = place
                found = _left(figure, position[:2], place[2], there, goal.yaw)
                best, left = max((best, left), found)
        detail = {"iou": best, "rotation": math.degrees(left), "attempts": attempts, "held": held_now}
        if best < GOOD:
            common = f"of shape and goal {best:.0%} is common after {attempts} attempts"
            missing = f"{common}, wanted are {GOOD:.0%}"
        elif not still:
            missing = "the shape is still pushed"
        else:
            missing = ""
        return Verdict(missing, detail)

    return look


class PushShape:
    """One push an attempt: along an arc where the shape has to turn, else straight along one of its axes.

    Pusher and shape move as one where the line of contact is long and the arc wide (Lynch and Mason 1996, "Stable
    pushing"); a straight push turns the face that it meets parallel to its plate.
    """

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._start, self._rest, self._style = tcp, rest, style
        facts = truth.facts
        self._target: str = facts["target"]
        self._depth, self._thick = facts["tool"]["depth"], facts["tool"]["thick"]
        self._figure = FIGURES[facts["bodies"][self._target]["kind"]]
        self._goal, self._goal_heading = np.array(facts["goal"]["position"]), facts["goal"]["yaw"]
        self._sway = rng.normal(0.0, 1.0, 3) * style.waypoint_spread
        self._aim = aside(style, rng)
        pose = truth.poses[self._target]
        self._way = self._planned(pose.position[:2], _heading(pose.rotation))

    def _reach(self, towards: Array) -> float:
        """How far [m] the shape's outermost cells are from its middle in a direction of its own frame."""
        return float((self._figure.cells @ towards).max()) + CELL / 2

    def _tool(self, place: Array, ahead: Array) -> Pose:
        """The pusher's middle at a place, its plate across `ahead`."""
        yaw = math.atan2(ahead[1], ahead[0]) + math.pi / 2
        at = np.array([*place, self._depth + _OFF])
        tools = [top_down(at, yaw + flip) for flip in (0.0, math.pi)]
        return min(tools, key=lambda tool: distance(tool, self._rest)[1])

    def _planned(self, position: Array, heading: float) -> list[Pose]:
        """The pusher from where it comes down to where it lets go."""
        turn = -self._figure.off(heading - self._goal_heading)
        if abs(turn) > _SKEWED:
            return self._arc(position, heading, turn)
        along = _turned(self._goal - position, -self._goal_heading)
        axis = int(np.argmax(np.abs(along)))
        own = np.sign(along[axis] or 1.0) * np.eye(2)[axis]
        ahead = _turned(own, self._goal_heading)
        # of the orientations in which the shape looks the same the goal's is meant, so the face is its, too
        own_face = _turned(own, self._goal_heading - heading - turn)
        contact = position - (self._reach(-own_face) + self._thick / 2) * ahead
        end = contact + max(abs(float(along[axis])), _CLOSE) * ahead
        return [self._tool(contact - _BEFORE * ahead, ahead), self._tool(end, ahead)]

    def _arc(self, position: Array, heading: float, turn: float) -> list[Pose]:
        """Of pushes against each side on arcs of each radius that after which least is left to be done."""
        ways = []
        for side, radius in itertools.product(range(4), _RADII):
            own = np.round(_flat(side * math.pi / 2))
            ahead = _turned(own, heading)
            contact = position - (self._reach(-own) + self._thick / 2) * ahead
            pivot = contact + radius * _turned(ahead, math.copysign(math.pi / 2, turn))
            after = pivot + _turned(position - pivot, turn)
            left = _turned(self._goal - after, -self._goal_heading)
            outside = max(0.0, 0.34 - math.hypot(*contact), math.hypot(*contact) - 0.60)
            cost = float(np.abs(left).sum() + np.abs(left).min()) + 5 * outside
            ways.append((cost, side, radius, contact, ahead, pivot))
        _, _, _, contact, ahead, pivot = min(ways, key=lambda way: way[:3])
        first = self._tool(contact, ahead)
        steps = max(2, math.ceil(abs(turn) / _STEP))
        way = [Pose(first.position - _BEFORE * np.array([*ahead, 0.0]), first.rotation), first]
        centre = np.array([*pivot, first.position[2]])
        for angle in np.linspace(0.0, turn, steps + 1)[1:]:
            R = so3_exp(angle * UP)
            way.append(Pose(centre + R @ (first.position - centre), R @ first.rotation))
        return way

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        width, fly = held.WIDTH, self._depth + HEIGHT + MARGIN
        down, *push, end = self._way
        before = push[-1] if push else down
        back = before.position - end.position
        away = Pose(end.position + 0.03 * back / max(float(np.linalg.norm(back)), 1e-6), end.rotation)
        rise = at_height(self._start, max(fly, float(self._start.position[2])), self._sway)
        near = self._depth + HEIGHT + 0.01
        return (
            Stage("rise", rise, width, Until.PASSED),
            Stage("above", at_height(down, fly) @ self._aim[0], width, Until.REACHED),
            Stage("near", at_height(down, near) @ self._aim[1], width, Until.PASSED, pace=0.5),
            Stage("descend", down, width, Until.ARRIVED, pace=0.5),
            *(Stage("push", pose, width, Until.PASSED, pace=0.3) for pose in push),
            Stage("push", end, width, Until.ARRIVED, pace=0.3),
            Stage("back off", away, width, Until.REACHED, pace=0.3),
            Stage("retreat", at_height(away, fly), width, Until.ARRIVED),
            Stage("rest", at_height(away, fly), width, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        """The pusher is always in the hand."""

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        return False

    def done(self, truth: Truth) -> bool:
        pose = truth.poses[self._target]
        found = _left(self._figure, pose.position[:2], _heading(pose.rotation), self._goal, self._goal_heading)
        return found[0] >= GOOD
