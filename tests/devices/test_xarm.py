"""The xArm driver by the real xarm-python-sdk, over TCP, at a virtual controller before the physics of the cell."""

import itertools
import os

import numpy as np
import pytest

from kinema import robots
from kinema.devices.xarm import XArm, XArmSettings
from kinema.devices.xarm_gripper import XArmGripper, XArmGripperSettings
from kinema.errors import ConfigError, DeviceError, OwnershipError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind, JawCommand
from kinema.virtual import xarm_controller_wire as wire
from kinema.virtual.xarm_controller import COLLISION

ROBOT = "virtual_xarm7"


@pytest.fixture
def connect(box_at):
    """Makes arms, and disconnects them at the end."""
    arms = []

    def make(**options):
        arms.append(XArm(ROBOT, XArmSettings(*box_at, **options)))
        return arms[-1]

    yield make
    for arm in arms:
        arm.close()


@pytest.fixture
def arm(box, connect):
    """One that a person has reset."""
    arm = connect()
    arm.reset()
    return arm


def _move(arm, step, cycles):
    """Let every joint creep on by `step` [rad] a cycle; the last applied target."""
    state = arm.read(10.0)
    target, applied = state.q, None
    for _ in range(cycles):
        target = target + step
        applied = arm.write(state.k, ArmCommand(CommandKind.POSITION, target))
        state = arm.read(10.0)
    return applied


def _read_until(arm, fulfilled, most=1000):
    for _ in range(most):
        state = arm.read(10.0)
        if fulfilled(state):
            return state
    raise AssertionError(f"not within {most} records; the last is {state}")


def test_connecting_moves_nothing_until_a_person_resets(box, connect, cell):
    arm = connect()
    before = cell.q
    first = arm.read(10.0)
    assert first.mode is ArmMode.BRAKED and arm.period == 0.004
    applied = arm.write(first.k, ArmCommand(CommandKind.POSITION, first.q + 0.01))
    assert applied.kind is CommandKind.BRAKE and box.controller.servo_commands == 0
    arm.reset()
    assert np.abs(cell.q - before).max() < 1e-3
    assert arm.read(10.0).mode is ArmMode.RUNNING
    applied = _move(arm, np.array([5e-4, 0, 0, 0, 0, 0, -5e-4]), 100)
    state = _read_until(arm, lambda state: np.abs(state.q - applied.values).max() < 1e-3)
    assert applied.values[0] - first.q[0] == pytest.approx(0.05, abs=2e-3)
    assert np.abs(state.q - cell.q).max() < 1e-3
    assert box.controller.servo_commands == 100


def test_the_records_are_those_of_the_cell_with_rising_time(arm, cell):
    states = [arm.read(10.0) for _ in range(20)]
    assert np.abs(np.mean([state.q for state in states], axis=0) - cell.q).max() < 1e-3
    assert all(later.t_ns > earlier.t_ns and later.k > earlier.k for earlier, later in itertools.pairwise(states))
    assert states[-1].dq.shape == states[-1].tau.shape == (7,)


def test_a_push_on_the_arm_is_felt_at_the_tcp_in_base_axes(arm, cell):
    def felt():  # a mean of this many draws of the sensor's noise; a slow cell is read more than once a draw
        draws = {}
        while len(draws) < 400:
            wrench = arm.read(10.0).wrench
            draws[wrench.tobytes()] = wrench
        return np.mean(list(draws.values()), axis=0)

    applied = _move(arm, 0.0, 1)  # it holds this
    before, quiet = cell.server.world._external_wrench(), felt()
    cell.push(20.0, -10.0, 5.0)
    _read_until(arm, lambda state: np.abs(state.wrench[:3]).max() > 10.0)
    pushed, inside = felt(), cell.server.world._external_wrench()
    assert np.abs(pushed - quiet - (inside - before)).max() < 0.5
    assert np.abs((pushed - quiet)[:3] - [20.0, -10.0, 5.0]).max() < 1.0
    assert np.abs(arm.read(10.0).q - applied.values).max() < 0.02


def test_targets_are_clipped_to_range_and_to_what_the_arm_moves_in_a_cycle(arm, box):
    state = arm.read(10.0)
    applied = arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q + np.eye(7)[0]))
    assert applied.values[0] - state.q[0] == pytest.approx(np.pi * 0.004)
    assert box.controller.error == 0
    wild = ArmCommand(CommandKind.POSITION, np.full(7, 100.0))
    assert (arm.write(state.k + 1, wild).values <= robots.arm(ROBOT).limits("upper")).all()
    with pytest.raises(DeviceError, match="7 finite positions"):
        arm.write(state.k, ArmCommand(CommandKind.POSITION, np.full(7, np.nan)))
    with pytest.raises(DeviceError, match="takes POSITION, not TORQUE"):
        arm.write(state.k, ArmCommand(CommandKind.TORQUE, np.zeros(7)))


@pytest.mark.slow
def test_a_brake_stops_the_arm_latched(arm, cell):
    _move(arm, np.array([2e-3, 0, 0, 0, 0, 0, 0]), 50)
    state = arm.read(10.0)
    assert arm.write(state.k, ArmCommand(CommandKind.BRAKE, np.empty(0))).kind is CommandKind.BRAKE
    state = _read_until(arm, lambda state: state.mode is ArmMode.BRAKED)
    assert arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q)).kind is CommandKind.BRAKE
    state = _read_until(arm, lambda state: np.abs(state.dq).max() < 0.02)
    arm.reset()
    assert arm.read(10.0).mode is ArmMode.RUNNING and np.abs(cell.q - state.q).max() < 2e-3


def test_f18_a_collision_stops_the_arm_and_only_a_reset_goes_on_from_the_measured_pose(arm, box, cell):
    _move(arm, np.array([1e-3, 0, 0, 0, 0, 0, 0]), 20)
    cell.push(0.0, 150.0, 0.0)
    state = _read_until(arm, lambda state: state.mode is ArmMode.PROTECTIVE_STOP)
    assert box.controller.error == COLLISION
    cell.push()
    count = box.controller.servo_commands
    for _ in range(20):  # nothing re-engages by itself, and nothing of before is queued
        assert arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q + 0.01)).kind is CommandKind.BRAKE
        state = arm.read(10.0)
        assert state.mode is ArmMode.PROTECTIVE_STOP
    assert box.controller.servo_commands == count
    at_rest = _read_until(arm, lambda state: np.abs(state.dq).max() < 0.02)
    arm.reset()
    state = arm.read(10.0)
    assert state.mode is ArmMode.RUNNING and np.abs(state.q - at_rest.q).max() < 5e-3
    assert arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q)).kind is CommandKind.POSITION


def test_f18_an_emergency_stop_has_to_be_released_first(arm, box):
    box.ports.disturb("emergency_stop")
    assert _read_until(arm, lambda state: state.mode is not ArmMode.RUNNING).mode is ArmMode.PROTECTIVE_STOP
    with pytest.raises(DeviceError, match=r"error 1: The Emergency Stop Button .* release it"):
        arm.reset()
    arm._api.clean_error()
    _read_until(arm, lambda state: box.controller.error == 1)  # it comes back
    box.ports.disturb("clear")
    arm._api.clean_error()
    arm.reset()
    assert arm.read(10.0).mode is ArmMode.RUNNING


def test_a_frozen_box_is_a_protective_stop(arm, box):
    box.ports.disturb("frozen")
    frozen = _read_until(arm, lambda state: state.mode is ArmMode.PROTECTIVE_STOP)
    assert arm.write(frozen.k, ArmCommand(CommandKind.POSITION, frozen.q)).kind is CommandKind.BRAKE
    box.ports.disturb("clear")
    assert _read_until(arm, lambda state: state.mode is ArmMode.BRAKED).t_ns > frozen.t_ns  # nothing goes on by itself
    arm.reset()
    assert arm.read(10.0).mode is ArmMode.RUNNING


def test_an_unknown_disturbance_is_answered_by_the_table(box):
    with pytest.raises(DeviceError, match="not in the table; allowed: cut: every connection ends"):
        box.ports.disturb("gremlins")


def test_f16_after_a_cut_wire_the_arm_stands_at_its_last_target_and_can_be_connected_again(arm, box, cell, connect):
    applied = _move(arm, np.array([2e-3, 0, 0, 0, 0, 0, 0]), 50)
    box.ports.disturb("cut")
    with pytest.raises(DeviceError, match="has ended"):
        while (state := arm.read(5.0)) is not None:
            arm.write(state.k, ArmCommand(CommandKind.POSITION, state.q))
    arm.close()
    again = connect()
    state = _read_until(again, lambda state: np.abs(state.dq).max() < 0.02)
    assert np.abs(state.q - box.controller.target).max() < 5e-3
    assert np.abs(box.controller.target - applied.values).max() < 0.05
    again.reset()
    assert again.read(10.0).mode is ArmMode.RUNNING


def test_f16_a_silent_box_is_noticed_and_heard_again(arm, box):
    box.controller.mute = True
    assert arm.read(0.3) is None
    with pytest.raises(DeviceError, match="nobody answers"):
        XArm(ROBOT, XArmSettings("127.0.0.1", 1))
    box.controller.mute = False
    assert _read_until(arm, lambda state: state is not None).q.shape == (7,)


def test_a_box_that_does_not_answer_is_refused_within_seconds(box, connect):
    box.controller.mute = True
    with pytest.raises(DeviceError, match=r"nobody answers .*timed out"):
        connect()


def test_activation_is_refused_while_the_kinematics_differ_by_more_than_a_millimetre(box, connect):
    arm = connect()
    box.ports.disturb("other_arm")
    with pytest.raises(DeviceError, match=r"the TCP lies \d\.\d mm .* its TCP offset is \(0\.0, 0\.0, 170\.0\) mm"):
        arm.reset()
    assert arm.read(10.0).mode is ArmMode.BRAKED and box.controller.state == 4


def test_activation_is_refused_while_tool_or_payload_disagree(box, connect):
    arm = connect()
    arm._api.set_tcp_offset([0, 0, 150, 0, 0, 0], wait=False)
    with pytest.raises(DeviceError, match=r"the TCP lies 20\.0 mm"):
        arm.reset()
    arm._api.set_tcp_offset([0, 0, 170, 0, 0, 0], wait=False)
    arm._api.set_tcp_load(0.4, [0, 0, 65])
    _read_until(arm, lambda state: arm._api.report_data.tcp_payload[0] < 0.5)
    with pytest.raises(DeviceError, match=r"payload of 0\.40 kg .* the cell has 0\.90 kg"):
        arm.reset()
    assert box.controller.state == 4


def test_without_a_force_sensor_the_arm_is_refused(make_box, connect):
    make_box(ft_sensor=False)
    with pytest.raises(DeviceError, match="no working F/T sensor"):
        connect()


def test_f21_a_second_opener_is_refused_and_told_who_was_first(arm, connect):
    with pytest.raises(OwnershipError, match=rf"belongs to .*\(process {os.getpid()}\)"):
        connect()


def test_an_impossible_rate_is_refused():
    with pytest.raises(ConfigError, match="50 to 250 Hz"):
        XArm(ROBOT, XArmSettings("127.0.0.1", rate=500.0))


@pytest.fixture
def gripper(box, box_at):
    gripper = XArmGripper(XArmGripperSettings(*box_at))
    yield gripper
    gripper.close()


def test_the_gripper_goes_where_it_is_told_and_says_what_was_applied(gripper, arm, cell, settled):
    assert gripper.command(0.03004, 0.075, 10.0) == JawCommand(pytest.approx(0.030), 0.075, 30.0)
    state = settled(gripper, 0.030, 300)
    assert state.width == pytest.approx(cell.server.world.jaw_state().width, abs=2e-3) and state.force == 0.0
    assert gripper.command(0.2, 9.0, 10.0) == JawCommand(pytest.approx(0.085), 0.15, 30.0)
    assert settled(gripper, 0.085, 300).stamp_ns > state.stamp_ns
    assert arm.read(10.0).mode is ArmMode.RUNNING
    with pytest.raises(DeviceError, match="not finite"):
        gripper.command(np.nan, 0.1, 10.0)


@pytest.mark.slow
def test_f15_the_jaw_stays_where_closing_was_stopped(gripper, settled):
    gripper.command(0.085, 0.15, 30.0)
    settled(gripper, 0.085, 300)
    gripper.command(0.0, 0.03, 30.0)
    state = gripper.read(1.0)
    while state is None or state.width > 0.06:
        state = gripper.read(1.0)
    stopped = gripper.command(state.width, 0.15, 30.0)  # what the control core asks for at the ceiling
    assert settled(gripper, stopped.width, 300).width > 0.04


def test_f16_a_gripper_behind_a_cut_wire_says_so_and_keeps_its_width(gripper, box, cell, settled):
    gripper.command(0.040, 0.15, 30.0)
    settled(gripper, 0.040, 300)
    box.ports.disturb("cut")
    with pytest.raises(DeviceError, match="the xArm gripper did not take"):
        while True:
            gripper.read(1.0)
    assert cell.server.world.jaw_state().width == pytest.approx(0.040, abs=3e-3)


def test_a_box_without_a_gripper_is_refused(box_at, make_box, monkeypatch):
    box = make_box()
    monkeypatch.setattr(box.controller, "_gripper", None)
    with pytest.raises(DeviceError, match=r"control box error 19 \(End Effector Communication Error\)"):
        XArmGripper(XArmGripperSettings(*box_at))


@pytest.mark.parametrize("port", wire.REPORTS)
def test_reports_are_laid_out_as_the_vendor_reads_them(port):
    from xarm.x3.report import ReportDataStructure

    facts = {
        "state_mode": 1 << 4 | 2,
        "joints": np.arange(7) / 8,
        "pose": np.arange(6) / 4,
        "torques": np.arange(7) / 2,
        "error": 31,
        "tcp_offset": np.arange(6) / 16,
        "load": (0.5, 1.0, 2.0, 3.0),
        "ft": np.arange(6) + 0.5,
        "ft_raw": np.arange(6) + 0.25,
        "switches": 1,
    }
    record, seen = wire.report(port, facts), ReportDataStructure.create(port)
    seen.update(record)
    assert seen.data_size == len(record) == len(seen) and (seen.mode, seen.state) == (1, 2)
    assert seen.actual_joint_angle == list(facts["joints"]) and seen.estimated_joint_torque == list(facts["torques"])
    if port != wire.REAL_PORT:
        assert seen.error_code == 31 and seen.tcp_payload == [0.5, 1.0, 2.0, 3.0]
        assert seen.tcp_offset == list(facts["tcp_offset"])
    if port != wire.NORMAL_PORT:
        assert seen.ft_ext_force == list(facts["ft"]) and seen.ft_raw_force == list(facts["ft_raw"])
