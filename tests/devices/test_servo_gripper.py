"""The servo gripper by the real dynamixel-sdk on a pty, at a virtual servo before the jaw of the cell."""

import importlib.resources
import os
import re
import threading

import numpy as np
import pytest

from kinema.devices.servo_gripper import ServoGripper, ServoGripperSettings
from kinema.devices.virtual import VirtualGripper
from kinema.errors import ConfigError, DeviceError, OwnershipError
from kinema.virtual import servo_pty
from kinema.virtual.servo_pty import REGISTERS, ServoPty


@pytest.fixture
def servo(cell, tmp_path, monkeypatch):
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 250)  # [ms] on a busy machine an answer takes long
    jaw = VirtualGripper(cell.folder)
    servo = ServoPty(jaw, tmp_path / "gripper")
    yield servo
    servo.close()
    jaw.close()


@pytest.fixture
def settings(tmp_path):
    return ServoGripperSettings(tmp_path / "gripper")


@pytest.fixture
def gripper(servo, settings):
    gripper = ServoGripper(settings)
    yield gripper
    gripper.close()


def _settled(gripper, width):
    for _ in range(600):
        state = gripper.read(1.0)
        if abs(state.width - width) < 2e-3:
            return state
    raise AssertionError(f"{state}, wanted {width}")


def test_switching_on_moves_nothing(cell, servo, gripper):
    before = cell.server.world.jaw_state().width
    assert servo.get("Torque Enable") == 1 and servo.get("Operating Mode") == 5
    state = gripper.read(1.0)
    assert state.width == pytest.approx(before, abs=1e-3)
    assert servo.linkage.width(servo.get("Goal Position")) == pytest.approx(before, abs=1e-3)


def test_it_goes_where_it_is_told_and_says_what_was_applied(gripper, servo, cell):
    applied = gripper.command(0.030, 0.100, 25.05)
    assert applied.width == pytest.approx(0.030, abs=5e-5)
    assert 0.095 < applied.speed <= 0.100 and applied.force == pytest.approx(25.0)
    assert servo.get("Goal Current") == 250
    state = _settled(gripper, 0.030)
    assert state.width == pytest.approx(cell.server.world.jaw_state().width, abs=2e-3)
    most = gripper.command(9.0, 9.0, 1e3)
    assert (most.width, most.force) == (pytest.approx(0.085), pytest.approx(60.0)) and most.speed <= 0.15
    least = gripper.command(-1.0, 0.0, 0.0)
    assert least.width == 0.0 and 0.0 < least.speed < 0.005 and least.force == pytest.approx(0.1)
    with pytest.raises(DeviceError, match="not finite"):
        gripper.command(np.nan, 0.1, 10.0)


@pytest.mark.slow
def test_f15_the_jaw_stays_where_closing_was_stopped(gripper):
    gripper.command(0.085, 0.15, 50.0)
    _settled(gripper, 0.085)
    gripper.command(0.0, 0.02, 50.0)
    state = gripper.read(1.0)
    while state.width > 0.06:
        state = gripper.read(1.0)
    stopped = gripper.command(state.width, 0.15, 50.0)  # what the control core asks for at the ceiling
    assert _settled(gripper, stopped.width).width > 0.04


def test_what_it_presses_with_is_read_from_the_current(gripper, servo, monkeypatch):
    look = servo._look
    monkeypatch.setattr(servo, "_look", lambda: (look(), servo.set("Present Current", 123)))
    assert gripper.read(1.0).force == pytest.approx(12.3)
    monkeypatch.setattr(servo, "_look", lambda: (look(), servo.set("Present Current", -123)))
    assert gripper.read(1.0).force == 0.0


def test_a_servo_that_holds_keeps_its_grip_when_it_is_connected_again(gripper, servo, settings):
    gripper.command(0.040, 0.15, 30.0)
    _settled(gripper, 0.040)
    gripper.close()
    goal = servo.get("Goal Position")
    again = ServoGripper(settings)
    assert servo.get("Torque Enable") == 1 and servo.get("Goal Position") == goal
    again.close()


def test_a_servo_that_holds_in_another_mode_is_not_made_to_let_go(servo, settings):
    servo.set("Torque Enable", 1)
    with pytest.raises(DeviceError, match="lets go of what it holds"):
        ServoGripper(settings)
    assert servo.get("Torque Enable") == 1 and servo.get("Operating Mode") == 3


def test_an_overload_is_told_in_words(gripper, servo):
    servo.set("Hardware Error Status", 1 << 5)
    with pytest.raises(DeviceError, match="switched itself off: overload"):
        gripper.read(1.0)


def test_f16_a_silent_servo_and_a_pulled_adapter_are_noticed(gripper, servo, settings, monkeypatch):
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 16)
    servo.mute = True
    with pytest.raises(DeviceError, match="no status packet"):
        gripper.read(1.0)
    servo.mute = False
    servo.unplug()
    with pytest.raises(DeviceError, match="has gone"):
        gripper.read(1.0)
    with pytest.raises(DeviceError, match="cannot be opened"):
        ServoGripper(settings)


def test_garbage_on_the_wire_costs_no_wrong_value(gripper, servo, monkeypatch):
    chance = np.random.default_rng(7)
    answer = servo._answer

    def garbled(instruction, parameters):
        good = bytearray(answer(instruction, parameters))
        if chance.random() < 0.3:
            good[chance.integers(len(good))] ^= int(chance.integers(1, 256))
        return bytes(good)

    gripper.command(0.050, 0.15, 30.0)
    _settled(gripper, 0.050)
    for _ in range(30):  # until it stands
        width = gripper.read(1.0).width
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 5)
    monkeypatch.setattr(servo, "_answer", garbled)
    right = 0
    for _ in range(40):
        try:
            state = gripper.read(1.0)
        except DeviceError:
            continue
        assert abs(state.width - width) < 1e-3
        right += 1
    assert right >= 20


def test_another_servo_is_refused(servo, settings):
    servo.set("Model Number", 1060)
    with pytest.raises(DeviceError, match="of model 1060; needed is 1020"):
        ServoGripper(settings)


def test_f21_a_second_opener_is_refused_and_told_who_was_first(gripper, settings):
    refused = []

    def second():
        try:
            ServoGripper(settings)
        except OwnershipError as error:
            refused.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert re.search(rf"belongs to .*\(process {os.getpid()}\)", refused[0])


def test_a_linkage_that_moves_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must differ"):
        ServoGripper(ServoGripperSettings(tmp_path / "gripper", opened=5, closed=5))


def test_the_virtual_servo_has_the_vendors_control_table():
    text = (importlib.resources.files("dynamixel_easy_sdk") / "control_table/xm430_w350.model").read_text()
    table = {name: (int(address), int(size)) for address, size, name in re.findall(r"(\d+)\t(\d)\t(.+)", text)}
    assert {name: table[name] for name in REGISTERS} == REGISTERS


def test_packets_are_made_as_the_vendor_makes_them():
    from dynamixel_sdk import Protocol2PacketHandler

    body = bytes((1, 255, 255, 253, 7))
    made = servo_pty.packet(1, servo_pty.WRITE, body)
    assert made.endswith(servo_pty.crc(made[:-2]).to_bytes(2, "little"))
    assert Protocol2PacketHandler().updateCRC(0, list(made[:-2]), len(made) - 2) == servo_pty.crc(made[:-2])
    assert bytes((255, 255, 253, 253)) in made
