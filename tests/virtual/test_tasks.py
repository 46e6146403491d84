"""Success is decided by the physics after release and rest, and by nothing else."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.interfaces import CommandKind
from kinema.virtual import objects, scenario, tasks
from kinema.virtual.facts import facts
from kinema.virtual.judging import REST
from kinema.virtual.world import World

Drive = Callable[[World], Any]


def _world(task: str, robot: str = "virtual_ur5e", split: str = "train", seed: int = 0) -> World:
    return World(scenario.draw(task, split, seed), robot, command_kind=CommandKind.POSITION)


def _seed_of(split: str, kind: str) -> int:
    wanted = (s for s in range(2000) if getattr(scenario.draw("pick_and_place", split, s).target, "kind", "") == kind)
    return next(wanted)


def _carry(driver: Any) -> tuple[np.ndarray, np.ndarray]:
    """Take the target and hold it just above the container's floor; returns the rotation and the place."""
    world = driver.world
    rotation = driver.grasp()
    at = world.T_base_tcp().position
    driver.go(rotation, at + np.array([0, 0, 0.22]), 1.0)
    truth = world.truth()
    container = truth.poses[truth.facts["container"]].position
    rim = truth.facts["bodies"][truth.facts["container"]]["rim"]
    driver.go(rotation, [*container[:2], 0.30], 1.0)
    low = np.array([*container[:2], max(rim, 0.03) + 0.005 + at[2]])
    driver.go(rotation, low, 1.0)
    return rotation, low


@pytest.mark.parametrize("task", ["pick_and_place", "open_drawer"])
def test_doing_nothing_is_no_success(task: str) -> None:
    world = _world(task)
    for _ in range(1200):
        world.step(None)
    outcome = world.outcome()
    assert not outcome.success
    assert "is not in the" in outcome.text or "0 % open, wanted is over 50 %" in outcome.text


@pytest.mark.parametrize(
    ("robot", "split", "kind"),
    [
        ("virtual_ur5e", "train", "block"),
        ("virtual_ur5e", "unseen_objects", "duck"),
        ("virtual_xarm7", "unseen_background", "bottle"),
        ("virtual_xarm7", "train", "banana"),
    ],
)
def test_a_thing_is_held_by_friction_and_counts_only_when_released_and_at_rest(
    robot: str, split: str, kind: str, drive: Drive
) -> None:
    world = _world("pick_and_place", robot, split, _seed_of(split, kind))
    driver = drive(world)
    rotation, low = _carry(driver)
    name = world.truth().facts["target"]
    held = world.T_base_tcp().inverse() @ world.truth().poses[name]
    driver.wait(2.0)
    still = world.T_base_tcp().inverse() @ world.truth().poses[name]
    assert np.linalg.norm(held.position - still.position) < 1e-3  # no creep out of the grip
    assert not world.outcome().success  # however long it is held there

    world.command_jaw(0.085, 0.15, 60.0)
    released = world.k
    while not world.outcome().success and world.k < released + 2500:
        driver.wait(0.02)
        if world.k == released + 400:
            driver.go(rotation, low + np.array([0, 0, 0.15]), 0.8)
    assert world.outcome().success, world.outcome().text
    assert (world.k - released) * world.period >= REST
    assert world.outcome().detail["rested"] >= REST


def test_a_thing_dropped_beside_the_container_falls_and_is_no_success(drive: Drive) -> None:
    world = _world("pick_and_place", seed=_seed_of("train", "block"))
    driver = drive(world)
    rotation = driver.grasp()
    name = world.truth().facts["target"]
    driver.go(rotation, world.T_base_tcp().position + np.array([0, 0, 0.15]), 1.0)
    assert world.truth().poses[name].position[2] > 0.14
    driver.jaw(0.085)
    driver.wait(1.5)
    assert world.truth().poses[name].position[2] < 0.05
    assert not world.outcome().success
    assert "is not in the" in world.outcome().text


@pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])
@pytest.mark.parametrize("drawer", ["lower", "upper"])
def test_a_drawer_counts_when_it_is_over_half_open_and_let_go(robot: str, drawer: str, drive: Drive) -> None:
    seed = next(s for s in range(50) if scenario.draw("open_drawer", "train", s).drawer == drawer)
    world = _world("open_drawer", robot, seed=seed)
    driver = drive(world)
    facts = world.truth().facts["drawer"]
    handle = world.truth().poses[facts["handle"]].position
    out, up, tilt = np.array(facts["axis"]), np.array([0.0, 0.0, 1.0]), math.radians(70)
    z = -out * math.cos(tilt) - up * math.sin(tilt)
    y = np.cross(up, -out)
    choices = [np.stack([s * np.cross(y, z), np.cross(z, s * np.cross(y, z)), z], axis=1) for s in (1, -1)]
    rotation = driver.nearest(choices, handle - 0.1 * z)
    driver.jaw(0.035)
    driver.go(rotation, handle - 0.12 * z, 2.0)
    driver.go(rotation, handle, 1.0)
    driver.jaw(facts["bar"][2] - 0.015)

    driver.go(rotation, handle + 0.4 * facts["travel"] * out, 1.5)
    driver.wait(1.5)
    assert world.truth().joints[facts["joint"]] == pytest.approx(0.4 * facts["travel"], abs=0.01)
    assert "40 % open" in world.outcome().text or "39 % open" in world.outcome().text
    driver.go(rotation, handle + 0.7 * facts["travel"] * out, 1.5)
    driver.wait(1.5)
    assert world.outcome().text == "the gripper still touches the cabinet"
    driver.jaw(0.035)
    driver.go(rotation, handle + 0.7 * facts["travel"] * out - 0.1 * z, 1.0)
    driver.wait(1.2)
    assert world.outcome().success, world.outcome().text


def test_facts_hold_what_a_scripted_expert_needs() -> None:
    for split in objects.SPLITS:
        known = facts(scenario.draw("pick_and_place", split, 3))
        bodies = known["bodies"]
        assert bodies[known["target"]]["role"] == "object"
        assert bodies[known["target"]]["grasps"]
        vessel = bodies[known["container"]]
        assert vessel["role"] == "container"
        assert 0 < vessel["floor"] < vessel["rim"]
        assert sum(body["role"] == "distractor" for body in bodies.values()) >= 3
        drawer = facts(scenario.draw("open_drawer", split, 3))["drawer"]
        assert np.linalg.norm(drawer["axis"]) == pytest.approx(1.0)
        assert drawer["travel"] > 0


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'juggle'.*pick_and_place, open_drawer"):
        tasks.task("juggle")
