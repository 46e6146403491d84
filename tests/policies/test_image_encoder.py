"""Images as vectors: ResNet-18 at full size, any aspect ratio, and the vector says where things are."""

import dataclasses

import pytest
import torch

from kinema.policies.image_encoder import RESNET_18, Encoders, EncodersConfig, ImageEncoder, ImageEncoderConfig
from kinema.policies.text import WordsConfig

torch.set_num_threads(1)

SMALL = ImageEncoderConfig(16, pool=False, channels=(32, 64), strides=(2, 2), blocks=1, maps=16, features=2)


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
    assert network(torch.zeros(3, 3, size[1], size[0])).shape == (3, 2)
    assert all(p.requires_grad for p in network.parameters())


def test_keypoints_are_where_the_maps_are_bright():
    network = ImageEncoder(dataclasses.replace(SMALL, reading="keypoints", maps=2), (96, 72))
    maps = torch.zeros(1, 2, 9, 12)
    maps[0, 0, 0, 11] = maps[0, 1, 8, 0] = 100.0  # top right, bottom left
    torch.testing.assert_close(network.read[1](maps), torch.tensor([[1.0, -1.0, -1.0, 1.0]]))


@pytest.mark.parametrize("reading", ["keypoints", "whole"])
def test_a_spots_place_can_be_learned(reading):
    torch.manual_seed(0)
    network = ImageEncoder(dataclasses.replace(SMALL, reading=reading), (48, 36))
    images, places = spots(32 * 70)
    learn(network, images, places[:, 0])
    images, places = spots(128)
    assert (network(images) - places[:, 0]).abs().mean() < 0.1  # of a range from -1 to 1; guessing is off by 0.45


def test_what_the_cameras_saw_stands_beside_the_text_and_the_tools_state():
    torch.manual_seed(0)
    images, state = torch.rand(2, 3, 3, 18, 24), torch.rand(2, 10)
    for known in (True, False):
        network = Encoders(EncodersConfig(image=SMALL, text=WordsConfig(width=5), state=known), 3, (24, 18)).eval()
        told = network.read(("open it", "close it"))
        found = network(images, told, state)
        assert found.shape == (2, network.features) == (2, 3 * 2 + 5 + 10 * known)
        moved = (network(images, told, state + 0.1) != found).any(dim=0)
        assert moved.nonzero().flatten().tolist() == list(range(6, 16))[: 10 * known]


def test_what_is_seen_told_and_known_may_become_one_vector():
    torch.manual_seed(0)
    image = dataclasses.replace(SMALL, inner=7)
    network = Encoders(EncodersConfig(image=image, text=WordsConfig(width=5), join=(11, 3)), 2, (24, 18)).eval()
    images, state, told = torch.rand(2, 2, 3, 18, 24), torch.rand(2, 10), network.read(("open it", "close it"))
    glimpse = network.glimpse(images, told, state)
    assert glimpse.shape == (2, 2 * 2) and network.features == 3
    found = network(images, told, state)
    torch.testing.assert_close(found, network.tell(glimpse, told, state))
    for others in ((0.5 * images, told, state), (images, told.flip(0), state), (images, told, state + 0.1)):
        assert (network(*others) != found).any(dim=1).all()


def learn(network: ImageEncoder, images: torch.Tensor, places: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(network.parameters(), 5e-4)
    for some in torch.arange(len(images)).split(32):
        loss = (network(images[some]) - places[some]).square().mean()
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
