"""A step as a row of eleven numbers: as it was recorded, and as a policy means it."""

import numpy as np

from kinema.geometry import Array, rotation_6d, rotation_from_6d

STATE = ("x", "y", "z", "r11", "r21", "r31", "r12", "r22", "r32", "width", "force")  # [m], rotation, [m], [N]


def relative(now: Array, then: Array) -> Array:
    """Rows `then` (..., 11) as seen from rows `now` (..., 11): pose in now's tcp, change of opening, force as it is.

    "Video Generators are Robot Policies", appendix A.4.
    """
    back = rotation_from_6d(now[..., 3:9]).swapaxes(-1, -2)
    moved = (back @ (then[..., :3] - now[..., :3])[..., None])[..., 0]
    turned = rotation_6d(back @ rotation_from_6d(then[..., 3:9]))
    return np.concatenate([moved, turned, then[..., 9:10] - now[..., 9:10], then[..., 10:]], axis=-1)


def absolute(now: Array, rows: Array) -> Array:
    """And back: the states (..., 11) that rows (..., 11), as seen from `now` (..., 11), lead to."""
    ahead = rotation_from_6d(now[..., 3:9])
    moved = now[..., :3] + (ahead @ rows[..., :3, None])[..., 0]
    turned = rotation_6d(ahead @ rotation_from_6d(rows[..., 3:9]))
    return np.concatenate([moved, turned, now[..., 9:10] + rows[..., 9:10], rows[..., 10:]], axis=-1)
