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
from kinema.policies import checkpoint, registry, sampling, tool_state
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.assembly import committed_steps
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.image_encoder import EncodersConfig, ImageEncoderConfig
from kinema.policies.look import EyeConfig, LookConfig
from kinema.policies.text import WordsConfig

torch.set_num_threads(1)

CAMERAS, SIZE, HORIZON = ("gripper", "left", "right"), (24, 18), 8
BY = {"now": slice(0, 5), "state": slice(5, 9), "text": slice(9, 11)}  # which columns of an action follow from what
TINY = DiffusionPolicyConfig(
    eyes=LookConfig(eyes=(EyeConfig(8, 16, 16),) * 3, width=16, inner=32, features=32),
    head=ActionUNetConfig(channels=(32, 64), step=16, rejoin=True),
    label=16,
    latency=0.15,
)
ENCODERS = EncodersConfig(
    image=ImageEncoderConfig(stem=8, pool=False, channels=(16,), strides=(2,), blocks=1, maps=4, features=8),
    text=WordsConfig(width=8),
)
SPACE = ActionSpace(horizon=HORIZON, dt=0.1, offset=0.1, executable=6, mean=(0.1,) * WIDTH, std=(0.2,) * WIDTH)


def moments(count: int) -> Batch:
    """A bright spot in an image, the tool's height and the text each decide some columns of the actions."""
    right, opens, high = (torch.randint(2, (count,)) for _ in range(3))
    now = torch.zeros(count, 3, SIZE[1], SIZE[0], 3, dtype=torch.uint8)
    for image, side in zip(now[:, 0], right, strict=True):
        image[6:12, 14 * side + 2 : 14 * side + 8] = 255
    state = torch.zeros(count, tool_state.WIDTH)
    state[:, 2] = 0.4 * high
    signs = torch.stack([right] * 5 + [high] * 4 + [opens] * 2, dim=1) * 2.0 - 1.0
    way = torch.linspace(0.2, 1.6, HORIZON)[:, None] * signs[:, None]
    text = tuple("open it" if o else "close it" for o in opens)
    return Batch(now, state, None, text, way, torch.zeros(count, dtype=int))


@pytest.fixture(scope="module")
def learned() -> DiffusionPolicyModel:
    """A model after a short training on `moments`; from half of the weights drawn it takes long to find the spot."""
    torch.manual_seed(0)
    model = DiffusionPolicyModel(TINY, len(CAMERAS), SIZE)
    optimiser = torch.optim.Adam(model.parameters_of("action"), 3e-3)
    for _ in range(320):
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
    views, head = (sum(p.numel() for p in part.parameters()) for part in (full.look.views, full.head))
    assert views == pytest.approx(3 * 11.2e6, rel=0.01)  # ResNet-18, each camera its own
    text = full.look.text
    assert text.config.width == 1024 and not any(p.requires_grad for p in text.parameters())
    assert 60e6 < head < 90e6  # Chi et al.'s U-Net of 256, 512, 1024 channels
    small = DiffusionPolicyModel(DiffusionPolicyConfig.small(), 3, (128, 96))
    assert 2 * sum(p.numel() for p in small.parameters()) < 15e6  # bytes as it is shipped


def test_it_learns_what_images_text_and_the_tools_state_ask_for(learned):
    torch.manual_seed(1)
    batch = moments(64)

    def error(**changes) -> dict[str, float]:
        """Of the columns that follow from each, as a share of what they do."""
        found = learned.act(dataclasses.replace(batch, **changes), sampling.generator(0))
        share = (found - batch.actions).square().mean(dim=(0, 1)) / batch.actions.square().mean(dim=(0, 1))
        return {name: float(share[columns].mean()) for name, columns in BY.items()}

    assert max(error().values()) < 0.15
    middle = batch.state.mean(dim=0).repeat(64, 1)
    for missing, value in {"now": torch.zeros_like(batch.now), "state": middle, "text": ("it",) * 64}.items():
        found = error(**{missing: value})
        wrong = {name for name, share in found.items() if share > 0.5}
        follows = {"now"} if missing == "state" else set()  # how far off it is depends on where the tool is
        assert missing in wrong and wrong <= {missing} | follows, found


@pytest.mark.parametrize("eyes", [TINY.eyes, ENCODERS], ids=["look", "encoders"])
def test_every_part_learns(eyes):
    torch.manual_seed(0)
    model = DiffusionPolicyModel(TINY.model_copy(update={"eyes": eyes}), len(CAMERAS), SIZE)
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
    policy.reset(4)
    np.testing.assert_array_equal(policy.predict(observation).chunk.T_rel, other.T_rel)
    check_chunk(first)
    assert (policy.name, first.policy, first.executable, [c.id for c in (first, second, again)]) == (
        "diffusion_policy",
        "diffusion_policy",
        6,
        [1, 2, 3],
    )
    np.testing.assert_array_equal(first.T_rel, again.T_rel)
    assert not np.array_equal(first.T_rel, second.T_rel) and not np.array_equal(first.T_rel, other.T_rel)


def test_several_chunks_of_a_moment_are_those_that_it_would_predict_in_turn(folder):
    torch.manual_seed(2)
    observation = observed(moments(1))
    in_turn, at_once = (registry.make(str(folder), seed=3) for _ in range(2))
    chunks = [in_turn.predict(observation).chunk for _ in range(6)]
    several = (*at_once.propose(observation, 4), *at_once.propose(observation, 2))
    assert [chunk.id for chunk in several] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(several, chunks, strict=True):
        check_chunk(one)
        np.testing.assert_allclose(one.T_rel, other.T_rel, atol=1e-5)
        np.testing.assert_allclose(one.force, other.force, atol=1e-4)
    assert not np.allclose(several[0].T_rel, several[1].T_rel, atol=1e-3)
    (alone,) = registry.make(str(folder), seed=3).propose(observation, 1)
    np.testing.assert_array_equal(alone.T_rel, chunks[0].T_rel)


def test_each_of_several_chunks_continues_what_is_committed(folder):
    torch.manual_seed(3)
    observation = observed(moments(1))
    policy = registry.make(str(folder))
    playing = policy.predict(observation).chunk
    committed = committed_steps(playing, 2, policy.spec.committed_prefix)
    later = dataclasses.replace(
        observation,
        stamp_ns=observation.stamp_ns + to_ns(0.3),
        T_base_tcp=(playing.target(2),),
        committed=committed,
    )
    for chunk in policy.propose(later, 3):
        assert max(max(distance(chunk.target(i), playing.target(3 + i))) for i in range(2)) < 1e-4


def test_it_asks_for_no_more_than_images_words_and_the_tools_state(folder):
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
    with pytest.raises(CheckpointError, match=r"key 'depth' is unknown; allowed here: eyes, head"):
        registry.make(str(tmp_path))


def test_it_takes_its_own_options_and_no_others(folder):
    with pytest.raises(ConfigError, match="unexpected keyword argument 'episode'"):
        registry.make(str(folder), episode="somewhere")
