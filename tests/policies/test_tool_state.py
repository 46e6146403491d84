"""The tool's state: the same numbers from an observation as from a recording, around 0, varied in training alone."""

import numpy as np
import pytest
import torch

from kinema.chunk import Observation
from kinema.episodes.state import STATE
from kinema.geometry import Pose, rotation_6d
from kinema.policies import tool_state
from kinema.policies.tool_state import ToolState

torch.set_num_threads(1)


def test_what_is_observed_is_what_is_recorded():
    poses = tuple(Pose.from_rotvec([x, -0.1, 0.25], [3.0, 0.2, x]) for x in (0.3, 0.5))
    seen = tool_state.of(Observation(10**9, {}, poses, np.array([0.02, 0.07]), None, "open it"))
    row = [*poses[-1].position, *rotation_6d(poses[-1].rotation), 0.07, 12.0]  # the force isn't known
    assert len(row) == len(STATE) and STATE[tool_state.WIDTH :] == ("force",)
    np.testing.assert_array_equal(seen, tool_state.recorded([row, row])[1])
    assert seen.dtype == np.float32 and seen.shape == (tool_state.WIDTH,)


def test_states_of_the_work_space_come_out_around_nought():
    state = torch.tensor([[0.4, 0.0, 0.2, *(0.0,) * 6, 0.04], [0.55, -0.15, 0.35, *(0.7,) * 6, 0.07]])
    found = ToolState().eval()(state)
    torch.testing.assert_close(found, torch.tensor([[0.0] * 10, [1.0, -1.0, *(1.0,) * 8]]))


def test_in_training_it_is_off_by_what_a_tracker_may_be_off_by():
    state = torch.tensor([[0.4, 0.0, 0.2, *(0.0,) * 6, 0.04]]).expand(2000, -1)
    network = ToolState().train()
    torch.manual_seed(0)
    found = network(state)
    torch.manual_seed(0)
    assert torch.equal(network(state), found)
    off = found.std(dim=0) * torch.tensor([0.15] * 3 + [0.7] * 6 + [0.03])  # [m], rotation, [m]
    assert off[:3].tolist() == pytest.approx([0.004] * 3, rel=0.1)
    assert off[3:9].tolist() == pytest.approx([0.02] * 6, rel=0.1)
    assert off[9].item() == pytest.approx(0.001, rel=0.1)
    assert not ToolState().state_dict(), "a checkpoint has none of its constants"
