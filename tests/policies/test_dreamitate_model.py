"""The stereo video generator: at a tiny size what it learns, at the full size, on the meta device, its facts."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.errors import ConfigError
from kinema.policies import sampling
from kinema.policies.batch import Batch
from kinema.policies.codec import PatchesConfig
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.text import WordsConfig
from kinema.policies.video_policy.config import LeanConfig, SvdConfig
from kinema.policies.video_policy.unet import SvdUNet

torch.set_num_threads(1)

SIZE, FRAMES = (24, 16), 3
TINY = DreamitateConfig(
    codec=PatchesConfig(patch=8, predicted=8, shown=8),
    text=WordsConfig(width=8),
    unet=LeanConfig(channels=(16, 32), heads=2, layers=1, label=16),
    change=True,
    frames=FRAMES,
    stride=1,
    latency={"few:4": 1.0},
)


def moments(count: int, goal: bool = False) -> Batch:
    """A bright patch moves up or down, in both views alike: where the text says, or the goal's mask."""
    up = torch.randint(2, (count,))
    now = torch.zeros(count, 2, SIZE[1], SIZE[0], 3, dtype=torch.uint8)
    now[:, :, 4:12, 8:16] = 255
    future = now[:, :, None].repeat(1, 1, FRAMES, 1, 1, 1)
    masks = torch.zeros(count, 2, SIZE[1], SIZE[0], dtype=torch.uint8)
    for i in range(count):
        rows = slice(0, 8) if up[i] else slice(8, 16)
        future[i] = 0
        future[i, :, :, rows, 8:16] = 255
        masks[i, :, rows, 8:16] = 1
    text = ("push it",) * count if goal else tuple("lift it" if u else "lower it" for u in up)
    return Batch(now, None, future, text, None, torch.zeros(count, dtype=int), goal=masks if goal else None)


def learned(goal: bool) -> DreamitateModel:
    torch.manual_seed(0)
    model = DreamitateModel(TINY.model_copy(update={"goal": goal}), 2, SIZE)
    batch = moments(16, goal)
    model.prepare([batch], batch.text)
    optimiser = torch.optim.Adam([p for group in model.parameters_of("video") for p in group["params"]], 3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        model.loss(moments(16, goal), "video")["video"].backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("goal", [False, True], ids=["by the text", "by the goal's mask"])
def test_it_imagines_in_both_views_what_it_is_told(goal):
    model, batch = learned(goal), moments(16, goal)
    imagined = model.imagine(batch, sampling.generator(0))
    assert imagined.shape == (16, 2, FRAMES, 16, 24, 3) and imagined.dtype == torch.uint8
    error = (imagined.float() - batch.future.float()).square().mean()
    repeated = batch.now[:, :, None].expand_as(batch.future).float()
    assert error < 0.3 * (repeated - batch.future.float()).square().mean()
    if goal:
        other = dataclasses.replace(batch, goal=1 - batch.goal)
        assert (model.imagine(other, sampling.generator(0)).float() - imagined.float()).square().mean() > error


def test_the_first_frame_of_the_first_view_repeats_the_input_and_is_left_out():
    model = DreamitateModel(DreamitateConfig.small(), 2, (256, 192))
    assert model._view.tolist() == [0] * 13 + [1] * 12
    small = DreamitateModel(TINY, 2, SIZE)
    batch = moments(2)
    assert not small._encode(batch.now, batch.future)[:, 0].any()  # no change from the input


def test_a_goal_that_is_missing_or_not_asked_for_and_other_cameras_are_refused():
    with pytest.raises(ConfigError, match="takes 2 cameras that stand still, there are 3"):
        DreamitateModel(TINY, 3, SIZE)
    for asked in (True, False):
        with pytest.raises(ConfigError, match="goal masks are " + ("needed" if asked else "not what")):
            model = DreamitateModel(TINY.model_copy(update={"goal": asked}), 2, SIZE)
            batch = moments(1, not asked)
            model.see(batch.now, batch.text, batch.goal)
    with pytest.raises(ValueError, match=r"mode 'single' is not known; allowed: few:STEPS, paper"):
        DreamitateConfig(latency={"single": 1.0})


# ---- the full size, without memory for its weights


def build(**changes) -> DreamitateModel:
    with torch.device("meta"):
        config = DreamitateConfig.full().model_copy(update=changes)
        return DreamitateModel(config, 2, (768, 448)).to("meta").eval()


def test_the_full_size_has_the_facts_of_the_paper():
    model = build()
    assert sum(p.numel() for p in model.unet.parameters()) / 1e6 == pytest.approx(1524.6, abs=0.1)
    assert model.latent == (4, 56, 96) and model.clip == 25 and model._view.shape == (25,)
    assert DreamitateConfig.full().unet.ids == (6.0, 200.0, 0.02) and SvdConfig().ids == (6.0, 100.0, 0.02)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        clip = torch.empty(1, 25, *model.latent)
        (velocity,) = model._velocity(clip, torch.empty(1), clip, torch.empty(1, 1024))
    assert velocity.shape == (1, 25, 4, 56, 96)
    assert flops.get_total_flops() / 1e12 == pytest.approx(42.9, rel=0.005)


def test_a_goal_adds_a_channel_that_says_nothing_before_it_has_learned(tmp_path):
    assert build(goal=True).unet.network.conv_in.in_channels == 9
    small = SvdConfig(channels=(32, 32), heads=(1, 1), layers=1, source=str(tmp_path))
    torch.manual_seed(0)
    published = SvdUNet(small, 8, 4, 16, 5)
    published.network.save_pretrained(tmp_path / "unet")
    mine = SvdUNet(small, 9, 4, 16, 5)
    mine.load_pretrained()
    clip, label, text = torch.randn(1, 5, 8, 8, 8), torch.zeros(1), torch.randn(1, 16)
    with torch.no_grad():
        right, _ = published.eval()(clip, label, text)
        found, _ = mine.eval()(torch.cat([clip, torch.randn(1, 5, 1, 8, 8)], dim=2), label, text)
    assert torch.equal(found, right)


def test_configurations_survive_json():
    for config in (DreamitateConfig.full(), DreamitateConfig.small(), TINY):
        assert DreamitateConfig.model_validate_json(config.model_dump_json()) == config
