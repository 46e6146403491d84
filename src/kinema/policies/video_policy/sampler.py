"""Three ways to act and one to imagine, through the network's parts; everything here is in 32 bits.

The parts are asked for by name (`kinema.policies.engines`), so that the same steps run on torch, in training and
deployed, and on every other engine.

single   one pass of the video U-Net, then the action U-Net alone; the video may be finished afterwards
few:k    video and actions denoised side by side in k steps
paper    the same in 30 steps, guided ("Video Generators are Robot Policies", appendix A.1)
"""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from kinema.policies import sampling
from kinema.policies.action_unet import Answer, clean_actions, sample_actions
from kinema.policies.engines.graph import Run
from kinema.policies.text import Told
from kinema.policies.video_policy.config import VideoPolicyConfig

SINGLE, PAPER = "single", "paper"

_PAPER_STEPS = 30


class Sight(NamedTuple):
    """What is known of b moments, encoded.

    shown  (b, clip, c, h, w) latents of the present image of each frame's camera, and what else conditions the clip
    text   (b, n)
    look   (b, m) what the action U-Net depends on besides the adapter's vector; m may be 0
    """

    shown: Tensor
    text: Tensor
    look: Tensor

    def where(self, seen: Tensor) -> "Sight":
        """Zeros where `seen` (b,) is false."""
        return Sight(*(part * sampling.shaped(seen.to(part.dtype), part) for part in self))

    def beside(self, other: "Sight") -> "Sight":
        """The moments of both."""
        return Sight(*(torch.cat(parts) for parts in zip(self, other, strict=True)))


class Noise(NamedTuple):
    """Unit noise of b samples: `video` (b, clip, c, h, w), `actions` (b, horizon, width)."""

    video: Tensor
    actions: Tensor


def see(run: Run, now: Tensor, told: Told, state: Tensor) -> Sight:
    """Look at present images (b, cameras, height, width, 3) uint8 with the tool in a state (b, 10)."""
    asked = () if told.query is None else (told.query, state)
    shown, *looked = run("see", now.float(), *asked)
    return Sight(shown, told.text, looked[0] if looked else told.text[:, :0])


def act(
    run: Run, config: VideoPolicyConfig, mode: str, sight: Sight, noise: Noise, given: Tensor, prefix: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Actions (b, horizon, width) and, where the mode makes them, the latents (b, clip, c, h, w) of their video.

    The first `prefix` (b,) actions stay as they are `given` (b, horizon, width).
    """
    if mode == SINGLE:
        return single(run, config, sight, noise, given, prefix), None
    return joint(run, sight, noise, given, prefix, steps_of(mode), config.guidance if mode == PAPER else 1.0)


def steps_of(mode: str) -> int:
    """How many steps denoise a video in `few:k` and `paper`."""
    return _PAPER_STEPS if mode == PAPER else int(mode.removeprefix("few:"))


def single(run: Run, config: VideoPolicyConfig, sight: Sight, noise: Noise, given: Tensor, prefix: Tensor) -> Tensor:
    """Actions by one pass of the U-Net at the highest level, then the action U-Net alone."""
    sigma = noise.video.new_full((len(noise.video),), sampling.SIGMA_MAX)
    _, answer = _video(run, noise.video, sigma, sight)
    sigmas = sampling.karras(config.action_steps, high=config.action_sigma).to(noise.actions)
    return sample_actions(answer, noise.actions, sigmas, given, prefix)


def joint(
    run: Run, sight: Sight, noise: Noise, given: Tensor, prefix: Tensor, steps: int, guidance: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Actions and latents, denoised side by side in so many steps."""
    twice = 2 if guidance != 1.0 else 1
    if twice == 2:
        sight = Sight(*(torch.zeros_like(part) for part in sight)).beside(sight)
    given, prefix = torch.cat([given] * twice), torch.cat([prefix] * twice)

    def denoise(video: Tensor, actions: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        video, actions = torch.cat([video] * twice), torch.cat([actions] * twice)
        velocity, answer = _video(run, sampling.scalings(sigma).into * video, sigma.expand(len(video)), sight)
        clean = sampling.denoised(video, velocity, sigma), clean_actions(answer, actions, sigma, given, prefix)
        if twice == 1:
            return clean
        (blind, video), (blindly, actions) = (part.chunk(2) for part in clean)
        return sampling.guided(blind, video, guidance), sampling.guided(blindly, actions, guidance)

    sigmas = sampling.karras(steps).to(noise.actions)
    video, actions = (sampling.start(part, sigmas[0]) for part in noise)
    for now, then in itertools.pairwise(sigmas):
        clean_video, clean = denoise(video, actions, now)
        video = sampling.euler(video, clean_video, now, then)
        actions = sampling.euler(actions, clean, now, then)
    return actions, video


def finish(run: Run, config: VideoPolicyConfig, sight: Sight, noise: Noise) -> Tensor:
    """Latents of the video that a single pass began, from the same noise."""
    return draw(run, sight, noise.video, config.finish_steps)


def draw(run: Run, sight: Sight, noise: Tensor, steps: int, lowest: float = sampling.SIGMA_MIN) -> Tensor:
    """Latents of the video alone, from unit noise (b, clip, c, h, w) in so many steps, down to a noise level; the last
    step takes away what is left there."""

    def denoise(video: Tensor, sigma: Tensor) -> Tensor:
        scaled, levels = sampling.scalings(sigma).into * video, sigma.expand(len(video)).contiguous()
        velocity = run("video", scaled, levels, sight.shown, sight.text)[0]
        return sampling.denoised(video, velocity, sigma)

    return sampling.sample(denoise, noise, sampling.karras(steps, lowest).to(noise))


def decode(run: Run, latents: Tensor, now: Tensor) -> Tensor:
    """Images (b, cameras, frames, height, width, 3) uint8 of a clip's latents; the padding frame is left out.

    `now` (b, cameras, height, width, 3) uint8 are the images at t.
    """
    (images,) = run("decode", latents, now.float())
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1)


def _video(run: Run, scaled: Tensor, sigma: Tensor, sight: Sight) -> tuple[Tensor, Answer]:
    """Velocity of videos already scaled by c_in, at levels (b,), and the action U-Net that reads their features."""
    velocity, features = run("video", scaled, sigma.contiguous(), sight.shown, sight.text)
    condition = torch.cat([features, sight.look], dim=1)

    def answer(scaled: Tensor, label: Tensor, known: Tensor) -> Tensor:
        return run("action", scaled, label.contiguous(), condition, known)[0]

    return velocity, answer
