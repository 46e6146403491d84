"""The way to where a path begins: up, over and down, at rest at every corner."""

import numpy as np

from kinema.geometry import Pose, distance, interpolate

SPEED = (0.2, 0.8)  # [m/s, rad/s] mean of a leg


def leg(start: Pose, end: Pose, dt: float, speed: tuple[float, float] = SPEED) -> list[Pose]:
    """A pose each `dt` [s] by minimum jerk (Flash and Hogan 1985) from one pose, left out, to another, the last."""
    gap, angle = distance(start, end)
    count = max(round(max(gap / speed[0], angle / speed[1]) / dt), 3)
    u = np.arange(1, count + 1) / count
    return [interpolate(start, end, fraction) for fraction in u**3 * (10 - 15 * u + 6 * u * u)]


def over(start: Pose, end: Pose, dt: float, above: float, speed: tuple[float, float] = SPEED) -> list[Pose]:
    """Straight up to `above` [m] over the higher of the two, across while turning, and down; the start left out."""
    height = max(start.position[2], end.position[2]) + above
    corners = (
        Pose(np.array([*start.position[:2], height]), start.rotation),
        Pose(np.array([*end.position[:2], height]), end.rotation),
        end,
    )
    way = [start]
    for corner in corners:
        way += leg(way[-1], corner, dt, speed)
    return way[1:]
