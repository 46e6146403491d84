"""The frames of an arm's links, as its URDF names them: one transform per joint, for /tf."""

import numpy as np
from scipy.spatial.transform import Rotation

from kinema import robots
from kinema.geometry import Array, Pose
from kinema.robots import GRIPPER, ArmModel, GripperModel

BASE, FLANGE, TCP = "base_link", "flange", "tcp"


class LinkFrames:
    """`parents[i]` and `children[i]` name the two frames of joint i; the child turns about its own z."""

    def __init__(self, model: ArmModel, gripper: GripperModel = GRIPPER) -> None:
        self.children = tuple(f"link{i + 1}" for i in range(model.dof))
        self.parents = (BASE, *self.children[:-1])
        foot = Pose.from_rotvec(np.zeros(3), [0.0, 0.0, model.base_yaw])
        ends = [robots.link_transform(joint) for joint in model.joints]
        origins = [foot, *ends[:-1]]
        self._positions = np.stack([T.position for T in origins])
        self._rotations = Rotation.from_matrix(np.stack([T.rotation for T in origins]))
        self.fixed = ((self.children[-1], FLANGE, ends[-1]), (FLANGE, TCP, gripper.T_flange_tcp))

    def at(self, q: Array) -> tuple[Array, Array]:
        """Positions (dof, 3) [m] and quaternions (dof, 4) x, y, z, w of every `T_parent_child` at q (dof,) [rad]."""
        turned = np.zeros((len(q), 3))
        turned[:, 2] = q
        return self._positions, (self._rotations * Rotation.from_rotvec(turned)).as_quat()
