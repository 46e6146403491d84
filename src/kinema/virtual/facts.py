"""What a scripted expert may know of a scenario beyond poses."""

import math
from typing import Any

from kinema.virtual import catalogue, held, objects
from kinema.virtual.layout import Scenario
from kinema.virtual.objects import ContainerKind


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
        ("particle", scenario.particles),
    ):
        for placed in group:
            if placed is not None:
                known["bodies"][placed.name] = {"role": role, "kind": placed.kind} | _body_facts(placed.kind)
    if scenario.target is not None:
        known["target"] = scenario.target.name
    if scenario.container is not None:
        known["container"] = scenario.container.name
    for role, spot in (("mark", scenario.mark), ("goal", scenario.goal)):
        if spot is not None:
            known[role] = {"position": list(spot.position), "yaw": spot.yaw}
    if scenario.tool:
        row = held.tool(scenario.tool)
        known["tool"] = {"name": row.name, "width": row.width, "depth": row.depth, "thick": row.thick}
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
    thing = catalogue.THINGS[kind]
    grasps = [{"position": list(g.position), "yaw": g.yaw, "width": g.width} for g in thing.grasps]
    if isinstance(thing, ContainerKind):
        return {
            "shape": "round" if thing.round else "box",
            "size": list(thing.size),
            "centre": [0.0, 0.0, thing.size[2] / 2],
            "symmetry": 0 if thing.round else 2,
            "mass": thing.mass,
            "floor": thing.floor,
            "rim": thing.rim,
            "opening": list(thing.opening),
            **({"grasps": grasps} if grasps else {}),
        }
    return {
        "shape": {0: "cylinder", 4: "box", 2: "box"}.get(thing.symmetry, "compound"),
        "size": list(thing.size),
        "centre": [0.0, 0.0, thing.size[2] / 2],
        "symmetry": thing.symmetry,
        "mass": thing.mass,
        "grasps": grasps,
    }
