"""One camera's image as a vector: a residual network that keeps where things are.

He et al. 2016, "Deep Residual Learning", with group normalisation in place of batch normalisation (Wu and He 2018), so
that a moving average of the weights is a network of its own (Chi et al. 2023, "Diffusion Policy", section III-D). The
last map is read as keypoints, the expected position in each of some maps (Finn et al. 2016, "Deep Spatial
Autoencoders"), or whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
import torch
from torch import Tensor, nn

from kinema.policies import tool_state
from kinema.policies.text import Clip, ClipConfig, WordsConfig, encoder
from kinema.policies.tool_state import ToolState

_PER_GROUP = 8  # channels that are normalised together, at most half of all


@dataclass(frozen=True, slots=True)
class ImageEncoderConfig:
    """`stem` channels at half the image's size, a quarter with `pool`; then stages of residual blocks.

    channels, strides  of each stage; blocks in each
    reading            of the last map: `keypoints`, or `whole`; maps: how many are read
    inner              width of a layer between what was read and the vector; 0: none
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
    inner: int = 0


RESNET_18 = ImageEncoderConfig()
_CLIP = ClipConfig()


@dataclass(frozen=True, slots=True)
class EncodersConfig:
    """An image encoder for each camera beside a text's vector; `state`: the tool's is known, too.

    join  widths of the layers that make one vector of it all; none: side by side, as published
    """

    kind: Literal["encoders"] = "encoders"
    image: ImageEncoderConfig = RESNET_18
    text: Annotated[WordsConfig | ClipConfig, pydantic.Field(discriminator="kind")] = _CLIP
    state: bool = True
    join: tuple[int, ...] = ()


def norm(channels: int) -> nn.GroupNorm:
    """Groups of 8 channels, at least two groups."""
    return nn.GroupNorm(max(channels // _PER_GROUP, 2), channels)


class _Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm(outputs))
        self.after = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), norm(outputs))
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.after(torch.relu(self.before(x))) + self.skip(x))


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
    """Images (b, 3, height, width), -1 to 1, as vectors (b, features)."""

    def __init__(self, config: ImageEncoderConfig, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px]."""
        super().__init__()
        stem = [nn.Conv2d(3, config.stem, 7, 2, 3, bias=False), norm(config.stem), nn.ReLU()]
        self.stem = nn.Sequential(*stem, *([nn.MaxPool2d(3, 2, 1)] if config.pool else []))
        self.blocks, before = nn.ModuleList(), config.stem
        for channels, stride in zip(config.channels, config.strides, strict=True):
            for index in range(config.blocks):
                self.blocks.append(_Residual(before, channels, 1 if index else stride))
                before = channels
        shrinks = (2, *((2,) if config.pool else ()), *config.strides)
        height, width = (_shrunk(side, shrinks) for side in (image_size[1], image_size[0]))
        reading: nn.Module = nn.Flatten()
        count = config.maps * height * width
        if config.reading == "keypoints":
            reading, count = _Keypoints(config.maps, height, width), 2 * config.maps
        inner = [nn.Linear(count, config.inner), nn.SiLU()] if config.inner else []
        last = nn.Linear(config.inner or count, config.features)
        self.read = nn.Sequential(nn.Conv2d(before, config.maps, 1), reading, *inner, last)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.read(x)


class Encoders(nn.Module):
    """Images, a text and the tool's state as one vector: what each camera saw, side by side (Chi et al. 2023)."""

    def __init__(self, config: EncodersConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px] of every image."""
        super().__init__()
        self.text = encoder(config.text)
        self.views = nn.ModuleList(ImageEncoder(config.image, image_size) for _ in range(cameras))
        self.state = ToolState() if config.state else None
        known = tool_state.WIDTH if config.state else 0
        self.features = cameras * config.image.features + config.text.width + known
        self.join = nn.Sequential()
        for width in config.join:
            self.join.extend([nn.Linear(self.features, width), nn.SiLU()])
            self.features = width

    def load_pretrained(self) -> None:
        """What a training begins with; raises CheckpointError naming the files that are missing."""
        if isinstance(self.text, Clip):
            self.text.load_pretrained()

    def read(self, texts: Sequence[str]) -> Tensor:
        """(b, width) of b texts; raises ObservationError for one that is empty or too long."""
        return self.text(texts)

    def glimpse(self, images: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """What there is to see, (b, length), in images (b, cameras, 3, height, width), -1 to 1, whatever is told."""
        return torch.cat([view(images[:, i]) for i, view in enumerate(self.views)], dim=1)

    def tell(self, glimpse: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """(b, features) of a glimpse, read texts (b, width), and states (b, 10) of the tool."""
        known = [self.state(state)] if self.state is not None else []
        return self.join(torch.cat([glimpse, *known, told], dim=1))

    def forward(self, images: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """(b, features) of images (b, cameras, 3, height, width), -1 to 1, read texts, states (b, 10) of the tool."""
        return self.tell(self.glimpse(images, told, state), told, state)


def _shrunk(side: int, strides: tuple[int, ...]) -> int:
    for stride in strides:
        side = math.ceil(side / stride)
    return side
