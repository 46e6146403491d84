"""The video policy's parts by themselves: codecs, the U-Nets at odd sizes, adapters."""

import pytest
import torch

from kinema.errors import CheckpointError, ConfigError
from kinema.policies.codec import Patches, PatchesConfig, Vae, VaeConfig
from kinema.policies.video_policy import adapter
from kinema.policies.video_policy.config import (
    BottlenecksConfig,
    FlatConfig,
    LeanConfig,
    SvdConfig,
)
from kinema.policies.video_policy.unet import unet

torch.set_num_threads(1)


def pictures(count: int) -> torch.Tensor:
    """Smooth images (count, 3, 16, 24) with a little noise, -1 to 1."""
    coarse = torch.randn(count, 3, 2, 3)
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 24), mode="bilinear")
    return (0.5 * smooth + 0.02 * torch.randn(count, 3, 16, 24)).clamp(-1, 1)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return pictures(200)


def test_all_components_of_a_patch_are_the_patch(images):
    codec = Patches(PatchesConfig(patch=4, predicted=48, shown=48))
    codec.fit(images)
    torch.testing.assert_close(codec.decode(codec.encode(images)), images, atol=1e-4, rtol=0)


def test_a_few_components_say_most_and_what_is_denoised_has_unit_variance(images):
    codec = Patches(PatchesConfig(patch=8, predicted=12, shown=24))
    codec.fit(images)
    latents = codec.encode(images)
    assert latents.shape == (200, 12, 2, 3)
    assert latents.std() == pytest.approx(1.0, abs=0.1)
    assert codec.show(images).std(dim=(0, 2, 3)).max() == pytest.approx(1.0, abs=0.1)
    assert (codec.decode(latents) - images).square().mean() < 0.1 * images.square().mean()
    fresh = pictures(50)
    assert (codec.decode(codec.encode(fresh)) - fresh).square().mean() < 0.15 * fresh.square().mean()


def test_latents_are_exact_in_mixed_precision(images):
    codec = Patches(PatchesConfig(patch=8, predicted=12, shown=24))
    codec.fit(images)
    with torch.autocast("cpu", torch.bfloat16):
        latents = codec.encode(images)
    assert torch.equal(latents, codec.encode(images))


def test_a_fit_does_not_depend_on_the_order_of_the_images(images):
    one, other = (Patches(PatchesConfig(patch=8, predicted=6, shown=6)) for _ in range(2))
    one.fit(images)
    other.fit(images.flip(0))
    torch.testing.assert_close(one.encode(images), other.encode(images), atol=1e-3, rtol=0)


def test_more_components_than_a_patch_has_are_refused():
    with pytest.raises(ConfigError, match="a patch of 2 px has 12 components, asked for are 24"):
        Patches(PatchesConfig(patch=2, predicted=24, shown=12))


def test_the_autoencoder_takes_a_video_there_and_back(tmp_path):
    torch.manual_seed(0)
    codec = Vae(VaeConfig(channels=(32, 32, 32, 32), source=str(tmp_path)))
    images = torch.rand(2, 3, 32, 64) * 2 - 1
    latents = codec.encode(images)
    assert latents.shape == (2, 4, 4, 8)
    torch.testing.assert_close(latents, 0.18215 * codec.show(images))
    assert codec.decode(latents).shape == images.shape
    with pytest.raises(CheckpointError, match=r"put vae/config.json and vae/diffusion_pytorch_model.*`codec.source`"):
        codec.load_pretrained()


LEAN = LeanConfig(channels=(16, 32, 32), heads=2, layers=1, label=16)
SVD = SvdConfig(channels=(32, 64), heads=(2, 4), layers=2)


@pytest.mark.parametrize(("config", "size"), [(LEAN, (9, 12)), (LEAN, (7, 5)), (SVD, (4, 6))])
def test_features_have_the_shapes_that_are_announced(config, size):
    torch.manual_seed(0)
    network = unet(config, inputs=6, outputs=3, text=8, frames=5)
    velocity, features = network(torch.randn(2, 5, 6, *size), torch.zeros(2), torch.randn(2, 8))
    assert velocity.shape == (2, 5, 3, *size)
    assert [tuple(feature.shape) for feature in features] == [(2, 5, *tap) for tap in network.taps(size)]
    assert network.embed(torch.zeros(2)).shape == (2, network.label)


def test_the_full_network_can_be_learned_from_and_lets_go_of_its_features():
    torch.manual_seed(0)
    network = unet(SVD, inputs=6, outputs=3, text=8, frames=5).train()
    velocity, features = network(torch.randn(1, 5, 6, 4, 6), torch.zeros(1), torch.randn(1, 8))
    (velocity.square().mean() + sum(feature.square().mean() for feature in features)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network._features is None


def test_in_the_lean_network_every_frame_depends_on_every_other_and_samples_do_not():
    torch.manual_seed(0)
    network = unet(LEAN, inputs=6, outputs=3, text=8, frames=5)
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    latents = torch.randn(2, 5, 6, 8, 8, requires_grad=True)
    velocity, _ = network(latents, torch.zeros(2), torch.randn(2, 8))
    (gradient,) = torch.autograd.grad(velocity[0, 4, :, 0, 0].sum(), latents)
    assert (gradient[0].abs().sum(dim=(1, 2, 3)) > 0).all() and (gradient[1] == 0).all()


TAPS = [(16, 6, 8), (32, 3, 4)]
SMALL = BottlenecksConfig(
    entries=((16, 2),), widths=((16, 2), (32, 2)), strides=(2, 1), narrow=((24, 3),), trunk=((32, 2),), fold=2, norm=4
)


@pytest.mark.parametrize("config", [SMALL, FlatConfig(channels=(2, 4), features=10)])
def test_an_adapter_reads_every_frame_but_the_padding(config):
    torch.manual_seed(0)
    read = adapter.adapter(config, TAPS, views=2, frames=4, label=8)
    features = [torch.randn(1, 9, *tap, requires_grad=True) for tap in TAPS]
    label = torch.randn(1, 8, requires_grad=True)
    vector = read(features, label)
    assert vector.shape == (1, read.features)
    vector.square().sum().backward()
    assert label.grad.abs().sum() > 0
    for feature in features:
        assert ((feature.grad[0].abs().sum(dim=(1, 2, 3)) > 0) == (torch.arange(9) > 0)).all()


def test_an_adapter_for_another_network_is_refused():
    with pytest.raises(ConfigError, match="configured for 2 taps, the U-Net has 1"):
        adapter.adapter(SMALL, TAPS[:1], views=2, frames=4, label=8)
    with pytest.raises(ConfigError, match="6 frames a view, allowed are powers of 2"):
        adapter.adapter(SMALL, TAPS, views=2, frames=6, label=8)
