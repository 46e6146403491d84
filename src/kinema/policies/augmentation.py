"""Images varied for training: light, and things that stand in the way.

A handheld demonstration shows no robot; when the policy acts, an arm hangs into the side cameras' views. Strips of one
colour that come in from an edge teach a network not to rely on what they may hide.
"""

import math

import torch
from torch import Tensor

from kinema.policies.pictures import signal

_GAIN, _TINT = 0.15, 0.05  # of an image's contrast and, each channel, its brightness
_HIDDEN = 0.6  # [-] of the side images have a strip
_WIDE = (0.10, 0.45)  # half the width of a strip; the image goes from -1 to 1
_DEEP = (-0.3, 0.9)  # how far from the middle it ends
_GREY = (-0.9, 0.7)  # how dark


def varied(images: Tensor, hidden: slice = slice(1, None), strength: float = 1.0) -> Tensor:
    """Images (b, cameras, ..., 3, height, width), -1 to 1, each camera's in another light.

    hidden    cameras that an arm may cover; strength: of light and tint
    Draws come from torch's global generator.
    """
    frames = (1,) * (images.ndim - 5)
    each = (*images.shape[:2], *frames)
    gain = 1.0 + strength * _GAIN * (2 * torch.rand((*each, 1, 1, 1), device=images.device) - 1)
    tint = strength * _TINT * torch.randn(*each, 3, 1, 1, device=images.device)
    lit = images * gain + tint
    side = lit[:, hidden]
    strip = _strips(side)
    each = (*side.shape[:2], *frames)
    grey = _uniform(_GREY, (*each, 1, 1, 1), images) + 0.1 * torch.randn(*each, 3, 1, 1, device=images.device)
    lit[:, hidden] = torch.where(strip.view(*each, 1, *strip.shape[2:]), grey, side)
    return lit


def varied_clips(now: Tensor, future: Tensor | None, strength: float) -> tuple[Tensor, Tensor | None]:
    """Present images (b, cameras, height, width, 3) uint8, and coming ones (b, cameras, frames, height, width, 3).

    As `varied`, light and tint by so much more, all images of a camera alike: as an arm would stand there that is slow.
    """
    clips = now[:, :, None] if future is None else torch.cat([now[:, :, None], future], dim=2)
    other = torch.empty_like(clips)
    for clip, kept in zip(clips, other, strict=True):  # one after the other: they fit into a processor's caches
        pixels = (127.5 * (1.0 + varied(signal(clip)[None], strength=strength)[0])).round_().clamp_(0, 255)
        kept.copy_(pixels.movedim(-3, -1))
    return other[:, :, 0], None if future is None else other[:, :, 1:]


def _uniform(between: tuple[float, float], shape: tuple[int, ...], like: Tensor) -> Tensor:
    low, high = between
    return low + (high - low) * torch.rand(shape, device=like.device)


def _strips(images: Tensor) -> Tensor:
    """Where the images (b, n, ..., 3, height, width) of each camera are covered, (b, n, height, width)."""
    each = (*images.shape[:2], 1, 1)
    down, across = (
        torch.linspace(-1, 1, side, device=images.device).view(shape)
        for side, shape in ((images.shape[-2], (-1, 1)), (images.shape[-1], (1, -1)))
    )
    angle = _uniform((-math.pi, math.pi), each, images)
    aside = _uniform((-0.6, 0.6), each, images)
    along = angle.cos() * across + angle.sin() * down
    off = angle.cos() * down - angle.sin() * across - aside
    within = (off.abs() < _uniform(_WIDE, each, images)) & (along > _uniform(_DEEP, each, images))
    return within & (torch.rand(each, device=images.device) < _HIDDEN)
