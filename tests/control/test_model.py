"""The model against the table it is made from, and against the virtual cell's physics."""

import mujoco
import numpy as np
import pytest

from kinema import robots
from kinema.control.model import LENGTH, RobotModel
from kinema.geometry import pose_error
from kinema.virtual.scenario import draw
from kinema.virtual.world import World

ROBOTS = ("virtual_ur5e", "virtual_xarm7")


def states(arm: robots.ArmModel, n: int = 10) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [(arm.home + rng.uniform(-0.6, 0.6, arm.dof), rng.uniform(-1, 1, arm.dof)) for _ in range(n)]


@pytest.mark.parametrize("robot", ROBOTS)
def test_forward_kinematics_is_the_tables(robot: str) -> None:
    arm = robots.arm(robot)
    model = RobotModel(arm)
    for q, dq in states(arm):
        model.update(q, dq)
        wanted = robots.forward_kinematics(arm, q) @ robots.GRIPPER.T_flange_tcp
        assert np.abs(pose_error(model.T_base_tcp, wanted)).max() < 1e-9
        assert np.abs(pose_error(model.fk(q), wanted)).max() < 1e-9


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_jacobian_is_the_poses_rate(robot: str) -> None:
    arm = robots.arm(robot)
    model = RobotModel(arm)
    for q, dq in states(arm):
        model.update(q, dq)
        rate = pose_error(model.fk(q - 1e-6 * dq), model.fk(q + 1e-6 * dq)) / 2e-6
        np.testing.assert_allclose(model.J @ dq, rate, atol=1e-6)
        np.testing.assert_allclose(model.jacobian(q), model.J, atol=1e-12)
        scaled = np.linalg.svd(np.repeat([1.0, LENGTH], 3)[:, None] * model.J, compute_uv=False)
        assert model.min_singular_value() == pytest.approx(scaled[-1], abs=1e-7)
        assert model.min_singular_value_at(q) == pytest.approx(scaled[-1])
        np.testing.assert_allclose(model.J @ model.joint_speed(model.J @ dq), model.J @ dq, atol=1e-3)


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_dynamics_are_the_physics(robot: str) -> None:
    """Mass matrix and bias of the world that is simulated, friction and the fingers' slides apart."""
    world = World(draw("pick_and_place", "train", 0), robot)
    n, model = world.arm.dof, RobotModel(world.arm)
    full = np.zeros((world.model.nv, world.model.nv))
    for q, dq in states(world.arm):
        world.data.qpos[:n], world.data.qvel[:n] = q, dq
        mujoco.mj_forward(world.model, world.data)
        mujoco.mj_fullM(world.model, world.data, full)
        model.update(q, dq)
        np.testing.assert_allclose(model.M, full[:n, :n], atol=0.02)
        np.testing.assert_allclose(model.bias, world.data.qfrc_bias[:n], atol=0.15)
        np.testing.assert_allclose(model.M @ model.Minv, np.eye(n), atol=1e-9)


@pytest.mark.parametrize("robot", ROBOTS)
def test_at_home_nothing_is_near(robot: str) -> None:
    arm = robots.arm(robot)
    distance, between = RobotModel(arm).clearance(np.array(arm.home))
    assert distance > 0.01, between
