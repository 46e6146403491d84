"""The clock that a screen shows is read back from pictures of it, and tells a camera's latency."""

import functools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration import display_clock
from kinema.calibration.display_clock import SIZE, TICK_NS, Clock, black, read
from kinema.calibration.latency import displayed_clock
from kinema.clock import NS
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.virtual import noise
from kinema.virtual.cameras import camera

STAMP = 1_800_000_000 * NS
UNIT = 16  # [px] of the screen
WIDTH = 0.30  # [m] of the clock on it
NEAR = Pose.from_rotvec([-0.14, -0.11, 0.28], [0.1, 0.1, 0.0])  # of the fisheye
VIEW = Pose.from_rotvec([-0.12, -0.10, 0.42], [0.15, -0.25, 0.1])


def screen(t_ns: int) -> np.ndarray:
    """(h, w) light of the screen, with a white margin of a unit."""
    picture = np.full((round((SIZE[1] + 2) * UNIT), round((SIZE[0] + 2) * UNIT)), 210.0)
    for x, y, width, height in (black(t_ns) + np.array([1, 1, 0, 0])) * UNIT:
        picture[round(y) : round(y + height), round(x) : round(x + width)] = 30.0
    return picture


@functools.cache
def rays(name: str) -> np.ndarray:
    return camera(name).info((320, 240)).rays(np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), -1))


def seen(picture: np.ndarray, name: str = "left", seed: int = 0, blur: float = 0.8, T_camera_clock=VIEW) -> np.ndarray:
    """What a camera of the virtual cell makes of a screen: its lens, blur and noise."""
    T, level = T_camera_clock.inverse(), noise.load().camera
    origin, ways = T.position, rays(name) @ T.rotation.T
    with np.errstate(divide="ignore", invalid="ignore"):
        points = origin + ways * (-origin[2] / ways[..., 2:])
    places = points[..., :2] * SIZE[0] * UNIT / WIDTH + UNIT - 0.5
    image = cv2.remap(
        cv2.GaussianBlur(picture, (0, 0), 1.5).astype(np.float32), places.astype(np.float32), np.zeros(0),
        cv2.INTER_LINEAR, borderValue=90.0,
    )  # fmt: skip
    image = cv2.GaussianBlur(image, (0, 0), blur)
    rng = np.random.default_rng(seed)
    image = image + np.sqrt(level.read**2 + level.shot * image) * rng.standard_normal(image.shape)
    return np.repeat(np.clip(np.rint(image), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize(("name", "view"), [("left", VIEW), ("gripper", NEAR)])
def test_every_camera_reads_the_time_to_half_a_tick(name, view):
    rng = np.random.default_rng(1)
    for seed in range(4):
        shown = STAMP - int(rng.integers(0, NS))
        off = read(seen(screen(shown), name, seed, T_camera_clock=view), STAMP) - shown
        assert abs(off) <= TICK_NS / 2


@settings(max_examples=30)
@given(t_ns=st.integers(0, 2**62))
def test_the_clock_begins_anew_every_16_s_and_no_neighbours_look_alike(t_ns):
    word = display_clock.bits(t_ns)
    turned = display_clock.bits(t_ns + TICK_NS * 2**display_clock.BITS)
    assert (word == turned).all()
    assert (word != display_clock.bits(t_ns + 40 * TICK_NS)).any()


@pytest.mark.parametrize(("share", "told"), [(0.1, 0), (0.9, 1)])
def test_a_picture_of_two_times_shows_the_one_that_was_lit_longer(share, told):
    times = STAMP - NS // 60, STAMP
    mixed = (1 - share) * screen(times[0]) + share * screen(times[1])
    assert abs(read(seen(mixed), STAMP) - times[told]) <= TICK_NS / 2


def test_what_cannot_be_read_is_refused_with_the_reason():
    with pytest.raises(CalibrationError, match="two times alike"):
        read(seen((screen(STAMP) + screen(STAMP + 7 * NS // 60)) / 2), STAMP)
    with pytest.raises(CalibrationError, match="of the clock's four tags 0 are seen"):
        read(np.full((240, 320, 3), 90, np.uint8), STAMP)
    dim = 30.0 + (screen(STAMP) - 30.0) * 0.08
    with pytest.raises(CalibrationError, match=r"grey levels|tags"):
        read(seen(dim), STAMP)
    wrong = screen(STAMP)
    x, y = (np.array(display_clock.cells()[3]).mean(axis=0) + 1) * UNIT
    pair = wrong[round(y) - 24 : round(y) + 24, round(x) - 8 : round(x) + 8]
    pair[:] = pair[::-1].copy()
    with pytest.raises(CalibrationError, match="don't agree with their check"):
        read(seen(wrong), STAMP)


@pytest.mark.slow
def test_a_camera_s_latency_is_found_within_two_milliseconds():
    """A camera of 30 Hz before a screen of 59.94 Hz, exposing for 6 ms; its stamps come 47 ms late."""
    true, refresh, delay, exposure, rng = 0.047, 1 / 59.94, 0.012, 0.006, np.random.default_rng(3)
    stamps, shown = [], []
    for k in range(52):
        middle = 100.0 + k * 0.2035 + 2e-4 * rng.standard_normal()
        last = np.floor((middle + exposure / 2 - delay) / refresh)  # the refresh whose light the exposure ends with
        changed = last * refresh + delay
        share = np.clip((middle + exposure / 2 - changed) / exposure, 0.0, 1.0)
        times = [STAMP + round((last - back) * refresh * NS) for back in (1, 0)]
        picture = (1 - share) * screen(times[0]) + share * screen(times[1])
        stamp_ns = STAMP + round((middle + true) * NS)
        try:
            shown.append((read(seen(picture, seed=k), stamp_ns) - STAMP) / NS)
        except CalibrationError:
            continue
        stamps.append((stamp_ns - STAMP) / NS)
    assert len(stamps) > 40
    found = displayed_clock(stamps, shown, refresh, delay)
    assert found.seconds == pytest.approx(true, abs=0.002)
    assert found.std < 0.002


def test_a_clock_is_named_by_its_screen():
    clock = Clock.parse("clock 59.94Hz 12ms")
    assert (clock.rate, clock.delay) == pytest.approx((59.94, 0.012))
    assert Clock.parse(clock.name) == clock
    for wrong in ("clock", "clock 5Hz 0ms", "clock 60Hz 900ms", "charuco 9x6 30mm 22mm DICT_5X5_100"):
        with pytest.raises(CalibrationError, match="names no clock"):
            Clock.parse(wrong)
