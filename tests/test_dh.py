"""An arm's own calibration put into the robot table's arm: the kinematics become its own, the rest stays."""

from dataclasses import replace

import numpy as np
import pytest

from kinema import dh, robots
from kinema.control.model import RobotModel
from kinema.errors import ConfigError
from kinema.geometry import distance

_UR5E = robots.arm("ur5e")
_POSTURES = np.random.default_rng(3).uniform(-2.0, 2.0, (8, 6))


def _factory(seed: int = 1, size: float = 1e-3) -> dh.Chain:
    """Numbers as a factory finds them: a millimetre and a milliradian off, metres of `d` along the parallel axes."""
    off = np.random.default_rng(seed).normal(0.0, size, (4, 6))
    table = dh.nominal(_UR5E)
    away = np.array([0.0, 23.0, -31.0, 8.0, 0.0, 0.0])
    return dh.Chain(table.theta + off[0], table.a + off[1], table.d + away + off[2], table.alpha + 1e-2 * off[3])


def _flange(model: robots.ArmModel, q: np.ndarray):
    return robots.forward_kinematics(replace(model, base_yaw=0.0), q)


def test_the_table_is_its_own_chain():
    for q in _POSTURES:
        assert max(distance(dh.nominal(_UR5E).frames(q)[-1], _flange(_UR5E, q))) < 1e-12


def test_a_calibrated_arm_has_the_kinematics_of_its_controller_everywhere():
    chain, apart = _factory(), []
    model = dh.calibrated(_UR5E, chain)
    for q in _POSTURES:
        assert max(distance(chain.frames(q)[-1], _flange(model, q))) < 1e-9
        apart.append(distance(chain.frames(q)[-1], _flange(_UR5E, q))[0])
    assert max(apart) > 1e-3, "otherwise there was nothing to correct"


def test_the_links_stay_where_their_masses_and_shapes_are():
    """Though the calibration has joints whose `d` runs for tens of metres."""
    for joint in dh.calibrated(_UR5E, _factory()).joints:
        assert np.linalg.norm(joint.correction[:3]) < 0.01


def test_control_uses_the_calibrated_kinematics():
    chain = _factory()
    model = RobotModel(replace(dh.calibrated(_UR5E, chain), base_yaw=0.0))
    for q in _POSTURES:
        tcp, J = chain.jacobian(q, robots.GRIPPER.T_flange_tcp)
        assert max(distance(tcp, model.fk(q))) < 1e-9
        assert np.abs(J - model.jacobian(q)).max() < 1e-9


def test_the_calibration_of_another_arm_is_refused():
    with pytest.raises(ConfigError, match="xarm7, which has 7"):
        dh.calibrated(robots.arm("xarm7"), _factory())
    longer = replace(_factory(), a=_factory().a * 1.5)
    with pytest.raises(ConfigError, match="another type of arm"):
        dh.calibrated(_UR5E, longer)
