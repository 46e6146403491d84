"""What a scripted expert may know of a scenario beyond poses."""

import math
from typing import Any

from kinema.virtual import objects
from kinema.virtual.layout import Scenario


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
