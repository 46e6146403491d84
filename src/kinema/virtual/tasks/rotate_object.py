"""Turn a thing counterclockwise on the table ("Dreamitate", section 4.2). The tool is the gripper itself."""

import math
from typing import Any

from kinema.chunk import Truth
from kinema.geometry import Pose, distance, so3_exp
from kinema.robots import GRIPPER
from kinema.virtual import catalogue, layout, objects
from kinema.virtual.judging import HAND, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import ABOVE, MARGIN, NEAR, SLACK, SLIPPED, UP, Box, Stage, Until, at_height, squeezed
from kinema.virtual.tasks.pick_and_place import PickAndPlace

TURNED = math.radians(25)  # at least
FLAT = math.cos(math.radians(20))  # of what the thing may have tilted
_LET_GO = 5  # judgements without contact (20 ms each) that end a touch: fingers may chatter
_BY = math.radians(40)  # that the expert turns; "up to 45 degrees" in the paper
_DONE = math.radians(30)


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


class RotateObject(PickAndPlace):
    """Take it from above, turn the tool about the vertical, let go, retreat."""

    _heading_before: float | None = None

    def _turned(self, tool: Pose) -> float:
        after = Pose(tool.position, so3_exp(_BY * UP) @ tool.rotation)
        return max(distance(tool, self._rest)[1], distance(after, self._rest)[1])

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        grasp, force = self._grasp, self._style.grip_force
        take = self._taken or truth.poses[self._target] @ grasp.T_object_tcp
        goal = Pose(take.position, so3_exp(_BY * UP) @ take.rotation)
        rise = max(self._fly, float(self._start.position[2]))
        top = Box.of(self._target, truth).top
        near = min(max(top + GRIPPER.tip, float(take.position[2]) + NEAR), self._fly)
        away = top + ABOVE + MARGIN
        opened, closed = grasp.opening, squeezed(grasp.width, force)
        let_go = min(grasp.width + 2 * SLACK, GRIPPER.stroke)
        return (
            Stage("rise", at_height(self._start, rise, self._sway[0]), opened, Until.PASSED),
            Stage("above", at_height(take, self._fly) @ self._aim[0], opened, Until.REACHED),
            Stage("near", at_height(take, near) @ self._aim[1], opened, Until.PASSED, pace=0.5),
            Stage("descend", take, opened, Until.ARRIVED, pace=0.5),
            Stage("close", take, closed, Until.GRIPPED, force),
            Stage("turn", goal, closed, Until.ARRIVED, force, pace=0.5),
            Stage("release", goal, let_go, Until.OPENED),
            Stage("retreat", at_height(goal, away), let_go, Until.ARRIVED),
            Stage("rest", at_height(goal, away), let_go, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        super().gripped(tcp, truth)
        self._heading_before = _heading(truth.poses[self._target].rotation)

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        if self._T_tcp_object is None:
            return False
        return distance(tcp.inverse() @ truth.poses[self._target], self._T_tcp_object)[0] > SLIPPED

    def done(self, truth: Truth) -> bool:
        if self._heading_before is None:
            return False
        turned = _heading(truth.poses[self._target].rotation) - self._heading_before
        return math.remainder(turned, 2 * math.pi) > _DONE
