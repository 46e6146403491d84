"""Learning what words mean: which captions are drawn, how pictures are moved, where the loss is least, going on."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kinema.policies.look import EyeConfig, LookConfig
from kinema.training import grounding
from kinema.training.grounding import Captioned, Captions, Grounding, cross_entropy
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan
from kinema.training.scenes import Scenes

SIZE, VIEWS = (48, 36), 2
TINY = LookConfig(eyes=(EyeConfig(8, 16, 16),) * 2, width=16, inner=32, features=8)
PLAN = Plan(grounding.EYES, steps=150, batch=16, seed=3, rate=5e-3, warm_up=10, save=1000, measure=1000)


def drawn(count: int) -> Scenes:
    """Pictures of two cameras with a red and a green spot, two captions each; the second has no goal."""
    rng = np.random.default_rng(0)
    images = np.zeros((count, 2, SIZE[1], SIZE[0], 3), np.uint8)
    places = np.full((2 * count, 2, 2, 2), np.nan, np.float32)
    offsets = np.full((2 * count, 2, 3), np.nan, np.float32)
    for picture, camera in np.ndindex(count, 2):
        for colour, cell in enumerate(rng.choice(108, 2, replace=False)):
            x, y = 4 * (cell % 12), 4 * (cell // 12)
            images[picture, camera, y : y + 4, x : x + 4, colour] = 255
            place = (x + 2) / 24 - 1, (y + 2) / 18 - 1
            places[2 * picture, camera, colour] = place  # the red one onto the green one
            if colour == 1:
                places[2 * picture + 1, camera, 0] = place
    offsets[..., :2], offsets[..., 2:] = 0.2 * places[:, 0], 0.0 * places[:, 0, :, :1]  # as the first camera sees it
    texts = ["put the red one onto the green one", "take the green one"] * count
    states = np.zeros((count, 10), np.float32)
    turns = np.tile(np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32), (count, 1))  # as the text names one or the other
    return Scenes({"views": VIEWS}, images, states, np.arange(2 * count) // 2, places, offsets, turns, texts)


@pytest.fixture(scope="module")
def pictures() -> Scenes:
    return drawn(400)


def training(scenes: Scenes, folder: Path, plan: Plan = PLAN) -> tuple[Training, Captions]:
    torch.manual_seed(plan.seed)
    model = Grounding(TINY, 2, SIZE)
    return Training(model, plan, Accelerator(cpu=True), folder / "state.pt", {}), Captions(
        scenes, grounding.split(scenes)[0], shift=2
    )


# ---- pictures and captions


def test_scenes_are_held_out_with_all_their_views(pictures):
    learned, held_out = grounding.split(pictures)
    assert sorted([*learned, *held_out]) == list(range(400)) and len(held_out) == 20
    assert set(learned // VIEWS).isdisjoint(held_out // VIEWS)


def test_a_step_has_its_own_pictures_with_captions_of_theirs_whenever_it_is_drawn(pictures):
    captions = Captions(pictures, np.arange(50, 60), shift=0)
    one, again, other = (captions.draw(6, 1, step) for step in (4, 4, 5))
    for name in ("images", "states", "places", "offsets", "turns"):
        assert np.array_equal(getattr(one, name), getattr(again, name), equal_nan=True)
    assert one.texts == again.texts and len(one.texts) == 6 * grounding.CAPTIONS
    assert not torch.equal(one.images, other.images)
    for image, places, first in zip(one.images, one.places, range(0, 18, 3), strict=True):
        (picture,) = [k for k in range(50, 60) if np.array_equal(pictures.images[k], image)]
        for text, place in zip(one.texts[first : first + 3], places, strict=True):
            assert np.array_equal(place, pictures.places[2 * picture + (text == "take the green one")], equal_nan=True)


def test_moved_images_move_their_places_and_those_that_leave_are_out_of_sight():
    rng = np.random.default_rng(1)
    at = rng.integers(0, SIZE, (64, 2, 2))  # x, y [px] of the one pixel that is bright in each image
    images = np.zeros((64, 2, SIZE[1], SIZE[0], 3), np.uint8)
    for picture, camera in np.ndindex(64, 2):
        images[picture, camera, at[picture, camera, 1], at[picture, camera, 0]] = 255
    places = np.repeat(((2 * at + 1) / SIZE - 1)[:, :, None], 2, axis=2).astype(np.float32)
    states, round_ones = np.zeros((64, 10), np.float32), np.zeros((64, 2), np.float32)
    nowhere = np.full((64, 2, 3), np.nan, np.float32)
    scenes = Scenes({"views": 1}, images, states, np.arange(64), places, nowhere, round_ones, ["open it"] * 64)
    batch = Captions(scenes, np.arange(64), shift=5).draw(64, 0, 0)
    found = ((batch.places[:, 0, :, 0] + 1) / 2 * torch.tensor(SIZE) - 0.5).numpy()
    gone = np.isnan(found).any(axis=2)
    assert 4 < gone.sum() < 64
    for picture, camera in np.argwhere(~gone):
        x, y = found[picture, camera].round().astype(int)
        assert (batch.images[picture, camera, y, x] == 255).all()
    sides = ~gone.any(axis=1)
    assert torch.isfinite(batch.places[sides]).all() and sides.sum() > 20


# ---- the loss


@pytest.mark.parametrize("place", [(0.3, -0.6), (-0.95, 0.95), (0.0, 0.0)])
def test_cross_entropy_is_least_for_a_match_at_the_place(place):
    cells = torch.eye(5 * 8).reshape(40, 5, 8) * 6
    match = cells.flatten(1).log_softmax(dim=1).reshape(40, 5, 8)
    error, seen = cross_entropy(match, torch.tensor(place).expand(40, 2))
    best = int(error.argmin())
    assert seen.all()
    assert abs((best % 8 + 0.5) / 8 * 2 - 1 - place[0]) <= 1 / 8 + 1e-6
    assert abs((best // 8 + 0.5) / 5 * 2 - 1 - place[1]) <= 1 / 5 + 1e-6


def test_what_is_out_of_sight_teaches_nothing(pictures):
    torch.manual_seed(0)
    model = Grounding(TINY, 2, SIZE).eval()  # images as they are
    batch = Captions(pictures, np.arange(8), 0).take(np.arange(8), np.arange(0, 16, 2)[:, None])
    places = batch.places.clone()
    places[:4, :, 1] = torch.nan  # of the second camera in the first pictures
    hidden = dataclasses.replace(batch, places=places)
    images = batch.images.clone()
    images[:4, 1] = 77
    other = dataclasses.replace(hidden, images=images)
    before, after = model.loss(hidden, grounding.EYES), model.loss(other, grounding.EYES)
    assert set(before) == {"thing", "goal", "offset", "turn"}
    matched = ("thing", "goal")
    assert all(torch.equal(before[query], after[query]) and before[query].isfinite() for query in matched)
    assert all(before[query] != model.loss(batch, grounding.EYES)[query] for query in matched)
    assert before["offset"] != after["offset"], "how far off a thing is, is known whatever is in sight"
    gone = torch.full_like(places, torch.nan), torch.full_like(batch.offsets, torch.nan)
    nothing = dataclasses.replace(batch, places=gone[0], offsets=gone[1])
    assert all(loss == 0 for term, loss in model.loss(nothing, grounding.EYES).items() if term != "turn")


# ---- training


def test_it_learns_where_the_named_things_are_and_says_how_often_it_is_right(pictures, tmp_path):
    run, captions = training(pictures, tmp_path)
    held_out = Captions(pictures, grounding.split(pictures)[1], 0)
    with run.averaged() as model:
        before = grounding.measured(model, held_out)
    assert run.run(lambda step, piece: captions.draw(PLAN.batch, PLAN.seed, step), Watcher())
    with run.averaged() as model:
        after = grounding.measured(model, held_out)
    shares = ("thing_0", "goal_0", "thing_1", "goal_1")
    assert set(after) == {*shares, "thing_mm", "goal_mm", "thing_close_mm", "goal_close_mm", "turn_deg"}
    assert max(before[share] for share in shares) < 0.5 and min(after[share] for share in shares) > 0.8, (before, after)
    assert before["thing_mm"] > 80 and after["thing_mm"] < 40, (before, after)
    assert before["turn_deg"] > 20 > 10 > after["turn_deg"], (before, after)


def test_every_picture_is_taken_with_all_its_captions_however_many_it_has():
    scenes = drawn(6)
    lone = dataclasses.replace(
        scenes,
        frames=np.array([0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5]),
        texts=[f"take number {i}" for i in range(12)],
    )
    taken = list(Captions(lone, np.array([0, 1, 2, 5]), 0).each(portion=1))
    assert sorted(text for batch in taken for text in batch.texts) == sorted(
        lone.texts[i] for i in (*range(6), *range(9, 12))
    )
    for batch in taken:
        number = int(batch.texts[0].split()[-1])
        assert np.array_equal(batch.images[0], scenes.images[lone.frames[number]])
        assert np.array_equal(batch.places[0, 0], scenes.places[number], equal_nan=True)


def test_locating_learns_from_what_was_read_once_and_leaves_the_eyes_as_they_are(pictures, tmp_path):
    run, captions = training(pictures, tmp_path, dataclasses.replace(PLAN, steps=60))
    assert run.run(lambda step, piece: captions.draw(PLAN.batch, PLAN.seed, step), Watcher())
    model = run.model.eval()
    torch.manual_seed(0)
    readings = grounding.read(model, captions)
    assert len(readings) == 2 * len(captions.pictures)
    held_out = Captions(pictures, grounding.split(pictures)[1], 0)
    before, eyes = grounding.measured(model, held_out), model.look.eyes.state_dict()
    eyes = {name: value.clone() for name, value in eyes.items()}
    plan = dataclasses.replace(PLAN, stage=grounding.LOCATING, steps=400, batch=256)
    locating = Training(model.train(), plan, Accelerator(cpu=True), tmp_path / "locate.pt", {})
    assert locating.run(lambda step, piece: readings.draw(plan.batch, plan.seed, step), Watcher())
    with locating.averaged():
        after = grounding.measured(model, held_out)
    assert after["thing_mm"] < 0.8 * before["thing_mm"], (before, after)
    assert all(torch.equal(value, eyes[name]) for name, value in model.look.eyes.state_dict().items())
    assert {name: after[name] for name in ("thing_0", "goal_1")} == {
        name: before[name] for name in ("thing_0", "goal_1")
    }


def test_a_run_that_was_stopped_goes_on_bit_for_bit(pictures, tmp_path):
    plan = dataclasses.replace(PLAN, steps=4, batch=4)
    ended = []
    for name, stops in (("whole", (4,)), ("parts", (1, 3, 4))):
        (tmp_path / name).mkdir()
        for stop in stops:
            run, captions = training(pictures, tmp_path / name, plan)

            def batch_of(step: int, piece: int, captions: Captions = captions) -> Captioned:
                return captions.draw(plan.batch, plan.seed, step)

            assert run.run(batch_of, Watcher(), lambda run=run, stop=stop: run.step >= stop) == (stop == 4)
        with run.averaged() as model:
            ended.append({key: value.clone() for key, value in model.state_dict().items()})
    assert all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())
