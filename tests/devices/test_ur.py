"""UrArm: the real ur_rtde against the virtual controller, over TCP, with the MuJoCo cell behind."""

import os
import time
from contextlib import closing

import numpy as np
import pytest

from kinema import clock, dh, robots
from kinema.devices import ur, ur_checks, ur_helper
from kinema.devices.ownership import claim
from kinema.devices.ur import UrArm
from kinema.errors import DeviceError, OwnershipError
from kinema.geometry import Pose, distance
from kinema.interfaces import ArmCommand, ArmMode, CommandKind
from kinema.robots import GRIPPER

from .ur_cell import UrCell, cells

_UR5E = robots.arm("ur5e")
_BRAKE = ArmCommand(CommandKind.BRAKE, np.empty(0))


@pytest.fixture(scope="module")
def cell():
    yield from cells(_wait_for, "e-series")


def _wait_for(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} not seen within {timeout} s"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine may keep a test from commanding for 40 ms; the watchdog has tests of its own."""
    monkeypatch.setattr(ur, "_WATCHDOG", 0.5)


@pytest.fixture
def arm(cell: UrCell):
    """A connected arm; afterwards the controller is as it was."""
    cell.disturb("clear")
    device = UrArm(_UR5E, cell.address)
    yield device
    device.close()
    cell.disturb("clear")


def _hold(arm, seconds, q=None, mode=None):
    """Command joints for some of the arm's own time, or until a mode; the last record."""
    state = arm.read(5.0)
    begin, q = state.t_ns, state.q if q is None else q
    while clock.to_seconds(state.t_ns - begin) < seconds and (mode is None or state.mode is not mode):
        arm.write(state.k, ArmCommand(CommandKind.POSITION, q))
        state = arm.read(5.0)
        assert state is not None
    return state


def _down_to(height):
    """Joints that bring the TCP straight down to a height [m] from home."""
    chain, q, R = dh.nominal(_UR5E), np.array(_UR5E.home), GRIPPER.T_flange_tcp
    goal = chain.jacobian(q, R)[0].position
    goal = np.array([goal[0], goal[1], height])
    down = chain.jacobian(q, R)[0].rotation
    for _ in range(20):
        tcp, J = chain.jacobian(q, R)
        q = q + np.linalg.solve(
            J, np.concatenate([goal - tcp.position, Pose(np.zeros(3), down @ tcp.rotation.T).rotvec])
        )
    return q


def test_the_arm_is_what_the_controller_says(arm):
    assert (arm.period, arm.command_kind, arm.has_wrench) == (0.002, CommandKind.POSITION, True)
    first = arm.read(5.0)
    later = _hold(arm, 0.1)
    assert first.mode is later.mode is ArmMode.RUNNING
    assert np.abs(first.q - _UR5E.home).max() < 0.05
    assert later.t_ns - first.t_ns == pytest.approx((later.k - first.k) * 2e6, rel=2e-3)
    assert abs(clock.now_ns() - later.t_ns) < 1e9 and np.abs(later.wrench).max() < 10.0


def test_it_follows_joint_positions_and_says_what_was_applied(arm):
    q = arm.read(5.0).q
    goal = q + np.array([0.05, 0.0, 0.0, 0.0, 0.0, -0.1])
    state = _hold(arm, 1.0, goal)
    assert np.abs(state.q - goal).max() < 2e-3
    wild = goal.copy()
    wild[2] = 9.0
    applied = arm.write(state.k, ArmCommand(CommandKind.POSITION, wild))
    assert applied.values[2] == _UR5E.joints[2].upper
    with pytest.raises(DeviceError, match="takes POSITION, not TORQUE"):
        arm.write(state.k, ArmCommand(CommandKind.TORQUE, np.zeros(6)))
    _hold(arm, 1.0, q)


def test_on_few_cores_ur_rtdes_threads_look_for_data_by_a_reservation(arm):
    helper = arm._helper._process.pid
    threads = [os.sched_getscheduler(int(name)) for name in os.listdir(f"/proc/{helper}/task")]
    privileged = os.geteuid() == 0 and os.sched_getscheduler(helper) == os.SCHED_FIFO
    few = (os.cpu_count() or 1) < ur_helper._ENOUGH
    assert threads.count(ur_helper._SCHED_DEADLINE) == (2 if few and privileged else 0)
    _hold(arm, 0.2)


@pytest.mark.slow
def test_what_the_arm_presses_on_is_felt_in_its_wrench(arm):
    home = arm.read(5.0).q
    for height in np.linspace(0.28, 0.03, 12):
        state = _hold(arm, 0.15, _down_to(height))
    flat = Pose(np.zeros(3), np.eye(3))
    arm.force_mode(flat, (0, 0, 1, 0, 0, 0), np.array([0.0, 0.0, -15.0, 0.0, 0.0, 0.0]), [0.1] * 3 + [0.2] * 3)
    q = state.q
    _hold(arm, 2.0, q)
    felt = []
    for _ in range(50):
        state = arm.read(5.0)
        arm.write(state.k, ArmCommand(CommandKind.POSITION, q))
        felt.append(state.wrench[2])
    assert np.mean(felt) == pytest.approx(15.0, abs=3.0)
    arm.end_force_mode()  # the arm stays where it has gone
    for height in np.linspace(0.05, 0.28, 8):
        _hold(arm, 0.15, _down_to(height))
    _hold(arm, 0.5, home)


@pytest.mark.slow
def test_payload_and_speed_slider_reach_the_controller(arm, cell):
    _hold(arm, 0.05)
    arm.set_payload(1.2, (0.0, 0.0, 0.08))
    arm.set_speed_slider(0.5)
    _wait_for(lambda: arm.read(5.0) and arm._helper.ask("receive", "getPayload") == 1.2, 10.0, "the payload")
    assert arm._helper.ask("receive", "getPayloadCog") == pytest.approx([0.0, 0.0, 0.08])


@pytest.mark.slow
def test_f16_an_arm_that_is_told_nothing_stops_by_itself_and_stays_so_until_reset(arm, monkeypatch):
    monkeypatch.setattr(ur, "_WATCHDOG", 25.0)
    state = arm.read(5.0)
    arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q + 0.3))
    _wait_for(lambda: arm.read(5.0).mode is ArmMode.BRAKED, 10.0, "the watchdog")
    for _ in range(100):
        state = arm.read(5.0)
    assert state.mode is ArmMode.BRAKED and np.abs(state.dq).max() < 0.02
    assert arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q)).kind is CommandKind.BRAKE
    monkeypatch.setattr(ur, "_WATCHDOG", 0.5)
    arm.reset()
    again = arm.read(5.0)
    assert again.mode is ArmMode.RUNNING
    assert np.abs(again.q - state.q).max() < 2e-3, "the old target has to be forgotten"
    _hold(arm, 0.2)


@pytest.mark.parametrize("how", ["silent", pytest.param("frozen", marks=pytest.mark.slow)])
def test_f16_a_dead_controller_is_found_by_its_timestamp(arm, cell, how):
    state = _hold(arm, 0.1)
    cell.disturb(how)
    seen = [arm.read(0.3) for _ in range(3)]
    assert seen[-1] is None
    arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q))  # which ur_rtde takes for good
    cell.disturb("clear")


def test_f16_a_cut_wire_is_reported_and_a_new_connection_is_the_only_way_back(arm, cell):
    _hold(arm, 0.1)
    cell.disturb("cut")
    with pytest.raises(DeviceError, match="closed the connection"):
        _hold(arm, 30.0)
    arm.close()
    with closing(UrArm(_UR5E, cell.address)) as again:
        assert _hold(again, 0.1).mode is ArmMode.RUNNING


@pytest.mark.slow
def test_f18_a_protective_stop_is_unlocked_by_a_person_and_not_at_once(arm, cell):
    _hold(arm, 0.1)
    cell.disturb("protective_stop")
    state = _hold(arm, 5.0, mode=ArmMode.PROTECTIVE_STOP)
    assert state.mode is ArmMode.PROTECTIVE_STOP
    assert arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q + 0.2)).kind is CommandKind.BRAKE
    with pytest.raises(DeviceError, match="5s after occurrence"):
        arm.reset()
    begin = arm.read(5.0)
    while clock.to_seconds(arm.read(5.0).t_ns - begin.t_ns) < 5.2:
        pass
    arm.reset()
    again = _hold(arm, 0.2)
    assert again.mode is ArmMode.RUNNING and np.abs(again.q - state.q).max() < 2e-3


def test_f18_an_emergency_stop_is_for_the_pendant(arm, cell):
    cell.disturb("emergency_stop")
    assert _hold(arm, 5.0, mode=ArmMode.PROTECTIVE_STOP).mode is ArmMode.PROTECTIVE_STOP
    with pytest.raises(DeviceError, match="ROBOT_EMERGENCY_STOP; clear it at the pendant"):
        arm.reset()
    cell.disturb("clear")
    with pytest.raises(DeviceError, match="POWER_OFF; power it on"):
        arm.reset()
    arm.power_on()
    arm.reset()
    assert _hold(arm, 0.1).mode is ArmMode.RUNNING


@pytest.mark.slow
def test_brake_stops_the_script_until_reset(arm):
    state = _hold(arm, 0.1)
    assert arm.write(state.k, _BRAKE).kind is CommandKind.BRAKE
    _wait_for(lambda: arm.read(5.0).mode is ArmMode.BRAKED, 10.0, "the end of the script")
    arm.reset()
    assert _hold(arm, 0.1).mode is ArmMode.RUNNING


@pytest.mark.slow
def test_f21_a_second_opener_is_refused_and_told_who_was_first(arm, cell, monkeypatch):
    with pytest.raises(OwnershipError, match=f"process {os.getpid()}"):
        UrArm(_UR5E, cell.address)
    monkeypatch.setattr(ur, "claim", lambda name: claim(f"{name}-elsewhere"))
    with pytest.raises(DeviceError, match="already in use"):  # as from another machine
        UrArm(_UR5E, cell.address)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("other_arm", "mm apart.*calibration"),
        ("other_tcp", "20.0 mm apart"),
        pytest.param("other_payload", "payload is 1.4 kg", marks=pytest.mark.slow),
        pytest.param("local", "local control", marks=pytest.mark.slow),
    ],
)
def test_an_arm_that_is_not_the_cells_is_refused(cell, what, reason):
    cell.disturb("clear")
    cell.disturb(what)
    with pytest.raises(DeviceError, match=reason):
        UrArm(_UR5E, cell.address)
    cell.disturb("clear")


def test_the_calibration_that_the_controller_holds_makes_its_arm_ours(cell):
    cell.disturb("clear")
    cell.disturb("other_arm")
    model = ur.arm_model("ur5e", cell.address)
    q = np.array(_UR5E.home)
    assert distance(robots.forward_kinematics(model, q), robots.forward_kinematics(_UR5E, q))[0] > 1e-3
    with closing(UrArm(model, cell.address)) as arm:
        assert _hold(arm, 0.1).mode is ArmMode.RUNNING
    cell.disturb("clear")


def test_a_tcp_that_only_turns_is_refused_too():
    turned = [0.0, 0.0, GRIPPER.tcp, 0.0, 0.0, 0.5]
    with pytest.raises(DeviceError, match="set it in the installation"):
        ur_checks.check_tcp("ur5e", GRIPPER, turned)


def test_nobody_there_is_said_with_the_address():
    with pytest.raises(DeviceError, match=r"127\.0\.0\.77.*switched on"):
        UrArm(_UR5E, "127.0.0.77")
