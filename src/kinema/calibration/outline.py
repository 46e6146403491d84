"""Where calibration says the gripper is in a camera's picture: what a person compares with where it is. Pure.

The shapes are the table's boxes of hand, fingers and pads (`kinema.robots.boxes`), projected by the camera's lens.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kinema.calibration.files import CameraInfo
from kinema.geometry import Array, Pose
from kinema.robots import Box, GripperModel, boxes

_WIDEST = np.radians(75)  # off the axis: beyond, and behind, nothing is projected
_ALONG = np.linspace(-1.0, 1.0, 9)  # of an edge: a lens bends it
_SIGNS = np.array([(a, b) for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
_EDGES = np.concatenate([np.insert(_SIGNS, axis, along, axis=1) for axis in range(3) for along in _ALONG])  # (108, 3)


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """A camera as its files say it is: `T_mount_camera` in `tcp` (`moves`) or in `base_link`."""

    info: CameraInfo
    T_mount_camera: Pose
    moves: bool

    def T_base_camera(self, T_base_tcp: Pose) -> Pose:
        return T_base_tcp @ self.T_mount_camera if self.moves else self.T_mount_camera

    def gripper(
        self, gripper: GripperModel, T_base_tcp: Pose, width: float | None, size: tuple[int, int]
    ) -> list[Array]:
        """Outlines (n, 2) [px] of the gripper's boxes in a picture of `size`; without a width [m], the hand's."""
        T_camera_flange = self.T_base_camera(T_base_tcp).inverse() @ T_base_tcp @ gripper.T_flange_tcp.inverse()
        info = self.info if self.info.size == size else self.info.scaled(size)
        shapes = [box for box in boxes(gripper, width or 0.0) if box.side == 0 or width is not None]
        return [line for box in shapes if len(line := _outline(box, T_camera_flange, info)) > 2]


def _outline(box: Box, T_camera_flange: Pose, info: CameraInfo) -> Array:
    """The convex hull (n, 2) [px] of what of a box lies before the lens."""
    points = T_camera_flange.apply(np.add(box.centre, _EDGES * box.half))
    angle = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])
    seen = points[angle < _WIDEST]
    if len(seen) < 3:
        return np.zeros((0, 2))
    return np.asarray(cv2.convexHull(info.project(seen).astype(np.float32)), float).reshape(-1, 2)
