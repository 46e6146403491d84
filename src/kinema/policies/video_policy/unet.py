"""The video U-Net: Stable Video Diffusion's, or a lean one of few operations, behind the same methods.

`embed(label) -> (b, label)` and `forward(latents, label, text) -> velocity, features`. Frames stand in one dimension
(b, frames, channels, h, w); features come from the finest to the coarsest tap. Both sides of the latents have to be a
multiple of `multiple`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.policies.action_unet import LabelEmbedding
from kinema.policies.attention import attend
from kinema.policies.codec import published
from kinema.policies.video_policy.config import LeanConfig, SvdConfig

_WAVES = 3  # spatial frequencies that tell places apart, each twice the one before


def unet(config: SvdConfig | LeanConfig, inputs: int, outputs: int, text: int, frames: int) -> "SvdUNet | LeanUNet":
    """`inputs` and `outputs`: channels; `text`: length of the text vector; `frames` of a clip."""
    kind = SvdUNet if isinstance(config, SvdConfig) else LeanUNet
    return kind(cast(Any, config), inputs, outputs, text, frames)


class SvdUNet(nn.Module):
    """diffusers' U-Net of Stable Video Diffusion with the paper's five taps (section 3.2: layers 9, 14, 17, 20, 23)."""

    def __init__(self, config: SvdConfig, inputs: int, outputs: int, text: int, frames: int) -> None:
        from diffusers import UNetSpatioTemporalConditionModel  # seconds to import

        super().__init__()
        self.config = config
        levels = len(config.channels)
        crossed = (
            ("CrossAttnDownBlockSpatioTemporal",) * (levels - 1),
            ("CrossAttnUpBlockSpatioTemporal",) * (levels - 1),
        )
        network: Any = UNetSpatioTemporalConditionModel(
            in_channels=inputs,
            out_channels=outputs,
            down_block_types=(*crossed[0], "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", *crossed[1]),
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            cross_attention_dim=text,
            num_attention_heads=config.heads,
            num_frames=frames,
        )
        network.enable_gradient_checkpointing()  # of a network this size, activations don't fit beside the weights
        self.network = network
        down, up = network.down_blocks, network.up_blocks
        tapped = [down[-2].downsamplers[0], up[0].resnets[1], *(block.attentions[1] for block in up[1:])]
        self.label, self.multiple = 4 * config.channels[0], 2 ** (levels - 1)
        self._features: list[Tensor] | None = None  # what the taps have said, while somebody listens
        for module in tapped:
            module.register_forward_hook(self._keep)

    def taps(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, height, width of the features, for latents of `size` height, width."""
        found = _levels(self.config.channels, size)
        return [*found, (self.config.channels[-2], *found[-1][1:])]

    def load_pretrained(self) -> None:
        """Take the published weights; channels beyond the published ones say nothing before they have learned.

        Raises CheckpointError naming the files that are missing.
        """
        from diffusers import UNetSpatioTemporalConditionModel

        found = published(UNetSpatioTemporalConditionModel, self.config.source, "unet", "unet.source")
        weights = found.state_dict()
        known = weights["conv_in.weight"]
        added = self.network.conv_in.in_channels - known.shape[1]
        weights["conv_in.weight"] = functional.pad(known, (0, 0, 0, 0, 0, added))
        self.network.load_state_dict(weights)

    def embed(self, label: Tensor) -> Tensor:
        """(b, label) of noise labels (b,)."""
        sinusoids = self.network.time_proj(label)
        return self.network.time_embedding(sinusoids.to(self.network.dtype))

    def forward(self, latents: Tensor, label: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Velocity (b, frames, outputs, h, w) and features (b, frames, channels, h, w), finest first."""
        ids = latents.new_tensor(self.config.ids).expand(len(latents), -1)
        self._features = []
        (velocity,) = self.network(latents, label, text[:, None], ids, return_dict=False)
        features, self._features = self._features, None  # a checkpointed block speaks again in the backward pass
        return velocity, [feature.unflatten(0, latents.shape[:2]) for feature in reversed(features)]

    def _keep(self, module: nn.Module, given: Any, answer: Any) -> None:
        if self._features is not None:
            self._features.append(answer[0] if isinstance(answer, tuple) else answer)


class LeanUNet(nn.Module):
    """Residual blocks within frames; at the coarsest level every place of every frame attends to every other."""

    def __init__(self, config: LeanConfig, inputs: int, outputs: int, text: int, frames: int) -> None:
        super().__init__()
        channels = self.channels = config.channels
        self.label, self.multiple = config.label, 1
        self.embed = LabelEmbedding(config.label)
        self.text = nn.Linear(text, config.label)
        self.frame = nn.Parameter(0.1 * torch.randn(frames, config.label))
        self.enter = nn.Conv2d(inputs + 2, channels[0], 3, padding=1)
        steps = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(_Residual(c, c, config.label) for c in channels[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, 2, 1) for fine, coarse in steps)
        self.bottom = nn.ModuleList(
            _Bottom(channels[-1], config.heads, config.label, frames) for _ in range(config.layers)
        )
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.up = nn.ModuleList(_Residual(2 * c, c, config.label) for c in channels[:-1])
        self.draw = nn.ModuleList(
            nn.ModuleList(_Residual(c, c, config.label) for _ in range(config.drawing - 1)) for c in channels[:-1]
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(8, channels[0]), nn.SiLU(), _zeroed(nn.Conv2d(channels[0], outputs, 3, padding=1))
        )

    def taps(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, height, width of the features, for latents of `size` height, width."""
        return _levels(self.channels, size)

    def forward(self, latents: Tensor, label: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Velocity (b, frames, outputs, h, w) and features (b, frames, channels, h, w), finest first."""
        batch = latents.shape[:2]
        vector = (self.embed(label) + self.text(text))[:, None] + self.frame
        vector = functional.silu(vector).flatten(0, 1)
        x = latents.flatten(0, 1)
        x = self.enter(torch.cat([x, _places(x)], dim=1))
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(block(x, vector))
            x = shrink(skips[-1])
        for block in self.bottom:
            x = block(x, vector)
        features = [x]
        for grow, block, skip, draw in reversed(list(zip(self.grow, self.up, skips, self.draw, strict=True))):
            x = functional.interpolate(grow(x), size=skip.shape[-2:])
            x = block(torch.cat([x, skip], dim=1), vector)
            for further in cast(nn.ModuleList, draw):
                x = further(x, vector)
            features.append(x)
        velocity = self.leave(x).unflatten(0, batch)
        return velocity, [feature.unflatten(0, batch) for feature in reversed(features)]


def _levels(channels: Sequence[int], size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Each level has half the size of the one before, rounded up."""
    return [(c, math.ceil(size[0] / 2**i), math.ceil(size[1] / 2**i)) for i, c in enumerate(channels)]


def _places(x: Tensor) -> Tensor:
    """Row and column (n, 2, h, w), -1 to 1, of each place of x (n, c, h, w)."""
    rows, columns = (torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype) for side in x.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(x), -1, -1, -1)


def _zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer that ends a residual block says nothing before it has learned."""
    nn.init.zeros_(layer.weight)
    return layer


class _Residual(nn.Module):
    """Two convolutions; the vector scales and shifts what lies between them."""

    def __init__(self, inputs: int, outputs: int, vector: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.norm = nn.GroupNorm(8, outputs)
        self.film = nn.Linear(vector, 2 * outputs)
        self.after = _zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        scale, shift = self.film(vector)[..., None, None].chunk(2, dim=1)
        h = self.norm(self.before(x)) * (1 + scale) + shift
        return self.skip(x) + self.after(functional.silu(h))


class _Bottom(nn.Module):
    """A residual block within frames; then all places of all frames attend to each other (Vaswani et al. 2017)."""

    def __init__(self, channels: int, heads: int, vector: int, frames: int) -> None:
        super().__init__()
        self.heads = heads
        self.residual = _Residual(channels, channels, vector)
        self.frame = nn.Parameter(0.02 * torch.randn(frames, 1, channels))
        self.place = nn.Linear(2 * 2 * _WAVES, channels)
        self.norm, self.norm_after = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.ask = nn.Linear(channels, 3 * channels)
        self.answer = _zeroed(nn.Linear(channels, channels))
        self.think = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), _zeroed(nn.Linear(2 * channels, channels))
        )

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        x = self.residual(x, vector)
        frames, size = len(self.frame), x.shape[-2:]
        waves = torch.pi * torch.cat([_places(x[:1]) * 2**i for i in range(_WAVES)], dim=1)
        places = torch.cat([waves.sin(), waves.cos()], dim=1).flatten(2).transpose(1, 2)  # (1, places, 2 * 2 * waves)
        tokens = x.flatten(2).transpose(1, 2).unflatten(0, (-1, frames))  # (b, frames, places, channels)
        tokens = (tokens + self.frame + self.place(places)).flatten(1, 2)
        query, key, value = self.ask(self.norm(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value)
        tokens = tokens + self.answer(attended.transpose(1, 2).flatten(2))
        tokens = tokens + self.think(self.norm_after(tokens))
        return tokens.unflatten(1, (frames, -1)).flatten(0, 1).transpose(1, 2).unflatten(2, size)
