"""Diffusion in EDM's terms with Stable Video Diffusion's v-prediction: noise levels, training pairs, Euler's steps.

Signals have unit variance (sigma_data = 1). Equations and tables are of Karras et al. 2022, "Elucidating the Design
Space of Diffusion-Based Generative Models"; the scalings and the distribution of training levels are those of Blattmann
et al. 2023, "Stable Video Diffusion", appendix D.2. Everything is a pure function of its arguments.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX = 0.002, 700.0


class Scalings(NamedTuple):
    """`clean = skip * noisy + out * network(into * noisy, label)`; each in sigma's shape."""

    skip: Tensor
    out: Tensor
    into: Tensor
    label: Tensor


def scalings(sigma: Tensor) -> Scalings:
    """Of a noise level (table 1's c_skip, c_out, c_in, c_noise); v-prediction has c_noise = ln(sigma) / 4."""
    variance = sigma.square() + 1
    return Scalings(1 / variance, -sigma * variance.rsqrt(), variance.rsqrt(), sigma.log() / 4)


def karras(steps: int, low: float = SIGMA_MIN, high: float = SIGMA_MAX, rho: float = 7.0) -> Tensor:
    """The sampler's levels (steps + 1,) float32, from `high` down to `low` and then 0 (equation 5)."""
    ends = torch.tensor([high, low], dtype=torch.float64).pow(1 / rho)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    levels = (ends[0] + ramp * (ends[1] - ends[0])).pow(rho)
    return torch.cat([levels, levels.new_zeros(1)]).float()


def log_normal(normal: Tensor, mean: float = 1.0, std: float = 1.6) -> Tensor:
    """Training levels from standard normal draws: ln(sigma) ~ N(mean, std)."""
    return (mean + std * normal).exp()


def shaped(sigma: Tensor, like: Tensor) -> Tensor:
    """Levels (b,) or () with as many dimensions as `like` (b, ...)."""
    return sigma.reshape(sigma.shape + (1,) * (like.ndim - sigma.ndim)) if sigma.ndim else sigma


def diffuse(clean: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees at levels sigma (b,), already scaled, and what it has to answer.

    The answer is the velocity (noise - sigma clean) / sqrt(sigma^2 + 1). Its mean squared error is EDM's loss of the
    clean signal with EDM's weight (sigma^2 + 1) / sigma^2, since that weight is 1 / c_out^2 (equation 8), without
    dividing by a small sigma.
    """
    sigma = shaped(sigma, clean)
    into = scalings(sigma).into
    return (clean + sigma * noise) * into, (noise - sigma * clean) * into


def denoised(noisy: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """The clean signal that the network's answer means for the unscaled noisy signal."""
    scale = scalings(shaped(sigma, noisy))
    return scale.skip * noisy + scale.out * velocity


def start(noise: Tensor, sigma: Tensor) -> Tensor:
    """The noisy signal of level sigma () from unit noise, where nothing of the clean one is left."""
    return noise * (sigma.square() + 1).sqrt()


def euler(noisy: Tensor, clean: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """One step of the probability flow from level `now` to level `then` (algorithm 1)."""
    return noisy + (then - now) * (noisy - clean) / now


def sample(denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, sigmas: Tensor) -> Tensor:
    """From unit noise to a clean signal along `sigmas`; `denoise(noisy, sigma)` estimates the clean one."""
    noisy = start(noise, sigmas[0])
    for now, then in itertools.pairwise(sigmas):
        noisy = euler(noisy, denoise(noisy, now), now, then)
    return noisy


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022); scale 1 is the conditional answer."""
    return unconditional.lerp(conditional, scale)


def generator(*numbers: int) -> torch.Generator:
    """Draws on the CPU that follow from these numbers alone, each at least 0; other numbers, unrelated draws."""
    mixed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))
