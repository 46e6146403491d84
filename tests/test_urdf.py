"""URDF, MJCF and the table describe the same arm."""

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from kinema import paths, robots, urdf
from kinema.virtual import scenario, scene

ROBOTS = pytest.mark.parametrize("robot", robots.VIRTUAL_ROBOTS)


@ROBOTS
def test_forward_kinematics_of_urdf_mjcf_and_table_agree_to_a_hundredth_of_a_millimetre(robot: str) -> None:
    arm = robots.arm(robot)
    pin_model = pin.buildModelFromXML(urdf.urdf(robot))
    pin_data = pin_model.createData()
    model = scene.build(scenario.draw("pick_and_place", "train", 0), robot)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(100):
        q = rng.uniform(arm.limits("lower"), arm.limits("upper"))
        table = robots.forward_kinematics(arm, q) @ robots.GRIPPER.T_flange_tcp
        pin.framesForwardKinematics(pin_model, pin_data, q)
        from_urdf = pin_data.oMf[pin_model.getFrameId("tcp")]
        data.qpos[: arm.dof] = q
        mujoco.mj_kinematics(model, data)
        for position in (from_urdf.translation, data.site("tcp").xpos):
            assert np.linalg.norm(position - table.position) < 1e-5
        for rotation in (from_urdf.rotation, data.site("tcp").xmat.reshape(3, 3)):
            assert np.abs(rotation - table.rotation).max() < 1e-5


@ROBOTS
def test_gravity_torques_and_mass_matrix_of_urdf_and_mjcf_agree(robot: str) -> None:
    arm = robots.arm(robot)
    pin_model = pin.buildModelFromXML(urdf.urdf(robot))
    pin_data = pin_model.createData()
    model = scene.build(scenario.draw("pick_and_place", "train", 0), robot)
    data = mujoco.MjData(model)
    for finger in scene.FINGERS:
        data.joint(finger).qpos = robots.GRIPPER.stroke / 4  # where the gripper's inertia is the table's
    full = np.zeros((model.nv, model.nv))
    rng = np.random.default_rng(1)
    for _ in range(20):
        q = rng.uniform(arm.limits("lower"), arm.limits("upper"))
        data.qpos[: arm.dof] = q
        mujoco.mj_forward(model, data)
        gravity = pin.computeGeneralizedGravity(pin_model, pin_data, q)
        assert data.qfrc_bias[: arm.dof] == pytest.approx(gravity, abs=1e-3)
        mujoco.mj_fullM(model, data, full)
        mass = pin.crba(pin_model, pin_data, q) + np.diag(arm.limits("rotor"))
        assert full[: arm.dof, : arm.dof] == pytest.approx(mass, abs=2e-3)


@ROBOTS
def test_limits_are_those_of_the_table(robot: str) -> None:
    arm = robots.arm(robot)
    model = pin.buildModelFromXML(urdf.urdf(robot))
    assert tuple(model.names)[1:] == tuple(joint.name for joint in arm.joints)
    assert model.lowerPositionLimit == pytest.approx(arm.limits("lower"))
    assert model.upperPositionLimit == pytest.approx(arm.limits("upper"))
    assert model.velocityLimit == pytest.approx(arm.limits("speed"))
    assert model.effortLimit == pytest.approx(arm.limits("torque"))


@ROBOTS
def test_committed_files_are_current(robot: str) -> None:
    committed = (paths.root() / "urdf" / f"{robot}.urdf").read_text()
    assert committed == urdf.urdf(robot), "run `python -m kinema.urdf`"
