"""The full size, on the meta device: what the paper and Stable Video Diffusion say it is made of and what it costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.errors import CheckpointError, ConfigError
from kinema.policies.codec import VaeConfig
from kinema.policies.video_policy.config import SvdConfig, VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel
from kinema.policies.video_policy.unet import SvdUNet


def build(width: int, height: int, actions: int = 11) -> VideoPolicyModel:
    with torch.device("meta"):
        return VideoPolicyModel(VideoPolicyConfig.full(), 3, (width, height), actions).to("meta").eval()


@pytest.fixture(scope="module")
def model() -> VideoPolicyModel:
    return build(256, 256)


def test_it_has_the_parameters_of_the_facts(model):
    count = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    assert count["unet"] == pytest.approx(1524.6, abs=0.1)
    assert count["adapter"] == pytest.approx(206, abs=1)
    assert count["head"] == pytest.approx(161, abs=2)
    assert model.look is None


@pytest.mark.parametrize(
    ("size", "teraflop", "vector"), [((256, 256), 7.36, 6720), ((256, 192), 5.49, 5040), ((448, 320), 16.6, 14_700)]
)
def test_a_pass_has_the_taps_and_costs_of_the_facts(size, teraflop, vector):
    model = build(*size)
    with torch.device("meta"), torch.no_grad():
        shown, video = torch.empty(1, 25, *model.latent), torch.empty(1, 25, *model.latent)
        text, sigma = torch.empty(1, 1024), torch.empty(1)
        with FlopCounterMode(display=False) as flops:
            velocity, features = model._video(video, sigma, shown, text)
        condition = model._adapted(features, sigma)
        answer = model._answer(condition)(torch.empty(1, 32, 11), sigma, torch.empty(1, 32, dtype=torch.bool))
    height, width = size[1] // 8, size[0] // 8
    assert velocity.shape == (1, 25, 4, height, width)
    assert [tuple(feature.shape[2:]) for feature in features] == [
        (320, height, width),
        (640, height // 2, width // 2),
        (1280, height // 4, width // 4),
        (1280, height // 8, width // 8),
        (1280, height // 8, width // 8),
    ]
    assert flops.get_total_flops() / 1e12 == pytest.approx(teraflop, rel=0.005)
    assert condition.shape == (1, vector) and answer.shape == (1, 32, 11)


def test_a_size_that_the_u_net_cannot_halve_is_refused():
    with pytest.raises(ConfigError, match="320 x 240 px: both sides must be multiples of 64"):
        build(320, 240)


def test_without_its_files_it_says_which_to_put_where(tmp_path):
    with torch.device("meta"):
        unet = SvdUNet(SvdConfig(source=str(tmp_path)), 8, 4, 1024, 25)
    with pytest.raises(CheckpointError, match=r"put unet/config.json and unet/diffusion_pytorch_model.*`unet.source`"):
        unet.load_pretrained()


def test_configuration_survives_json():
    for config in (VideoPolicyConfig.full(), VideoPolicyConfig.medium(), VideoPolicyConfig.small()):
        assert VideoPolicyConfig.model_validate_json(config.model_dump_json()) == config
    assert VaeConfig().source == SvdConfig().source
