"""One table: the tasks of the virtual cell. A row says how a task is drawn, judged and demonstrated.

A task is a module beside this one, which knows no simulator: `draw` lays the table out, `judge` looks at moments of the
physics (`kinema.virtual.judging`), a script is what the expert does (`kinema.virtual.scripting`). What is added here
is offered by every command, launch file and service.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kinema.errors import ConfigError
from kinema.virtual.judging import Judge
from kinema.virtual.layout import Rng, Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import NewScript
from kinema.virtual.tasks import (
    open_drawer,
    pick_and_place,
    push_shape,
    rotate_object,
    scoop,
    stack_cups,
    sweep,
    sweets_to_cup,
    upright_object,
)


@dataclass(frozen=True, slots=True)
class Task:
    """draw    what a scenario holds beyond split, seed and background, as arguments of `Scenario`
    judge   prepares the judgement of an episode's moments
    script  an attempt of the scripted expert
    done    says in words what success was; may name what the judgement found
    """

    name: str
    draw: Callable[[Rng, Pool], dict[str, Any]]
    judge: Callable[[Scenario], Judge]
    script: NewScript
    done: str


TASKS: dict[str, Task] = {
    row.name: row
    for row in (
        Task(
            "pick_and_place",
            pick_and_place.draw,
            pick_and_place.judge,
            pick_and_place.PickAndPlace,
            "in the container, released and at rest",
        ),
        Task(
            "open_drawer",
            open_drawer.draw,
            open_drawer.judge,
            open_drawer.OpenDrawer,
            "the drawer is open over half of its travel, released and at rest",
        ),
        Task(
            "sweets_to_cup",
            sweets_to_cup.draw,
            pick_and_place.judge,
            sweets_to_cup.SweetsToCup,
            "in the cup, released and at rest",
        ),
        Task(
            "upright_object",
            upright_object.draw,
            upright_object.judge,
            upright_object.UprightObject,
            "upright on the table, released and at rest",
        ),
        Task(
            "stack_cups",
            stack_cups.draw,
            stack_cups.judge,
            stack_cups.StackCups,
            "one cup in the other, released and at rest",
        ),
        Task(
            "rotate_object",
            rotate_object.draw,
            rotate_object.judge,
            rotate_object.RotateObject,
            "turned by over 25 degrees counterclockwise in one touch, and at rest",
        ),
        Task(
            "sweep",
            sweep.draw,
            sweep.judge,
            sweep.Sweep,
            "a particle within 50 mm of the star, let go and at rest",
        ),
        Task(
            "push_shape",
            push_shape.draw,
            push_shape.judge,
            push_shape.PushShape,
            "{iou:.0%} of shape and goal is common, {rotation:.0f} degrees are left, best of {attempts} attempts",
        ),
        Task(
            "scoop",
            scoop.draw,
            scoop.judge,
            scoop.Scoop,
            "in the bowl that was empty, let go and at rest: {inside} particles",
        ),
    )
}


# Those whose demonstrations the checkpoints in models/ have learned from; no other task can be asked of them.
SHIPPED = ("pick_and_place", "open_drawer")


def task(name: str) -> Task:
    """One row; raises ConfigError naming the tasks there are."""
    row = TASKS.get(name)
    if row is None:
        raise ConfigError(f"task {name!r} is not known; allowed: {', '.join(TASKS)}")
    return row
