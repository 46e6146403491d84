"""Eyes for PushT: what is told of a picture, how it is measured, that it can be learned, and who begins with it."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from kinema.errors import CheckpointError, TrainingError
from kinema.policies import look_file
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.training import pusht_eyes, stages
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan
from kinema.training.pusht_eyes import EYES, Eyes, Pictures

SIDE = 32
HEAD = ActionUNetConfig(channels=(16, 32), step=8)


def _dot(image, x, y, colour) -> None:
    column, row = round(x / 16), round(y / 16)
    image[row - 1 : row + 2, column - 1 : column + 2] = colour


def pictures(count: int) -> Pictures:
    """A bar that points where the block's angle says, and a dot; a pixel is 16 of the window."""
    rng = np.random.default_rng(0)
    block = np.column_stack([rng.uniform(160, 352, (count, 2)), rng.uniform(-np.pi, np.pi, count)])
    agent = rng.uniform(80, 432, (count, 2))
    images = np.full((count, SIDE, SIDE, 3), 255, np.uint8)
    for image, (x, y, angle), at in zip(images, block, agent, strict=True):
        for far in np.linspace(0, 96, 13):
            _dot(image, x + far * np.cos(angle), y + far * np.sin(angle), (2 * far, 0, 0))
        _dot(image, *at, (0, 0, 255))
    return Pictures(images, block, agent)


def test_what_is_measured_is_how_far_off_places_and_angle_are():
    some = pictures(40)

    class Knowing(Eyes):
        def forward(self, images):
            told = some.told()
            turn = np.radians(10.0)
            told[:, 0] += 0.03
            told[:, 5] -= 0.04
            told[:, 2:4] = told[:, 2:4] @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            return torch.from_numpy(told)

    found = pusht_eyes.measured(Knowing((SIDE, SIDE)), some)
    assert found == pytest.approx(
        {"block_px": 3, "block_px_90": 3, "angle_deg": 10, "angle_deg_90": 10, "agent_px": 4, "agent_px_90": 4}
    )


def test_a_batch_is_a_function_of_seed_and_step_and_what_is_held_out_is_in_none():
    learned, held_out = pictures(100).split()
    assert (len(learned.images), len(held_out.images)) == (95, 5)
    first, again, other = learned.draw(16, 1, 2), learned.draw(16, 1, 2), learned.draw(16, 1, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    told = {tuple(row) for row in held_out.told().astype(np.float32).tolist()}
    assert not told & {tuple(row) for step in range(40) for row in learned.draw(16, 0, step)[1].tolist()}


def test_where_things_are_and_how_they_lie_is_learned_and_a_policy_begins_with_that(tmp_path):
    torch.manual_seed(0)
    learned, held_out = pictures(2000).split()
    model, plan = Eyes((SIDE, SIDE)), Plan(pusht_eyes.STAGE, 150, 32, rate=2e-3, warm_up=10, save=1000, measure=1000)
    before = pusht_eyes.measured(model, held_out)
    training = Training(model, plan, Accelerator(cpu=True), tmp_path / "state.pt", {})
    assert training.run(lambda step, piece: learned.draw(plan.batch, 0, step), Watcher())
    with training.averaged():
        after = pusht_eyes.measured(model, held_out)
        look_file.save(tmp_path, model.look, {})
    for name in ("block_px", "angle_deg", "agent_px"):
        assert after[name] < 0.7 * before[name]

    wanted = DiffusionPolicyConfig(eyes=EYES, head=HEAD, label=8, grounded_rate=0.0, latency=0.1)
    policy = DiffusionPolicyModel(wanted, 1, (SIDE, SIDE))
    stages.begin_look(policy, tmp_path)
    assert policy.still
    images = torch.from_numpy(held_out.images[:4])
    with training.averaged():
        told = model(images)
    torch.testing.assert_close(
        policy.look.glimpse(images[:, None].permute(0, 1, 4, 2, 3) / 127.5 - 1, None, None), told
    )
    learning = {id(value) for group in policy.parameters_of("action") for value in group["params"]}
    assert not learning & {id(value) for value in policy.look.views.parameters()}


def test_eyes_of_another_size_are_refused(tmp_path):
    look_file.save(tmp_path, Eyes((SIDE, SIDE)).look, {})
    with pytest.raises(CheckpointError, match="does not fit this look"):
        look_file.restore(Eyes((2 * SIDE, SIDE)).look, tmp_path)
    with pytest.raises(TrainingError, match="has no look"):
        stages.begin_look(torch.nn.Linear(1, 1), tmp_path)
