"""What only a real control box can show. Nothing moves and nothing is switched on but the F/T sensor:

KINEMA_TEST_XARM=<address>[:<port>] pytest -m hardware -s tests/devices/test_xarm_hardware.py

UFACTORY's own simulator (the firmware in a container) answers at an address too; see docs/xarm.md.
"""

import os

import numpy as np
import pytest

from kinema import robots
from kinema.devices import xarm_box
from kinema.devices.xarm import XArm, XArmSettings

ADDRESS, _, PORT = os.environ.get("KINEMA_TEST_XARM", "").partition(":")

pytestmark = [
    pytest.mark.hardware,
    pytest.mark.skipif(not ADDRESS, reason="needs a control box: set KINEMA_TEST_XARM to its address"),
]


@pytest.fixture
def arm():
    arm = XArm("xarm7", XArmSettings(ADDRESS, int(PORT or 502)))
    yield arm
    arm.close()


def test_records_come_at_the_rate_with_rising_time(arm):
    states = [arm.read(1.0) for _ in range(500)]
    periods = np.diff([state.t_ns for state in states]) * 1e-9
    missed = states[-1].k - states[0].k - len(periods)
    print(f"period [ms] p50 {np.median(periods) * 1e3:.2f} p99 {np.percentile(periods, 99) * 1e3:.2f}, missed {missed}")
    assert periods.min() > 0.0 and missed <= 0.05 * len(periods)


def test_positions_lie_in_the_ranges_of_the_table(arm):
    model, q = robots.arm("xarm7"), arm.read(1.0).q
    assert (model.limits("lower") <= q).all() and (q <= model.limits("upper")).all()


def test_the_force_sensor_is_alive_and_near_zero_when_nothing_is_touched(arm):
    wrenches = np.array([arm.read(1.0).wrench for _ in range(250)])
    print(f"force [N] mean {wrenches[:, :3].mean(0).round(2)}, spread {wrenches[:, :3].std(0).round(2)}")
    assert wrenches.std(0).max() > 0.0 and np.abs(wrenches[:, :3].mean(0)).max() < 5.0


def test_tool_and_kinematics_agree_with_the_robot_table(arm):
    xarm_box.check_tool(arm._api, robots.arm("xarm7"), xarm_box.GRIPPER)
