"""The Basler driver through the real pylon, against its camera emulation.

The emulation has no clock, and reads pictures from files before it starts to grab: the cell's frames can't be fed in.
"""

import ctypes
import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from kinema import paths
from kinema.clock import now_ns
from kinema.devices import genicam_lock
from kinema.devices.basler import BaslerCamera, BaslerSettings, opener
from kinema.devices.cameras import SteadyCamera
from kinema.errors import DeviceError, OwnershipError
from kinema.streams import FROZEN_AFTER, FrozenImages, Level

os.environ.setdefault("PYLON_CAMEMU", "2")  # read when pylon is loaded, which the driver does as late as it can

SETTINGS = BaslerSettings("0815-0000", "emulation", size=(320, 240), exposure=0.001, gain=0.0)
WAIT = 10.0  # [s] for what is on its way; nothing is waited for in vain


@pytest.fixture(autouse=True)
def claims_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "runtime", lambda name=None: tmp_path)


def feature(camera, name):
    return camera._nodes.GetNode(name)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """`shown(image)`: what cameras opened from now on see, an RGB image without its Bayer pattern."""

    def show(image):
        cv2.imwrite(str(tmp_path / "seen.png"), image[..., ::-1])
        grab = BaslerCamera._grab

        def look_at_it(camera):
            feature(camera, "TestImageSelector").Value = "Off"
            feature(camera, "ImageFilename").Value = str(tmp_path / "seen.png")
            feature(camera, "ImageFileMode").Value = "On"
            grab(camera)

        monkeypatch.setattr(BaslerCamera, "_grab", look_at_it)

    return show


def test_images_are_rgb_numbered_and_stamped(running):
    camera = running(BaslerCamera("gripper", replace(SETTINGS, latency=0.5)))
    before_ns = now_ns()
    frames = [camera.read(WAIT) for _ in range(3)]
    assert frames[0].image.shape == (240, 320, 3) and frames[0].image.dtype == np.uint8
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(stamps) and before_ns - 600_000_000 < stamps[0] and stamps[-1] < now_ns() - 500_000_000
    assert not np.shares_memory(frames[0].image, frames[1].image)


@pytest.mark.parametrize("pixel_format", ["RGB8Packed", "BayerRG8", "BayerBG8", "Mono8"])
def test_the_sdk_makes_rgb_of_every_format(running, shown, pixel_format):
    colour = np.zeros((240, 320, 3), np.uint8)
    colour[:] = (200, 100, 50)
    shown(colour)
    camera = running(BaslerCamera("gripper", replace(SETTINGS, pixel_format=pixel_format)))
    middle = camera.read(WAIT).image[120, 160]
    wanted = (200, 100, 50) if pixel_format != "Mono8" else (middle[0],) * 3
    assert np.abs(middle.astype(int) - wanted).max() <= 2 and middle.max() > 40


def test_settings_reach_the_camera_in_the_cameras_units(running):
    wanted = replace(
        SETTINGS, pixel_format="Mono8", binning=2, offset=(64, 32), exposure=0.0025, rate=20, packet_size=1400
    )
    camera = running(BaslerCamera("gripper", wanted))
    found = {
        name: feature(camera, name).Value
        for name in (
            "PixelFormat",
            "BinningHorizontal",
            "BinningVertical",
            "Width",
            "Height",
            "OffsetX",
            "OffsetY",
            "ExposureTime",
            "ExposureAuto",
            "AcquisitionFrameRate",
            "GevSCPSPacketSize",
            "TriggerMode",
        )
    }
    assert found == {
        "PixelFormat": "Mono8",
        "BinningHorizontal": 2,
        "BinningVertical": 2,
        "Width": 320,
        "Height": 240,
        "OffsetX": 64,
        "OffsetY": 32,
        "ExposureTime": 2500.0,
        "ExposureAuto": "Off",
        "AcquisitionFrameRate": 20.0,
        "GevSCPSPacketSize": 1400,
        "TriggerMode": "Off",
    }


def test_what_is_not_given_is_automatic_and_centred(running):
    camera = running(BaslerCamera("gripper", replace(SETTINGS, exposure=None, gain=None)))
    assert feature(camera, "ExposureAuto").Value == feature(camera, "GainAuto").Value == "Continuous"
    for axis, side in (("X", "Width"), ("Y", "Height")):
        free = feature(camera, f"{side}Max").Value - feature(camera, side).Value
        assert feature(camera, f"Offset{axis}").Value == pytest.approx(free / 2, abs=16)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"serial": "4711"}, r"is not plugged in; present by emulation are: .*0815-0000"),
        ({"link": "wifi"}, r"link is 'wifi', allowed are usb, gige, emulation"),
        ({"user_id": "gripper"}, r"calls itself '', the settings want 'gripper'"),
        ({"pixel_format": "YUV422"}, r"PixelFormat was to be YUV422, it allows Mono8, .*BayerRG8"),
        ({"size": (100_000, 240)}, r"Width was to be 100000, it allows 1 to 4096"),
        ({"exposure": 1e6}, r"ExposureTime was to be 1000000000000.0, it allows 1 to 1e\+07"),
        ({"trigger": "Line9"}, r"TriggerSource was to be Line9, it allows .*Line1"),
        ({"rate": 1e6}, r"AcquisitionFrameRate was to be 1000000.0, it allows .* to 5000"),
    ],
)
def test_what_the_camera_cannot_do_is_refused_with_what_it_can(running, fields, message):
    with pytest.raises(DeviceError, match=message):
        BaslerCamera("gripper", replace(SETTINGS, **fields))
    running(BaslerCamera("gripper", SETTINGS))  # a refusal leaves nothing held


def test_a_triggered_camera_waits_for_its_line(running):
    camera = running(BaslerCamera("gripper", replace(SETTINGS, trigger="Line1")))
    assert feature(camera, "TriggerMode").Value == "On" and feature(camera, "TriggerSource").Value == "Line1"
    assert camera.read(0.2) is None


@pytest.mark.slow
def test_a_second_opener_is_refused_and_told_who_was_first_until_that_process_is_killed(running, start, tmp_path):
    program = tmp_path / "first.py"
    program.write_text(
        "import pathlib, sys, time\n"
        "from kinema import paths\n"
        "from kinema.devices.basler import BaslerCamera, BaslerSettings\n"
        f"paths.runtime = lambda name=None: pathlib.Path({str(tmp_path)!r})\n"
        "camera = BaslerCamera('gripper', BaslerSettings('0815-0000', 'emulation', gain=0.0))\n"
        "print(camera.read(10.0).sequence, flush=True)\n"
        "time.sleep(600)\n"
    )
    first = start([sys.executable, str(program)], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"0\n"
    with pytest.raises(OwnershipError, match=rf"0815-0000 belongs to first\.py \(process {first.pid}\)"):
        BaslerCamera("gripper", SETTINGS)
    running(BaslerCamera("other", replace(SETTINGS, serial="0815-0001")))
    first.kill()
    first.wait()
    assert running(BaslerCamera("gripper", SETTINGS)).read(WAIT).sequence == 0


def test_f09_a_process_killed_while_it_opened_a_camera_keeps_no_other_out(running, monkeypatch):
    monkeypatch.setattr(genicam_lock, "_PATIENCE", 0.1)
    running(BaslerCamera("gripper", SETTINGS))
    semaphores = [path for path in genicam_lock.FOLDER.glob(genicam_lock.PATTERN) if genicam_lock.value(path)]
    assert semaphores
    libc = ctypes.CDLL(None)
    libc.sem_open.restype = ctypes.c_void_p
    for path in semaphores:  # what is left of a killed process: taken, and never given back
        assert libc.sem_trywait(ctypes.c_void_p(libc.sem_open(genicam_lock._name(path), 0))) == 0
    other = running(BaslerCamera("other", replace(SETTINGS, serial="0815-0001")))
    assert other.read(WAIT) is not None


def test_what_a_late_reader_missed_and_what_came_damaged_is_counted(running, wait_for):
    camera = running(SteadyCamera("gripper", opener("gripper", replace(SETTINGS, rate=100.0)), 30.0))
    numbers = [camera.read(WAIT).sequence]
    inside = camera._camera._camera
    wait_for(lambda: inside.NumReadyBuffers.Value == 4, what="a full ring, of which the oldest is skipped")
    inside.ForceFailedBufferCount.Value = 2
    inside.ForceFailedBuffer.Execute()
    while len(numbers) < 12:
        if frame := camera.read(WAIT):
            numbers.append(frame.sequence)
    gaps = np.diff(numbers) - 1
    assert gaps.min() >= 0 and camera.dropped == gaps.sum() >= 2
    assert camera.health().values["dropped"] == str(camera.dropped)


def test_f09_a_camera_that_was_pulled_is_opened_anew_unattended(running):
    camera = running(SteadyCamera("gripper", opener("gripper", SETTINGS), 30.0))
    last = [camera.read(WAIT) for _ in range(3)][-1]
    feature(camera._camera, "FirePnPCallback").Execute()
    with pytest.raises(DeviceError, match="has been unplugged"):
        while True:
            camera.read(WAIT)
    assert camera.health().level is Level.ERROR and "unplugged" in camera.health().text
    assert camera.read(WAIT).sequence > last.sequence
    assert camera.reopened == 1 and camera.health().level is Level.OK


def test_f09_a_silent_camera_is_opened_anew_though_nobody_said_that_it_was_pulled(running):
    camera = running(SteadyCamera("gripper", opener("gripper", replace(SETTINGS, trigger="Line1")), 0.1))
    with pytest.raises(DeviceError, match=r"no image for .* allowed are 0\.1 s"):
        while True:
            assert camera.read(0.05) is None
    assert camera.read(0.0) is None and camera.reopened == 1


def test_f10_a_frozen_camera_is_found_within_ten_frames(running, shown):
    shown(np.full((240, 320, 3), 77, np.uint8))
    camera, pictures = running(BaslerCamera("gripper", replace(SETTINGS, rate=100.0))), FrozenImages()
    assert [pictures.frozen(camera.read(WAIT).image) for _ in range(FROZEN_AFTER)] == [False] * 9 + [True]
