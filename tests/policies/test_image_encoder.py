"""Images as vectors: ResNet-18 at full size, any aspect ratio, and the vector says where things are."""

import dataclasses

import pytest
import torch

from kinema.policies.image_encoder import RESNET_18, SMALL, ImageEncoder

torch.set_num_threads(1)


def test_the_full_size_is_resnet_18():
    with torch.device("meta"):
        network = ImageEncoder(RESNET_18, (256, 256))
        trunk = [*network.stem.parameters(), *network.stages.parameters()]
        assert sum(p.numel() for p in trunk) == 11_176_512  # He et al. 2016, table 1: 11.69 M less the classifier
        assert network.stages(network.stem(torch.empty(2, 3, 256, 256))).shape == (2, 512, 8, 8)
        assert network(torch.empty(2, 3, 256, 256)).shape == (2, 64)


@pytest.mark.parametrize("size", [(96, 72), (96, 96), (75, 61)])
@pytest.mark.parametrize("reading", ["keypoints", "whole"])
def test_any_size_of_image_becomes_a_vector(size, reading):
    network = ImageEncoder(dataclasses.replace(SMALL, reading=reading), size)
    assert network(torch.zeros(3, 3, size[1], size[0])).shape == (3, 128)
    assert all(p.requires_grad for p in network.parameters())


def test_keypoints_are_where_the_maps_are_bright():
    network = ImageEncoder(dataclasses.replace(SMALL, reading="keypoints", maps=2), (96, 72))
    maps = torch.zeros(1, 2, 9, 12)
    maps[0, 0, 0, 11] = maps[0, 1, 8, 0] = 100.0  # top right, bottom left
    torch.testing.assert_close(network.read[1](maps), torch.tensor([[1.0, -1.0, -1.0, 1.0]]))


@pytest.mark.parametrize("reading", ["keypoints", "whole"])
def test_a_spots_place_can_be_learned(reading):
    torch.manual_seed(0)
    network = ImageEncoder(dataclasses.replace(SMALL, reading=reading, features=2), (48, 36))
    optimiser = torch.optim.Adam(network.parameters(), 5e-4)
    for _ in range(60):
        images, places = spots(64)
        loss = (network(images) - places).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, places = spots(128)
    error = (network(images) - places).abs().mean()
    assert error < 0.1, f"of a range from -1 to 1, guessing is off by {places.abs().mean():.2f}"


def spots(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark images (b, 3, 36, 48) with one bright spot, and where it is (b, 2), from -1 to 1."""
    column, row = torch.randint(2, 46, (count,)), torch.randint(2, 34, (count,))
    images = torch.full((count, 3, 36, 48), -1.0)
    for image, x, y in zip(images, column, row, strict=True):
        image[0, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    return images, torch.stack([column / 24 - 1, row / 18 - 1], dim=1)
