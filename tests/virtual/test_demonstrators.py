"""The scripted expert's planning: chunks that are valid, continuous, gentle, and that follow what is observed."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.chunk import Observation, check_chunk
from kinema.control.settings import Limits
from kinema.geometry import Array, Pose, distance
from kinema.policies.assembly import committed_steps
from kinema.robots import GRIPPER
from kinema.virtual import scenario, scripting, tasks
from kinema.virtual.demonstrators import EXECUTABLE, STEPS, Demonstrator
from kinema.virtual.scripting import DT, HUMAN, Reference, Stage, Style, Until
from kinema.virtual.tasks.pick_and_place import PickAndPlace
from kinema.virtual.world import World

HOME = Pose(np.array([0.41, 0.13, 0.30]), np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]))
TASKS = ("pick_and_place", "open_drawer")


@pytest.fixture(scope="module", params=TASKS)
def world(request: pytest.FixtureRequest) -> World:
    return World(scenario.draw(request.param, "train", 3), "virtual_ur5e")


@pytest.fixture(scope="module")
def table() -> World:
    return World(scenario.draw("pick_and_place", "train", 3), "virtual_ur5e")


def _look(world: World, tcp: Pose = HOME, step: int = 0, width: float = 0.085, force: float = 0.0) -> Observation:
    return Observation(
        stamp_ns=round((1.0 + step * DT) * 1e9),
        images={},
        T_base_tcp=(tcp,),
        width=np.array([width]),
        force=np.array([force]),
        text="",
        truth=world.truth(),
    )


def _clean(pose: Pose) -> Pose:
    return Pose.from_quaternion(pose.position, pose.quaternion)


def _play(
    policy: Demonstrator,
    world: World,
    chunks: int,
    every: int = 8,
    tcp: Pose = HOME,
    feel: Callable[[float], tuple[float, float]] = lambda width: (width, 0.0),
) -> tuple[list[Pose], list[str], list[Array]]:
    """A tool that follows every chunk exactly, and a jaw for which `feel` says width and force."""
    poses, stages, forces, width, force = [], [], [], 0.085, 0.0
    for i in range(chunks):
        chunk = policy.predict(_look(world, tcp, i * every, width, force)).chunk
        check_chunk(chunk)
        stages.append(policy.stage)
        for k in range(every):
            tcp = _clean(chunk.target(k))
            poses.append(tcp)
        assert chunk.width_change is not None and chunk.force is not None
        forces.append(chunk.force[:every])
        width, force = feel(chunk.width_t0 + chunk.width_change[every - 1])
    return poses, stages, forces


def test_it_says_that_it_reads_the_simulators_truth(world: World) -> None:
    policy = Demonstrator()
    assert policy.name == "demonstrator" and policy.spec.simulator_truth
    blind = Observation(0, {}, (HOME,), np.array([0.085]), None, "")
    with pytest.raises(ValueError, match="simulator's truth"):
        policy.predict(blind)


def test_a_chunk_is_what_the_player_expects(world: World) -> None:
    policy = Demonstrator()
    chunk = policy.predict(_look(world)).chunk
    check_chunk(chunk)
    assert (len(chunk), chunk.dt, chunk.offset, chunk.executable) == (STEPS, DT, DT, EXECUTABLE)
    assert chunk.policy == "demonstrator" and chunk.width_change is not None and chunk.force is not None
    assert policy.predict(_look(world, step=8)).chunk.id == chunk.id + 1


def test_a_new_chunk_continues_the_last_one(world: World) -> None:
    policy = Demonstrator()
    last = policy.predict(_look(world)).chunk
    for i in range(1, 6):
        chunk = policy.predict(_look(world, _clean(last.target(7)), 8 * i)).chunk
        for k in range(STEPS - 8):
            assert distance(last.target(k + 8), chunk.target(k)) == pytest.approx((0, 0), abs=1e-6)
        last = chunk


@pytest.mark.parametrize("style", [Style(), HUMAN], ids=["plain", "human"])
def test_the_motion_keeps_far_from_the_limits(world: World, style: Style) -> None:
    limits = Limits()
    poses, _, _ = _play(Demonstrator(1, style=style), world, 25)
    positions = np.array([pose.position for pose in poses])
    speed = np.diff(positions, axis=0) / DT
    acceleration = np.diff(speed, axis=0) / DT
    turned = [distance(a, b)[1] / DT for a, b in itertools.pairwise(poses)]
    assert np.linalg.norm(speed, axis=1).max() < 0.7 * limits.speed[0]
    assert np.linalg.norm(acceleration, axis=1).max() < 0.7 * limits.acceleration[0]
    assert max(turned) < 0.8 * limits.speed[1]
    assert positions[:, 2].min() > GRIPPER.tip + 0.002


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.floats(-0.4, 0.4)] * 3, *[st.floats(-1.5, 1.5)] * 3), min_size=1, max_size=4))
def test_the_reference_arrives_without_exceeding_its_speed(goals: list[tuple[float, ...]]) -> None:
    style = Style()
    stages = [Stage(str(i), Pose.from_rotvec(goal[:3], goal[3:]), 0.04, Until.PASSED) for i, goal in enumerate(goals)]
    stages.append(Stage("end", stages[-1].T_base_tcp, 0.04, Until.NEVER))
    reference = Reference.at_rest(Pose.identity(), 0.085)
    for _ in range(900):
        before, reference = reference, scripting.advance(reference, stages, style, DT)
        gap, angle = distance(before.T_base_tcp, reference.T_base_tcp)
        assert gap <= 1.001 * style.speed * DT and angle <= 1.6 * style.turn * DT
        assert np.linalg.norm(reference.twist[:3] - before.twist[:3]) <= 4.0 * DT
    assert reference.stage == len(goals)
    assert distance(reference.T_base_tcp, stages[-1].T_base_tcp) == pytest.approx((0, 0), abs=1e-3)
    assert reference.width == pytest.approx(0.04)


def test_a_stretched_chunk_is_continued_from_where_playing_has_come(world: World) -> None:
    policy = Demonstrator()
    first = policy.predict(_look(world)).chunk
    committed = committed_steps(first, 1, EXECUTABLE)  # eight steps' time has passed, two have been played
    tcp = _clean(first.target(1))
    seen = _look(world, tcp, 8)
    late = Observation(
        seen.stamp_ns, {}, seen.T_base_tcp, seen.width, seen.force, "", committed=committed, truth=seen.truth
    )
    second = policy.predict(late).chunk
    assert distance(second.target(0), first.target(3))[0] < 1e-6


def test_a_tool_that_was_led_away_is_not_pulled_back_at_once(world: World) -> None:
    policy = Demonstrator()
    policy.predict(_look(world))
    aside = Pose(HOME.position + np.array([0.0, 0.25, 0.0]), HOME.rotation)
    chunk = policy.predict(_look(world, aside, 8)).chunk
    assert distance(chunk.target(0), aside)[0] < 0.005


def test_an_empty_jaw_makes_it_try_again_and_then_give_up(table: World) -> None:
    """The jaw closes on nothing, again and again."""
    _, stages, _ = _play(Demonstrator(), table, 160)
    tries = sum(a != "close" and b == "close" for a, b in itertools.pairwise(stages))
    assert tries == 4 and "lift" not in stages


def test_a_grip_leads_on_and_its_force_was_predicted(table: World) -> None:
    facts = table.truth().facts
    held = facts["bodies"][facts["target"]]["grasps"][0]["width"]

    def feel(width: float) -> tuple[float, float]:
        return max(width, held), max(0.0, held - width) * GRIPPER.stiffness

    _, stages, forces = _play(Demonstrator(), table, 30, feel=feel)
    assert "lift" in stages
    assert max(force.max() for force in forces) == pytest.approx(Style().grip_force)
    assert all(force.max() == 0.0 for force, stage in zip(forces, stages, strict=True) if stage in ("rise", "above"))


def test_one_seed_gives_one_demonstration_and_seeds_differ(world: World) -> None:
    def way(seed: int) -> Array:
        return np.array([pose.position for pose in _play(Demonstrator(seed, style=HUMAN), world, 6)[0]])

    assert np.array_equal(way(1), way(1))
    assert np.abs(way(1) - way(2)).max() > 0.002


def test_another_scenario_begins_another_demonstration(table: World) -> None:
    policy = Demonstrator()
    _play(policy, table, 12)
    other = World(scenario.draw("open_drawer", "train", 1), "virtual_ur5e")
    policy.predict(_look(other, step=96))
    assert policy.stage == "turn"


def test_it_leads_a_tool_from_anywhere(world: World) -> None:
    """In TCP space alone, so that a free-flying gripper can follow."""
    start = Pose.from_rotvec([0.35, -0.2, 0.45], [2.9, 0.3, 0.2])
    poses, stages, _ = _play(Demonstrator(), world, 35, tcp=start)
    assert "close" in stages
    assert distance(poses[0], start)[0] < 0.01


@pytest.mark.parametrize("split", ["train", "unseen_objects"])
def test_grasps_fit_the_jaw_and_keep_the_fingers_off_the_table(split: str) -> None:
    for seed in range(12):
        world = World(scenario.draw("pick_and_place", split, seed), "virtual_ur5e")
        truth = world.truth()
        script = PickAndPlace(HOME, truth, HOME, Style(), np.random.default_rng(0), 0)
        stages = {stage.name: stage for stage in script.stages(truth)}
        take = stages["descend"]
        assert take.T_base_tcp.position[2] - GRIPPER.tip > 0.003
        assert take.width <= GRIPPER.stroke and stages["close"].width < take.width
        assert stages["lower"].T_base_tcp.position[2] < stages["carry"].T_base_tcp.position[2]


def test_a_person_comes_in_aside_and_mends_that_before_the_grasp(world: World) -> None:
    truth, task = world.truth(), world.scenario.task
    sides: dict[str, list[float]] = {"first": [], "near": []}
    for seed in range(30):
        straight, aside = (
            tasks.task(task).script(HOME, truth, HOME, style, np.random.default_rng(seed), 0).stages(truth)
            for style in (Style(), Style(aim_spread=(0.018, 0.15)))
        )
        names = [stage.name for stage in aside]
        near = names.index("near")
        for side, k in (("first", near - 1), ("near", near)):
            off = straight[k].T_base_tcp.inverse() @ aside[k].T_base_tcp
            assert abs(off.position[2]) < 1e-9, "aside, no nearer"
            sides[side].append(float(np.linalg.norm(off.position)))
        gap, angle = distance(straight[near + 1].T_base_tcp, aside[near + 1].T_base_tcp)
        assert gap < 1e-9 and angle < 1e-6 and names[near + 2] == "close"
    assert 0.015 < np.mean(sides["first"]) < 0.030 and 0.35 < np.mean(sides["near"]) / np.mean(sides["first"]) < 0.7
