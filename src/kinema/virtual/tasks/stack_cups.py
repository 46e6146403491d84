"""Put one cup into another on a cluttered table ("Video Generators are Robot Policies", section 4.6)."""

import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Pose
from kinema.robots import GRIPPER
from kinema.virtual import catalogue, layout, objects
from kinema.virtual.judging import HAND, UPRIGHT, Judge, Moment, Verdict, not_let_go
from kinema.virtual.layout import Placed, Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import Box
from kinema.virtual.tasks.pick_and_place import PickAndPlace

BESIDE = 0.008  # [m] from axis to axis
WITHIN = 0.6  # [-] of the lower cup's height, up to which the upper one's foot is inside
ALIGNED = math.cos(math.radians(12))  # of the angle between both axes


def cups(rng: layout.Rng, pool: Pool, spots: list[tuple[float, float]]) -> list[Placed]:
    """A cup at every spot, each of its own colour, by which it is called."""
    found = []
    for colour, at in zip(layout.colours(rng, pool, len(spots)), spots, strict=True):
        kind = layout.drawn(rng, pool.side(catalogue.CUPS), 1)[0]
        shade = objects.COLOURS[colour]
        found.append(Placed(f"{colour}_cup", kind, shade, shade, at, float(rng.uniform(-math.pi, math.pi))))
    return found


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    more = int(rng.integers(0, 2))
    kinds = layout.drawn(rng, [kind for kind in pool.objects if kind != "cup"], int(rng.integers(1, 4)))
    room = layout.GRIPPER_ROOM
    rooms = [(layout.TARGETS, room), (layout.CONTAINERS, room), *[(layout.CLUTTER, 0.036)] * more]
    rooms += [(layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds]
    spots = layout.spread(rng, rooms)
    target, container, *others = cups(rng, pool, spots[: 2 + more])
    things = (layout.place(rng, kind, pool, at) for kind, at in zip(kinds, spots[2 + more :], strict=True))
    words = [placed.name.replace("_", " ") for placed in (target, container)]
    return {
        "text": f"put the {words[0]} into the {words[1]}",
        "target": target,
        "container": container,
        "distractors": (*others, *things),
    }


def judge(scenario: Scenario) -> Judge:
    """One in the other, both upright: released and at rest."""
    target, container = scenario.target, scenario.container
    assert target is not None and container is not None
    height = catalogue.THINGS[container.kind].size[2]
    names = target.name.replace("_", " "), container.name.replace("_", " ")

    def look(moment: Moment) -> Verdict:
        p, R = moment.pose(target.name)
        P, Q = moment.pose(container.name)
        foot = Q.T @ (p - P)
        beside, aligned = float(np.hypot(*foot[:2])), float(R[:, 2] @ Q[:, 2])
        held = moment.touching(target.name, HAND)
        detail = {"beside": beside, "height": float(foot[2]), "held": held}
        if Q[2, 2] < UPRIGHT:
            missing = f"the {names[1]} has been tipped over"
        elif not (beside < BESIDE and 0.0 < foot[2] < WITHIN * height and aligned > ALIGNED):
            missing = f"the {names[0]} is not in the {names[1]}"
        else:
            missing = not_let_go(moment, target.name, names[0])
        return Verdict(missing, detail)

    return look


class StackCups(PickAndPlace):
    """As any thing into a container, but let go while the lower rim already leads it."""

    def _release(self, taken: Pose, held: Box, truth: Truth) -> Pose:
        container, facts = truth.poses[self._container], truth.facts["bodies"][self._container]
        middle = held.T_base_box.position - taken.position
        rim = container.position[2] + facts["rim"]
        beneath = float(taken.position[2]) - held.bottom
        height = max(rim + beneath - _INSERTED * facts["rim"], rim + GRIPPER.tip + 0.004)
        return Pose(np.array([*(container.position[:2] - middle[:2]), height]), taken.rotation)


_INSERTED = 0.45  # [-] of the lower cup's height to which the upper one is in when it is let go
