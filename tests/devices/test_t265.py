"""The T265 driver with its helper process: real librealsense, a software device fed from the cell's tracker ring."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from kinema import records
from kinema.devices.t265 import T265, find_python
from kinema.errors import DeviceError, OwnershipError
from kinema.geometry import Pose, so3_exp
from kinema.perception.tool_pose import ToolPose
from kinema.ring import RingWriter

pytest.importorskip("pyrealsense2")

ROTATION = so3_exp(np.array([0.3, -1.2, 0.7]))


class Cell:
    """What the cell's tracker says, about 200 times a second."""

    def __init__(self, folder):
        self.folder, self.k = folder, 0
        self.confidence, self.jump, self.rotation, self.silent = 3, False, ROTATION, False
        self._ring, self._stopped = RingWriter(folder / "tracker.ring", records.TRACKER, 512), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stopped.wait(0.005):
            self.k += not self.silent
            if not self.silent:
                position = (1e-4 * self.k, -0.5, 2.0)
                jumped, self.jump = self.jump, False
                row = (5_000_000 * self.k, position, self.rotation, self.confidence, jumped)
                self._ring.write(np.array(row, records.TRACKER))

    def close(self):
        self._stopped.set()
        self._thread.join()
        self._ring.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A cell, and the driver at it."""
    cell = Cell(tmp_path_factory.mktemp("cell"))
    tracker = T265("T-1", world=cell.folder)
    yield cell, tracker
    tracker.close()
    cell.close()


def _next(tracker, wanted=lambda pose: True):
    """The next pose that is as wanted."""
    for _ in range(3000):
        pose = tracker.read(20.0)
        if pose is not None and wanted(pose):
            return pose
    raise AssertionError("no such pose came")


def test_poses_come_with_their_numbers_times_and_confidence(bench):
    cell, tracker = bench
    cell.confidence = 3
    poses = [_next(tracker) for _ in range(50)]
    steps = np.diff([pose.T_world_tracker.position[0] for pose in poses]) / 1e-4
    assert np.abs(steps - np.round(steps)).max() < 0.01 and steps.min() > 0.5
    spacing = np.diff([pose.stamp_ns for pose in poses])
    assert (spacing >= 0).all()
    np.testing.assert_allclose(poses[0].T_world_tracker.rotation, ROTATION, atol=1e-5)
    assert poses[0].T_world_tracker.position[1:].tolist() == [-0.5, 2.0]
    assert {pose.confidence for pose in poses} == {3} and not any(pose.jumped for pose in poses)
    cell.confidence = 1
    assert _next(tracker, lambda pose: pose.confidence == 1)
    cell.confidence = 3


def test_f12_a_relocalisation_is_handed_on_once_and_begins_a_new_segment(bench):
    cell, tracker = bench
    tool = ToolPose(Pose.identity())
    tool.take(_next(tracker, lambda pose: pose.confidence == 3))
    cell.jump = True
    jumped = _next(tracker, lambda pose: pose.jumped)
    assert tool.take(jumped) is None and tool.segment == 1 and "relocalised" in tool.reason
    assert not _next(tracker).jumped


def test_f12_a_pose_that_is_none_is_not_finite(bench):
    cell, tracker = bench
    cell.rotation = np.full((3, 3), np.nan)
    pose = _next(tracker, lambda pose: not pose.T_world_tracker.isfinite())
    assert ToolPose(Pose.identity()).take(pose) is None
    cell.rotation = ROTATION
    assert _next(tracker, lambda pose: pose.T_world_tracker.isfinite())


def test_f21_the_second_opener_is_told_who_has_it(bench):
    with pytest.raises(OwnershipError, match=rf"t265-T-1 belongs to .*process {os.getpid()}"):
        T265("T-1", world=bench[0].folder)


def test_f12_a_helper_that_is_killed_is_started_anew_in_a_new_world(bench):
    _, tracker = bench
    tracker._helper.send_signal(signal.SIGKILL)
    with pytest.raises(DeviceError, match="T265 T-1: its helper process ended with status -9"):
        while True:
            tracker.read(5.0)
    assert _next(tracker).jumped and not _next(tracker).jumped
    assert tracker.restarts == 1


@pytest.mark.slow
def test_f12_a_silent_tracker_is_started_anew(bench):
    cell, tracker = bench
    restarts, cell.silent = tracker.restarts, True
    with pytest.raises(DeviceError, match=r"silent for more than 1 s; it is started anew"):
        while True:
            tracker.read(0.2)
    cell.silent = False
    assert _next(tracker).jumped and tracker.restarts == restarts + 1


@pytest.mark.slow
def test_f12_a_driver_that_is_killed_takes_its_helper_along(bench, start, wait_for):
    hold = (
        "import sys; from pathlib import Path; from kinema.devices.t265 import T265; "
        "tracker = T265('T-2', world=Path(sys.argv[1])); print(tracker._helper.pid, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    driver = start([sys.executable, "-c", hold, str(bench[0].folder)], stdin=pipe, stdout=pipe)
    helper = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    wait_for(lambda: os.waitpid(helper, os.WNOHANG)[0] == helper, what="the helper's end")


def test_without_an_interpreter_the_error_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setenv("KINEMA_T265_PYTHON", str(tmp_path / "python3.10"))
    with pytest.raises(DeviceError, match=r"python3\.10: does not run .*pip install pyrealsense2==2\.53\.1\.4623"):
        find_python()
    monkeypatch.setenv("KINEMA_T265_PYTHON", sys.executable)  # its librealsense is too new
    with pytest.raises(DeviceError, match=r"its pyrealsense2 2\.\d+\.\d+\.\d+ no longer knows the T265"):
        find_python()


@pytest.mark.slow
def test_the_old_librealsense_runs_the_helper_and_says_what_is_connected():
    try:
        find_python()
    except DeviceError as error:
        pytest.skip(str(error))
    with pytest.raises(DeviceError, match=r"T265 none-such: no T265 with serial number none-such; connected: "):
        T265("none-such", patience=0.0)


@pytest.mark.hardware
def test_a_real_tracker_sends_two_hundred_poses_a_second():
    serial = os.environ.get("KINEMA_TEST_T265")
    if not serial:
        pytest.skip("needs a T265: name its serial number in $KINEMA_TEST_T265")
    tracker = T265(serial)
    began = time.monotonic()
    poses = [_next(tracker) for _ in range(1000)]
    tracker.close()
    assert 4.5 < time.monotonic() - began < 5.5 and max(pose.confidence for pose in poses) >= 2
