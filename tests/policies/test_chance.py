"""The random policy moves like its data set, never twice the same way, and repeats itself for a seed."""

import numpy as np
import pytest

from kinema.chunk import Observation, Prediction, check_chunk
from kinema.errors import CheckpointError
from kinema.geometry import Pose
from kinema.policies import registry
from kinema.policies.actions import ActionSpace
from kinema.policies.chance import Chance

_MEAN = (0.02, 0.0, 0.01, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.01, 2.0)
_STD = (0.05, 0.04, 0.06, *(0.05,) * 6, 0.02, 3.0)
SPACE = ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=24, mean=_MEAN, std=_STD)
SEEN = Observation(
    stamp_ns=10**9, images={}, T_base_tcp=(Pose(np.array([0.4, 0.1, 0.2]), np.eye(3)),), width=np.array([0.05]),
    force=None, text="",
)  # fmt: skip


def _chunks(policy: Chance, count: int) -> list[Prediction]:
    policy.reset()
    return [policy.predict(SEEN) for _ in range(count)]


def test_its_targets_are_spread_as_the_data_set_is() -> None:
    ends = np.array([p.chunk.T_rel[-1][:3, 3] for p in _chunks(Chance(SPACE, 3), 600)])
    np.testing.assert_allclose(ends.mean(axis=0), _MEAN[:3], atol=0.01)
    np.testing.assert_allclose(ends.std(axis=0), _STD[:3], rtol=0.1)


def test_a_chunk_leads_straight_from_the_tool_and_may_be_played() -> None:
    chunk = _chunks(Chance(SPACE), 1)[0].chunk
    check_chunk(chunk)
    steps = np.diff(np.vstack([np.zeros(3), chunk.T_rel[:, :3, 3]]), axis=0)
    np.testing.assert_allclose(steps, np.tile(steps[0], (32, 1)), atol=1e-7)
    assert (chunk.dt, chunk.executable, chunk.policy) == (0.1, 24, "random")


def test_a_seed_repeats_itself_and_others_differ() -> None:
    def ways(seed: int) -> list[bytes]:
        return [p.chunk.T_rel.tobytes() for p in _chunks(Chance(SPACE, seed), 3)]

    policy = Chance(SPACE, 1)
    policy.reset(2)
    assert [policy.predict(SEEN).chunk.T_rel.tobytes() for _ in range(3)] == ways(2)
    assert ways(1) == ways(1)
    assert len({*ways(1), *ways(2)}) == 6


def test_it_needs_a_checkpoint_to_be_like(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint\.json"):
        registry.make("random", like=str(tmp_path))
