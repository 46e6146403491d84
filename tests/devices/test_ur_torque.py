"""UrArm with direct torque: the same cell, with an arm that takes torques."""

import contextlib
import os
import time
from contextlib import closing

import numpy as np
import pytest

from kinema import robots
from kinema.devices import ur
from kinema.devices.ur import UrArm
from kinema.errors import DeviceError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind

from .ur_cell import cells

_UR5E = robots.arm("ur5e")
pytestmark = pytest.mark.slow  # a cell of its own
_STIFF = np.array([60.0, 60.0, 40.0, 6.0, 6.0, 6.0])  # [N m/rad]
_DAMPING = np.array([12.0, 12.0, 6.0, 0.3, 0.3, 0.3])  # [N m s/rad]
_COG = np.array([0.0, 0.0, robots.GRIPPER.com])


@pytest.fixture(scope="module")
def cell():
    yield from cells(_wait_for, "e-series", "torque")


def _wait_for(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} not seen within {timeout} s"
        time.sleep(0.05)


@pytest.fixture
def urgent():
    """This thread before everybody else's where it may: a spring through a late loop is none."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(50))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_torques_that_carry_the_arm_hold_it_and_a_spring_draws_it_where_it_should_be(cell, monkeypatch, urgent):
    monkeypatch.setattr(ur, "_WATCHDOG", 5.0)
    with closing(UrArm(_UR5E, cell.address, CommandKind.TORQUE)) as arm:
        state = arm.read(5.0)
        goal = state.q + np.array([0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
        with pytest.raises(DeviceError, match="takes TORQUE, not POSITION"):
            arm.write(state.k, ArmCommand(CommandKind.POSITION, goal))
        begin, worst = state.k, 0.0
        while state.k - begin < 1000:
            spring = _STIFF * (goal - state.q) - _DAMPING * state.dq
            torque = robots.gravity_torque(_UR5E, state.q, robots.GRIPPER.mass, _COG) + spring
            assert arm.write(state.k, ArmCommand(CommandKind.TORQUE, torque)).kind is not CommandKind.POSITION
            state = arm.read(5.0)
            worst = max(worst, np.abs(state.q - goal).max())
        assert state.mode is ArmMode.RUNNING
        assert worst < 0.1 and np.abs(state.q - goal).max() < 0.04 and np.abs(state.dq).max() < 0.1


def test_a_controller_without_direct_torque_is_refused(cell, monkeypatch):
    monkeypatch.setattr(ur, "_TORQUE_SINCE", (6, 0))
    with pytest.raises(DeviceError, match="takes positions alone"):
        UrArm(_UR5E, cell.address, CommandKind.TORQUE)
