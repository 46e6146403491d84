"""The action U-Net: its size and shapes, what it must not see, and that it learns a distribution it is shown."""

import pytest
import torch

from kinema.errors import ConfigError
from kinema.policies import sampling
from kinema.policies.action_unet import (
    ActionUNet,
    ActionUNetConfig,
    LabelEmbedding,
    action_loss,
    sample_actions,
)

SMALL = ActionUNetConfig(channels=(16, 32), groups=4, step=16, rejoin=True)
NONE = torch.zeros(64, dtype=torch.int64)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def head():
    """An answer made of a small network whose condition is (64, 4), and its parameters."""
    unet, embed = ActionUNet(3, 16, 4, SMALL), LabelEmbedding(16)
    condition = torch.randn(64, 4)
    return (lambda scaled, label, known: unet(scaled, embed(label), condition[: len(scaled)], known)), [
        *unet.parameters(),
        *embed.parameters(),
    ]


def test_at_full_size_it_has_the_parameters_of_the_facts():
    with torch.device("meta"):
        unet = ActionUNet(7, 1280, 6720, ActionUNetConfig())
        velocity = unet(
            torch.empty(2, 32, 7), torch.empty(2, 1280), torch.empty(2, 6720), torch.empty(2, 32, dtype=torch.bool)
        )
    assert sum(p.numel() for p in unet.parameters()) == pytest.approx(161e6, rel=0.01)
    assert velocity.shape == (2, 32, 7)


def test_a_chunk_of_the_wrong_length_is_refused_by_name():
    with pytest.raises(ConfigError, match="31 steps: 2 levels need a multiple of 2"):
        head()[0](torch.zeros(1, 31, 3), torch.zeros(1), torch.zeros(1, 31, dtype=torch.bool))


def test_neighbouring_noise_levels_look_different():
    embed = LabelEmbedding(16)
    labels = sampling.scalings(sampling.karras(10)[:-1]).label
    vectors = embed(labels)
    assert torch.pdist(vectors).min() > 0.05


def test_known_steps_are_given_clean_and_not_judged():
    actions, prefix = torch.randn(64, 8, 3), NONE + 3
    seen = []

    def answer(scaled, label, known):
        seen.append((scaled, known))
        return torch.where(known[..., None], torch.full_like(scaled, 1e6), torch.zeros_like(scaled))

    loss = action_loss(answer, actions, prefix)
    scaled, known = seen[0]
    assert torch.equal(scaled[:, :3], actions[:, :3]) and not torch.equal(scaled[:, 3:], actions[:, 3:])
    assert known.sum(dim=1).tolist() == [3] * 64 and loss < 10
    given = torch.randn(64, 8, 3)
    drawn = sample_actions(answer, torch.randn(64, 8, 3), sampling.karras(4), given, prefix)
    torch.testing.assert_close(drawn[:, :3], given[:, :3])


def test_of_a_wholly_known_chunk_nothing_is_left_to_learn():
    answer, _ = head()
    assert action_loss(answer, torch.randn(64, 8, 3), NONE + 8) == 0


def test_it_learns_to_continue_the_known_steps():
    """Chunks are ramps of random slope; two known steps tell which one."""
    actions = torch.randn(64, 1, 3) * torch.linspace(0.5, 1.5, 8)[None, :, None]
    answer, parameters = head()
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        action_loss(answer, actions, torch.randint(0, 3, (64,))).backward()
        optimizer.step()
    with torch.no_grad():
        drawn = sample_actions(answer, torch.randn(64, 8, 3), sampling.karras(10), actions, NONE + 2)
    slopes = drawn[:, 7] - drawn[:, 2], actions[:, 7] - actions[:, 2]
    assert torch.corrcoef(torch.stack([slope.flatten() for slope in slopes]))[0, 1] > 0.7
