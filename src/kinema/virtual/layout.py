"""What stands where in the virtual cell, as plain values, and how a task draws it.

Things are drawn inside a `Region` and apart from each other, with room for the gripper around the one to be grasped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kinema.errors import ConfigError
from kinema.virtual import objects
from kinema.virtual.objects import Background, Pool

Rng = np.random.Generator
BoardPlace = Literal["", "table", "gripper"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing on the table: its body's name, its kind in the catalogue, position x, y [m] in base_link, yaw [rad].

    tilt    [rad] of its z towards its x: what lies on its side has a right angle
    height  [m] of its origin above the table
    """

    name: str
    kind: str
    colour: objects.Rgb
    accent: objects.Rgb
    position: tuple[float, float]
    yaw: float
    tilt: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One episode's world; empty and None where a task has no such thing.

    drawer     names the drawer to open
    particles  small things of which any will do
    mark       what is painted on the table; goal: where the target is to be, which nothing in the cell shows
    tool       of `held.TOOLS` that the hand holds
    board      where somebody has put a calibration board
    """

    task: str
    split: str
    seed: int
    text: str
    background: Background
    target: Placed | None = None
    container: Placed | None = None
    distractors: tuple[Placed, ...] = ()
    cabinet: Placed | None = None
    drawer: str = ""
    particles: tuple[Placed, ...] = ()
    mark: Placed | None = None
    goal: Placed | None = None
    tool: str = ""
    board: BoardPlace = ""

    @property
    def movable(self) -> tuple[Placed, ...]:
        """Everything that stands free on the table."""
        return tuple(p for p in (self.target, self.container) if p is not None) + self.distractors + self.particles


def cleared(scenario: Scenario, board: BoardPlace) -> Scenario:
    """The scenario with a board, for which somebody has put all that stands free aside, along the table's edge.

    Raises ConfigError where that is too much.
    """
    if scenario.particles:
        raise ConfigError(f"task {scenario.task!r} has too many things to put aside for a board; allowed: another task")
    at = iter([(_EDGE[0] + _BESIDE * i, _EDGE[1]) for i in range(len(scenario.movable))])

    def aside(things: Sequence[Placed]) -> tuple[Placed, ...]:
        return tuple(replace(thing, position=next(at)) for thing in things)

    (target,) = aside([scenario.target]) if scenario.target else (None,)
    (container,) = aside([scenario.container]) if scenario.container else (None,)
    distractors = aside(scenario.distractors)
    return replace(scenario, board=board, target=target, container=container, distractors=distractors)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle on the table [m], cut by the circles around the base between which both arms work well."""

    x: tuple[float, float]
    y: tuple[float, float]
    radius: tuple[float, float] = (0.29, 0.62)

    def draw(self, rng: Rng) -> tuple[float, float]:
        while True:
            x, y = float(rng.uniform(*self.x)), float(rng.uniform(*self.y))
            if self.radius[0] <= math.hypot(x, y) <= self.radius[1]:
                return x, y


_EDGE, _BESIDE = (-0.10, 0.66), 0.16  # [m] where what is put aside begins, and from one to the next
TARGETS = Region((0.29, 0.60), (-0.24, 0.24))
CONTAINERS = Region((0.30, 0.56), (-0.26, 0.26), (0.32, 0.58))
CLUTTER = Region((0.27, 0.66), (-0.34, 0.34), (0.29, 0.72))
GRIPPER_ROOM = 0.082  # [m] around a grasp's middle: the open jaw with its fingers
GAP = 0.012  # [m] between any two things
TRIES = 300


def colour(rng: Rng, kind: str, pool: Pool) -> tuple[str, objects.Rgb, objects.Rgb]:
    """A name ('red block', or 'banana' for what has its own colour), the colour, and an accent."""
    name = pool.colours[rng.integers(len(pool.colours))]
    others = [c for c in pool.colours if c != name]
    accent = objects.COLOURS[others[rng.integers(len(others))]]
    natural = objects.OBJECTS[kind].colour if kind in objects.OBJECTS else None
    if natural is None:
        return f"{name} {kind}", objects.COLOURS[name], accent
    shade = np.clip(np.array(natural) * rng.uniform(0.92, 1.05), 0, 1)
    return kind, (float(shade[0]), float(shade[1]), float(shade[2])), accent


def background(rng: Rng, pool: Pool) -> Background:
    base = objects.BACKGROUNDS[pool.backgrounds[rng.integers(len(pool.backgrounds))]]
    moved = np.array(base.light) + rng.uniform(-0.3, 0.3, 3) * (1, 1, 0.5)
    return replace(
        base,
        light=(float(moved[0]), float(moved[1]), float(moved[2])),
        brightness=base.brightness * float(rng.uniform(0.92, 1.08)),
        warmth=base.warmth + float(rng.uniform(-0.02, 0.02)),
        ambient=base.ambient * float(rng.uniform(0.95, 1.05)),
    )


def place(rng: Rng, kind: str, pool: Pool, at: tuple[float, float]) -> Placed:
    text, main, accent = colour(rng, kind, pool)
    return Placed(text.replace(" ", "_"), kind, main, accent, at, float(rng.uniform(-math.pi, math.pi)))


def apart(at: tuple[float, float], radius: float, taken: list[tuple[tuple[float, float], float]]) -> bool:
    return all(math.dist(at, other) >= radius + r + GAP for other, r in taken)


def spread(rng: Rng, rooms: Sequence[tuple[Region, float]]) -> list[tuple[float, float]]:
    """A spot [m] for each of some things, of a region and a radius [m] each, apart from one another.

    Raises ConfigError where so many don't fit.
    """
    for _ in range(TRIES):
        taken: list[tuple[tuple[float, float], float]] = []
        for region, room in rooms:
            found = next((at for at in (region.draw(rng) for _ in range(40)) if apart(at, room, taken)), None)
            if found is None:
                break
            taken.append((found, room))
        if len(taken) == len(rooms):
            return [at for at, _ in taken]
    raise ConfigError(f"no room on the table for {len(rooms)} things in {TRIES} tries")


def colours(rng: Rng, pool: Pool, count: int) -> list[str]:
    """So many different ones; raises ConfigError where the pool has fewer."""
    if count > len(pool.colours):
        raise ConfigError(f"{count} colours are needed, this split has {len(pool.colours)}; allowed: another split")
    return drawn(rng, pool.colours, count)


def drawn(rng: Rng, names: Sequence[str], count: int) -> list[str]:
    """`count` different ones, in a drawn order."""
    return [names[i] for i in rng.permutation(len(names))[:count]]
