"""Foam shapes that are pushed about: block letters and other figures of square cells, and how well two poses agree.

"Dreamitate", section 4.5: letters in training, digits and polygons held out; judged by intersection over union with
the goal's mask, and by the rotation that is left.
"""

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from kinema.geometry import Array
from kinema.virtual.objects import ObjectKind, Shape

CELL = 0.026  # [m]
HEIGHT = 0.030  # [m]

_MASS = 0.006  # [kg] a cell
_FINE = 13  # samples along a cell

_FIGURES = {
    "C": ("####", "#...", "#...", "####"),
    "E": ("###", "#..", "###", "#..", "###"),
    "F": ("####", "#...", "###.", "#..."),
    "H": ("#.#", "###", "###", "#.#"),
    "I": ("###", ".#.", ".#.", "###"),
    "L": ("#..", "#..", "#..", "###"),
    "O": ("####", "#..#", "#..#", "####"),
    "U": ("#..#", "#..#", "#..#", "####"),
    "Z": ("####", "..#.", ".#..", "####"),
    "2": ("###", "..#", "###", "#..", "###"),
    "8": ("###", "#.#", "###", "#.#", "###"),
    "square": ("###", "###", "###"),
    "slab": ("####", "####"),
}
LETTERS = tuple("CEFHILOUZ"), ("2", "8", "square", "slab")


@dataclass(frozen=True, eq=False, slots=True)
class Figure:
    """cells (n, 2) [m] middles in the shape's frame, whose origin is their mean: its centre of mass

    size  full extents [m] of its box; symmetry: in how many yaws it looks the same
    """

    cells: Array
    size: tuple[float, float]
    symmetry: int

    def samples(self) -> Array:
        """(m, 2) [m] evenly over the shape."""
        steps = (np.arange(_FINE) + 0.5) / _FINE - 0.5
        grid = CELL * np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        return (self.cells[:, None] + grid).reshape(-1, 2)

    def covers(self, points: Array) -> Array:
        """(m,) which of the points (m, 2) [m] lie in it."""
        inside = np.abs(points[:, None] - self.cells) <= CELL / 2 + 1e-9
        return np.asarray(np.any(np.all(inside, axis=2), axis=1))

    def off(self, turn: float) -> float:
        """What is left of a turn [rad] where the shape looks the same in other yaws."""
        return math.remainder(turn, 2 * math.pi / self.symmetry)

    def iou(self, offset: Array, turn: float) -> float:
        """Intersection over union of the shape and itself moved by (2,) [m] and turned [rad]."""
        c, s = math.cos(turn), math.sin(turn)
        moved = self.samples() @ np.array([[c, s], [-s, c]]) + offset
        common = float(self.covers(moved).mean())
        return common / (2.0 - common)


def _figure(rows: tuple[str, ...]) -> Figure:
    cells = np.array([(j, -i) for i, row in enumerate(rows) for j, filled in enumerate(row) if filled == "#"], float)
    size = (np.ptp(cells, axis=0) + 1) * CELL
    cells = (cells - cells.mean(axis=0)) * CELL
    alike = Figure(cells, (float(size[0]), float(size[1])), 1)
    fold = max(n for n in (1, 2, 4) if alike.iou(np.zeros(2), 2 * math.pi / n) > 0.99)
    return Figure(cells, alike.size, fold)


FIGURES = {name: _figure(rows) for name, rows in _FIGURES.items()}


def kind(name: str) -> ObjectKind:
    """A shape as a thing that stands on the table: a box for each row of cells that touch."""
    figure = FIGURES[name]
    shapes = []
    rows = groupby(sorted((y, x) for x, y in figure.cells.tolist()), key=lambda cell: cell[0])
    for y, row in rows:
        runs: list[list[float]] = []
        for _, x in row:
            if runs and x - runs[-1][1] < 1.5 * CELL:
                runs[-1][1] = x
            else:
                runs.append([x, x])
        for low, high in runs:
            half = ((high - low + CELL) / 2, CELL / 2, HEIGHT / 2)
            shapes.append(Shape("box", half, ((low + high) / 2, y, HEIGHT / 2)))
    box = (*figure.size, HEIGHT)
    return ObjectKind(name, tuple(shapes), box, _MASS * len(figure.cells), (), figure.symmetry)
