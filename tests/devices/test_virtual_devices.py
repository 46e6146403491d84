"""The virtual devices against the real cell, which the test itself ticks."""

import threading
import time

import numpy as np
import pytest

from kinema import records
from kinema.devices.virtual import VirtualArm, VirtualCamera, VirtualGripper, VirtualLoadCell, VirtualPoseTracker
from kinema.errors import DeviceError
from kinema.interfaces import ArmCommand, CommandKind, JawCommand
from kinema.ring import RingWriter
from kinema.robots import arm
from kinema.virtual import scenario
from kinema.virtual.server import CellServer


@pytest.fixture
def cell(tmp_path):
    cell = CellServer(tmp_path, "virtual_ur5e", scenario.draw("open_drawer", "train", 1), CommandKind.TORQUE)
    yield cell
    cell.close()


def _beside(cell, call):
    """The call's value, ticking the cell until it returns."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    while thread.is_alive():
        cell.tick()
    return found[0]


def test_the_arm_says_what_it_takes_and_clips_to_its_limits(cell, tmp_path):
    device = _beside(cell, lambda: VirtualArm("virtual_ur5e", tmp_path))
    assert device.command_kind is CommandKind.TORQUE and device.period == 0.002
    cell.tick()
    state = device.read(1.0)
    assert np.abs(state.q - arm("ur5e").home).max() < 0.01
    wild = ArmCommand(CommandKind.TORQUE, np.array([1e4, -1e4, 1.0, 0.0, 0.0, 0.0]))
    applied = device.write(cell.k, wild)
    assert applied.values.tolist() == [150.0, -150.0, 1.0, 0.0, 0.0, 0.0]
    cell.tick()
    assert cell.world.data.ctrl[:3].tolist() == [150.0, -150.0, 1.0]
    with pytest.raises(DeviceError, match="takes TORQUE, not POSITION"):
        device.write(cell.k, ArmCommand(CommandKind.POSITION, np.zeros(6)))
    device.close()


def test_the_gripper_goes_where_it_is_told_and_says_what_was_applied(cell, tmp_path):
    gripper = _beside(cell, lambda: VirtualGripper(tmp_path))
    assert _beside(cell, lambda: gripper.command(0.02, 0.15, 20.0)) == JawCommand(0.02, 0.15, 20.0)
    assert _beside(cell, lambda: gripper.command(0.5, 1.0, 1e3)) == JawCommand(0.085, 0.15, 60.0)
    _beside(cell, lambda: gripper.command(0.02, 0.15, 20.0))
    for _ in range(500):
        cell.tick()
    while (state := gripper.read(0.0)) is not None:
        last = state
    assert last.width == pytest.approx(0.02, abs=0.003)
    with pytest.raises(DeviceError, match="not finite"):
        _beside_raises(cell, lambda: gripper.command(float("nan"), 0.1, 1.0))
    gripper.close()


def _beside_raises(cell, call):
    def caught():
        try:
            return call()
        except DeviceError as error:
            return error

    value = _beside(cell, caught)
    if isinstance(value, DeviceError):
        raise value


def test_the_load_cell_reads_every_sample_once_and_tares(cell, tmp_path):
    load_cell = _beside(cell, lambda: VirtualLoadCell("serial", tmp_path))
    for _ in range(100):
        cell.tick()
    samples = []
    while (sample := load_cell.read(0.0)) is not None:
        samples.append(sample)
    stamps = [sample.stamp_ns for sample in samples]
    assert len(stamps) >= 20 and stamps == sorted(set(stamps)) and not samples[-1].tared
    _beside(cell, load_cell.tare)
    for _ in range(50):
        cell.tick()
    while (sample := load_cell.read(0.0)) is not None:
        last = sample
    assert last.tared and abs(last.force) < 1.0
    load_cell.close()


def test_a_camera_hands_out_each_frame_once_and_only_news(tmp_path):
    size = (32, 24)
    ring = RingWriter(tmp_path / "frames_left.ring", records.frame(size), 4)
    frame = np.zeros((), records.frame(size))
    ring.write(frame)
    camera = VirtualCamera("left", "serial", size, tmp_path)
    assert camera.read(0.0) is None
    for sequence in (7, 8):
        frame["sequence"], frame["t_ns"], frame["image"] = sequence, sequence * 10, sequence
        ring.write(frame)
    first, second = camera.read(0.0), camera.read(0.0)
    assert (first.sequence, first.stamp_ns, int(first.image[0, 0, 0]), first.image.shape) == (7, 70, 7, (24, 32, 3))
    assert second.sequence == 8 and camera.read(0.0) is None
    ring.close()


def test_the_tracker_comes_from_its_ring(tmp_path):
    tracker = VirtualPoseTracker("serial", tmp_path)
    assert tracker.read(0.0) is None
    ring = RingWriter(tmp_path / "tracker.ring", records.TRACKER, 4)
    ring.write(np.array((5, (1.0, 2.0, 3.0), np.eye(3), 3, False), records.TRACKER))
    pose = tracker.read(0.0)
    assert (pose.stamp_ns, pose.confidence, pose.jumped) == (5, 3, False)
    assert pose.T_world_tracker.position.tolist() == [1.0, 2.0, 3.0]
    ring.close()


def test_a_read_waits_for_what_comes_later(tmp_path):
    tracker = VirtualPoseTracker("serial", tmp_path)
    ring = RingWriter(tmp_path / "tracker.ring", records.TRACKER, 4)

    def later():
        time.sleep(0.05)
        ring.write(np.array((9, np.zeros(3), np.eye(3), 1, True), records.TRACKER))

    thread = threading.Thread(target=later)
    thread.start()
    assert tracker.read(30.0).stamp_ns == 9
    thread.join()
    ring.close()
