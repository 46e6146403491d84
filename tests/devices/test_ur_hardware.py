"""A real UR, or Universal Robots' own URSim: KINEMA_UR=<address> pytest -m hardware tests/devices/test_ur_hardware.py

The arm holds where it stands; nothing here moves it on purpose. KINEMA_UR_ROBOT names its row of the robot table.
"""

import os
from contextlib import closing

import numpy as np
import pytest

from kinema.devices import ur
from kinema.devices.ur import UrArm
from kinema.interfaces import ArmCommand, ArmMode, CommandKind

_ADDRESS = os.environ.get("KINEMA_UR", "")
pytestmark = [
    pytest.mark.hardware,
    pytest.mark.skipif(not _ADDRESS, reason="needs a UR or URSim: set KINEMA_UR to its address"),
]


@pytest.fixture
def arm():
    with closing(UrArm(ur.arm_model(os.environ.get("KINEMA_UR_ROBOT", "ur5e"), _ADDRESS), _ADDRESS)) as device:
        yield device


def _hold(arm, cycles):
    state = first = arm.read(5.0)
    for _ in range(cycles):
        arm.write(state.k, ArmCommand(CommandKind.POSITION, first.q))
        state = arm.read(5.0)
    return first, state


def test_it_holds_its_pose_for_ten_seconds(arm):
    first, last = _hold(arm, round(10 / arm.period))
    assert last.mode is ArmMode.RUNNING and np.abs(last.q - first.q).max() < 1e-3
    assert last.k - first.k < 11 / arm.period


def test_f16_it_stops_by_itself_when_nothing_is_said_and_a_reset_brings_it_back(arm):
    _hold(arm, 50)
    modes = [arm.read(5.0).mode for _ in range(round(1 / arm.period))]
    assert modes[-1] is ArmMode.BRAKED
    arm.reset()
    assert _hold(arm, 50)[1].mode is ArmMode.RUNNING
