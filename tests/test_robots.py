"""The robot table: consistent with itself, refusing what it does not hold."""

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, strategies as st

from kinema import robots, urdf
from kinema.control.model import RobotModel
from kinema.errors import ConfigError
from kinema.geometry import Pose, distance
from kinema.virtual.handheld import T_BASE_TCP_START

ARMS = pytest.mark.parametrize("name", robots.ARMS)
UR = {  # [m] the flange with all joints at zero, in the controller's base; [kg] the whole arm: from UR's own tables
    "ur3": ((-0.45690, -0.19425, 0.06655), 11.0),
    "ur5": ((-0.81725, -0.19145, -0.005491), 18.4),
    "ur10": ((-1.18430, -0.256141, 0.01160), 28.9),
    "ur3e": ((-0.45675, -0.22315, 0.06650), 11.2),
    "ur5e": ((-0.81720, -0.23290, 0.06280), 20.6),
    "ur10e": ((-1.18425, -0.29070, 0.06085), 33.5),
}


@ARMS
def test_home_points_the_tool_straight_down_in_front_of_the_base(name: str) -> None:
    model = robots.arm(name)
    T_base_tcp = robots.forward_kinematics(model, np.array(model.home)) @ robots.GRIPPER.T_flange_tcp
    assert T_base_tcp.rotation[:, 2] == pytest.approx([0, 0, -1], abs=1e-9)
    assert T_base_tcp.position[0] > 0.3
    assert 0.2 < T_base_tcp.position[2] < 0.5
    assert (model.limits("lower") < model.home).all() and (model.home < model.limits("upper")).all()


def test_home_is_the_dock_wherever_the_arm_reaches_it() -> None:
    for name, model in robots.ARMS.items():
        T_base_tcp = robots.forward_kinematics(model, np.array(model.home)) @ robots.GRIPPER.T_flange_tcp
        short = name in ("ur3", "ur3e")  # the dock is beyond their reach
        wanted = Pose(np.array([0.32, 0.0, 0.22]), T_BASE_TCP_START.rotation) if short else T_BASE_TCP_START
        assert distance(T_base_tcp, wanted)[0] < 6e-4 and not (short and model.virtual), name


@ARMS
def test_home_is_far_from_a_collision_and_a_singularity(name: str) -> None:
    model = RobotModel(robots.arm(name))
    home = np.array(robots.arm(name).home)
    assert model.clearance(home)[0] > 0.01 and model.min_singular_value_at(home) > 0.05


@pytest.mark.parametrize("name", UR)
def test_a_ur_is_as_its_maker_publishes_it(name: str) -> None:
    model = robots.arm(name)
    flange, weight = UR[name]
    T_base = Pose.from_rotvec(np.zeros(3), [0.0, 0.0, -model.base_yaw])
    T = T_base @ robots.forward_kinematics(model, np.zeros(6))
    assert T.position == pytest.approx(flange, abs=1e-9)
    assert T.rotation == pytest.approx(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), abs=1e-9)
    assert 0.75 * weight < model.limits("mass").sum() < weight  # the rest is the base
    assert model.period == (0.002 if name.endswith("e") else 0.008)


def test_sizes_and_generations_of_ur_are_told_apart_by_more_than_a_check_of_kinematics_allows() -> None:
    for a in UR:
        for b in UR:
            if a != b:
                assert np.linalg.norm(np.subtract(UR[a][0], UR[b][0])) > 0.02


@pytest.mark.parametrize("name", [name for name, model in robots.ARMS.items() if not model.virtual])
def test_the_urdf_of_an_arm_that_no_file_is_kept_of_follows_the_table(name: str) -> None:
    arm, model = robots.arm(name), pin.buildModelFromXML(urdf.urdf(name))
    data = model.createData()
    for q in np.random.default_rng(4).uniform(-2.0, 2.0, (5, arm.dof)):
        pin.framesForwardKinematics(model, data, q)
        found = data.oMf[model.getFrameId("tcp")].translation
        assert np.abs(found - (robots.forward_kinematics(arm, q) @ robots.GRIPPER.T_flange_tcp).position).max() < 1e-9
    assert model.effortLimit == pytest.approx(arm.limits("torque"))


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


def test_an_arm_that_the_virtual_cell_has_not_is_refused_there() -> None:
    with pytest.raises(ConfigError, match="the virtual cell has no ur3e; allowed: virtual_ur5e, virtual_xarm7"):
        robots.arm("virtual_ur3e")


@ARMS
def test_gravity_is_what_the_control_model_holds_against_at_rest(name: str) -> None:
    arm, gripper = robots.arm(name), robots.GRIPPER
    model, cog = RobotModel(arm), np.array([0.0, 0.0, gripper.com])
    for q in np.random.default_rng(2).uniform(-2.0, 2.0, (5, arm.dof)):
        model.update(q, np.zeros(arm.dof))
        assert np.abs(robots.gravity_torque(arm, q, gripper.mass, cog) - model.bias).max() < 1e-9
