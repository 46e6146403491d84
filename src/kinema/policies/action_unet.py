"""The 1-D U-Net that denoises a chunk of actions, its loss and its sampler; of the video policy and of the baseline.

Chi et al. 2023, "Diffusion Policy", figure 3: convolutions along the steps, the condition enters every block as a scale
and a bias of each channel (FiLM, Perez et al. 2018). The first steps of a chunk may be known already; they enter clean,
marked in a channel of their own, and are neither noised nor judged (Black et al. 2025, "Training-time action
conditioning for efficient real-time chunking").
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.policies import sampling

Answer = Callable[[Tensor, Tensor, Tensor], Tensor]  # scaled actions (b, n, w), label (b,), known (b, n) -> velocity


@dataclass(frozen=True, slots=True)
class ActionUNetConfig:
    """`channels` of each level, each at half the steps of the one before; `step` is the width of the label in FiLM.

    rejoin  what the first level made joins again before the last convolution. Chi et al. and the video policy's paper
            let it pass only through the level below; few channels then take many times longer to learn.
    """

    channels: tuple[int, ...] = (256, 512, 1024)
    kernel: int = 5
    groups: int = 8
    step: int = 256
    rejoin: bool = False

    @property
    def multiple(self) -> int:
        """What the number of steps has to be a multiple of."""
        return 2 ** (len(self.channels) - 1)


def sinusoids(value: Tensor, width: int, period: float = 1e4) -> Tensor:
    """Cosines and sines (b, width) of values (b,) at frequencies 1 .. 1 / period (Vaswani et al. 2017)."""
    frequencies = torch.exp(torch.arange(width // 2, device=value.device) * (-2 * math.log(period) / width))
    angles = value.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class LabelEmbedding(nn.Module):
    """A noise level's label ln(sigma) / 4 (b,) as a vector (b, width).

    Labels span only [-1.6, 1.7]: they are stretched so that neighbouring levels differ in more than one frequency.
    """

    def __init__(self, width: int, stretch: float = 100.0) -> None:
        super().__init__()
        self.width, self.stretch = width, stretch
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, label: Tensor) -> Tensor:
        waves = sinusoids(self.stretch * label, self.width)
        return self.layers(waves.to(self.layers.get_parameter("0.weight").dtype))


class _Convolution(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, config: ActionUNetConfig) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, config.kernel, padding=config.kernel // 2),
            nn.GroupNorm(config.groups, outputs),
            nn.SiLU(),
        )


class _Block(nn.Module):
    """Two convolutions; the condition scales and shifts what lies between them."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: ActionUNetConfig) -> None:
        super().__init__()
        self.before = _Convolution(inputs, outputs, config)
        self.after = _Convolution(outputs, outputs, config)
        self.film = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.ones_(self.film.bias[:outputs])  # a condition that says nothing changes nothing
        nn.init.zeros_(self.film.bias[outputs:])

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(nn.functional.silu(condition))[..., None].chunk(2, dim=1)
        return self.after(scale * self.before(x) + shift) + self.skip(x)


class _Level(nn.Module):
    """Two blocks and the change of resolution that follows; answers with what came before that change, and after."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, config: ActionUNetConfig, resize: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.first = _Block(inputs, outputs, condition, config)
        self.second = _Block(outputs, outputs, condition, config)
        self.resize = resize or nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        x = self.second(self.first(x, condition), condition)
        return x, self.resize(x)


class ActionUNet(nn.Module):
    """Velocity of noisy actions, given a noise level's embedding and a condition."""

    def __init__(self, width: int, label: int, condition: int, config: ActionUNetConfig) -> None:
        """`width` of an action, `label` and `condition`: the lengths of the vectors that `forward` gets."""
        super().__init__()
        self.config = config
        self.step = nn.Linear(label, config.step)
        channels, total = config.channels, config.step + condition
        *inner, deepest = channels
        self.down = nn.ModuleList()
        for inputs, outputs in itertools.pairwise((width + 1, *inner)):
            self.down.append(_Level(inputs, outputs, total, config, nn.Conv1d(outputs, outputs, 3, 2, 1)))
        self.down.append(_Level(inner[-1] if inner else width + 1, deepest, total, config))
        self.middle = _Level(deepest, deepest, total, config)
        self.up = nn.ModuleList()
        for inputs, outputs in itertools.pairwise(reversed(channels)):
            self.up.append(_Level(2 * inputs, outputs, total, config, nn.ConvTranspose1d(outputs, outputs, 4, 2, 1)))
        last = channels[0] * (2 if config.rejoin else 1)
        self.out = nn.Sequential(_Convolution(last, channels[0], config), nn.Conv1d(channels[0], width, 1))

    def forward(self, scaled: Tensor, label: Tensor, condition: Tensor, known: Tensor) -> Tensor:
        """Velocity (b, n, width) of actions (b, n, width) already scaled by c_in; `known` (b, n) marks clean steps.

        label      (b, label) embedding of the noise level
        condition  (b, condition) what the actions depend on
        """
        if scaled.shape[1] % self.config.multiple:
            raise ConfigError(
                f"a chunk of {scaled.shape[1]} steps: {len(self.config.channels)} levels need a multiple of "
                f"{self.config.multiple}"
            )
        vector = torch.cat([self.step(nn.functional.silu(label)), condition], dim=1)
        x = torch.cat([scaled, known[..., None].to(scaled.dtype)], dim=2).transpose(1, 2)
        skips = []
        for level in self.down:
            skip, x = level(x, vector)
            skips.append(skip)
        _, x = self.middle(x, vector)
        for level in self.up:
            _, x = level(torch.cat([x, skips.pop()], dim=1), vector)
        if self.config.rejoin:
            x = torch.cat([x, skips.pop()], dim=1)
        return self.out(x).transpose(1, 2)


def first(prefix: Tensor, steps: int) -> Tensor:
    """(b, steps) which steps are among the first `prefix` (b,)."""
    return torch.arange(steps, device=prefix.device) < prefix[:, None]


def committed(rows: ArrayLike, like: Tensor) -> tuple[Tensor, Tensor]:
    """Known first steps (k, w) in a chunk `like` (1, n, w) this one, and how many they are (1,)."""
    known, chunk = torch.as_tensor(rows).to(like), torch.zeros_like(like)
    chunk[0, : len(known)] = known
    return chunk, torch.tensor([len(known)], device=like.device)


def action_loss(
    answer: Answer,
    actions: Tensor,
    prefix: Tensor,
    mean: float = 0.0,
    std: float = 1.6,
) -> Tensor:
    """EDM's loss of normalised actions (b, n, w), of which `prefix` (b,) first steps are known; b may be 0.

    Each chunk's noise level is its own draw, ln(sigma) ~ N(mean, std), whatever the level of a video that it is read
    from. Draws come from torch's global generator.
    """
    known = first(prefix, actions.shape[1])
    sigma = sampling.log_normal(torch.randn(len(actions), device=actions.device), mean, std)
    scaled, velocity = sampling.diffuse(actions, torch.randn_like(actions), sigma)
    scaled = torch.where(known[..., None], actions, scaled)
    error = (answer(scaled, sampling.scalings(sigma).label, known) - velocity).square().mean(dim=2)
    wanted = (~known).to(error.dtype)
    return (error * wanted).sum() / wanted.sum().clamp(min=1)


def clean_actions(answer: Answer, noisy: Tensor, sigma: Tensor, given: Tensor, prefix: Tensor) -> Tensor:
    """The clean actions (b, n, w) that the network sees in noisy ones of level sigma (); known steps are `given`'s."""
    known = first(prefix, noisy.shape[1])[..., None]
    scale = sampling.scalings(sigma)
    scaled = torch.where(known, given, scale.into * noisy)
    velocity = answer(scaled, scale.label.expand(len(noisy)), known[..., 0])
    return torch.where(known, given, sampling.denoised(noisy, velocity, sigma))


def sample_actions(answer: Answer, noise: Tensor, sigmas: Tensor, given: Tensor, prefix: Tensor) -> Tensor:
    """Actions (b, n, w) from unit noise along `sigmas`; the first `prefix` (b,) steps stay as `given` (b, n, w)."""
    return sampling.sample(lambda noisy, sigma: clean_actions(answer, noisy, sigma, given, prefix), noise, sigmas)
