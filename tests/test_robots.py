"""The robot table: consistent with itself, refusing what it does not hold."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema import robots
from kinema.control.model import RobotModel
from kinema.errors import ConfigError

ARMS = pytest.mark.parametrize("name", robots.ARMS)


@ARMS
def test_home_points_the_tool_straight_down_in_front_of_the_base(name: str) -> None:
    model = robots.arm(name)
    T_base_tcp = robots.forward_kinematics(model, np.array(model.home)) @ robots.GRIPPER.T_flange_tcp
    assert T_base_tcp.rotation[:, 2] == pytest.approx([0, 0, -1], abs=1e-9)
    assert T_base_tcp.position[0] > 0.3
    assert 0.2 < T_base_tcp.position[2] < 0.5
    assert (model.limits("lower") < model.home).all() and (model.home < model.limits("upper")).all()


@ARMS
def test_inertias_are_those_of_solid_bodies(name: str) -> None:
    for joint in robots.arm(name).joints:
        moments = np.linalg.eigvalsh(robots.link_inertia(joint))
        assert moments[0] > 0
        assert moments[0] + moments[1] >= moments[2] - 1e-12
        assert np.linalg.norm(robots.link_com(joint)) < 0.45


@ARMS
def test_capsules_cover_the_chain_from_base_to_finger_tips(name: str) -> None:
    model = robots.arm(name)
    shapes = robots.capsules(model)
    assert {shape.link for shape in shapes} == set(range(-1, model.dof + 1))
    reach = max(shape.end[2] + shape.radius for shape in shapes if shape.link == model.dof)
    assert reach == pytest.approx(robots.GRIPPER.tcp + robots.GRIPPER.tip)


@given(name=st.sampled_from(sorted(robots.ARMS)), seed=st.integers(0, 2**32 - 1))
def test_flange_stays_within_the_sum_of_the_links(name: str, seed: int) -> None:
    model = robots.arm(name)
    q = np.random.default_rng(seed).uniform(model.limits("lower"), model.limits("upper"))
    T = robots.forward_kinematics(model, q)
    assert np.linalg.norm(T.position) <= sum(np.hypot(joint.a, joint.d) for joint in model.joints) + 1e-9
    assert T.rotation @ T.rotation.T == pytest.approx(np.eye(3), abs=1e-9)


def test_an_unknown_robot_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'panda'.*ur5e, xarm7"):
        robots.arm("panda")
    assert robots.arm("virtual_ur5e") is robots.arm("ur5e")


@ARMS
def test_gravity_is_what_the_control_model_holds_against_at_rest(name: str) -> None:
    arm, gripper = robots.arm(name), robots.GRIPPER
    model, cog = RobotModel(arm), np.array([0.0, 0.0, gripper.com])
    for q in np.random.default_rng(2).uniform(-2.0, 2.0, (5, arm.dof)):
        model.update(q, np.zeros(arm.dof))
        assert np.abs(robots.gravity_torque(arm, q, gripper.mass, cog) - model.bias).max() < 1e-9
