"""The frames for /tf multiply up to the forward kinematics of the table, and carry the URDF's names."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema import robots
from kinema.frames import LinkFrames
from kinema.geometry import Pose
from kinema.robots import GRIPPER
from kinema.urdf import urdf

angles = st.lists(st.floats(-6.0, 6.0), min_size=7, max_size=7)


@pytest.mark.parametrize("name", ["ur5e", "xarm7"])
@given(angles)
def test_the_chain_ends_at_the_tcp(name, q):
    model = robots.arm(name)
    q = np.array(q[: model.dof])
    frames = LinkFrames(model)
    T = Pose.identity()
    for position, quaternion in zip(*frames.at(q), strict=True):
        T = T @ Pose.from_quaternion(position, quaternion)
    for _, _, T_parent_child in frames.fixed:
        T = T @ T_parent_child
    expected = robots.forward_kinematics(model, q) @ GRIPPER.T_flange_tcp
    np.testing.assert_allclose(T.matrix, expected.matrix, atol=1e-9)


@pytest.mark.parametrize("name", ["ur5e", "xarm7"])
def test_parents_and_children_are_those_of_the_urdf(name):
    frames = LinkFrames(robots.arm(name))
    mine = {*zip(frames.parents, frames.children, strict=True), *((parent, child) for parent, child, _ in frames.fixed)}
    joints = ET.fromstring(urdf(f"virtual_{name}")).findall("joint")
    assert mine == {(joint.find("parent").get("link"), joint.find("child").get("link")) for joint in joints}
