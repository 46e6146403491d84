"""What only a camera can show: its clock, its bus, its plug. Each test says which variable switches it on.

export KINEMA_TEST_D435=<serial number> KINEMA_TEST_BASLER=<serial number>
pytest -m hardware -s tests/devices/test_camera_hardware.py
"""

import contextlib
import os

import numpy as np
import pytest

from kinema.clock import now_ns
from kinema.devices import basler, realsense
from kinema.devices.cameras import SteadyCamera
from kinema.errors import DeviceError

pytestmark = pytest.mark.hardware

PERIOD_NS = 1e9 / 30
OPENERS = {
    "KINEMA_TEST_D435": lambda serial: realsense.opener("left", realsense.RealSenseSettings(serial, depth=True)),
    "KINEMA_TEST_BASLER": lambda serial: basler.opener(
        "gripper", basler.BaslerSettings(serial, os.environ.get("KINEMA_TEST_BASLER_LINK", "usb"), exposure=0.005)
    ),
}


@pytest.fixture(params=OPENERS)
def camera(request):
    serial = os.environ.get(request.param)
    if serial is None:
        pytest.skip(f"needs a camera: set {request.param} to its serial number")
    camera = SteadyCamera(request.param, OPENERS[request.param](serial), 1.0)
    yield camera
    camera.close()


def test_ten_seconds_come_whole_evenly_and_young(camera):
    assert camera.facts.problem == ""
    frames, ages = [], []
    while len(frames) < 330:
        if frame := camera.read(1.0):
            frames.append(frame)
            ages.append(now_ns() - frame.stamp_ns)
    intervals = np.diff([frame.stamp_ns for frame in frames[30:]])  # exposure and white balance have settled
    assert camera.dropped == 0
    assert np.median(intervals) == pytest.approx(PERIOD_NS, rel=0.01) and intervals.std() < 1e6
    assert min(ages) >= 0 and np.median(ages) < 100e6


def test_f09_a_pulled_plug_is_noticed_and_the_camera_comes_back(camera):
    while camera.read(1.0) is None:
        pass
    print("\npull the camera's plug", flush=True)
    with pytest.raises(DeviceError):
        while True:
            camera.read(1.0)
    print("plug it in again", flush=True)
    frame = None
    while frame is None:
        with contextlib.suppress(DeviceError):  # absent still
            frame = camera.read(1.0)
    assert camera.reopened >= 1
