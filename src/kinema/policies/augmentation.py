"""Images varied for training: light, and things that stand in the way.

A handheld demonstration shows no robot; when the policy acts, an arm hangs into the side cameras' views. Strips of one
colour that come in from an edge teach a network not to rely on what they may hide.
"""

import math

import torch
from torch import Tensor

_GAIN, _TINT = 0.15, 0.05  # of an image's contrast and, each channel, its brightness
_HIDDEN = 0.6  # [-] of the side images have a strip
_WIDE = (0.10, 0.45)  # half the width of a strip; the image goes from -1 to 1
_DEEP = (-0.3, 0.9)  # how far from the middle it ends
_GREY = (-0.9, 0.7)  # how dark


def varied(images: Tensor, hidden: slice = slice(1, None)) -> Tensor:
    """Images (b, cameras, 3, height, width), -1 to 1, each in another light; `hidden`: cameras that an arm may cover.

    Draws come from torch's global generator.
    """
    each = (*images.shape[:2], 1, 1, 1)
    gain = 1.0 + _GAIN * (2 * torch.rand(each, device=images.device) - 1)
    tint = _TINT * torch.randn(*images.shape[:3], 1, 1, device=images.device)
    lit = images * gain + tint
    side = lit[:, hidden]
    strip = _strips(side)
    grey = _uniform(_GREY, (*side.shape[:2], 1, 1, 1), images) + 0.1 * torch.randn(
        *side.shape[:3], 1, 1, device=images.device
    )
    lit[:, hidden] = torch.where(strip[:, :, None], grey, side)
    return lit


def _uniform(between: tuple[float, float], shape: tuple[int, ...], like: Tensor) -> Tensor:
    low, high = between
    return low + (high - low) * torch.rand(shape, device=like.device)


def _strips(images: Tensor) -> Tensor:
    """Where each image (b, n, 3, height, width) is covered, (b, n, height, width)."""
    each = (*images.shape[:2], 1, 1)
    down, across = (
        torch.linspace(-1, 1, side, device=images.device).view(shape)
        for side, shape in ((images.shape[3], (-1, 1)), (images.shape[4], (1, -1)))
    )
    angle = _uniform((-math.pi, math.pi), each, images)
    aside = _uniform((-0.6, 0.6), each, images)
    along = angle.cos() * across + angle.sin() * down
    off = angle.cos() * down - angle.sin() * across - aside
    within = (off.abs() < _uniform(_WIDE, each, images)) & (along > _uniform(_DEEP, each, images))
    return within & (torch.rand(each, device=images.device) < _HIDDEN)
