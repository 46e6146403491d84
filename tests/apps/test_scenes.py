"""`kinema scenes` and `kinema ground`: pictures that are the same whoever draws them, with true captions; what begins
with what was learned from them."""

import copy
import hashlib
import math
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.apps import cli, scenes as app
from kinema.apps.lockstep_recording import SEEDS
from kinema.apps.trials import PURPOSES
from kinema.episodes.export import export
from kinema.episodes.reader import find
from kinema.episodes.shards import Shards
from kinema.geometry import Pose, rotation_from_6d
from kinema.policies import checkpoint, look_file
from kinema.robots import GRIPPER
from kinema.training import scenes
from kinema.virtual import objects, scenario
from kinema.virtual.handheld import HandheldWorld
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.tasks.open_drawer import PULLED
from kinema.virtual.world import World

torch.set_num_threads(1)

RECORDED = Path(__file__).resolve().parents[1] / "data/episodes"
A_MILLION = 1_000_000


def draw(out: Path, jobs: int) -> scenes.Scenes:
    words = ["--scenes", "1", "--views", "2", "--size", "64x48", "--jobs", str(jobs)]
    assert cli.main(["scenes", "--out", str(out), *words]) == 0
    return scenes.read(out)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A scene of each task, seen twice, drawn by two processes."""
    out = tmp_path_factory.mktemp("scenes")
    draw(out, jobs=2)
    return out


# ---- pictures


def test_pictures_and_captions_are_the_same_whichever_process_draws_them_when(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "on_all_cores", lambda draw, rows, jobs: (draw(*row) for row in reversed(rows)))
    one, other = scenes.read(pictures), draw(tmp_path, jobs=1)
    for name in ("images", "states", "frames", "places", "offsets", "turns"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.texts == other.texts and one.fingerprint == other.fingerprint
    assert one.images.shape == (4, 3, 48, 64, 3) and len({image.tobytes() for image in one.images}) == 4


def test_every_picture_has_a_caption_for_all_that_could_be_asked_for(pictures):
    found = scenes.read(pictures)
    for task, first in zip(sorted(found.about["tasks"]), (0, 2), strict=True):
        asked = app._drawn(task, app.FIRST_SEED, np.random.default_rng([app.FIRST_SEED, 5]))
        told = [found.texts[caption] for caption in np.flatnonzero(found.frames == first)]
        assert asked.text in told and len(set(told)) == len(told) > 1
        assert told == [found.texts[caption] for caption in np.flatnonzero(found.frames == first + 1)]
    assert np.isfinite(found.offsets).all(), "every thing goes somewhere"


def test_no_scene_is_of_a_demonstration_or_of_an_evaluation(pictures):
    first, stop = scenes.read(pictures).about["seeds"]
    assert stop - first == 1 and first >= SEEDS
    assert all(first >= begin + A_MILLION for begin in PURPOSES.values())


@pytest.mark.parametrize("task", ["pick_and_place", "open_drawer"])
def test_a_caption_s_places_are_where_its_things_are(task, monkeypatch):
    drawn, views = app._drawn(task, app.FIRST_SEED, np.random.default_rng([app.FIRST_SEED, 5])), 4
    if drawn.cabinet is not None:
        things = [f"handle_{drawer}" for drawer in objects.CABINETS[drawn.cabinet.kind].drawers]
        bodies = [(caption, 0, body) for caption, body in enumerate(things)]
    else:
        things = [placed.name for placed in (drawn.target, *drawn.distractors)]
        bodies = [*((caption, 0, body) for caption, body in enumerate(things)), (0, 1, drawn.container.name)]

    def shoot(hidden: str | None) -> app._Shot:
        """The scene in full size; `hidden`: a body that isn't there to see."""

        def renderer(model, *rest) -> CellRenderer:
            model = copy.copy(model)
            if hidden is not None:
                model.geom_group[model.geom_bodyid == model.body(hidden).id] = 5  # which renderers don't show
            return CellRenderer(model, *rest)

        monkeypatch.setattr(app, "CellRenderer", renderer)
        return app._shoot(task, app.FIRST_SEED, views, app._RENDERED)

    whole, hits, seen = shoot(None), 0, 0
    for caption, query, body in bodies:
        changed = (shoot(body).images != whole.images).any(axis=-1)  # the noise is the same
        for view, camera in np.ndindex(views, 3):
            place = whole.places[view, caption, camera, query]
            rows, columns = np.nonzero(changed[view, camera])
            if len(rows) < 40 or np.isnan(place).any():
                continue
            x, y = ((place + 1) / 2 * app._RENDERED - 0.5).tolist()
            seen += 1
            hits += columns.min() - 3 <= x <= columns.max() + 3 and rows.min() - 3 <= y <= rows.max() + 3
    assert seen >= 10 and hits >= 0.9 * seen, (hits, seen)


def test_offsets_lead_from_the_tool_to_the_thing(pictures):
    found = scenes.read(pictures)
    T_base_tcp = np.tile(np.eye(4), (len(found.states), 1, 1))
    T_base_tcp[:, :3, :3], T_base_tcp[:, :3, 3] = rotation_from_6d(found.states[:, 3:9]), found.states[:, :3]
    things = np.einsum("mij,mj->mi", T_base_tcp[found.frames][:, :3], np.insert(found.offsets[:, 0], 3, 1.0, axis=1))
    away = np.linalg.norm(np.nan_to_num(found.offsets[:, 0] - found.offsets[:, 1], nan=9.0), axis=1)
    stands = (np.linalg.norm(found.offsets[:, 0], axis=1) > 0.1) & (
        away > 0.06
    )  # else it is in the jaw, or in its goal
    for text in {told for told, stand in zip(found.texts, stands, strict=True) if stand}:
        # wherever it is seen from, a thing stands where it stands, on the table; a handle as far as its drawer is open
        where = things[[told == text for told in found.texts] & stands]
        assert np.ptp(where, axis=0).max() < (0.18 if text.startswith("open") else 1e-5)
        assert 0.0 < where[0, 2] < 0.4 and 0.2 < where[0, 0] < 0.8


def test_a_thing_that_the_tool_has_taken_is_between_its_pads_and_the_caption_goes_with_it():
    drawn = scenario.draw("pick_and_place", "train", app.FIRST_SEED)
    world, rng = HandheldWorld(drawn, seed=0), np.random.default_rng(0)
    T_base_tcp = Pose.from_rotvec([0.4, 0.1, 0.3], [math.pi, 0.0, 0.0])
    for caption, placed in enumerate(app._things(drawn)):
        kind = objects.OBJECTS[placed.kind]
        width = app._take(world, placed, T_base_tcp, rng)
        told = list(app._captions(drawn, world))[caption]
        assert 0.0 < width < GRIPPER.stroke and placed.name.replace("_", " ") in told.text
        away = T_base_tcp.inverse().apply(told.thing)
        assert np.linalg.norm(away[:2]) < 0.03 and abs(away[2]) < kind.size[2] / 2 + 1e-9
        across = told.along @ T_base_tcp.rotation[:, 0]  # a long thing is taken across
        assert abs(across) < 1e-6 or np.linalg.norm(told.along) < 0.5


@pytest.mark.parametrize("robot", [None, *app._ARMS])
def test_the_tool_is_held_where_it_is_said_to_be(robot):
    drawn = scenario.draw("pick_and_place", "train", app.FIRST_SEED)
    world = HandheldWorld(drawn) if robot is None else World(drawn, robot)
    T_base_tcp = Pose.from_rotvec([0.42, -0.1, 0.12], [math.pi, 0.0, 0.0]) @ Pose.from_rotvec(
        [0.0] * 3, [0.1, 0.0, 1.2]
    )
    holding = app._holding(world, T_base_tcp)
    world.data.qpos[: len(holding)] = holding
    mujoco.mj_kinematics(world.model, world.data)
    np.testing.assert_allclose(world.T_base_tcp().position, T_base_tcp.position, atol=1e-6)
    np.testing.assert_allclose(world.T_base_tcp().rotation, T_base_tcp.rotation, atol=1e-6)
    beyond = app._holding(world, Pose.from_rotvec([1.4, 0.0, 0.2], [math.pi, 0.0, 0.0]))
    assert (beyond is None) == (robot is not None), "no arm is as long"


@pytest.mark.parametrize("task", ["pick_and_place", "open_drawer"])
def test_some_scenes_have_things_that_no_demonstration_has(task):
    scenes = [
        app._drawn(task, seed, np.random.default_rng([seed, 5])) for seed in range(app.FIRST_SEED, app.FIRST_SEED + 200)
    ]
    assert 0.2 < np.mean([drawn.split == "unseen_objects" for drawn in scenes]) < 0.4
    assert {drawn.split for drawn in scenes if drawn.background.name == "elsewhere"} == {"train", "unseen_objects"}


def test_other_tables_are_of_every_shade_and_none_is_of_the_lists():
    rng = np.random.default_rng(0)
    drawn = [app._elsewhere(rng) for _ in range(200)]
    shades = np.array([row.table for row in drawn])
    assert shades.min() < 0.1 and shades.max() > 0.85 and {row.pattern for row in drawn} == {"plain", "wood", "cloth"}
    assert not {(row.table, row.light) for row in drawn} & {
        (row.table, row.light) for row in objects.BACKGROUNDS.values()
    }


def test_a_handle_is_between_the_fingers_or_straight_before_them_however_far_its_drawer_is_open():
    drawn, rng, opened = scenario.draw("open_drawer", "train", app.FIRST_SEED), np.random.default_rng(0), set()
    world, coming = HandheldWorld(drawn), set()
    standing, bar = world.data.qpos.copy(), sorted(objects.CABINETS[drawn.cabinet.kind].bar)[1]
    for _ in range(20):
        world.data.qpos[:] = standing
        app._later(drawn, world, rng)
        opened |= {round(float(way), 3) for way in world.truth().joints.values()}
        pose, width = app._at_handle(drawn, world, rng)
        handles = [told.thing for told in app._captions(drawn, world)]
        across, lengthwise, before = min((pose.inverse().apply(at) for at in handles), key=np.linalg.norm)
        assert abs(across) < 0.012 + before and abs(lengthwise) < 0.021 and -0.02 < before < 0.09
        assert bar <= width <= GRIPPER.stroke
        coming |= {before > 0.03}
        assert pose.rotation[2, 2] < -0.5, "pointing down"
    assert 0.0 in opened and len(opened) > 5 and max(opened) < 0.18 and coming == {True, False}


def test_a_handle_goes_to_where_it_is_when_its_drawer_has_been_pulled_however_far_it_is_open_now():
    drawn = scenario.draw("open_drawer", "train", app.FIRST_SEED)
    world, cabinet = HandheldWorld(drawn), objects.CABINETS[drawn.cabinet.kind]

    def told(opened: float) -> list[app._Told]:
        for drawer in cabinet.drawers:
            world.data.qpos[world.model.joint(f"drawer_{drawer}").qposadr[0]] = opened
        return list(app._captions(drawn, world))

    pulled = told(PULLED * cabinet.travel)
    for opened in (0.0, 0.5 * cabinet.travel, cabinet.travel):
        for one, end in zip(told(opened), pulled, strict=True):
            np.testing.assert_allclose(one.goal, end.thing, atol=1e-6)
            assert np.linalg.norm(one.thing - one.goal) == pytest.approx(
                abs(opened - PULLED * cabinet.travel), abs=1e-6
            )


def test_things_lie_in_their_goal_in_some_pictures():
    drawn, rng, found = scenario.draw("pick_and_place", "train", app.FIRST_SEED), np.random.default_rng(0), 0
    world = HandheldWorld(drawn)
    standing, within = world.data.qpos.copy(), objects.CONTAINERS[drawn.container.kind].size[0] / 2
    for _ in range(100):
        world.data.qpos[:] = standing
        app._later(drawn, world, rng)
        found += any(np.linalg.norm((one.thing - one.goal)[:2]) < within for one in app._captions(drawn, world))
    assert 5 <= found <= 30


def test_scenes_of_demonstrations_and_evaluations_are_refused(tmp_path, capsys):
    assert cli.main(["scenes", "--out", str(tmp_path), "--scenes", "1", "--seed", "2000000"]) == 2
    assert "allowed: 3000000 on" in capsys.readouterr().err


def test_a_task_without_captions_is_refused(tmp_path, capsys):
    assert cli.main(["scenes", "--out", str(tmp_path), "--scenes", "1", "--task", "sweep"]) == 2
    assert "task sweep has no captions; allowed: pick_and_place, open_drawer" in " ".join(
        capsys.readouterr().err.split()
    )


def test_how_a_thing_lies_is_the_same_from_either_end_and_nothing_for_round_ones():
    way = np.array([math.cos(0.4), math.sin(0.4), 0.0])
    np.testing.assert_allclose(app._turn(way), [math.cos(0.8), math.sin(0.8)])
    np.testing.assert_allclose(app._turn(-way), app._turn(way), atol=1e-12)
    assert app._turn(np.zeros(3)) == (0.0, 0.0)
    drawn = scenario.draw("pick_and_place", "train", app.FIRST_SEED)
    long = {one.text: np.linalg.norm(one.along) for one in app._captions(drawn, HandheldWorld(drawn, seed=0))}
    for placed in app._things(drawn):
        (length,) = (length for text, length in long.items() if placed.name.replace("_", " ") in text)
        assert abs(length - (placed.kind in ("banana", "marker", "mug"))) < 1e-9, placed.kind


@pytest.mark.parametrize(("task", "least"), [("pick_and_place", 0.3), ("open_drawer", 0.4)])
def test_a_good_part_of_the_pictures_is_taken_close_to_something(task, least):
    drawn, rng = scenario.draw(task, "train", app.FIRST_SEED), np.random.default_rng(0)
    told = list(app._captions(drawn, HandheldWorld(drawn, seed=0)))
    points = np.array([point for one in told for point in (one.thing, one.goal)])
    seen = [app._viewpoint(told, drawn.cabinet is None, rng)[0] for _ in range(200)]
    away = np.array([np.linalg.norm(points - pose.position, axis=1).min() for pose in seen])
    assert least < (away < 0.1).mean() < 0.8 and (away > 0.2).mean() > 0.1
    assert min(pose.position[2] for pose in seen) >= 0.01


@pytest.mark.parametrize("size", ["128", "128x128", "8x6", "axb"])
def test_a_size_that_the_cameras_have_not_is_refused(size, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["scenes", "--out", str(tmp_path), "--size", size])
    assert size in capsys.readouterr().err


# ---- what is learned from them


def test_a_training_begins_with_what_was_learned_from_pictures(pictures, tmp_path, capsys):
    ground = ["ground", "--scenes", str(pictures), "--out", str(tmp_path / "look")]
    ground += ["--steps", "2", "--batch", "2", "--locating-steps", "3"]
    assert cli.main(ground) == 0
    assert "found where it is (%), else missed by: thing_0" in " ".join(capsys.readouterr().err.split())
    file = tmp_path / "look" / look_file.NAME
    learned = load_file(file)
    assert cli.main(ground) == 0, "what is done already is gone through again"
    assert all(torch.equal(value, learned[name]) for name, value in load_file(file).items())
    export(find(RECORDED), tmp_path / "set", Shards(size=(64, 48)), rate=10)
    train = ["train", "diffusion-policy", "--data", str(tmp_path / "set"), "--steps", "2", "--batch", "2"]
    assert cli.main([*train, "--out", str(tmp_path / "run"), "--look", str(tmp_path / "look")]) == 0
    facts = checkpoint.read(tmp_path / "run/checkpoint")
    assert facts.training["look"] == hashlib.sha256(file.read_bytes()).hexdigest()
    begun = load_file(tmp_path / "run/checkpoint/model.safetensors")
    for name in ("reader.word.weight", "eyes.0.stem.0.weight", "sharpness"):
        torch.testing.assert_close(begun[f"look.{name}"].float(), learned[name], atol=2e-3, rtol=2e-3)
    assert cli.main([*train, "--out", str(tmp_path / "other"), "--look", str(tmp_path)]) == 2
    assert "does not fit this look" in capsys.readouterr().err


def test_grounding_goes_on_from_what_was_grounded_before(pictures, tmp_path, capsys):
    ground = ["ground", "--scenes", str(pictures), "--batch", "2", "--locating-steps", "1"]
    assert cli.main([*ground, "--out", str(tmp_path / "one"), "--steps", "1"]) == 0
    on = [*ground, "--out", str(tmp_path / "two"), "--steps", "1", "--rate", "1e-9", "--begin"]
    assert cli.main([*on, str(tmp_path / "one")]) == 0
    one, two = (load_file(tmp_path / folder / look_file.NAME) for folder in ("one", "two"))
    torch.testing.assert_close(two["reader.word.weight"], one["reader.word.weight"], atol=1e-6, rtol=0.0)
    assert cli.main([*on, str(tmp_path)]) == 2
    assert look_file.NAME in capsys.readouterr().err
