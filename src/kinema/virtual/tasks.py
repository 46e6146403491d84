"""What counts as success, judged from the physics and from nothing else.

A task looks at one moment and says what is missing. Success is that nothing has been missing for `REST` seconds: so
the thing is released, inside, and at rest. What has been reached is not lost by what happens afterwards in the world
only if it lasts: the judgement is made anew at every moment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from kinema.errors import ConfigError
from kinema.geometry import Array
from kinema.virtual import objects
from kinema.virtual.scenario import Scenario

REST = 1.0  # [s]
SPEED = 0.02  # [m/s] below which a thing is at rest
SPIN = 0.5  # [rad/s]
UPRIGHT = math.cos(math.radians(30))
OPENED = 0.5  # [-] of a drawer's travel ("Video Generators are Robot Policies", section 4.6)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One moment: `missing` says what stands between it and success, empty when nothing does."""

    missing: str
    detail: dict[str, Any] = field(default_factory=dict)


def _pose(data: mujoco.MjData, body: int) -> tuple[Array, Array]:
    return data.xpos[body], data.xmat[body].reshape(3, 3)


def _speed(model: mujoco.MjModel, data: mujoco.MjData, body: int) -> tuple[float, float]:
    """Linear [m/s] and angular [rad/s] speed of a free body."""
    at = model.jnt_dofadr[model.body_jntadr[body]]
    velocity = data.qvel[at : at + 6]
    return float(np.linalg.norm(velocity[:3])), float(np.linalg.norm(velocity[3:]))


def _touching(model: mujoco.MjModel, data: mujoco.MjData, first: frozenset[int], second: frozenset[int]) -> bool:
    """Whether a geom of one set of bodies is in contact with a geom of the other."""
    if data.ncon == 0:
        return False
    bodies = model.geom_bodyid[data.contact.geom]
    a, b = np.isin(bodies, list(first)), np.isin(bodies, list(second))
    return bool(((a[:, 0] & b[:, 1]) | (a[:, 1] & b[:, 0])).any())


def _tree(model: mujoco.MjModel, root: int) -> frozenset[int]:
    """A body and everything that hangs on it."""
    members = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in members:
            members.add(body)
    return frozenset(members)


def _pick_and_place(scenario: Scenario, model: mujoco.MjModel) -> Callable[[mujoco.MjData], Verdict]:
    target, container = scenario.target, scenario.container
    assert target is not None and container is not None
    kind, vessel = objects.OBJECTS[target.kind], objects.CONTAINERS[container.kind]
    thing, holder = model.body(target.name).id, model.body(container.name).id
    gripper = _tree(model, model.body("flange").id)
    half = np.array(kind.size) / 2
    opening = np.array(vessel.opening) / 2
    names = target.name.replace("_", " "), container.name.replace("_", " ")

    def judge(data: mujoco.MjData) -> Verdict:
        p, R = _pose(data, thing)
        P, Q = _pose(data, holder)
        centre = Q.T @ (p + R @ (0.0, 0.0, half[2]) - P)
        low = centre[2] - float(np.abs(Q.T @ R)[2] @ half)
        inside = np.hypot(*(centre[:2] / opening)) < 1.0 if vessel.round else bool((np.abs(centre[:2]) < opening).all())
        linear, angular = _speed(model, data, thing)
        held = _touching(model, data, frozenset({thing}), gripper)
        detail = {"inside": bool(inside), "height": float(low), "speed": linear, "held": held}
        if Q[2, 2] < UPRIGHT:
            missing = f"the {names[1]} has been tipped over"
        elif not (inside and low < vessel.rim and centre[2] > 0.0):
            missing = f"the {names[0]} is not in the {names[1]}"
        elif held:
            missing = f"the {names[0]} still touches the gripper"
        elif _touching(model, data, frozenset({thing}), frozenset({0})):
            missing = f"the {names[0]} touches the table"
        elif linear > SPEED or angular > SPIN:
            missing = f"the {names[0]} still moves"
        else:
            missing = ""
        return Verdict(missing, detail)

    return judge


def _open_drawer(scenario: Scenario, model: mujoco.MjModel) -> Callable[[mujoco.MjData], Verdict]:
    assert scenario.cabinet is not None
    travel = objects.CABINETS[scenario.cabinet.kind].travel
    joint = model.joint(f"drawer_{scenario.drawer}")
    at, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
    chest = _tree(model, model.body(scenario.cabinet.name).id)
    gripper = _tree(model, model.body("flange").id)

    def judge(data: mujoco.MjData) -> Verdict:
        opened, speed = float(data.qpos[at]) / travel, abs(float(data.qvel[dof]))
        held = _touching(model, data, chest, gripper)
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

    return judge


@dataclass(frozen=True, slots=True)
class Task:
    """`judge(scenario, model)` prepares the judgement of a moment; `done` says in words what success was."""

    name: str
    judge: Callable[[Scenario, mujoco.MjModel], Callable[[mujoco.MjData], Verdict]]
    done: str


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("pick_and_place", _pick_and_place, "in the container, released and at rest"),
        Task("open_drawer", _open_drawer, "the drawer is open over half of its travel, released and at rest"),
    )
}


def task(name: str) -> Task:
    """One row; raises ConfigError naming the tasks there are."""
    row = TASKS.get(name)
    if row is None:
        raise ConfigError(f"task {name!r} is not known; allowed: {', '.join(TASKS)}")
    return row


def facts(scenario: Scenario) -> dict[str, Any]:
    """What a scripted expert may know of a scenario beyond poses: plain numbers and strings, JSON-able.

    Lengths in metres in each body's own frame, whose z is up at rest and whose origin is on the table; `centre` is the
    middle of the bounding box.
    """
    known: dict[str, Any] = {"task": scenario.task, "text": scenario.text, "bodies": {}}
    for role, group in (
        ("object", (scenario.target,)),
        ("container", (scenario.container,)),
        ("distractor", scenario.distractors),
    ):
        for placed in group:
            if placed is not None:
                known["bodies"][placed.name] = {"role": role, "kind": placed.kind} | _body_facts(placed.kind)
    if scenario.target is not None and scenario.container is not None:
        known |= {"target": scenario.target.name, "container": scenario.container.name}
    if scenario.cabinet is not None:
        cabinet = objects.CABINETS[scenario.cabinet.kind]
        yaw = scenario.cabinet.yaw
        known |= {
            "target": f"drawer_{scenario.drawer}",
            "drawer": {
                "joint": f"drawer_{scenario.drawer}",
                "handle": f"handle_{scenario.drawer}",
                "axis": [-math.cos(yaw), -math.sin(yaw), 0.0],
                "travel": cabinet.travel,
                "bar": list(cabinet.bar),
                "gap": cabinet.gap,
                "size": list(cabinet.size),
            },
        }
    return known


def _body_facts(kind: str) -> dict[str, Any]:
    if kind in objects.CONTAINERS:
        vessel = objects.CONTAINERS[kind]
        return {
            "shape": "round" if vessel.round else "box",
            "size": list(vessel.size),
            "centre": [0.0, 0.0, vessel.size[2] / 2],
            "symmetry": 0 if vessel.round else 2,
            "mass": vessel.mass,
            "floor": vessel.floor,
            "rim": vessel.rim,
            "opening": list(vessel.opening),
        }
    thing = objects.OBJECTS[kind]
    return {
        "shape": {0: "cylinder", 4: "box", 2: "box"}.get(thing.symmetry, "compound"),
        "size": list(thing.size),
        "centre": [0.0, 0.0, thing.size[2] / 2],
        "symmetry": thing.symmetry,
        "mass": thing.mass,
        "grasps": [{"position": list(g.position), "yaw": g.yaw, "width": g.width} for g in thing.grasps],
    }
