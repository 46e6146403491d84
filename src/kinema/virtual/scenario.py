"""What stands where in the virtual cell: drawn from a seed, a plain value.

The same (task, split, seed) always gives the same scenario. Things are drawn inside `REACH` and apart from each other,
with room for the gripper around the one to be grasped.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.errors import ConfigError
from kinema.virtual import objects
from kinema.virtual.objects import Background, Pool

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing on the table: its body's name, its kind in the catalogue, position x, y [m] in base_link, yaw [rad]."""

    name: str
    kind: str
    colour: objects.Rgb
    accent: objects.Rgb
    position: tuple[float, float]
    yaw: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One episode's world. `drawer` names the drawer to open; empty and None where a task has no such thing."""

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

    @property
    def movable(self) -> tuple[Placed, ...]:
        """Everything that stands free on the table."""
        return tuple(p for p in (self.target, self.container) if p is not None) + self.distractors


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


TARGETS = Region((0.29, 0.60), (-0.24, 0.24))
CONTAINERS = Region((0.30, 0.56), (-0.26, 0.26), (0.32, 0.58))
CLUTTER = Region((0.27, 0.66), (-0.34, 0.34), (0.29, 0.72))
GRIPPER_ROOM = 0.082  # [m] around a grasp's middle: the open jaw with its fingers
GAP = 0.012  # [m] between any two things
_TRIES = 300


def _colour(rng: Rng, kind: str, pool: Pool) -> tuple[str, objects.Rgb, objects.Rgb]:
    """A name ('red block', or 'banana' for what has its own colour), the colour, and an accent."""
    name = pool.colours[rng.integers(len(pool.colours))]
    others = [c for c in pool.colours if c != name]
    accent = objects.COLOURS[others[rng.integers(len(others))]]
    natural = objects.OBJECTS[kind].colour if kind in objects.OBJECTS else None
    if natural is None:
        return f"{name} {kind}", objects.COLOURS[name], accent
    shade = np.clip(np.array(natural) * rng.uniform(0.92, 1.05), 0, 1)
    return kind, (float(shade[0]), float(shade[1]), float(shade[2])), accent


def _background(rng: Rng, pool: Pool) -> Background:
    base = objects.BACKGROUNDS[pool.backgrounds[rng.integers(len(pool.backgrounds))]]
    moved = np.array(base.light) + rng.uniform(-0.3, 0.3, 3) * (1, 1, 0.5)
    return replace(
        base,
        light=(float(moved[0]), float(moved[1]), float(moved[2])),
        brightness=base.brightness * float(rng.uniform(0.92, 1.08)),
        warmth=base.warmth + float(rng.uniform(-0.02, 0.02)),
        ambient=base.ambient * float(rng.uniform(0.95, 1.05)),
    )


def _place(rng: Rng, kind: str, pool: Pool, at: tuple[float, float]) -> Placed:
    text, colour, accent = _colour(rng, kind, pool)
    return Placed(text.replace(" ", "_"), kind, colour, accent, at, float(rng.uniform(-math.pi, math.pi)))


def _apart(at: tuple[float, float], radius: float, taken: list[tuple[tuple[float, float], float]]) -> bool:
    return all(math.dist(at, other) >= radius + r + GAP for other, r in taken)


def _pick_and_place(rng: Rng, pool: Pool) -> dict[str, Any]:
    count = int(rng.integers(3, 6))
    kinds = [pool.objects[i] for i in rng.permutation(len(pool.objects))[: count + 1]]
    vessel = pool.containers[rng.integers(len(pool.containers))]
    radius = [objects.OBJECTS[kind].radius for kind in kinds]
    for _ in range(_TRIES):
        spot = CONTAINERS.draw(rng)
        taken = [(spot, objects.CONTAINERS[vessel].radius)]
        spots = []
        for i, own in enumerate(radius):
            region, room = (TARGETS, max(own, GRIPPER_ROOM)) if i == 0 else (CLUTTER, own)
            found = next((at for at in (region.draw(rng) for _ in range(40)) if _apart(at, room, taken)), None)
            if found is None:
                break
            spots.append(found)
            taken.append((found, room))
        if len(spots) == len(kinds):
            break
    else:
        raise ConfigError(f"no room on the table for {', '.join(kinds)} and a {vessel} in {_TRIES} tries")
    target, *distractors = (_place(rng, kind, pool, at) for kind, at in zip(kinds, spots, strict=True))
    container = _place(rng, vessel, pool, spot)
    words = [name.replace("_", " ") for name in (target.name, container.name)]
    verb = "onto" if vessel in ("plate", "tray") else "into"
    return {
        "text": f"put the {words[0]} {verb} the {words[1]}",
        "target": target,
        "container": container,
        "distractors": tuple(distractors),
    }


def _open_drawer(rng: Rng, pool: Pool) -> dict[str, Any]:
    kind = pool.cabinets[rng.integers(len(pool.cabinets))]
    drawer = ("lower", "upper")[rng.integers(2)]
    y = float(rng.uniform(-0.16, 0.16))
    x = float(rng.uniform(0.66, 0.72)) - 0.25 * abs(y)
    yaw = math.atan2(y, x) * 0.6 + float(rng.uniform(-0.15, 0.15))
    name = pool.colours[rng.integers(len(pool.colours))]
    accent = ((0.75, 0.76, 0.78), (0.16, 0.16, 0.17), (0.72, 0.56, 0.30))[rng.integers(3)]
    cabinet = Placed("cabinet", kind, objects.COLOURS[name], accent, (x, y), yaw)
    return {"text": f"open the {drawer} drawer of the {name} cabinet", "cabinet": cabinet, "drawer": drawer}


_DRAWERS: dict[str, Callable[[Rng, Pool], dict[str, Any]]] = {
    "pick_and_place": _pick_and_place,
    "open_drawer": _open_drawer,
}


def draw(task: str, split: str, seed: int) -> Scenario:
    """The scenario of a seed. Raises ConfigError naming the tasks and splits there are."""
    if task not in _DRAWERS:
        raise ConfigError(f"task {task!r} is not known; allowed: {', '.join(_DRAWERS)}")
    if split not in objects.SPLITS:
        raise ConfigError(f"split {split!r} is not known; allowed: {', '.join(objects.SPLITS)}")
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative; allowed: 0 and above")
    digest = hashlib.sha256(f"{task}/{split}/{seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    pool = objects.SPLITS[split]
    return Scenario(task=task, split=split, seed=seed, background=_background(rng, pool), **_DRAWERS[task](rng, pool))
