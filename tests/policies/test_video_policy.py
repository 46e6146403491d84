"""The video policy at a tiny size: what it learns from what, its three modes, and how it behaves behind the seam."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.chunk import Observation, check_chunk
from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.geometry import Pose
from kinema.policies import checkpoint, registry, sampling, tool_state
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.codec import PatchesConfig, VaeConfig
from kinema.policies.engines.graph import running
from kinema.policies.look import EyeConfig, LookConfig
from kinema.policies.text import WordsConfig
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.config import (
    BottlenecksConfig,
    FlatConfig,
    LeanConfig,
    SvdConfig,
    VideoPolicyConfig,
)
from kinema.policies.video_policy.model import VideoPolicyModel

torch.set_num_threads(1)

CAMERAS, SIZE, HORIZON, FRAMES = ("gripper", "left", "right"), (24, 16), 8, 2
TINY = VideoPolicyConfig(
    codec=PatchesConfig(patch=8, predicted=8, shown=8),
    text=WordsConfig(width=8),
    unet=LeanConfig(channels=(16, 32), heads=2, layers=1, label=16),
    adapter=FlatConfig(channels=(8, 8), features=32),
    action=ActionUNetConfig(channels=(32, 64), step=16, rejoin=True),
    frames=FRAMES,
    stride=4,
    action_noise=(0.0, 1.6),
    read_share=0.5,
    prefix=4,
    latency={"single": 0.15, "few:2": 0.25, "paper": 4.0},
    rates=(1.0, 1.0, 1.0),
)
LOOK = LookConfig(eyes=(EyeConfig(8, 16, 16),) * 3, width=16, inner=32, features=16)
SPACE = ActionSpace(horizon=HORIZON, dt=0.1, offset=0.1, executable=6, mean=(0.1,) * WIDTH, std=(0.2,) * WIDTH)


def moments(count: int) -> Batch:
    """A bright patch is left or right in one camera's image and moves up or down, as the text says.

    The tool goes to its side, the jaw as the patch.
    """
    right, up = torch.randint(2, (count,)), torch.randint(2, (count,))
    now = torch.zeros(count, 3, SIZE[1], SIZE[0], 3, dtype=torch.uint8)
    future = now[:, :, None].repeat(1, 1, FRAMES, 1, 1, 1)
    for i in range(count):
        columns = slice(16 * int(right[i]), 16 * int(right[i]) + 8)
        now[i, 1, 4:12, columns] = 255
        future[i, 1, :, 0:8, columns] = 255 * up[i]
        future[i, 1, :, 8:16, columns] = 255 * (1 - up[i])
    signs = torch.stack([right] * 9 + [up] * (WIDTH - 9), dim=1) * 2.0 - 1.0
    way = torch.linspace(0.2, 1.6, HORIZON)[:, None] * signs[:, None]
    text = tuple("lift it" if u else "lower it" for u in up)
    return Batch(now, torch.zeros(count, tool_state.WIDTH), future, text, way, torch.zeros(count, dtype=int))


def fresh(**changes) -> VideoPolicyModel:
    torch.manual_seed(0)
    model = VideoPolicyModel(TINY.model_copy(update=changes), len(CAMERAS), SIZE)
    batch = moments(16)
    model.prepare([batch], batch.text)
    return model


def train(model: VideoPolicyModel, stage: str, steps: int) -> None:
    optimiser = torch.optim.Adam(model.parameters_of(stage), 3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(model.loss(moments(16), stage).values()).backward()
        optimiser.step()


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "change"])
def learned(request) -> VideoPolicyModel:
    """After both stages: first the video, then the actions with the video network as it is."""
    model = fresh(change=request.param)
    train(model, "video", 100)
    train(model, "action", 200)
    return model.eval()


# ---- learning


@pytest.mark.parametrize("stride", [0, 2])
def test_a_video_may_look_less_far_ahead_than_the_chunk(stride):
    model = fresh(stride=stride, horizon=HORIZON, change=True)
    batch = moments(4)
    if not stride:
        batch = dataclasses.replace(batch, future=batch.now[:, :, None].expand_as(batch.future))
    losses = model.loss(batch, "joint")
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert model.act(batch, sampling.generator(0)).shape == (4, HORIZON, WIDTH)
    assert model.imagine(batch, sampling.generator(0)).shape == batch.future.shape


def test_a_video_of_the_present_alone_needs_the_length_of_a_chunk():
    with pytest.raises(ValueError, match="give the horizon"):
        VideoPolicyConfig(stride=0)


def test_it_imagines_what_the_text_says_and_reads_its_actions_from_that(learned):
    torch.manual_seed(1)
    batch = moments(32)
    coming = batch.future.float()
    imagined = learned.imagine(batch, sampling.generator(0))
    assert imagined.shape == batch.future.shape and imagined.dtype == torch.uint8
    repeated = batch.now[:, :, None].expand_as(batch.future)
    error, of_repeating = ((frames.float() - coming).square().mean() for frames in (imagined, repeated))
    assert error < 0.5 * of_repeating

    def of_actions(**changes) -> tuple[float, float]:
        """Error of tool and jaw, as a share of what they do."""
        found = learned.act(dataclasses.replace(batch, **changes), sampling.generator(0))
        share = (found - batch.actions).square().mean(dim=(0, 1)) / batch.actions.square().mean(dim=(0, 1))
        return float(share[:9].mean()), float(share[9:].mean())

    assert max(of_actions()) < 0.3
    assert of_actions(now=torch.zeros_like(batch.now))[0] > 0.6
    assert of_actions(text=("hold it",) * 32)[1] > 0.6


def test_all_modes_act(learned):
    torch.manual_seed(1)
    batch = moments(16)
    sight, noise = learned.see(batch.now, batch.text, batch.state), learned.noise(16, sampling.generator(0))
    given = torch.zeros_like(batch.actions)
    with torch.no_grad():
        for steps, guidance in ((3, 1.0), (3, 2.0)):
            found, _ = sampler.joint(running(learned), sight, noise, given, batch.prefix, steps, guidance)
            agreement = torch.corrcoef(torch.stack([found.flatten(), batch.actions.flatten()]))[0, 1]
            assert agreement > 0.7, (steps, guidance, agreement)


@pytest.mark.parametrize("stop", [True, False])
def test_actions_teach_the_video_network_nothing_unless_they_are_meant_to(stop):
    model = fresh(stop_gradient=stop)
    torch.nn.init.normal_(model.unet.leave[-1].weight)
    model.loss(moments(8), "joint")["action"].backward()
    taught = any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in [*model.unet.parameters(), *model.text.parameters()]
    )
    assert taught is not stop


@pytest.mark.parametrize("look", [None, LOOK])
def test_every_part_learns_in_its_stage_and_no_other_does(look):
    model = fresh(look=look, drop=0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    torch.nn.init.normal_(model.unet.leave[-1].weight)
    for block in model.unet.modules():  # what ends a block begins at zero and hides the block for one step
        if hasattr(block, "after"):
            torch.nn.init.normal_(block.after.weight)
        if hasattr(block, "answer"):
            torch.nn.init.normal_(block.answer.weight)
            torch.nn.init.normal_(block.think[-1].weight)
    for stage in ("video", "action", "joint"):
        model.zero_grad()
        batch = moments(8)
        sum(model.loss(batch, stage).values()).backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        meant = {names[id(p)] for group in model.parameters_of(stage) for p in group["params"]}
        assert moved == meant, stage
    assert meant == set(names.values())


def test_videos_without_actions_and_actions_without_videos_can_be_learned_from():
    model, batch = fresh(), moments(4)
    assert set(model.loss(dataclasses.replace(batch, actions=None, state=None), "video")) == {"video"}
    assert set(model.loss(dataclasses.replace(batch, future=None), "action")) == {"action"}
    assert set(model.loss(batch, "joint")) == {"video", "action"}


def test_it_learns_in_mixed_precision():
    model, batch = fresh(look=LOOK), moments(4)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(batch, "joint")
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_actions_have_a_noise_level_of_their_own():
    model, seen = fresh(read_share=1.0), []
    model.unet.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    model.head.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    torch.manual_seed(0)
    model.loss(moments(8), "joint")
    of_video, of_actions = seen
    assert (of_video == sampling.scalings(torch.tensor(700.0)).label).all()
    assert torch.pdist(of_actions).min() > 0


def test_what_is_dropped_for_guidance_is_dropped_for_the_whole_moment():
    model = fresh(look=LOOK)
    batch = moments(3)
    sight = model.see(batch.now, batch.text, batch.state).where(torch.tensor([True, False, True]))
    for part in sight:
        assert (part[1] == 0).all() and (part[0] != 0).any() and (part[2] != 0).any()


def test_each_frame_is_conditioned_on_its_own_cameras_image():
    model, batch = fresh(), moments(1)
    before = model.see(batch.now, batch.text, None).shown
    for camera, frames in enumerate(([0, 1, 2], [3, 4], [5, 6])):
        now = batch.now.clone()
        now[:, camera] = 77
        changed = (model.see(now, batch.text, None).shown != before).any(dim=4).any(dim=3).any(dim=2)[0]
        assert changed.nonzero().flatten().tolist() == frames


@pytest.mark.parametrize("change", [True, False])
def test_what_is_denoised_has_unit_variance_and_decodes_to_what_happened(change):
    model, batch = fresh(change=change, codec=PatchesConfig(patch=8, predicted=64, shown=8)), moments(32)
    latents = model._encode(batch.now, batch.future)
    assert latents[:, 1:].std() == pytest.approx(1.0, abs=0.15)
    assert (sampler.decode(running(model), latents, batch.now).float() - batch.future).abs().max() <= 1
    still = sampler.decode(running(model), torch.zeros_like(latents), batch.now)
    assert torch.equal(still[:, :, 0], batch.now) is change


def test_what_the_codec_leaves_out_of_the_present_image_goes_on_in_the_video():
    model, batch = fresh(change=True, codec=PatchesConfig(patch=8, predicted=4, shown=8)), moments(4)
    video = sampler.decode(running(model), torch.zeros(4, model.clip, *model.latent), batch.now)
    assert (video.float() - batch.now[:, :, None]).abs().max() <= 1, "nothing changes: the present image again"


def test_the_full_sizes_parts_work_together():
    torch.manual_seed(0)
    adapter = BottlenecksConfig(
        entries=((16, 2), (16, 2)),
        widths=((16, 2),) * 3,
        strides=(2, 1, 1),
        narrow=((16, 2),),
        trunk=((16, 2),),
        fold=2,
        norm=2,
    )
    config = VideoPolicyConfig.full().model_copy(
        update={
            "codec": VaeConfig(channels=(32, 32, 32, 32)),
            "text": WordsConfig(width=16),
            "unet": SvdConfig(channels=(32, 64), heads=(2, 4)),
            "adapter": adapter,
            "action": ActionUNetConfig(channels=(16, 32), groups=4, step=16),
            "frames": FRAMES,
        }
    )
    model, batch = VideoPolicyModel(config, 3, (32, 16)), moments(2)
    now, future = batch.now[:, :, :, :16].repeat(1, 1, 1, 2, 1), batch.future[:, :, :, :, :16].repeat(1, 1, 1, 1, 2, 1)
    batch = dataclasses.replace(batch, now=now, future=future)
    model.prepare([batch], batch.text)
    losses = model.loss(batch, "joint")
    sum(losses.values()).backward()
    trained = [parameter for group in model.parameters_of("joint") for parameter in group["params"]]
    assert all(parameter.grad is not None for parameter in trained)
    assert {id(p) for p in trained}.isdisjoint(id(p) for p in model.codec.parameters())
    assert model.act(batch, sampling.generator(0)).shape == batch.actions.shape
    assert model.imagine(batch, sampling.generator(0)).shape == future.shape


def test_images_that_do_not_divide_into_patches_are_refused():
    with pytest.raises(ConfigError, match="20 x 16 px: both sides must be multiples of 8"):
        VideoPolicyModel(TINY, 3, (20, 16))


def test_the_small_size_fits_what_may_be_shipped():
    for size in ((96, 96), (128, 96)):
        small = VideoPolicyModel(VideoPolicyConfig.small(), 3, size)
        assert 2 * sum(tensor.numel() for tensor in small.state_dict().values()) < 15e6  # bytes


# ---- behind the seam


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory) -> Path:
    return saved(learned, tmp_path_factory.mktemp("trained"), {"stage": "action"})


def saved(model, folder, training) -> Path:
    facts = Checkpoint(
        kind="video_policy",
        config=model.config.model_dump(mode="json"),
        action=SPACE,
        cameras=CAMERAS,
        image_size=SIZE,
        dataset="",
        calibration_origin=("simulator truth",),
        latency=model.latency,
        training=training,
    )
    checkpoint.save(folder, facts, model.state_dict())
    return folder


def observed(batch: Batch, **changes) -> Observation:
    """The first moment of a batch as a policy meets it."""
    images = {name: image[None].numpy() for name, image in zip(CAMERAS, batch.now[0], strict=True)}
    pose = Pose.from_rotvec([0.4, 0.0, 0.2], [3.1, 0.0, 0.0])
    return dataclasses.replace(Observation(10**9, images, (pose,), np.array([0.08]), None, batch.text[0]), **changes)


@pytest.mark.parametrize("mode", ["single", "few:2", "paper"])
def test_a_chunk_and_its_video_are_pure_functions_of_observation_seed_and_count(folder, mode):
    torch.manual_seed(2)
    observation = observed(moments(1))
    policy = registry.make(str(folder), mode=mode, seed=3)
    first, second = (policy.predict(observation) for _ in range(2))
    late = policy.imagine(observation, first).video
    policy.reset()
    again = policy.predict(observation)
    at_once = policy.imagine(observation, again).video
    other = registry.make(str(folder), mode=mode, seed=4).predict(observation)
    check_chunk(first.chunk)
    assert [prediction.chunk.id for prediction in (first, second, again)] == [1, 2, 3] and first.video is None
    np.testing.assert_array_equal(first.chunk.T_rel, again.chunk.T_rel)
    for different in (second, other):
        assert not np.array_equal(first.chunk.T_rel, different.chunk.T_rel)
    for camera in CAMERAS:
        np.testing.assert_array_equal(late[camera], at_once[camera])
    with pytest.raises(ObservationError, match=r"chunk 1 is none of this episode's, which are 3\.\.3"):
        policy.imagine(observation, first)


def test_the_video_begins_with_what_is_seen_and_says_when_its_frames_are(folder):
    observation = observed(moments(1))
    policy = registry.make(str(folder))
    prediction = policy.imagine(observation, policy.predict(observation))
    assert prediction.video_dt == pytest.approx(0.4)
    for camera in CAMERAS:
        assert prediction.video[camera].shape == (1 + FRAMES, SIZE[1], SIZE[0], 3)
        np.testing.assert_array_equal(prediction.video[camera][0], observation.images[camera][0])
    assert set(prediction.timing) == {
        *("read", "see", "video", "action"),
        *("imagine see", "imagine video", "imagine decode", "imagine"),
    }


def test_committed_steps_come_back_as_they_are(folder):
    policy = registry.make(str(folder), mode="few:2")
    assert policy.spec.committed_prefix == 4  # 0.25 s of latency are three steps, which lie between four
    observation = observed(moments(1))
    first = policy.predict(observation).chunk
    kept = dataclasses.replace(
        first, T_rel=first.T_rel[:4], width_change=first.width_change[:4], force=first.force[:4], executable=4
    )
    again = policy.predict(dataclasses.replace(observation, committed=kept)).chunk
    np.testing.assert_allclose(again.T_rel[:3], first.T_rel[:3], atol=1e-4)
    assert not np.allclose(again.T_rel[3:], first.T_rel[3:], atol=1e-4)


def test_it_asks_for_no_more_than_images_words_and_the_tools_state(folder):
    spec = registry.make(str(folder)).spec
    assert (spec.cameras, spec.image_size, spec.text) == (CAMERAS, SIZE, True)
    assert not (spec.force or spec.simulator_truth or spec.executed_actions or spec.goal_image)


def test_an_observation_that_is_not_as_in_training_is_refused_by_name(folder):
    policy, observation = registry.make(str(folder)), observed(moments(1))
    larger = {name: np.zeros((1, 20, 24, 3), np.uint8) for name in CAMERAS}
    floats = {name: image / np.nan for name, image in observation.images.items()}
    for changes, said in (
        (
            {"images": larger},
            r"gripper: the image is uint8 of shape \(20, 24, 3\), needed is uint8 of shape \(16, 24, 3",
        ),
        ({"images": floats}, r"gripper: the image is float64"),
        ({"images": {"gripper": observation.images["gripper"]}}, "no image of camera 'left'"),
        ({"text": "word " * 25}, r"has 25 words, allowed are 1\.\.24"),
    ):
        with pytest.raises(ObservationError, match=said):
            policy.predict(dataclasses.replace(observation, **changes))


def test_a_mode_that_it_does_not_have_is_refused_by_name(folder):
    with pytest.raises(ConfigError, match=r"no mode 'few:3'; allowed: single, few:2, paper"):
        registry.make(str(folder), mode="few:3")
    with pytest.raises(ValueError, match="mode 'fast' is not known; allowed: single, few:STEPS, paper"):
        VideoPolicyConfig(latency={"fast": 0.1})


def test_f07_a_checkpoint_that_can_not_act_is_refused(learned, folder, tmp_path):
    with pytest.raises(CheckpointError, match="has learned to imagine, not to act"):
        registry.make(str(saved(learned, tmp_path / "video", {"stage": "video"})))
    other = saved(learned, tmp_path / "cut", {"stage": "joint"})
    weights = (other / checkpoint.WEIGHTS).read_bytes()
    (other / checkpoint.WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match="is cut short, altered or of another checkpoint"):
        registry.make(str(other))
