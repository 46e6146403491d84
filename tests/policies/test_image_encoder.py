"""Images as vectors: ResNet-18 at full size, any aspect ratio, and the vector says where things are."""

import dataclasses

import pytest
import torch

from kinema.policies.image_encoder import RESNET_18, SMALL, ImageEncoder

torch.set_num_threads(1)


def test_the_full_size_is_resnet_18():
    with torch.device("meta"):
        network = ImageEncoder(RESNET_18, (256, 256))
        trunk = [*network.stem.parameters(), *network.blocks.parameters()]
        assert sum(p.numel() for p in trunk) == 11_176_512  # He et al. 2016, table 1: 11.69 M less the classifier
        assert network.read[1].places.shape == (8 * 8, 2)
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
    images, places = spots(32 * 70)
    learn(network, images, places[:, 0])
    images, places = spots(128)
    assert (network(images) - places[:, 0]).abs().mean() < 0.1  # of a range from -1 to 1; guessing is off by 0.45


def test_the_text_says_which_spot():
    torch.manual_seed(0)
    network = ImageEncoder(dataclasses.replace(SMALL, reading="keypoints", features=2), (48, 36), text=2)
    images, places = spots(32 * 70)
    which = torch.randint(2, (len(images),))
    learn(network, images, places[torch.arange(len(images)), which], torch.eye(2)[which])
    images, places = spots(128)
    for spot in (0, 1):
        found = network(images, torch.eye(2)[[spot] * 128])
        assert (found - places[:, spot]).abs().mean() < 0.1


def learn(network: ImageEncoder, images: torch.Tensor, places: torch.Tensor, text: torch.Tensor | None = None) -> None:
    optimiser = torch.optim.Adam(network.parameters(), 5e-4)
    for some in torch.arange(len(images)).split(32):
        loss = (network(images[some], None if text is None else text[some]) - places[some]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def spots(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark images (b, 3, 36, 48) with a red and a green spot, and where these are (b, 2, 2), from -1 to 1."""
    columns, rows = torch.randint(2, 46, (count, 2)), torch.randint(2, 34, (count, 2))
    images = torch.full((count, 3, 36, 48), -1.0)
    for image, xs, ys in zip(images, columns, rows, strict=True):
        for colour, (x, y) in enumerate(zip(xs, ys, strict=True)):
            image[colour, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    return images, torch.stack([columns / 24 - 1, rows / 18 - 1], dim=2)
