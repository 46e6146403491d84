"""The baseline: its sizes, what it learns, and how it behaves behind the policy seam."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.chunk import Observation, check_chunk
from kinema.clock import to_ns
from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.geometry import Pose, distance
from kinema.policies import checkpoint, registry, sampling
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.assembly import committed_steps
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.image_encoder import ImageEncoderConfig
from kinema.policies.text import WordsConfig

torch.set_num_threads(1)

CAMERAS, SIZE, HORIZON = ("gripper", "left", "right"), (24, 18), 8
JAW = 9  # where the jaw's columns begin
TINY = DiffusionPolicyConfig(
    image=ImageEncoderConfig(stem=8, pool=False, channels=(16,), strides=(2,), blocks=1, maps=4, features=8),
    text=WordsConfig(width=8),
    head=ActionUNetConfig(channels=(32, 64), step=16, rejoin=True),
    guided=True,
    label=16,
    latency=0.15,
)
SPACE = ActionSpace(horizon=HORIZON, dt=0.1, offset=0.1, executable=6, mean=(0.1,) * WIDTH, std=(0.2,) * WIDTH)


def moments(count: int) -> Batch:
    """A bright spot left or right in one camera's image says where the tool goes, the text whether the jaw opens."""
    right, opens = torch.randint(2, (count,)), torch.randint(2, (count,))
    now = torch.zeros(count, 3, SIZE[1], SIZE[0], 3, dtype=torch.uint8)
    for image, side in zip(now[:, 1], right, strict=True):
        image[6:12, 14 * side + 2 : 14 * side + 8] = 255
    signs = torch.stack([right] * JAW + [opens] * (WIDTH - JAW), dim=1) * 2.0 - 1.0
    way = torch.linspace(0.2, 1.6, HORIZON)[:, None] * signs[:, None]
    return Batch(now, None, tuple("open it" if o else "close it" for o in opens), way, torch.zeros(count, dtype=int))


@pytest.fixture(scope="module")
def learned() -> DiffusionPolicyModel:
    """A model after a short training on `moments`."""
    torch.manual_seed(0)
    model = DiffusionPolicyModel(TINY, len(CAMERAS), SIZE)
    optimiser = torch.optim.Adam(model.parameters_of("action"), 3e-3)
    for _ in range(160):
        loss = model.loss(moments(32), "action")["action"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory) -> Path:
    facts = Checkpoint(
        kind="diffusion_policy",
        config=TINY.model_dump(mode="json"),
        action=SPACE,
        cameras=CAMERAS,
        image_size=SIZE,
        dataset="",
        calibration_origin=("simulator truth",),
        latency=learned.latency,
        training={},
    )
    folder = tmp_path_factory.mktemp("trained")
    checkpoint.save(folder, facts, learned.state_dict())
    return folder


def observed(batch: Batch, **changes) -> Observation:
    """The first moment of a batch as a policy meets it."""
    images = {name: image[None].numpy() for name, image in zip(CAMERAS, batch.now[0], strict=True)}
    pose = Pose.from_rotvec([0.4, 0.0, 0.2], [3.1, 0.0, 0.0])
    observation = Observation(10**9, images, (pose,), np.array([0.08]), None, batch.text[0])
    return dataclasses.replace(observation, **changes)


def test_the_sizes_are_those_that_are_meant():
    with torch.device("meta"):
        full = DiffusionPolicyModel(DiffusionPolicyConfig.full(), 3, (256, 256))
    eyes, head = (sum(p.numel() for p in part.parameters()) for part in (full.eyes, full.head))
    assert eyes == pytest.approx(3 * 11.2e6, rel=0.01)  # ResNet-18, each camera its own
    assert full.words.config.width == 1024 and not any(p.requires_grad for p in full.words.parameters())
    assert 60e6 < head < 90e6  # Chi et al.'s U-Net of 256, 512, 1024 channels
    small = DiffusionPolicyModel(DiffusionPolicyConfig.small(), 3, (96, 72))
    assert 2 * sum(p.numel() for p in small.parameters()) < 15e6  # bytes as it is shipped


def test_it_learns_what_images_and_text_ask_for(learned):
    torch.manual_seed(1)
    batch = moments(64)

    def error(**changes) -> tuple[float, float]:
        """Of tool and jaw, as a share of what they do."""
        found = learned.act(dataclasses.replace(batch, **changes), sampling.generator(0))
        share = (found - batch.actions).square().mean(dim=(0, 1)) / batch.actions.square().mean(dim=(0, 1))
        return float(share[:JAW].mean()), float(share[JAW:].mean())

    assert max(error()) < 0.15
    blind, mute = error(now=torch.zeros_like(batch.now)), error(text=("it",) * 64)
    assert blind[0] > 0.5 and mute[1] > 0.5
    assert blind[1] < 0.5 and mute[0] < 0.5


def test_every_part_learns():
    torch.manual_seed(0)
    model = DiffusionPolicyModel(TINY, len(CAMERAS), SIZE)
    model.loss(moments(8), "action")["action"].backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_a_chunk_is_a_pure_function_of_observation_seed_and_count(folder):
    torch.manual_seed(2)
    observation = observed(moments(1))
    policy = registry.make(str(folder), seed=3)
    first, second = (policy.predict(observation).chunk for _ in range(2))
    policy.reset()
    again = policy.predict(observation).chunk
    other = registry.make(str(folder), seed=4).predict(observation).chunk
    check_chunk(first)
    assert (policy.name, first.policy, first.executable, [c.id for c in (first, second, again)]) == (
        "diffusion_policy",
        "diffusion_policy",
        6,
        [1, 2, 3],
    )
    np.testing.assert_array_equal(first.T_rel, again.T_rel)
    assert not np.array_equal(first.T_rel, second.T_rel) and not np.array_equal(first.T_rel, other.T_rel)


def test_it_sees_no_more_than_images_and_words(folder):
    spec = registry.make(str(folder)).spec
    assert (spec.cameras, spec.image_size, spec.text) == (CAMERAS, SIZE, True)
    assert not (spec.force or spec.simulator_truth or spec.executed_actions or spec.goal_image)
    assert spec.committed_prefix == 3  # 0.15 s of latency are two steps, which lie between three


def test_what_is_committed_comes_back_as_it_was(folder):
    torch.manual_seed(3)
    observation = observed(moments(1))
    policy = registry.make(str(folder))
    playing = policy.predict(observation).chunk
    later = dataclasses.replace(
        observation,
        stamp_ns=observation.stamp_ns + to_ns(0.3),
        T_base_tcp=(playing.target(2),),
        committed=committed_steps(playing, 2, policy.spec.committed_prefix),
    )
    chunk = policy.predict(later).chunk
    for i in range(2):
        assert max(distance(chunk.target(i), playing.target(3 + i))) < 1e-4
    assert max(distance(chunk.target(2), playing.target(5))) > 1e-3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": {}}, "no image of camera 'gripper'"),
        ({"text": "word " * 30}, "has 30 words, allowed are 1..24"),
        ({"text": ""}, "has 0 words"),
    ],
)
def test_f02_an_observation_that_is_not_as_in_training_is_rejected(folder, change, message):
    with pytest.raises(ObservationError, match=message):
        registry.make(str(folder)).predict(observed(moments(1), **change))


def test_f07_a_configuration_that_does_not_fit_is_refused_by_key(folder, tmp_path):
    facts, tensors = checkpoint.load(folder)
    checkpoint.save(tmp_path, facts.model_copy(update={"config": facts.config | {"depth": 3}}), tensors)
    with pytest.raises(CheckpointError, match=r"key 'depth' is unknown; allowed here: image, text, head"):
        registry.make(str(tmp_path))


def test_it_takes_its_own_options_and_no_others(folder):
    with pytest.raises(ConfigError, match="unexpected keyword argument 'episode'"):
        registry.make(str(folder), episode="somewhere")
