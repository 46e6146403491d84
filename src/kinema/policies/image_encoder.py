"""One camera's image as a vector: a residual network that keeps where things are.

He et al. 2016, "Deep Residual Learning", with group normalisation in place of batch normalisation (Wu and He 2018), so
that a moving average of the weights is a network of its own (Chi et al. 2023, "Diffusion Policy", section III-D). In
every block a text may say what to look at (FiLM, Perez et al. 2018; Brohan et al. 2022, "RT-1"). The last map is read
as keypoints, the expected position in each of some maps (Finn et al. 2016, "Deep Spatial Autoencoders"), or whole.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

_PER_GROUP = 8  # channels that are normalised together, at most half of all


@dataclass(frozen=True, slots=True)
class ImageEncoderConfig:
    """`stem` channels at half the image's size, a quarter with `pool`; then stages of residual blocks.

    channels, strides  of each stage; blocks in each
    reading            of the last map: `keypoints`, or `whole`; maps: how many are read
    features           length of the vector
    """

    stem: int = 64
    pool: bool = True
    channels: tuple[int, ...] = (64, 128, 256, 512)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    reading: Literal["keypoints", "whole"] = "keypoints"
    maps: int = 32
    features: int = 64


RESNET_18 = ImageEncoderConfig()
SMALL = ImageEncoderConfig(
    stem=24, pool=False, channels=(32, 48, 64), strides=(2, 2, 1), blocks=1, reading="whole", features=128
)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(channels // _PER_GROUP, 2), channels)


class _Residual(nn.Module):
    """Two convolutions beside a short cut; a text scales and shifts the channels between them."""

    def __init__(self, inputs: int, outputs: int, stride: int, text: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), _norm(outputs))
        self.after = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), _norm(outputs))
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))
        self.film = nn.Linear(text, 2 * outputs) if text else None

    def forward(self, x: Tensor, text: Tensor | None) -> Tensor:
        inner = self.before(x)
        if self.film is not None:
            scale, shift = self.film(text)[..., None, None].chunk(2, dim=1)
            inner = (1 + scale) * inner + shift
        return torch.relu(self.after(torch.relu(inner)) + self.skip(x))


class _Keypoints(nn.Module):
    """Expected positions (b, 2 maps), from -1 to 1, under each map's softmax."""

    places: Tensor

    def __init__(self, maps: int, height: int, width: int) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.ones(()))
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        self.register_buffer("places", places.flatten(0, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((self.sharpness * x.flatten(2)).softmax(dim=2) @ self.places).flatten(1)


class ImageEncoder(nn.Module):
    """Images (b, 3, height, width), -1 to 1, as vectors (b, features), given a text (b, text) that says what to see."""

    def __init__(self, config: ImageEncoderConfig, image_size: tuple[int, int], text: int = 0) -> None:
        """`image_size` width, height [px]; `text` is the length of its vector, 0: there is none."""
        super().__init__()
        stem = [nn.Conv2d(3, config.stem, 7, 2, 3, bias=False), _norm(config.stem), nn.ReLU()]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool2d(3, 2, 1)] if config.pool else []))
        self.blocks, before = nn.ModuleList(), config.stem
        for channels, stride in zip(config.channels, config.strides, strict=True):
            for index in range(config.blocks):
                self.blocks.append(_Residual(before, channels, 1 if index else stride, text))
                before = channels
        shrinks = (2, *((2,) if config.pool else ()), *config.strides)
        height, width = (_shrunk(side, shrinks) for side in (image_size[1], image_size[0]))
        reading: nn.Module = nn.Flatten()
        count = config.maps * height * width
        if config.reading == "keypoints":
            reading, count = _Keypoints(config.maps, height, width), 2 * config.maps
        self.read = nn.Sequential(nn.Conv2d(before, config.maps, 1), reading, nn.Linear(count, config.features))

    def forward(self, images: Tensor, text: Tensor | None = None) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, text)
        return self.read(x)


def _shrunk(side: int, strides: tuple[int, ...]) -> int:
    for stride in strides:
        side = math.ceil(side / stride)
    return side
