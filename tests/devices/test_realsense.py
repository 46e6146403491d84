"""The RealSense driver through the real librealsense, against software devices."""

import os
from dataclasses import replace

import numpy as np
import pytest

from kinema import paths, records
from kinema.chunk import ObservationSpec
from kinema.clock import NS, now_ns
from kinema.devices.cameras import SteadyCamera
from kinema.devices.realsense import RealSenseCamera, RealSenseSettings, opener
from kinema.errors import DeviceError, OwnershipError
from kinema.geometry import Pose
from kinema.perception.align import AlignmentError, Buffers, Cause, assemble
from kinema.ring import RingWriter
from kinema.streams import FROZEN_AFTER, FrozenImages, Level
from kinema.virtual.cameras import camera
from kinema.virtual.realsense import CellD435, VirtualD435

pytest.importorskip("pyrealsense2", exc_type=ImportError)

SIZE = (320, 240)
INFO = camera("left").info(SIZE)
WAIT = 10.0  # [s] for what is on its way; nothing is waited for in vain


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def stereo(seed: int, depth: np.ndarray | None = None) -> dict[str, np.ndarray]:
    grey = picture(seed)
    plain = np.full((SIZE[1], SIZE[0]), 1000, np.uint16)
    pair = {f"infrared{i}": np.ascontiguousarray(grey[..., i]) for i in (1, 2)}
    return {"color": grey, "depth": plain if depth is None else depth, **pair}


@pytest.fixture(autouse=True)
def claims_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "runtime", lambda name=None: tmp_path)


@pytest.fixture
def settings():
    return RealSenseSettings("047322070364", SIZE)


@pytest.fixture
def device(settings):
    device = VirtualD435(settings.serial, INFO)
    yield device
    device.unplug()


def test_a_colour_image_comes_through_whole_with_its_moment_and_its_number(device, settings, running):
    left = running(RealSenseCamera("left", replace(settings, latency=0.010), device.context))
    stamp_ns = now_ns() - 30_000_000
    device.push(41, stamp_ns, color=picture(1))
    frame = left.read(WAIT)
    assert (frame.camera, frame.sequence) == ("left", 41)
    assert np.array_equal(frame.image, picture(1)) and frame.image.flags.owndata
    assert frame.stamp_ns == pytest.approx(stamp_ns - 10_000_000, abs=1_000_000)  # wall time is read twice
    assert left.read(0.0) is None


def test_images_wait_for_a_reader_who_is_late(device, settings, running):
    left = running(RealSenseCamera("left", settings, device.context))
    for number in range(3):
        device.push(number, now_ns(), color=picture(number))
    assert [left.read(WAIT).sequence for _ in range(3)] == [0, 1, 2]


def test_depth_is_seen_from_the_colour_sensor_and_the_infrared_pair_is_as_it_was_taken(settings, running):
    device = VirtualD435(settings.serial, INFO, stereo=True)
    left = running(RealSenseCamera("left", replace(settings, depth=True, infrared=True), device.context))
    depth = np.full((SIZE[1], SIZE[0]), 1000, np.uint16)
    depth[:, 160:] = 500  # the right half is nearer
    device.push(1, now_ns(), **stereo(1, depth))
    frame = left.read(WAIT)
    assert len(frame.infrared) == 2
    assert all(np.array_equal(image, picture(1)[..., i]) for i, image in enumerate(frame.infrared, 1))
    row = frame.depth[SIZE[1] // 2]
    shift = round(0.015 / 0.500 * INFO.matrix[0, 0])  # [px] by which a point at 0.5 m moves between the sensors
    edge = int(np.flatnonzero(row == 500)[0])
    assert shift >= 5 and edge == pytest.approx(160 + shift, abs=2)
    assert set(np.unique(row)) <= {0, 500, 1000}


def test_an_image_that_was_lost_is_not_made_up_for_by_the_one_before(settings, running):
    device = VirtualD435(settings.serial, INFO, stereo=True)
    left = running(SteadyCamera("left", opener("left", replace(settings, depth=True), device.context), 30.0))
    begin_ns, seen = now_ns(), []
    for number, lost in enumerate((None, "color", "color", None, "depth", None)):
        images = {name: image for name, image in stereo(number).items() if name in ("color", "depth") and name != lost}
        device.push(number, begin_ns + number * 33_333_333, **images)
        while frame := left.read(0.1):  # sets without a new colour image are passed over
            seen.append((frame.sequence, frame.depth is not None))
    assert seen == [(0, True), (3, True), (4, False), (5, True)] and left.dropped == 2


def test_every_option_reaches_the_camera_in_the_cameras_units(settings, running):
    device = VirtualD435(settings.serial, INFO, stereo=True)
    wanted = replace(settings, exposure=0.008, gain=32.0, white_balance=5000.0, inter_cam_sync_mode=1, emitter=False)
    running(RealSenseCamera("left", wanted, device.context))
    colour = {
        "enable_auto_exposure": 0,
        "exposure": 80,
        "gain": 32,
        "enable_auto_white_balance": 0,
        "white_balance": 5000,
        "auto_exposure_priority": 0,
        "global_time_enabled": 1,
    }
    assert {name: device.option("color", name) for name in colour} == colour
    assert device.option("depth", "inter_cam_sync_mode") == 1 and device.option("depth", "emitter_enabled") == 0
    device.unplug()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"serial": "nobody"}, "is not plugged in; present are: 047322070364"),
        ({"size": (640, 480)}, "offers 320x240 at 30 Hz as color .* asked for is 640x480 at 30 Hz"),
        ({"rate": 60}, "asked for is 320x240 at 60 Hz"),
        ({"depth": True}, "offers nothing as depth"),
        ({"exposure": 2.0}, "exposure was to be 20000, it allows 1 to 10000"),
        ({"white_balance": 100.0}, "white_balance was to be 100, it allows 2800 to 6500"),
        ({"inter_cam_sync_mode": 1}, "has no option inter_cam_sync_mode"),
        ({"usb_port": "2-1"}, "is on USB port 'software-.*', the settings allow '2-1'"),
    ],
)
def test_what_the_camera_cannot_do_is_refused_with_what_it_can(device, settings, fields, message, running):
    with pytest.raises(DeviceError, match=message):
        RealSenseCamera("left", replace(settings, **fields), device.context)
    running(RealSenseCamera("left", settings, device.context))  # a refusal leaves nothing held


def test_a_slow_link_is_reported_with_what_to_do(settings, running):
    device = VirtualD435(settings.serial, INFO, usb="2.1")
    left = running(SteadyCamera("left", opener("left", settings, device.context), 1.0))
    health = left.health()
    assert health.level is Level.WARN and "USB 2.1" in health.text and "USB 3" in health.text
    assert health.values["port"] == f"software-{settings.serial}"


def test_a_second_opener_is_refused_and_told_who_was_first(device, settings, running):
    running(RealSenseCamera("left", settings, device.context))
    with pytest.raises(OwnershipError, match=rf"{settings.serial} belongs to .*process {os.getpid()}"):
        RealSenseCamera("left", settings, device.context)


def test_f09_a_camera_that_was_pulled_is_lost_and_comes_back_unattended(device, settings, running):
    left = running(SteadyCamera("left", opener("left", settings, device.context), patience=0.05))
    device.push(7, now_ns(), color=picture(1))
    device.push(9, now_ns(), color=picture(2))
    assert [left.read(WAIT).sequence for _ in range(2)] == [0, 2] and left.dropped == 1
    device.unplug()
    with pytest.raises(DeviceError, match="no image for"):
        while True:
            assert left.read(0.02) is None
    assert left.health().level is Level.ERROR
    for _ in range(2):  # however often it is asked
        with pytest.raises(DeviceError, match="is not plugged in; present are: none"):
            left.read(0.02)
    device.plug()
    assert left.read(0.0) is None
    device.push(1, now_ns(), color=picture(3))
    frame = left.read(WAIT)
    assert np.array_equal(frame.image, picture(3)) and frame.sequence == 3
    assert (left.dropped, left.reopened, left.health().level) == (1, 1, Level.OK)


def test_f10_a_frozen_camera_is_found_within_ten_frames_however_fresh_its_stamps(device, settings, running):
    left, pictures = running(RealSenseCamera("left", settings, device.context)), FrozenImages()
    frozen = []
    for number in range(FROZEN_AFTER + 1):
        device.push(number, now_ns(), color=picture(min(number, 1)))
        frozen.append(pictures.frozen(left.read(WAIT).image))
    assert frozen == [False] * FROZEN_AFTER + [True]


def test_f11_images_that_two_cameras_took_too_far_apart_are_dropped_and_counted(device, settings, running):
    other = VirtualD435(f"{settings.serial}-2", INFO)
    rows = {"left": (device, settings), "right": (other, replace(settings, serial=other.serial))}
    cameras = {name: running(RealSenseCamera(name, row, at.context)) for name, (at, row) in rows.items()}
    spec = ObservationSpec(cameras=tuple(rows), image_size=SIZE, max_skew=0.015)
    start_ns = now_ns() - NS // 10

    def observed(number, late_ns):
        for name, skew_ns in (("left", 0), ("right", late_ns)):
            rows[name][0].push(number, start_ns + skew_ns, color=picture(number))
            frame = cameras[name].read(WAIT)
            buffers.images[name].push(frame.stamp_ns, frame.image)
        return assemble(spec, buffers, start_ns)

    for number, late_ns in enumerate((5_000_000, 60_000_000)):
        buffers = Buffers(spec.cameras)
        buffers.poses.push(start_ns, Pose.identity())
        buffers.width.push(start_ns, 0.04)
        if late_ns < 15_000_000:
            assert observed(number, late_ns).images.keys() == set(rows)
        else:
            with pytest.raises(AlignmentError, match=r"right: the nearest image is .* allowed are 15.0 ms"):
                observed(number, late_ns)
            assert buffers.dropped == {Cause.SKEW: 1}


def test_f20_a_step_of_the_wall_clock_does_not_reach_the_stamps(device, settings, running, monkeypatch):
    left = running(RealSenseCamera("left", settings, device.context))
    taken = []
    for number, step in enumerate((0, 0, 3600, 3600, -3600, -3600)):
        true_ns = now_ns() - 20_000_000
        device.push(number, true_ns + step * NS, color=picture(number))  # librealsense's idea of wall time is now wrong
        taken.append(left.read(WAIT).stamp_ns - true_ns)
    assert all(-NS // 1000 <= error <= NS // 2 for error in taken)


def test_a_camera_without_global_time_is_stamped_by_its_own_clock(device, settings, running):
    left = running(RealSenseCamera("left", settings, device.context))
    colour, _ = device._streams["color"]
    colour.set_option(device._rs.option.global_time_enabled, 0)
    stamps = []
    for number in range(5):
        device.push(number, number * 33_000_000, color=picture(number))
        stamps.append(left.read(WAIT).stamp_ns)
    assert stamps[-1] <= now_ns() and np.diff(stamps).max() <= 33_000_000


def test_the_cells_camera_shows_what_the_renderer_draws_at_the_moment_that_it_shows(tmp_path, running):
    ring = RingWriter(tmp_path / "frames_left.ring", records.frame(SIZE), 8)
    device = CellD435("left", SIZE, tmp_path)
    left = running(RealSenseCamera("left", RealSenseSettings(device.serial, SIZE), device.context))
    frame = np.zeros((), records.frame(SIZE))
    begin = 30 * now_ns() // 10**9  # the renderer numbers moments, of which there are more than 2^31 by now
    for number in range(3):
        shown_ns = now_ns() - 20_000_000  # for so long the renderer has drawn
        frame["sequence"], frame["t_ns"], frame["image"] = begin + number, shown_ns, picture(number)
        ring.write(frame)
        seen = left.read(WAIT)
        assert seen.sequence == (begin + number) % 2**31 and np.array_equal(seen.image, picture(number))
        assert abs(seen.stamp_ns - shown_ns) < 1_000_000
    device.close()
    ring.close()
