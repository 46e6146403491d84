"""The block's shape and where it belongs; pure. Lengths in pixels of the environment's window, poses x, y, angle [rad].

gym-pusht's block is a T of two rectangles; its own frame begins in the middle of the bar's upper edge.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from kinema.geometry import Array

GOAL = np.array([256.0, 256.0, math.pi / 4])
RADIUS = 15.0  # of the agent
INSIDE = (20.0, 492.0)  # where the agent has room between the walls

_BAR, _STEM = ((0.0, 15.0), (60.0, 15.0)), ((0.0, 75.0), (15.0, 45.0))  # middle, half its sides
OUTLINE = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float)

CONVEX = np.array([0, 1, 2, 4, 5, 7])  # the outline's corners that one goes around, and where to (6, 2)
AROUND = np.array([[-1, -1], [1, -1], [1, 1], [1, 1], [-1, 1], [-1, 1]], float)


def to_world(pose: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., n, 2) of the block's frame where a block at poses (..., 3) has them."""
    at, local = np.asarray(pose, float), np.asarray(points, float)
    cos, sin = np.cos(at[..., 2]), np.sin(at[..., 2])
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)  # transposed
    return local @ turn + at[..., None, :2]


def to_block(pose: ArrayLike, points: ArrayLike) -> Array:
    """And back: points (n, 2) of the window in the frame of a block at a pose (3,)."""
    x, y, angle = np.asarray(pose, float)
    cos, sin = math.cos(angle), math.sin(angle)
    return (np.asarray(points, float) - (x, y)) @ np.array([[cos, -sin], [sin, cos]])


def distance(pose: ArrayLike, points: ArrayLike) -> Array:
    """(n,) from points (n, 2) to a block at a pose (3,); below 0 inside, where it is a bound."""
    local = to_block(pose, points)
    found = []
    for middle, half in (_BAR, _STEM):
        beyond = np.abs(local - middle) - half
        outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=-1)
        found.append(outside + np.minimum(beyond.max(axis=-1), 0.0))
    return np.minimum(*found)


def off(pose: ArrayLike) -> Array:
    """(...) how far the corners of blocks at poses (..., 3) are from where they belong, on average [px]."""
    return np.linalg.norm(to_world(pose, OUTLINE) - to_world(GOAL, OUTLINE), axis=-1).mean(axis=-1)


def contacts(spacing: float) -> tuple[Array, Array]:
    """Points (n, 2) along the outline, about `spacing` [px] apart, and the normals (n, 2) there, outwards."""
    points, normals = [], []
    for begin, end in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        way = end - begin
        count = max(round(np.linalg.norm(way) / spacing), 1)
        points.append(begin + (np.arange(count) + 0.5)[:, None] / count * way)
        normals.append(np.tile(np.array([way[1], -way[0]]) / np.linalg.norm(way), (count, 1)))
    return np.concatenate(points), np.concatenate(normals)
