"""The Robotiq driver by TCP at a virtual URCap socket before the jaw of the cell."""

import os

import numpy as np
import pytest

from kinema import records
from kinema.apps.jaw_drive import JawDrive
from kinema.devices.robotiq import Robotiq, RobotiqSettings
from kinema.devices.virtual import VirtualGripper
from kinema.errors import DeviceError, OwnershipError
from kinema.ring import RingReader, RingWriter
from kinema.virtual.robotiq_socket import RobotiqSocket

ADDRESS = f"127.19.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"
SETTINGS = RobotiqSettings(ADDRESS, activate=True)


@pytest.fixture
def urcap(cell):
    jaw = VirtualGripper(cell.folder)
    urcap = RobotiqSocket(jaw, ADDRESS)
    yield urcap
    urcap.close()
    jaw.close()


@pytest.fixture
def gripper(urcap):
    gripper = Robotiq(SETTINGS)
    yield gripper
    gripper.close()


def test_it_moves_nothing_unless_it_may_activate(urcap, cell):
    before = cell.server.world.jaw_state().width
    with pytest.raises(DeviceError, match=r"not active, and activating it opens and closes it fully"):
        Robotiq(RobotiqSettings(ADDRESS))
    assert urcap.values["ACT"] == 0 and cell.server.world.jaw_state().width == pytest.approx(before, abs=1e-3)


def test_it_goes_where_it_is_told_and_says_what_was_applied(gripper, urcap, cell, settled):
    applied = gripper.command(0.030, 0.100, 50.0)
    assert applied.width == pytest.approx(0.030, abs=2e-4)
    assert 0.099 < applied.speed <= 0.100 and 49.0 < applied.force <= 50.0
    assert urcap.values["FOR"] == 35 and urcap.values["GTO"] == 1
    state = settled(gripper, 0.030, 600)
    assert state.width == pytest.approx(cell.server.world.jaw_state().width, abs=2e-3)
    least = gripper.command(9.0, 0.0, 0.0)
    assert (least.width, least.speed, least.force) == (0.085, 0.020, 20.0)
    with pytest.raises(DeviceError, match="not finite"):
        gripper.command(np.nan, 0.1, 10.0)


def test_the_fastest_and_strongest_are_the_registers_ends(gripper, urcap):
    applied = gripper.command(-1.0, 9.0, 1e3)
    assert (applied.width, applied.speed, applied.force) == (0.0, 0.150, 235.0)
    assert (urcap.values["POS"], urcap.values["SPE"], urcap.values["FOR"]) == (230, 255, 255)


def test_f15_the_jaw_stays_where_closing_was_stopped(gripper, settled):
    gripper.command(0.085, 0.150, 50.0)
    settled(gripper, 0.085, 600)
    gripper.command(0.0, 0.020, 50.0)
    state = gripper.read(1.0)
    while state is None or state.width > 0.06:
        state = gripper.read(1.0)
    stopped = gripper.command(state.width, 0.150, 50.0)  # what the control core asks for at the ceiling
    assert settled(gripper, stopped.width, 600).width > 0.04


def test_a_fault_of_the_gripper_is_told_in_words(gripper, urcap):
    urcap.values["FLT"] = 14
    with pytest.raises(DeviceError, match=r"drew too much current \(fault 14\)"):
        while True:
            gripper.read(1.0)


def test_f21_a_second_opener_is_refused_and_told_who_was_first(gripper):
    with pytest.raises(OwnershipError, match=rf"belongs to .*\(process {os.getpid()}\)"):
        Robotiq(SETTINGS)


def test_f16_a_silent_socket_is_noticed(gripper, urcap):
    urcap.mute = True
    with pytest.raises(DeviceError, match="did not answer 'GET"):
        while True:
            gripper.read(1.0)


def test_nobody_there_is_an_error_that_says_where():
    with pytest.raises(DeviceError, match=r"no Robotiq URCap answers at 127\.0\.0\.1:1 "):
        Robotiq(RobotiqSettings("127.0.0.1", 1))


def test_f16_the_jaw_drive_connects_again_after_a_cut_wire_and_moves_only_on_a_new_target(
    urcap, cell, tmp_path, monkeypatch
):
    monkeypatch.setattr("kinema.apps.jaw_drive._RETRY", 0.01)
    targets = RingWriter(tmp_path / "jaw_target.ring", records.JAW_TARGET, 8)
    drive = JawDrive(tmp_path, lambda: Robotiq(SETTINGS))
    states = RingReader(tmp_path / "jaw_state.ring", records.JAW)

    def until(width):
        for _ in range(3000):
            drive.step()
            newest = states.latest()
            if newest is not None and abs(newest[1]["width"] - width) < 2e-3:
                return
        raise AssertionError(f"{newest}, wanted {width}")

    def target(width):
        targets.write(np.array((width, 0.15, 30.0), records.JAW_TARGET))

    drive.step()
    target(0.060)
    until(0.060)
    urcap.cut()
    cell.server.world.command_jaw(0.040, 0.15, 20.0)  # by somebody else: an old target must not undo it
    until(0.040)
    target(0.070)
    until(0.070)
    drive.close()
    targets.close()
