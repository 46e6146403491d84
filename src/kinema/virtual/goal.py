"""The goal of push-shape as a picture: where the shape is to lie, as a camera would see it ("Dreamitate", 4.5).

The paper blends the mask of the final pose into what the policy sees. Nothing in the cell shows it.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.virtual import cameras
from kinema.virtual.layout import Scenario
from kinema.virtual.letters import CELL, FIGURES, HEIGHT

_GREY, _SHARE = 128.0, 0.5
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)]) * (CELL, CELL, HEIGHT)


def mask(scenario: Scenario, camera: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) where a side camera would see the shape at its goal, if nothing were before it.

    Raises ConfigError for a scenario without a goal, and for a camera that moves.
    """
    goal, row = scenario.goal, cameras.camera(camera)
    if goal is None:
        raise ConfigError(f"task {scenario.task!r} has no goal pose, so no picture of it")
    if row.mount != "base_link":
        still = [name for name, other in cameras.CAMERAS.items() if other.mount == "base_link"]
        raise ConfigError(f"camera {camera!r} moves with the tool; a goal is seen by {' or '.join(still)}")
    T_camera_goal = row.T_mount_camera.inverse() @ Pose.from_rotvec([*goal.position, 0.0], [0.0, 0.0, goal.yaw])
    picture, info = np.zeros(size[::-1], np.uint8), row.info().scaled(size)
    for x, y in FIGURES[goal.kind].cells:
        corners = info.project(T_camera_goal.apply(_CORNERS + np.array([x, y, 0.0])))
        cv2.fillConvexPoly(picture, cv2.convexHull(np.rint(corners).astype(np.int32)), 255)
    return picture > 0


def blended(image: Image, where: NDArray[np.bool_]) -> Image:
    """The image with a grey veil over the goal, as the paper shows it to its policy."""
    veiled = np.where(where[..., None], (1 - _SHARE) * image + _SHARE * _GREY, image)
    return np.rint(veiled).astype(np.uint8)


def image(scenario: Scenario, size: tuple[int, int], seen_by: Sequence[str]) -> Image:
    """(height, width, 3) uint8: `Observation.goal_image`, whose channels are the masks, 255 where the goal is, of as
    many side cameras; none in the others."""
    masks = np.zeros((*size[::-1], 3), np.uint8)
    for channel, camera in enumerate(seen_by):
        masks[..., channel] = 255 * mask(scenario, camera, size)
    return masks
