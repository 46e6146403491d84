import numpy as np
import pytest

from kinema import records
from kinema.apps.jaw_drive import JawDrive
from kinema.devices.virtual import VirtualGripper
from kinema.errors import OwnershipError
from kinema.ring import RingReader, RingWriter


@pytest.fixture
def targets(tmp_path):
    ring = RingWriter(tmp_path / "jaw_target.ring", records.JAW_TARGET, 8)
    yield ring
    ring.close()


def _target(width):
    return np.array((width, 0.15, 20.0), records.JAW_TARGET)


def _steps(rig, drive, count):
    for _ in range(count):
        rig.during(drive.step)
        rig.ticks(4)


def test_a_target_moves_the_jaw_and_its_state_comes_back(rig, targets, tmp_path):
    targets.write(_target(0.010))  # from before the start: nobody wants it any more
    drive = JawDrive(tmp_path, lambda: VirtualGripper(tmp_path))
    states = RingReader(tmp_path / "jaw_state.ring", records.JAW)
    _steps(rig, drive, 80)
    assert states.latest()[1]["width"] == pytest.approx(0.085, abs=0.003)
    targets.write(_target(0.030))
    _steps(rig, drive, 80)
    newest = states.latest()[1]
    assert newest["width"] == pytest.approx(0.030, abs=0.003)
    assert newest["t_ns"] <= rig.cell.world.t_ns
    drive.close()


def test_a_lost_gripper_is_connected_again_and_moves_only_on_a_new_target(rig, targets, tmp_path, monkeypatch):
    monkeypatch.setattr("kinema.apps.jaw_drive._RETRY", 0.01)
    drive = JawDrive(tmp_path, lambda: VirtualGripper(tmp_path))
    targets.write(_target(0.060))
    _steps(rig, drive, 60)
    rig.cell.board.inject("disconnect", "jaw", 0.0, 0.0, 0.0, rig.cell.world.t_ns)
    _steps(rig, drive, 10)
    assert rig.cell.world.jaw_state().width == pytest.approx(0.060, abs=0.003)
    rig.cell.board.clear()
    _steps(rig, drive, 10)
    rig.cell.world.command_jaw(0.040, 0.15, 20.0)  # by somebody else meanwhile: an old target must not undo it
    _steps(rig, drive, 60)
    assert rig.cell.world.jaw_state().width == pytest.approx(0.040, abs=0.003)
    targets.write(_target(0.070))
    _steps(rig, drive, 60)
    assert rig.cell.world.jaw_state().width == pytest.approx(0.070, abs=0.003)
    drive.close()


def test_f21_a_second_drive_is_refused(rig, tmp_path):
    drive = JawDrive(tmp_path, lambda: VirtualGripper(tmp_path))
    with pytest.raises(OwnershipError, match="one writer only"):
        JawDrive(tmp_path, lambda: VirtualGripper(tmp_path))
    drive.close()
