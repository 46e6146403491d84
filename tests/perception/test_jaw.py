"""Jaw opening: as exact as promised on rendered pictures, with one tag as with two, and never a guess."""

import datetime
import math
import re
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from kinema.calibration.bundle import load_bundle
from kinema.calibration.files import Jaw
from kinema.calibration.jaw import JawDesign, calibrate
from kinema.errors import CalibrationError, ConfigError
from kinema.geometry import Pose, interpolate
from kinema.paths import root
from kinema.perception.jaw import JawReading, JawTracker, TagFinder
from kinema.robots import GRIPPER
from kinema.virtual import scenario
from kinema.virtual.cameras import TAG_DICTIONARY
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.renderer import CellRenderer

BUNDLE = load_bundle(root() / "calibration" / "virtual", {"gripper": "VIRTUAL-GRIPPER", "jaw": "VIRTUAL-JAW"})
T_TCP_CAMERA = BUNDLE.T_tcp_camera()
SCENARIO = scenario.draw("pick_and_place", "train", 0)
EVERY = 25  # steps of the world between two pictures: 20 Hz
PERIOD_NS = 50_000_000
STEP_NS = 33_333_333  # between the images of the tests that need no picture


@dataclass(frozen=True, eq=False)
class Film:
    """Pictures (n, height, width, 3) of one hand's doing, with the true openings (n,) [m]."""

    images: np.ndarray
    width: np.ndarray


def _film(world: HandheldWorld, size: tuple[int, int], legs: list[tuple[Pose, Pose, float, float, int]]) -> Film:
    """`legs`: poses and openings from and to, and the steps they take."""
    renderer = CellRenderer(world.model, size, world.noise.camera, seed=1)
    images, width = [], []
    for start, end, opening, goal, steps in legs:
        for k in range(steps):
            part = (k + 1) / steps
            world.step(interpolate(start, end, part), opening + part * (goal - opening))
            if world.k % EVERY == 0:
                images.append(renderer.render("gripper", world.snapshot(), world.k))
                width.append(world.width())
    renderer.close()
    return Film(np.array(images), np.array(width))


def _calibration_film(size: tuple[int, int]) -> Film:
    """Close and open once, as a person does: a pause at each stop, not quite gently."""
    still, opened, closed = T_BASE_TCP_START, GRIPPER.stroke + 0.003, -0.002
    legs = [(0.05, closed, 350), (closed, closed, 200), (closed, opened, 600), (opened, opened, 200)]
    return _film(HandheldWorld(SCENARIO, seed=5), size, [(still, still, *leg) for leg in legs])


def _work_film(size: tuple[int, int]) -> Film:
    """Down to an object, grasp it, lift it, let go, squeeze twice."""
    world = HandheldWorld(SCENARIO, seed=6)
    body = world.model.body(SCENARIO.target.name).id
    x, y, z = world.data.xipos[body]
    above, at = (Pose(np.array([x, y, height]), T_BASE_TCP_START.rotation) for height in (0.15, z))
    squeeze = [(above, above, *leg) for leg in ((0.06, 0.024, 80), (0.024, 0.06, 80))]
    return _film(
        world,
        size,
        [
            (T_BASE_TCP_START, above, 0.085, 0.0, 500),
            (above, at, 0.0, 0.085, 500),
            (at, at, 0.085, 0.03, 300),
            (at, above, 0.03, 0.03, 400),
            (above, above, 0.03, 0.06, 150),
            *squeeze,
            *squeeze,
        ],
    )


@pytest.fixture(scope="module", params=[(320, 240), (640, 480)], ids=lambda size: str(size[0]))
def size(request) -> tuple[int, int]:
    return request.param


@pytest.fixture(scope="module")
def jaw(size) -> Jaw:
    """As `calibrate_jaw` makes it, knowing nothing but the print and the stroke."""
    finder = TagFinder(TAG_DICTIONARY, BUNDLE.camera("gripper").scaled(size))
    sightings = [finder.find(image) for image in _calibration_film(size).images]
    design = JawDesign(TAG_DICTIONARY, 0.0162, GRIPPER.stroke)
    return calibrate(
        sightings, BUNDLE.camera("gripper").scaled(size), T_TCP_CAMERA, design, "J", datetime.date(2026, 11, 20)
    )


@pytest.fixture(scope="module")
def work(size) -> Film:
    return _work_film(size)


def _tracker(jaw: Jaw, size: tuple[int, int]) -> JawTracker:
    return JawTracker(jaw, BUNDLE.camera("gripper").scaled(size), T_TCP_CAMERA)


def _readings(tracker: JawTracker, images: np.ndarray) -> list[JawReading]:
    return [tracker.measure(k * PERIOD_NS, image) for k, image in enumerate(images)]


def _assert_within_goal(readings: list[JawReading], truth: np.ndarray) -> None:
    """At most 0.5 mm RMS and 1.5 mm p99."""
    errors = np.array([reading.width for reading in readings]) - truth
    assert np.sqrt((errors**2).mean()) < 0.0005
    assert np.percentile(np.abs(errors), 99) < 0.0015


def test_after_calibrate_jaw_the_opening_is_exact_also_with_an_object_between_the_fingers(jaw, work, size):
    readings = _readings(_tracker(jaw, size), work.images)
    assert all(reading.valid and reading.reason == "" for reading in readings)
    assert np.mean([reading.tags for reading in readings]) > 1.95
    _assert_within_goal(readings, work.width)


@pytest.mark.parametrize("hidden", ["left", "right"])
def test_with_one_tag_hidden_the_other_is_enough(jaw, work, size, hidden):
    images = work.images.copy()
    half = size[0] // 2
    images[:, :, slice(0, half) if hidden == "left" else slice(half, None)] = 90
    readings = _readings(_tracker(jaw, size), images)
    assert all(reading.valid and reading.tags == 1 for reading in readings)
    _assert_within_goal(readings, work.width)


def test_the_speed_is_that_of_the_opening(jaw, work, size):
    readings = _readings(_tracker(jaw, size), work.images)
    speed = np.array([reading.speed for reading in readings])
    np.testing.assert_allclose(speed[1:], np.diff([r.width for r in readings]) / (PERIOD_NS * 1e-9), atol=1e-12)
    assert speed[0] == 0.0


# ---- plausibility: corners as the simulator's truth has them, without pictures

INFO = BUNDLE.camera("gripper")


def _corners(left: float | None, right: float | None, shift: float = 0.0) -> dict[int, np.ndarray]:
    """Corners at each tag's own opening [m], None where hidden, all shifted [px]."""
    found = {}
    for tag, width in ((BUNDLE.jaw.left, left), (BUNDLE.jaw.right, right)):
        if width is not None:
            found[tag.id] = INFO.project((T_TCP_CAMERA.inverse() @ tag.T_tcp_tag(width)).apply(tag.corners)) + shift
    return found


def _read(*steps: dict[int, np.ndarray]) -> list[JawReading]:
    tracker = JawTracker(BUNDLE.jaw, INFO, T_TCP_CAMERA)
    return [tracker.read(k * STEP_NS, found) for k, found in enumerate(steps)]


def _at(width: float) -> dict[int, np.ndarray]:
    return _corners(width, width)


@pytest.mark.parametrize("width", [-0.002, 0.0, 0.04, 0.085])
def test_exact_corners_give_the_exact_opening(width):
    (reading,) = _read(_at(width))
    assert reading.width == pytest.approx(width, abs=1e-7)
    assert (reading.valid, reading.tags) == (True, 2)


@pytest.mark.parametrize(
    ("found", "tags", "words"),
    [
        ({}, 0, "no tag is seen"),
        ({17: np.zeros((4, 2))}, 0, "no tag is seen"),
        (_at(0.095), 2, r"opening 95\.0 mm is outside -5\.\.90 mm"),
        (_corners(0.04, 0.05), 2, r"the tags disagree by 10\.0 mm"),
        (_corners(0.04, None, shift=8.0), 0, r"the left tag is \d\.\d mm from where jaw\.yaml has it"),
    ],
)
def test_what_is_implausible_is_invalid_and_says_why(found, tags, words):
    (reading,) = _read(found)
    assert not reading.valid and math.isnan(reading.width) and reading.tags == tags
    assert re.search(words, reading.reason)


def test_a_tag_that_is_off_leaves_the_word_to_the_other():
    good, bad = _corners(0.04, None), _corners(None, 0.04, shift=8.0)
    (reading,) = _read(good | bad)
    assert reading.valid and reading.tags == 1
    assert reading.width == pytest.approx(0.04, abs=1e-7)


def test_a_leap_is_doubted_and_an_outlier_costs_one_reading():
    readings = _read(_at(0.080), _at(0.010), _at(0.078), _at(0.076))
    assert [reading.valid for reading in readings] == [True, False, True, True]
    assert "moved by -70.0 mm in 33 ms" in readings[1].reason


def test_a_leap_that_lasts_is_believed_at_the_second_reading():
    readings = _read(_at(0.080), _at(0.010), _at(0.011), _at(0.012))
    assert [reading.valid for reading in readings] == [True, False, True, True]


def test_a_squeeze_as_fast_as_a_hand_can_is_no_leap():
    widths = 0.06 - 0.018 * (1 - np.cos(np.arange(20) * 2 * np.pi / 10))  # 36 mm in 0.16 s
    assert all(reading.valid for reading in _read(*map(_at, widths)))


def test_a_tag_seen_twice_is_not_used():
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, TAG_DICTIONARY))
    tag = cv2.aruco.generateImageMarker(dictionary, 1, 100)[..., None]
    finder = TagFinder(TAG_DICTIONARY, INFO)
    picture = np.full((480, 640, 3), 255, np.uint8)
    picture[50:150, 50:150] = tag
    assert finder.find(picture).keys() == {1}
    picture[50:150, 300:400] = tag
    assert finder.find(picture) == {}


def test_pictures_of_another_size_and_unknown_dictionaries_are_refused():
    with pytest.raises(CalibrationError, match="320 x 240 px, its calibration is for 640 x 480"):
        JawTracker(BUNDLE.jaw, INFO, T_TCP_CAMERA).measure(0, np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"DICT_9X9_1.*allowed: DICT_4X4_100"):
        TagFinder("DICT_9X9_1", INFO)
