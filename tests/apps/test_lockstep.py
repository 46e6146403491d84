"""Lockstep: repeatable bit for bit, honest about latency, and the expert succeeds by the physics."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinema.apps import cli
from kinema.apps.lockstep import Batch, EpisodeResult, Watcher, run_batch, run_episode
from kinema.cell_file import load
from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Prediction
from kinema.clock import to_ns
from kinema.control.messages import Mode, Tick
from kinema.control.pacing import Pace
from kinema.errors import ConfigError, KinemaError, ObservationError
from kinema.paths import root
from kinema.virtual.demonstrators import Demonstrator

CELL = root() / "launch/cells/virtual.yaml"


class Idle:
    """Stays where it is."""

    name = "idle"

    def __init__(self, cameras: tuple[str, ...] = ("gripper",), truth: bool = False) -> None:
        self.spec = ObservationSpec(cameras=cameras, simulator_truth=truth)
        self.seen: list[Observation] = []

    def reset(self, seed: int | None = None) -> None:
        self.seen.clear()

    def predict(self, observation: Observation) -> Prediction:
        self.seen.append(observation)
        rest = np.tile(np.eye(4), (24, 1, 1))
        tcp = observation.T_base_tcp[-1]
        return Prediction(
            ActionChunk(
                len(self.seen), self.name, observation.stamp_ns, tcp, 0.085, 1 / 30, 1 / 30, rest, None, None, 24
            )
        )


class Arrivals(Watcher):
    """When each chunk was accepted, and its observation's stamp [ns]."""

    def __init__(self) -> None:
        self.delays: list[int] = []
        self.states: set[str] = set()

    def tick(self, tick: Tick) -> None:
        self.states.add(tick.state.name)
        for event in tick.events:
            if event.kind == "chunk_accepted":
                self.delays.append(event.t_ns - event.data["t0_ns"])


def _short(seed: int, **options: object) -> EpisodeResult:
    arguments = {"time_limit": 1.5} | options
    return run_episode("pick_and_place", "train", seed, "virtual_ur5e", Demonstrator(), **arguments)  # type: ignore[arg-type]


def test_the_same_arguments_give_the_same_numbers_bit_for_bit() -> None:
    first, again, other = _short(1), _short(1), _short(2)
    assert first == again
    assert first.digest != other.digest
    assert first.digest != _short(1, latency=0.08).digest


@pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])
@pytest.mark.parametrize(
    ("task", "split", "seed"),
    [("pick_and_place", "train", 0), ("pick_and_place", "unseen_objects", 4), ("open_drawer", "train", 1)],
)
def test_the_expert_succeeds_by_the_physics(task: str, split: str, seed: int, robot: str) -> None:
    result = run_episode(task, split, seed, robot, Demonstrator(seed))
    assert result.success, result.outcome
    assert result.simulator_truth and result.refused == 0 and result.duration < 20


def test_it_succeeds_in_stop_and_go_too() -> None:
    result = run_episode("open_drawer", "train", 2, "virtual_ur5e", Demonstrator(), pace=Pace(Mode.STOP_AND_GO))
    assert result.success, result.outcome
    assert result.execution == "stop_and_go" and result.refused == 0


@pytest.mark.parametrize("latency", [0.050, 0.121])
def test_a_chunk_comes_exactly_at_the_declared_latency(latency: float) -> None:
    arrivals = Arrivals()
    result = _short(1, latency=latency, watcher=arrivals)
    assert result.chunks == len(arrivals.delays) >= 2 and result.latency == latency
    period = to_ns(0.002)
    assert all(to_ns(latency) <= delay < to_ns(latency) + period for delay in arrivals.delays)


def test_an_idle_policy_fails_and_the_outcome_says_what_is_missing() -> None:
    policy = Idle(truth=True)
    result = run_episode("pick_and_place", "train", 0, "virtual_ur5e", policy, time_limit=2.0)
    assert not result.success and "not in the" in result.outcome
    assert result.chunks > 0 and result.duration == pytest.approx(2.0)


def test_the_observation_is_that_of_one_moment() -> None:
    policy = Idle(truth=True)
    run_episode("pick_and_place", "train", 0, "virtual_ur5e", policy, time_limit=1.0)
    stamps = [observation.stamp_ns for observation in policy.seen]
    assert stamps == sorted(set(stamps))
    for observation in policy.seen:
        assert observation.truth is not None and observation.truth.stamp_ns == observation.stamp_ns
        assert observation.text == "put the apple into the yellow bucket"
        assert observation.width[-1] == pytest.approx(0.085, abs=1e-3)
        assert observation.force is not None and abs(observation.force[-1]) < 1.0


class Picky(Idle):
    """Can't act on its first observation."""

    def predict(self, observation: Observation) -> Prediction:
        prediction = super().predict(observation)
        if len(self.seen) == 1:
            raise ObservationError("the text is too long")
        return prediction


def test_an_observation_that_a_policy_cannot_act_on_is_rejected_and_another_one_taken() -> None:
    policy = Picky(truth=True)
    result = run_episode("pick_and_place", "train", 0, "virtual_ur5e", policy, time_limit=1.0)
    assert len(policy.seen) >= 2 and result.chunks == len(policy.seen) - 1


def test_a_policy_that_looks_gets_images_or_is_refused() -> None:
    policy = Idle(cameras=("gripper", "left"))
    with pytest.raises(KinemaError, match="render=True"):
        run_episode("pick_and_place", "train", 0, "virtual_ur5e", policy)
    run_episode("pick_and_place", "train", 0, "virtual_ur5e", policy, render=True, time_limit=0.3)
    images = policy.seen[0].images
    assert set(images) == {"gripper", "left"}
    assert all(image.shape == (1, 240, 320, 3) and image.std() > 10 for image in images.values())
    assert policy.seen[0].truth is None


def test_a_robot_that_may_not_stand_in_the_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="virtual_ur5e"):
        run_episode("pick_and_place", "train", 0, "ur5e", Demonstrator(), cell=load(CELL))


def test_processes_change_nothing_but_the_order() -> None:
    batch = Batch("open_drawer", "train", "virtual_ur5e", "demonstrator", 1, 3, None, 0.05, False, CELL, time_limit=1.0)
    alone = list(run_batch(batch, jobs=1))
    together = sorted(run_batch(batch, jobs=2), key=lambda result: result.seed)
    assert alone == together


def test_the_command_prints_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lockstep", "--task", "open_drawer", "--episodes", "2", "--time-limit", "0.5"]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["episodes"] == 2 and found["summary"]["simulator_truth"]
    assert [episode["seed"] for episode in found["episodes"]] == [0, 1]
    assert cli.main(words) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "demonstrator (reads the simulator's truth): 0 of 2 succeeded" in table


def test_a_mistake_on_the_command_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lockstep", "--robot", "ur10", "--episodes", "1"]) == 2
    assert "virtual_ur5e" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["dance"])


class Onlooker(Watcher):
    """Looks at every moment of a camera, or at none; keeps what was seen, by stamp."""

    def __init__(self, looks: bool) -> None:
        self.looks = looks
        self.seen: dict[int, Image] = {}

    def moment(self, stamp_ns: int, look: Callable[[str], Image]) -> None:
        if self.looks:
            self.seen[stamp_ns] = look("left")


def test_who_looks_on_sees_what_the_policy_sees_and_changes_nothing() -> None:
    policy, results, onlooker = Idle(cameras=("gripper", "left")), [], Onlooker(looks=True)
    observations = []
    for watcher in (onlooker, Onlooker(looks=False)):
        results.append(
            run_episode("open_drawer", "train", 3, "virtual_ur5e", policy, render=True, time_limit=0.6, watcher=watcher)
        )
        observations.append(list(policy.seen))
    assert results[0] == results[1]
    assert len(onlooker.seen) == 18 and len(observations[0]) >= 2
    for watched, alone in zip(*observations, strict=True):
        np.testing.assert_array_equal(watched.images["left"], alone.images["left"])
        np.testing.assert_array_equal(watched.images["left"][0], onlooker.seen[watched.stamp_ns])


def test_images_of_the_past_are_those_of_their_moments() -> None:
    policy, onlooker = Idle(cameras=("left",)), Onlooker(looks=True)
    policy.spec = replace(policy.spec, history=3, history_dt=0.1)
    run_episode("open_drawer", "train", 3, "virtual_ur5e", policy, render=True, time_limit=0.8, watcher=onlooker)
    stamps = sorted(onlooker.seen)
    last = policy.seen[-1]
    newest = stamps.index(last.stamp_ns)
    for image, stamp_ns in zip(last.images["left"], stamps[newest - 6 : newest + 1 : 3], strict=True):
        np.testing.assert_array_equal(image, onlooker.seen[stamp_ns])
