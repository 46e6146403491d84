"""The first predictions: what they are of, that nothing of them stays, and what they refuse."""

import numpy as np
import pytest
import torch

from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction, check_chunk
from kinema.errors import CheckpointError, NonFiniteChunkError, NoPlanError
from kinema.policies.warm_up import blank, warm_up

SPEC = ObservationSpec(cameras=("left", "right"), image_size=(32, 24), history=2, goal_image=True)


class Looker:
    """A policy that looks; `think` is what it does for a chunk."""

    name = "looker"

    def __init__(self, spec: ObservationSpec = SPEC, think=lambda: None) -> None:
        self.spec, self._think = spec, think
        self.seen: list[Observation] = []
        self.imagined = self.resets = 0

    def reset(self, seed: int | None = None) -> None:
        self.resets += 1

    def predict(self, observation: Observation) -> Prediction:
        self.seen.append(observation)
        self._think()
        T_rel = np.tile(np.eye(4), (4, 1, 1))
        pose = observation.T_base_tcp[-1]
        return Prediction(ActionChunk(1, "looker", observation.stamp_ns, pose, 0.08, 0.1, 0.1, T_rel, None, None, 4))

    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        self.imagined += 1
        return prediction


def test_a_blank_observation_has_all_that_was_declared() -> None:
    seen = blank(SPEC)
    assert {name: image.shape for name, image in seen.images.items()} == dict.fromkeys(SPEC.cameras, (2, 24, 32, 3))
    assert len(seen.T_base_tcp) == len(seen.width) == len(seen.force) == 2 and seen.text
    assert seen.goal_image.shape == (24, 32, 3)
    assert blank(ObservationSpec(force=False)).force is None
    executed = blank(ObservationSpec(executed_actions=5, executed_dt=0.1)).executed_actions
    check_chunk(executed)
    assert (len(executed), executed.dt, executed.due_ns(4)) == (5, 0.1, executed.t0_ns)
    assert seen.executed_actions is None


def test_chunk_and_video_are_tried_and_forgotten() -> None:
    policy = Looker()
    assert warm_up(policy) > 0.0
    assert len(policy.seen) > 1 and policy.imagined == 1 and policy.resets == 1


def test_a_policy_that_sees_nothing_to_do_in_the_dark_has_been_tried() -> None:
    def nothing() -> None:
        raise NoPlanError("no tool")

    policy = Looker(think=nothing)
    assert warm_up(policy) >= 0.0
    assert len(policy.seen) > 1 and policy.imagined == 0 and policy.resets == 1


@pytest.mark.parametrize("spec", [ObservationSpec(images=False), ObservationSpec(simulator_truth=True)])
def test_a_policy_that_looks_at_no_image_is_left_alone(spec) -> None:
    policy = Looker(spec)
    assert warm_up(policy) == 0.0 and not policy.seen


def test_f07_too_little_memory_is_said_before_anything_moves() -> None:
    with pytest.raises(CheckpointError, match=r"looker: cannot be run on this machine: .*memory") as refused:
        warm_up(Looker(think=lambda: torch.empty(1 << 55)))
    assert refused.value.fault == "F07"


def test_f01_a_network_of_broken_numbers_is_not_deployed(monkeypatch) -> None:
    policy = Looker()
    whole = policy.predict

    def broken(observation: Observation) -> Prediction:
        prediction = whole(observation)
        prediction.chunk.T_rel[2, 0, 3] = np.nan
        return prediction

    monkeypatch.setattr(policy, "predict", broken)
    with pytest.raises(NonFiniteChunkError, match=r"T_rel\[2\] is not finite"):
        warm_up(policy)
