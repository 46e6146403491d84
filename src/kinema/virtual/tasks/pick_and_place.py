"""Take a thing from a cluttered table and put it into a container ("Video Generators are Robot Policies", 4.6)."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, distance, so3_exp
from kinema.robots import GRIPPER
from kinema.virtual import catalogue, layout, objects
from kinema.virtual.judging import HAND, UPRIGHT, Judge, Moment, Verdict, not_let_go
from kinema.virtual.layout import Scenario
from kinema.virtual.objects import ContainerKind, Pool
from kinema.virtual.scripting import (
    ABOVE,
    FINGER,
    MARGIN,
    NEAR,
    PALM,
    SLACK,
    SLIPPED,
    UP,
    YAWS,
    Box,
    Grasp,
    Stage,
    Style,
    Until,
    aside,
    at_height,
    finger_tips,
    squeezed,
    top_down,
    yaw_of,
)


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    count = int(rng.integers(3, 6))
    kinds = [pool.objects[i] for i in rng.permutation(len(pool.objects))[: count + 1]]
    vessel = pool.containers[rng.integers(len(pool.containers))]
    radius = [objects.OBJECTS[kind].radius for kind in kinds]
    for _ in range(layout.TRIES):
        spot = layout.CONTAINERS.draw(rng)
        taken = [(spot, objects.CONTAINERS[vessel].radius)]
        spots = []
        for i, own in enumerate(radius):
            region, room = (layout.TARGETS, max(own, layout.GRIPPER_ROOM)) if i == 0 else (layout.CLUTTER, own)
            found = next((at for at in (region.draw(rng) for _ in range(40)) if layout.apart(at, room, taken)), None)
            if found is None:
                break
            spots.append(found)
            taken.append((found, room))
        if len(spots) == len(kinds):
            break
    else:
        raise ConfigError(f"no room on the table for {', '.join(kinds)} and a {vessel} in {layout.TRIES} tries")
    target, *distractors = (layout.place(rng, kind, pool, at) for kind, at in zip(kinds, spots, strict=True))
    container = layout.place(rng, vessel, pool, spot)
    words = [name.replace("_", " ") for name in (target.name, container.name)]
    verb = "onto" if vessel in ("plate", "tray") else "into"
    return {
        "text": f"put the {words[0]} {verb} the {words[1]}",
        "target": target,
        "container": container,
        "distractors": tuple(distractors),
    }


def judge(scenario: Scenario) -> Judge:
    """In the container: released, at rest, and not on the table beside it."""
    target, container = scenario.target, scenario.container
    assert target is not None and container is not None
    kind, vessel = catalogue.THINGS[target.kind], catalogue.THINGS[container.kind]
    assert isinstance(vessel, ContainerKind)
    half = np.array(kind.size) / 2
    opening = np.array(vessel.opening) / 2
    names = target.name.replace("_", " "), container.name.replace("_", " ")

    def look(moment: Moment) -> Verdict:
        p, R = moment.pose(target.name)
        P, Q = moment.pose(container.name)
        centre = Q.T @ (p + R @ (0.0, 0.0, half[2]) - P)
        low = centre[2] - float(np.abs(Q.T @ R)[2] @ half)
        inside = np.hypot(*(centre[:2] / opening)) < 1.0 if vessel.round else bool((np.abs(centre[:2]) < opening).all())
        held = moment.touching(target.name, HAND)
        linear, _ = moment.speed(target.name)
        detail = {"inside": bool(inside), "height": float(low), "speed": linear, "held": held}
        if Q[2, 2] < UPRIGHT:
            missing = f"the {names[1]} has been tipped over"
        elif not (inside and low < vessel.rim and centre[2] > 0.0):
            missing = f"the {names[0]} is not in the {names[1]}"
        else:
            missing = not_let_go(moment, target.name, names[0])
        return Verdict(missing, detail)

    return look


class PickAndPlace:
    """Take the target from above, carry it over the clutter into the container, let go, retreat."""

    LOWEST = 0.006  # [m] of the finger tips above the table
    GRIP = 1.0  # [-] of the style's force

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._style = style
        self._target: str = truth.facts["target"]
        self._container: str = truth.facts.get("container", "")
        self._rest = rest
        self._sway = rng.normal(0.0, 1.0, (2, 3)) * style.waypoint_spread
        self._aim = aside(style, rng)
        grasps = sorted(self._grasps(truth), key=lambda grasp: grasp.cost)
        self._grasp = self._blurred(grasps[attempt % min(len(grasps), 3)], rng)
        sky = self._skyline(truth) + MARGIN
        self._fly = max(sky + GRIPPER.tip, Box.of(self._target, truth).top + ABOVE)
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
                for yaw in YAWS if grasp["yaw"] is None else (grasp["yaw"],):
                    yield pose.apply(grasp["position"]), yaw_of(pose) + yaw, grasp["width"]
            return
        box = Box.of(self._target, truth)
        for yaw in YAWS:
            across = np.array([math.cos(yaw), math.sin(yaw), 0.0])
            yield box.T_base_box.position, yaw, box.extent(across)

    def _grasps(self, truth: Truth) -> Iterator[Grasp]:
        pose, box = truth.poses[self._target], Box.of(self._target, truth)
        others = [Box.of(name, truth) for name in truth.facts["bodies"] if name != self._target]
        ways = list(self._candidates(truth))
        feasible = [way for way in ways if way[2] < GRIPPER.stroke - 0.006]
        feasible = feasible or [min(ways, key=lambda way: way[2])]  # bounding boxes exaggerate: try the narrowest side
        for (point, yaw, width), flip, slack in itertools.product(feasible, (0.0, math.pi), (SLACK, SLACK / 2)):
            height = max(min(point[2], box.top - 0.012), box.top - PALM, box.bottom + GRIPPER.tip + self.LOWEST)
            tool = top_down(np.array([point[0], point[1], height]), yaw + flip)
            opening = min(width + 2 * slack, GRIPPER.stroke)
            fingers = tool.apply(finger_tips(opening))
            clearance = min((b.outside(fingers) for b in others if b.top > fingers[0, 2]), default=1.0)
            cost = 0.4 * self._turned(tool) + 0.1 * (slack < SLACK) + 2.0 * width + 60.0 * max(0.0, 0.012 - clearance)
            yield Grasp(pose.inverse() @ tool, width, opening, cost)

    def _turned(self, tool: Pose) -> float:
        """How far [rad] the tool is turned from where it rests, to take a thing like that."""
        return distance(tool, self._rest)[1]

    def _skyline(self, truth: Truth) -> float:
        """Height [m] of the highest thing on the table but the target."""
        names = (name for name in truth.facts["bodies"] if name != self._target)
        return max((Box.of(name, truth).top for name in names), default=0.0)

    def _release(self, taken: Pose, held: Box, truth: Truth) -> Pose:
        """`T_base_tcp` of the release: the object over the container's middle, turned no more than it must be."""
        facts, container = truth.facts["bodies"][self._container], truth.poses[self._container]
        opening = np.asarray(facts["opening"], float)

        def spill(turn: float) -> float:
            sides = container.rotation[:, :2].T @ so3_exp(turn * UP)
            return max(0.0, float(np.max(np.array([held.extent(side) for side in sides]) + 0.02 - opening)))

        turns = np.arange(-6, 7) * math.pi / 12
        turn = min(turns, key=lambda angle: (round(spill(angle), 3), abs(angle)))
        rotation = so3_exp(turn * UP)
        middle = rotation @ (held.T_base_box.position - taken.position)
        floor, rim = container.position[2] + facts["floor"], container.position[2] + facts["rim"]
        # open fingers stay above the rim, unless the container is wide enough for them
        inside = self._grasp.width / 2 + SLACK + FINGER + 0.02 < float(opening.min()) / 2
        lowest = rim + 0.02 - PALM if inside else rim + GRIPPER.tip + 0.005
        height = max(floor + 0.015 + float(taken.position[2]) - held.bottom, lowest)
        return Pose(np.array([*(container.position[:2] - middle[:2]), height]), rotation @ taken.rotation)

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        grasp, force = self._grasp, self.GRIP * self._style.grip_force
        taken = self._taken or truth.poses[self._target] @ grasp.T_object_tcp
        held = Box.of(self._target, truth, self._T_tcp_object and taken @ self._T_tcp_object)
        release = self._release(taken, held, truth)
        beneath = float(taken.position[2]) - held.bottom
        carry = max(self._skyline(truth) + MARGIN + beneath, float(taken.position[2]) + ABOVE)
        rise = max(self._fly, float(self._start.position[2]))
        near = min(max(Box.of(self._target, truth).top + GRIPPER.tip, float(taken.position[2]) + NEAR), self._fly)
        opened, closed = grasp.opening, squeezed(grasp.width, force)
        let_go = min(grasp.width + 2 * SLACK, GRIPPER.stroke)
        return (
            Stage("rise", at_height(self._start, rise, self._sway[0]), opened, Until.PASSED),
            Stage("above", at_height(taken, self._fly) @ self._aim[0], opened, Until.REACHED),
            Stage("near", at_height(taken, near) @ self._aim[1], opened, Until.PASSED, pace=0.5),
            Stage("descend", taken, opened, Until.ARRIVED, pace=0.5),
            Stage("close", taken, closed, Until.GRIPPED, force),
            Stage("lift", at_height(taken, carry, self._sway[1]), closed, Until.PASSED, force, pace=0.7),
            Stage("carry", at_height(release, carry), closed, Until.REACHED, force),
            Stage("lower", release, closed, Until.ARRIVED, force, pace=0.5),
            Stage("release", release, let_go, Until.OPENED),
            Stage("retreat", at_height(release, carry), let_go, Until.ARRIVED),
            Stage("rest", at_height(release, carry), let_go, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        self._taken = truth.poses[self._target] @ self._grasp.T_object_tcp
        self._T_tcp_object = tcp.inverse() @ truth.poses[self._target]

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        if self._T_tcp_object is None or self.done(truth):
            return False
        return distance(tcp.inverse() @ truth.poses[self._target], self._T_tcp_object)[0] > SLIPPED

    def done(self, truth: Truth) -> bool:
        facts, container = truth.facts["bodies"][self._container], truth.poses[self._container]
        place = container.inverse().apply(Box.of(self._target, truth).T_base_box.position)
        return bool((np.abs(place[:2]) < np.asarray(facts["opening"]) / 2).all() and place[2] < facts["rim"] + 0.05)
