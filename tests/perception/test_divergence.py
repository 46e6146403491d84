"""Imagination against reality: what counts as a difference, what is usual, and which moments are compared."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema import yaml_file
from kinema.chunk import ActionChunk, Image, Prediction
from kinema.errors import CheckpointError
from kinema.geometry import Pose
from kinema.perception.align import StampedBuffer
from kinema.perception.divergence import (
    NAME,
    QUANTILE,
    Usual,
    Watch,
    appearance,
    difference,
    expected,
    load,
    roc,
)

CAMERAS = ("gripper", "left")
SIZE = (96, 128)
ONE_SECOND = 10**9


def scene(aside: int = 0, turned: int = 0) -> Image:
    """A cluttered table: a box that lies `aside` [px], the whole picture shifted by `turned` [px]."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(90, 130, (*SIZE, 3)).astype(np.uint8), (9, 9), 3.0)
    for _ in range(12):
        place = (int(rng.integers(0, 128)), int(rng.integers(0, 96)))
        cv2.circle(ground, place, int(rng.integers(3, 9)), [int(v) for v in rng.integers(30, 220, 3)], -1)
    cv2.rectangle(ground, (40 + aside, 30), (52 + aside, 44), (230, 60, 40), -1)
    return np.roll(ground, turned, axis=1)


def apart(a: Image, b: Image) -> np.ndarray:
    return difference(appearance(a), appearance(b))


# ---- what counts


def test_nothing_differs_from_itself_and_little_from_itself_in_another_size() -> None:
    image = scene()
    assert apart(image, image) == pytest.approx([0.0, 0.0], abs=1e-9)
    larger = cv2.resize(image, (640, 480), interpolation=cv2.INTER_LINEAR)
    edges, colours = apart(image, larger) / apart(image, scene(turned=6))
    assert edges < 0.8 and colours < 0.05


def test_neither_light_nor_noise_nor_blur_looks_like_a_turned_camera() -> None:
    image, turned = scene(), apart(scene(), scene(turned=6))
    noise = np.random.default_rng(1).normal(0.0, 3.0, image.shape)
    for harmless in (image + 12.0, image + noise, cv2.GaussianBlur(image, (0, 0), 1.0)):
        _, colours = apart(image, np.clip(harmless, 0, 255).astype(np.uint8))
        assert colours < 0.25 * turned[1]
    brighter = apart(image, np.clip(image + 12.0, 0, 255).astype(np.uint8))
    assert brighter[0] < 0.3 * apart(image, scene(aside=20))[0]


def test_a_thing_shows_in_the_edges_and_a_turned_camera_in_the_colours_too() -> None:
    thing, turned = apart(scene(), scene(aside=20)), apart(scene(), scene(turned=6))
    assert thing[0] > 0.5 and turned[0] > 0.5
    assert thing[1] < 0.2 * turned[1]


# ---- what is usual


def rollouts(count: int = 8, scale: tuple[float, ...] = (1.0, 1.0), seed: int = 0) -> list[np.ndarray]:
    """Differences (clips, cameras, frames, 2) of so many rollouts; the further ahead, the larger."""
    rng = np.random.default_rng(seed)
    ahead = np.linspace(1.0, 2.0, 8)[:, None]
    return [np.array(scale)[:, None, None] * ahead * rng.gamma(9.0, 0.1, (3, 2, 8, 2)) for _ in range(count)]


def usual(found: list[np.ndarray] | None = None) -> Usual:
    return Usual.of(rollouts() if found is None else found, CAMERAS, 0.4, "abc", "single")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 30))
def test_one_moment_in_a_hundred_of_the_rollouts_is_above_the_threshold(seed: int, count: int) -> None:
    found = rollouts(count, seed=seed)
    known = usual(found)
    values = known.values(np.concatenate(found), CAMERAS).max(axis=1)
    assert known.moments == values.size == 24 * count and known.rollouts == count
    assert abs((values > known.threshold).sum() - (1 - QUANTILE) * values.size) <= 1


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_a_camera_that_always_differs_much_does_not_drown_the_other(one: float, other: float) -> None:
    """Each camera is measured by what is usual of it: units cancel."""
    plain, scaled = usual(), usual(rollouts(scale=(one, other)))
    assert scaled.threshold == pytest.approx(plain.threshold)
    unusual = rollouts(1, seed=99)[0]
    np.testing.assert_allclose(
        scaled.values(np.array([one, other])[:, None, None] * unusual, CAMERAS), plain.values(unusual, CAMERAS)
    )


def test_the_same_difference_is_less_unusual_further_ahead() -> None:
    values = usual().values(np.full((2, 8, 2), 2.5), CAMERAS)
    assert (values[:, 0] > values[:, -1]).all()


def test_too_few_rollouts_make_no_threshold() -> None:
    with pytest.raises(CheckpointError, match="72 moments of 3 successful rollouts are too few"):
        usual(rollouts(3))
    with pytest.raises(CheckpointError, match="0 moments of 0"):
        usual([])


def test_what_is_usual_stands_in_the_checkpoints_folder(tmp_path) -> None:
    assert load(tmp_path, "abc", "single") is None
    yaml_file.write(tmp_path / NAME, usual())
    assert load(tmp_path, "abc", "single") == usual()
    with pytest.raises(CheckpointError, match=r"is of checkpoint abc, here is other.*kinema evaluate divergence"):
        load(tmp_path, "other", "single")
    assert load(tmp_path, "abc", "paper") is None  # in another mode other videos are usual


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("threshold:", "treshold:", "treshold"),
        ("dt: 0.4", "dt: -0.4", "dt"),
        ("left:", "right:", "cameras gripper, right"),
        ("edges:", "corners:", "corners"),
    ],
)
def test_f22_a_file_that_does_not_fit_is_refused_by_key(tmp_path, old: str, new: str, said: str) -> None:
    yaml_file.write(tmp_path / NAME, usual())
    text = (tmp_path / NAME).read_text()
    assert old in text
    (tmp_path / NAME).write_text(new.join(text.rsplit(old, 1)))
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, "abc", "single")


# ---- which moments are compared


def prediction(chunk: int = 1, t0_ns: int = ONE_SECOND, image: Image | None = None, frames: int = 4) -> Prediction:
    still = np.tile(np.eye(4), (8, 1, 1))
    made = ActionChunk(chunk, "test", t0_ns, Pose.identity(), 0.05, 0.1, 0.1, still, None, None, 8)
    clip = np.repeat((scene() if image is None else image)[None], frames, axis=0)
    return Prediction(made, dict.fromkeys(CAMERAS, clip), 0.4)


class Cell:
    """Two cameras at 30 Hz; `image` is what the second one sees."""

    def __init__(self) -> None:
        self.buffers = {name: StampedBuffer(name, 3.0) for name in CAMERAS}
        self.image = scene()

    def run(self, since: float, until: float, cameras: tuple[str, ...] = CAMERAS) -> None:
        for frame in range(round(since * 30), round(until * 30)):
            for name in cameras:
                stamp_ns = ONE_SECOND + round(frame / 30 * 1e9) + (4_000_000 if name == "left" else 0)
                self.buffers[name].push(stamp_ns, self.image if name == "left" else scene())


@pytest.fixture
def cell() -> Cell:
    return Cell()


def test_each_frame_is_compared_once_when_all_cameras_have_come_so_far(cell) -> None:
    watch = Watch(usual())
    watch.expect(expected(prediction()))
    cell.run(0.0, 0.9)
    first = watch.compare(cell.buffers)
    assert [(m.chunk, round(m.ahead, 3), m.stamp_ns) for m in first] == [
        (1, 0.4, 1_400_000_000),
        (1, 0.8, 1_800_000_000),
    ]
    assert not watch.compare(cell.buffers)
    cell.run(0.9, 1.4, ("gripper",))
    assert not watch.compare(cell.buffers), "the other camera is behind"
    cell.run(0.9, 1.4, ("left",))
    assert [m.stamp_ns for m in watch.compare(cell.buffers)] == [2_200_000_000]
    cell.run(1.4, 3.0)
    assert not watch.compare(cell.buffers), "the video is over"


def test_the_moment_from_which_a_camera_sees_something_else_is_found_and_named(cell) -> None:
    watch = Watch(usual([0.05 * found for found in rollouts()]))
    watch.expect(expected(prediction()))
    cell.run(0.0, 0.6)
    cell.image = scene(aside=20)
    cell.run(0.6, 1.5)
    before, *after = watch.compare(cell.buffers)
    assert not before.diverged and all(m.diverged and m.camera == "left" for m in after)
    assert "what left sees is not what chunk 1 imagined 0.8 s ahead" in after[0].text
    assert after[0].cameras["gripper"] < after[0].threshold < after[0].value


def test_a_newer_video_takes_the_older_ones_place(cell) -> None:
    watch = Watch(usual())
    watch.expect(expected(prediction()))
    watch.expect(expected(prediction(2, ONE_SECOND + 300_000_000)))
    watch.expect(expected(replace(prediction(3), video=None)))
    cell.run(0.0, 2.0)
    assert [(m.chunk, m.stamp_ns) for m in watch.compare(cell.buffers)] == [
        (2, 1_700_000_000), (2, 2_100_000_000), (2, 2_500_000_000)
    ]  # fmt: skip
    watch.expect(expected(prediction(4, 3 * ONE_SECOND)))
    watch.forget()
    cell.run(2.0, 4.0)
    assert not watch.compare(cell.buffers)


def test_what_a_camera_missed_is_left_out_and_a_late_video_is_held_against_the_past(cell) -> None:
    watch = Watch(usual())
    cell.run(0.0, 0.7)
    cell.run(0.7, 0.9, ("gripper",))
    cell.run(0.9, 1.5)
    watch.expect(expected(prediction()))
    assert [m.ahead for m in watch.compare(cell.buffers)] == pytest.approx([0.4, 1.2])


def test_where_nothing_is_known_of_the_policy_nothing_is_above_a_threshold(cell) -> None:
    watch = Watch()
    watch.expect(expected(prediction()))
    cell.image = scene(turned=30)
    cell.run(0.0, 0.5)
    (moment,) = watch.compare(cell.buffers)
    assert not moment.diverged and moment.value > 1.0 and "allowed" not in moment.text


def test_a_video_longer_than_what_is_known_has_no_threshold_at_its_end(cell) -> None:
    watch = Watch(usual([found[:, :, :2] for found in rollouts(20)]))
    watch.expect(expected(prediction()))
    cell.run(0.0, 1.5)
    assert [np.isfinite(m.threshold) for m in watch.compare(cell.buffers)] == [True, True, False]


# ---- how good it is


def test_a_curve_of_what_is_told_apart_perfectly_and_not_at_all() -> None:
    low, high = np.arange(10.0), np.arange(10.0) + 20
    assert roc(low, high).area == pytest.approx(1.0)
    assert roc(high, low).area == pytest.approx(0.0)
    assert roc(low, low).area == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_the_area_is_the_chance_that_the_unusual_one_is_higher(usual_ones: list[int], unusual: list[int]) -> None:
    """Mann and Whitney: ties count half."""
    a, b = np.array(usual_ones, float), np.array(unusual, float)
    chance = ((b[:, None] > a).mean() + (b[:, None] >= a).mean()) / 2
    curve = roc(a, b)
    assert curve.area == pytest.approx(chance)
    assert (np.diff(curve.false_alarms) >= 0).all() and (np.diff(curve.found) >= 0).all()
