"""Put a sweet into a cup ("Video Generators are Robot Policies", section 4.6: M&Ms to Cup)."""

import math
from typing import Any

from kinema.virtual import catalogue, layout, objects
from kinema.virtual.layout import Placed
from kinema.virtual.objects import Pool
from kinema.virtual.tasks.pick_and_place import PickAndPlace
from kinema.virtual.tasks.stack_cups import cups


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    count = int(rng.integers(2, 5))  # of sweets
    kinds = layout.drawn(rng, [kind for kind in pool.objects if kind != "cup"], int(rng.integers(1, 3)))
    rooms = [(layout.TARGETS, layout.GRIPPER_ROOM), (layout.CONTAINERS, 0.045)]
    rooms += [(layout.CLUTTER, 0.012)] * (count - 1)
    rooms += [(layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds]
    first, cup, *others = layout.spread(rng, rooms)
    name = layout.drawn(rng, pool.side(catalogue.SWEETS), 1)[0]
    sweets = []
    for colour, at in zip(layout.colours(rng, pool, count), (first, *others[: count - 1]), strict=True):
        shade = objects.COLOURS[colour]
        sweets.append(Placed(f"{colour}_{name}", name, shade, shade, at, float(rng.uniform(-math.pi, math.pi))))
    things = [layout.place(rng, kind, pool, at) for kind, at in zip(kinds, others[count - 1 :], strict=True)]
    container = cups(rng, pool, [cup])[0]
    words = [placed.name.replace("_", " ") for placed in (sweets[0], container)]
    return {
        "text": f"put the {words[0]} into the {words[1]}",
        "target": sweets[0],
        "container": container,
        "distractors": (*sweets[1:], *things),
    }


class SweetsToCup(PickAndPlace):
    """As any thing into a container; so small a thing is taken gently, with the finger tips just above the table."""

    LOWEST, GRIP = 0.0015, 0.4
