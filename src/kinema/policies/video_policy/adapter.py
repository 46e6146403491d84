"""From the video U-Net's features, of all views and frames, to the one vector that the action U-Net depends on.

"Video Generators are Robot Policies", section 3.2: a CNN adapter turns the spatio-temporal features into a single
vector at each denoising step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import ConfigError
from kinema.policies.video_policy.config import BottlenecksConfig, FlatConfig

_BOTTLENECK, _FOLDING = 4, 2  # how much narrower the middle of a block is; of those that fold time

Row = tuple[int, int]  # channels, groups of the normalisation
Taps = Sequence[tuple[int, int, int]]  # channels, height, width of the features of each


def adapter(
    config: BottlenecksConfig | FlatConfig, taps: Taps, views: int, frames: int, label: int
) -> "Bottlenecks | Flat":
    """For features of `taps`, finest first, of a clip with one padding frame and then `frames` of each view.

    Called with the features (b, 1 + views * frames, channels, h, w) and the embedding (b, label) of the video's noise
    level it answers with a vector (b, `features`). The padding frame is not looked at. Raises ConfigError for a
    configuration that is for another number of taps.
    """
    wanted = config.channels if isinstance(config, FlatConfig) else config.widths
    if len(taps) != len(wanted):
        raise ConfigError(f"adapter: is configured for {len(wanted)} taps, the U-Net has {len(taps)}")
    if isinstance(config, FlatConfig):
        return Flat(config, taps, views, frames, label)
    return Bottlenecks(config, taps, views, frames, label)


class _Bottleneck(nn.Module):
    """1, 3 x 3 x 3, 1 convolutions over time and space; the noise level's embedding joins in the narrow part."""

    def __init__(self, inputs: int, row: Row, label: int, narrower: int, time: int, space: int) -> None:
        super().__init__()
        (outputs, groups), middle = row, row[0] // narrower
        stride = (time, space, space)
        self.label = nn.Linear(label, middle)
        self.enter, self.enter_norm = nn.Conv3d(inputs, middle, 1, bias=False), nn.GroupNorm(groups, middle)
        self.mix, self.mix_norm = nn.Conv3d(middle, middle, 3, stride, 1, bias=False), nn.GroupNorm(groups, middle)
        self.leave, self.leave_norm = (
            nn.Conv3d(middle, outputs, 1, bias=False),
            nn.GroupNorm(groups * narrower, outputs),
        )
        same = stride == (1, 1, 1) and inputs == outputs
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(groups * narrower, outputs)
            )
        )

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = functional.silu(self.enter_norm(self.enter(x)))
        h = h + self.label(functional.silu(label))[..., None, None, None]
        h = functional.silu(self.mix_norm(self.mix(h)))
        return functional.silu(self.leave_norm(self.leave(h)) + self.skip(x))


class _Row(nn.ModuleList):
    """Bottlenecks of one width, of which the first changes width and resolution."""

    def __init__(
        self, inputs: int, row: Row, label: int, blocks: int, narrower: int = _BOTTLENECK, time: int = 1, space: int = 1
    ) -> None:
        super().__init__([_Bottleneck(inputs, row, label, narrower, time, space)])
        self.extend(_Bottleneck(row[0], row, label, narrower, 1, 1) for _ in range(blocks - 1))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        for block in self:
            x = block(x, label)
        return x


class _Branch(nn.Module):
    """One view: from its finest features down, the coarser ones joining on the way."""

    def __init__(self, taps: Sequence[int], config: BottlenecksConfig, label: int) -> None:
        super().__init__()
        joined = [taps[0], *(w + e for (w, _), (e, _) in zip(config.widths[:-1], config.entries, strict=True))]
        self.entries = nn.ModuleList(
            _Row(tap, row, label, config.blocks) for tap, row in zip(taps[1:], config.entries, strict=True)
        )
        self.rows = nn.ModuleList(
            _Row(inputs, row, label, config.blocks, space=stride)
            for inputs, row, stride in zip(joined, config.widths, config.strides, strict=True)
        )
        self.narrow = nn.ModuleList()
        width = config.widths[-1][0]
        for row in config.narrow:
            self.narrow.append(_Row(width, row, label, config.blocks))
            width = row[0]

    def forward(self, features: Sequence[Tensor], label: Tensor) -> Tensor:
        x = self.rows[0](features[0], label)
        for feature, entry, row in zip(features[1:], self.entries, self.rows[1:], strict=True):
            x = row(torch.cat([x, entry(feature, label)], dim=1), label)
        for row in self.narrow:
            x = row(x, label)
        return x


class Bottlenecks(nn.Module):
    """The paper's: bottlenecks over time and space, views apart at first, time folded to one moment at the end."""

    def __init__(self, config: BottlenecksConfig, taps: Taps, views: int, frames: int, label: int) -> None:
        super().__init__()
        halvings = frames.bit_length() - 1
        if frames != 1 << halvings:
            raise ConfigError(f"adapter: {frames} frames a view, allowed are powers of 2")
        self.views, self.frames = views, frames
        channels = [tap[0] for tap in taps]
        self.branches = nn.ModuleList(_Branch(channels, config, label) for _ in range(views))
        rows, width = [], views * (config.narrow or config.widths)[-1][0]
        for row in config.trunk:
            rows.append(_Row(width, row, label, config.blocks))
            width = row[0]
        folded = (width, config.fold)
        rows += [_Row(width, folded, label, config.blocks, _FOLDING) for _ in range(2)]
        rows += [_Row(width, folded, label, 2 * config.blocks, _FOLDING, time=2) for _ in range(halvings)]
        self.trunk = nn.ModuleList(rows)
        self.norm = nn.GroupNorm(config.norm, width)
        _, height, across = taps[0]
        for stride in config.strides:
            height, across = math.ceil(height / stride), math.ceil(across / stride)
        self.features = width * height * across

    def forward(self, features: Sequence[Tensor], label: Tensor) -> Tensor:
        views = [feature[:, 1:].unflatten(1, (self.views, self.frames)).transpose(2, 3) for feature in features]
        x = torch.cat([branch([view[:, i] for view in views], label) for i, branch in enumerate(self.branches)], dim=1)
        for row in self.trunk:
            x = row(x, label)
        return self.norm(x).flatten(1)


class Flat(nn.Module):
    """A few channels of each tap, every place of every frame of every view with its own weights."""

    def __init__(self, config: FlatConfig, taps: Taps, views: int, frames: int, label: int) -> None:
        super().__init__()
        self.features = config.features
        self.keep = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, channels), nn.Conv2d(channels, kept, 1), nn.SiLU(), nn.Flatten())
            for (channels, _, _), kept in zip(taps, config.channels, strict=True)
        )
        self.read = nn.ModuleList(
            nn.Linear(views * frames * kept * height * width, config.features)
            for (_, height, width), kept in zip(taps, config.channels, strict=True)
        )
        self.label = nn.Linear(label, config.features)

    def forward(self, features: Sequence[Tensor], label: Tensor) -> Tensor:
        x = self.label(functional.silu(label))
        for feature, keep, read in zip(features, self.keep, self.read, strict=True):
            x = x + read(keep(feature[:, 1:].flatten(0, 1)).unflatten(0, (len(feature), -1)).flatten(1))
        return x
