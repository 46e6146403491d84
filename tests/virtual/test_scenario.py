"""Drawn scenarios: reproducible, split as promised, apart from each other and within reach of both arms."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kinema import robots
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.virtual import layout, objects, scenario

SEEDS = range(120)
SPLITS = tuple(objects.SPLITS)


def _all(task: str, split: str) -> list[scenario.Scenario]:
    return [scenario.draw(task, split, seed) for seed in SEEDS]


@pytest.mark.parametrize("task", ["pick_and_place", "open_drawer"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_gives_one_scenario_and_other_seeds_other_ones(task: str, split: str) -> None:
    drawn = _all(task, split)
    assert drawn == _all(task, split)
    assert len(set(drawn)) == len(drawn)
    assert json.loads(json.dumps(dataclasses.asdict(drawn[0])))["seed"] == 0


def test_there_are_as_many_kinds_as_promised() -> None:
    assert len(objects.SEEN.objects) >= 11
    assert len(objects.SEEN.containers) >= 10
    assert {s.target.kind for s in _all("pick_and_place", "train") if s.target} == set(objects.SEEN.objects)
    assert {s.container.kind for s in _all("pick_and_place", "train") if s.container} == set(objects.SEEN.containers)
    assert {s.drawer for s in _all("open_drawer", "train")} == {"lower", "upper"}


def test_splits_are_disjoint_in_what_they_hold_out() -> None:
    for field in dataclasses.fields(objects.Pool):
        assert not set(getattr(objects.SEEN, field.name)) & set(getattr(objects.UNSEEN, field.name))
    train, things, backgrounds = (_all("pick_and_place", split) for split in SPLITS[:3])
    for s in things:
        assert all(p.kind in objects.UNSEEN.objects + objects.UNSEEN.containers for p in s.movable)
        assert s.background.name in objects.SEEN.backgrounds
    for s in backgrounds:
        assert all(p.kind in objects.SEEN.objects + objects.SEEN.containers for p in s.movable)
        assert s.background.name in objects.UNSEEN.backgrounds
    seen_colours = {p.colour for s in train for p in s.movable if p.kind != "banana"}
    palette = {objects.COLOURS[name] for name in objects.UNSEEN.colours}
    assert not seen_colours & palette
    assert {s.background.name for s in train} == set(objects.SEEN.backgrounds)


@pytest.mark.parametrize("split", SPLITS[:3])
def test_targets_lie_anywhere_at_any_yaw_with_clutter_around(split: str) -> None:
    drawn = _all("pick_and_place", split)
    spots = np.array([s.target.position for s in drawn if s.target])
    assert (np.ptp(spots, axis=0) >= 0.29).all()
    yaws = np.array([s.target.yaw for s in drawn if s.target])
    assert np.histogram(yaws, bins=6, range=(-math.pi, math.pi))[0].min() >= 5
    assert all(len(s.distractors) >= 3 for s in drawn)
    assert {len(s.distractors) for s in drawn} == {3, 4, 5}
    assert all(s.target and s.target.kind not in {d.kind for d in s.distractors} for s in drawn)


def test_a_plain_scene_has_one_table_few_things_and_two_colours() -> None:
    drawn = _all("sweep", "plain") + _all("pick_and_place", "plain")
    assert {s.background.name for s in drawn} == {"grey"}
    assert {p.kind for s in drawn for p in s.distractors} <= {"block", "lemon", "can", "bottle", "cup"}
    assert {s.text.split()[2] for s in drawn if s.task == "sweep"} == {"red", "blue"}
    with pytest.raises(ConfigError, match="3 colours are needed, this split has 2"):
        scenario.draw("stack_cups", "plain", 0)


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_overlaps_and_the_open_jaw_fits_around_the_target(split: str) -> None:
    for s in _all("pick_and_place", split):
        assert s.target is not None
        names = [p.name for p in s.movable]
        assert len(set(names)) == len(names)
        for a, b in itertools.combinations(s.movable, 2):
            radii = [(objects.OBJECTS | objects.CONTAINERS)[p.kind].radius for p in (a, b)]
            if a is s.target:
                radii[0] = max(radii[0], layout.GRIPPER_ROOM)
            assert math.dist(a.position, b.position) > sum(radii)


@pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])
def test_targets_and_containers_are_within_reach(robot: str, kinematics: Callable[[str], Any]) -> None:
    arm = kinematics(robot)
    home = np.array(robots.arm(robot).home)
    for seed in range(12):
        s = scenario.draw("pick_and_place", SPLITS[seed % 3], seed)
        assert s.target is not None and s.container is not None
        q = home
        for place, height in (
            (s.target.position, 0.20),
            (s.target.position, 0.015),
            (s.target.position, 0.20),
            (s.container.position, objects.CONTAINERS[s.container.kind].rim + 0.15),
        ):
            choices = [arm.looking_down(s.target.yaw + turn) for turn in (0.0, math.pi)]
            found = [arm.solve(Pose(np.array([*place, height]), R), q) for R in choices]
            good = [f for f in found if f is not None and f[1] > 0.02]
            assert good, f"seed {seed}: {place} at {height} m"
            q = good[0][0]


@pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])
def test_drawers_are_within_reach_while_they_open(robot: str, kinematics: Callable[[str], Any]) -> None:
    arm = kinematics(robot)
    for seed in range(12):
        s = scenario.draw("open_drawer", SPLITS[seed % 3], seed)
        assert s.cabinet is not None
        kind = objects.CABINETS[s.cabinet.kind]
        X = np.array([math.cos(s.cabinet.yaw), math.sin(s.cabinet.yaw), 0.0])
        up, tilt = np.array([0.0, 0.0, 1.0]), math.radians(30)
        z = X * math.cos(tilt) - up * math.sin(tilt)
        y = np.cross(up, X)
        out = kind.front + kind.gap + (kind.step if s.drawer == "lower" else 0.0)
        handle = np.array([*s.cabinet.position, kind.drawers[s.drawer]]) - X * out
        paths = []
        for sign in (1, -1):
            x = sign * np.cross(y, z)
            R = np.stack([x, np.cross(z, x), z], axis=1)
            q, worst = np.array(robots.arm(robot).home), math.inf
            for at in (handle - 0.1 * z, handle, handle - 0.6 * kind.travel * X):
                found = arm.solve(Pose(at, R), q)
                q, worst = (q, 0.0) if found is None else (found[0], min(worst, found[1]))
            paths.append(worst)
        assert max(paths) > 0.02, f"seed {seed}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("juggle", "train", 0), "'juggle' is not known; allowed: pick_and_place, open_drawer"),
        (("open_drawer", "test", 0), "'test' is not known; allowed: train, unseen_objects, unseen_background, plain"),
        (("open_drawer", "train", -1), "seed -1 is negative"),
    ],
)
def test_what_is_not_there_is_refused_by_name(arguments: tuple, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        scenario.draw(*arguments)
