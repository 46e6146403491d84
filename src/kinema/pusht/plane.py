"""PushT's plane as a place where Kinema's tool is: what a policy is told of it, and what its chunks mean there.

A pixel is a millimetre, the window's middle lies in front of the arm, the tool points down with its x to the image's
right and its y down. Height, rotation, jaw and force stay as they are, so a chunk's rows are two numbers that move and
nine that don't. The tool's pose is the agent's *target*, not the agent: the agent follows it 0.2 s behind, and images
show where it is. So the next states of a recorded episode are the very actions that were taken.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinema.chunk import ActionChunk
from kinema.geometry import Array, Pose

PIXEL = 0.001  # [m]
RATE = 10  # [Hz]
CAMERA = "top"
TEXT = "push the grey T onto the green T"
ENDS = (0.0, 512.0)  # [px] of the action space

_MIDDLE = 256.0  # [px]
WIDTH = 0.04  # [m] that the jaw is open
_FRONT, _HEIGHT = 0.4, 0.2  # [m] of the window's middle
_DOWN = np.diag([1.0, -1.0, -1.0])


def state(targets: ArrayLike) -> NDArray[np.float32]:
    """Rows (n, 11), as `kinema.episodes.state.STATE` has them, of targets (n, 2) [px]."""
    at = np.asarray(targets, float)
    rows = np.zeros((len(at), 11))
    rows[:, 0] = _FRONT + PIXEL * (at[:, 0] - _MIDDLE)
    rows[:, 1] = -PIXEL * (at[:, 1] - _MIDDLE)
    rows[:, 2] = _HEIGHT
    rows[:, 3:9] = _DOWN[:, :2].T.ravel()
    rows[:, 9] = WIDTH
    return rows.astype(np.float32)


def pose(target: ArrayLike) -> Pose:
    """T_base_tcp of a target (2,) [px]."""
    x, y = np.asarray(target, float)
    return Pose(np.array([_FRONT + PIXEL * (x - _MIDDLE), -PIXEL * (y - _MIDDLE), _HEIGHT]), _DOWN)


def target(T_base_tcp: Pose) -> Array:
    """The target (2,) [px] that a pose means, within the action space."""
    x, y, _ = T_base_tcp.position
    return np.clip([_MIDDLE + (x - _FRONT) / PIXEL, _MIDDLE - y / PIXEL], *ENDS)


def targets(chunk: ActionChunk) -> Array:
    """The targets (n, 2) [px] that a chunk's steps mean."""
    return np.array([target(chunk.target(i)) for i in range(len(chunk))])
