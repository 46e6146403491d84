"""How UVA acts and imagines, through the network's parts; everything here is in 32 bits.

One pass of the transformer is enough to act: only the head denoises. A video is drawn in one pass or in several, each
of which draws more of the tokens that are still missing and sees those that it drew before ("Unified Video Action
Model", section III-B and supplement X-A, after Li et al. 2024, "Autoregressive Image Generation without Vector
Quantization").
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from kinema.policies import action_unet, sampling
from kinema.policies.engines.graph import Run
from kinema.policies.text import Told

if TYPE_CHECKING:
    from kinema.policies.uva.model import UvaConfig


class Sight(NamedTuple):
    """What is seen of b moments, encoded.

    seen  (b, frames, tokens, numbers) of the images up to the present ones, oldest first
    text  (b, n)
    look  (b, m) what the actions depend on besides; m may be 0
    """

    seen: Tensor
    text: Tensor
    look: Tensor

    def repeated(self, count: int) -> "Sight":
        """One moment as `count` alike."""
        return Sight(*(part.expand(count, *part.shape[1:]) for part in self))


class Given(NamedTuple):
    """What else is known of b moments.

    done     (b, horizon, DONE) steps up to the present; had (b, 1) bool: whether they are known
    actions  (b, horizon, width) that come; known (b, horizon) bool: which of them are known
    """

    done: Tensor
    had: Tensor
    actions: Tensor
    known: Tensor


class Noise(NamedTuple):
    """Unit noise of b samples, `actions` (b, horizon, width) and `video` (b, frames, tokens, numbers).

    order  (tokens,) int64: in what order a video's tokens are drawn
    """

    actions: Tensor
    video: Tensor
    order: Tensor


def see(run: Run, images: Tensor, told: Told, state: Tensor | None) -> Sight:
    """Look at images (b, frames, cameras, height, width, 3) uint8, the present ones last; state (b, 10) of the tool."""
    asked = () if told.query is None or state is None else (told.query, state)
    seen, *looked = run("see", images.float(), *asked)
    return Sight(seen, told.text, looked[0] if looked else told.text[:, :0])


def think(run: Run, sight: Sight, given: Given, future: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """The joint latents z (b, frames, tokens, width), and what the actions are read from (b, frames * width).

    future  (b, frames, tokens, numbers) of coming images; there (b, tokens) bool: which of them are known
    """
    z, latent = run("think", sight.seen, given.done, given.had, future, there, given.actions, given.known, sight.text)
    return z, latent


def unseen(noise: Noise) -> tuple[Tensor, Tensor]:
    """A future of which nothing is known, as `think` takes it."""
    return torch.zeros_like(noise.video), torch.zeros_like(noise.video[:, 0, :, 0], dtype=torch.bool)


def act(
    run: Run, config: "UvaConfig", sight: Sight, latent: Tensor, noise: Noise, given: Tensor, prefix: Tensor
) -> Tensor:
    """Actions (b, horizon, width) by the head alone; the first `prefix` (b,) stay as `given` (b, horizon, width)."""
    condition = torch.cat([latent, sight.look], dim=1)

    def answer(scaled: Tensor, label: Tensor, known: Tensor) -> Tensor:
        return run("action", scaled, label.contiguous(), condition, known)[0]

    sigmas = sampling.karras(config.action_steps, high=config.sigma).to(noise.actions)
    return action_unet.sample_actions(answer, noise.actions, sigmas, given, prefix)


def imagine(
    run: Run, config: "UvaConfig", sight: Sight, given: Given, noise: Noise, steps: int, z: Tensor | None = None
) -> Tensor:
    """Tokens (b, frames, tokens, numbers) of the coming images, drawn in so many steps.

    z  (b, frames, tokens, width) of a future of which nothing is known, where that has been thought already
    """
    future, there = unseen(noise)
    for some in noise.order.split(portions(len(noise.order), steps)):
        if z is None:
            z, _ = think(run, sight, given, future, there)
        drawn = _draw(run, config, z[:, :, some], noise.video[:, :, some])
        future, there, z = future.index_copy(2, some, drawn), there.index_fill(1, some, True), None
    return future


def decode(run: Run, tokens: Tensor, now: Tensor) -> Tensor:
    """Images (b, cameras, frames, height, width, 3) uint8; `now` (b, cameras, height, width, 3) uint8: those at t."""
    (images,) = run("decode", tokens, now.float())
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1)


def portions(tokens: int, steps: int) -> list[int]:
    """How many tokens each step draws: few at first, more as more is known (a cosine, as Li et al. 2024 have it)."""
    counts, left = [], tokens
    for step in range(1, steps + 1):
        kept = math.floor(tokens * math.cos(0.5 * math.pi * step / steps)) if step < steps else 0
        then = min(kept, left - 1)
        if left:
            counts.append(left - then)
            left = then
    return counts


def _draw(run: Run, config: "UvaConfig", z: Tensor, noise: Tensor) -> Tensor:
    """Tokens (b, frames, k, numbers), each from its own latent and nothing else."""
    condition = z.flatten(0, 2)

    def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
        scale = sampling.scalings(sigma)
        (velocity,) = run("video", scale.into * noisy, scale.label.expand(len(noisy)).contiguous(), condition)
        return sampling.denoised(noisy, velocity, sigma)

    sigmas = sampling.karras(config.video_steps, high=config.sigma).to(noise)
    return sampling.sample(denoise, noise.flatten(0, 2), sigmas).unflatten(0, noise.shape[:3])
