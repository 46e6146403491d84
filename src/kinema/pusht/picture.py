"""How far the grey T is from its mark, as an image alone shows it, imagined ones included; pure."""

import functools

import numpy as np

from kinema.chunk import Image
from kinema.geometry import Array
from kinema.pusht import block

_WINDOW = 512.0  # [px] of the environment, across
_GREY = np.array([138.0, 157.0, 177.0])  # RGB of the block, between its inside and its edge
_SPREAD = 35.0  # of RGB, within which a colour counts as the block's
_FLOOR = 0.05  # of how much it does; the mark's green has 0.04
_TRACE = 0.1  # pixels that are always taken to be farthest away, of some 200 that the block has


def block_in(image: Image) -> Array:
    """How much each pixel of an image (height, width, 3) RGB is the block's, (height, width) from 0 to 1."""
    apart = ((image - _GREY) ** 2).sum(axis=-1)
    return np.maximum(np.exp(-apart / (2 * _SPREAD**2)) - _FLOOR, 0.0) / (1.0 - _FLOOR)


def off(image: Image) -> float:
    """How far the block's pixels in an image (height, width, 3) RGB are from the mark, on average [px of the window].

    About 0 where all of it lies on the mark, and growing with every pixel that leaves it. A mean over pixels has a
    block that is imagined in two places between them, and one that is imagined as a blur where its middle is; how a
    block is turned it tells the less, the farther away that is. Without a block: as far as a pixel can be.
    """
    shares, distances = block_in(image), _distances(*image.shape[:2])
    return float((_TRACE * distances.max() + (shares * distances).sum()) / (_TRACE + shares.sum()))


@functools.lru_cache(maxsize=2)
def _distances(height: int, width: int) -> Array:
    """(height, width) [px of the window] from pixels' middles to the mark; 0 on it."""
    rows, columns = (_WINDOW * (np.arange(count) + 0.5) / count for count in (height, width))
    middles = np.stack(np.meshgrid(columns, rows), axis=-1)
    return np.maximum(block.distance(block.GOAL, middles.reshape(-1, 2)), 0.0).reshape(height, width)
