"""How far the grey T is from where it belongs, as an image alone shows it, imagined ones included; pure.

What is grey in an image is held against the block's shape at every place and in every turn (a matched filter), and the
answer is how far off the block is there, in the mean over all of them, each weighed by how well it fits; so it is
finer than the grid, and goes on where an image is blurred. Distances alone, of grey pixels from the mark, would not do:
turned by 120 degrees, the block has nearly all of its pixels on the mark.
"""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from kinema.chunk import Image
from kinema.geometry import Array
from kinema.pusht import block

_GREY = np.array([138.0, 157.0, 177.0])  # RGB of the block, between its inside and its edge
_SPREAD = 35.0  # of RGB, within which a colour counts as the block's
_FLOOR = 0.05  # of how much it does; the mark's green has 0.04

_WINDOW = 512.0  # [px] of the environment, across
_CELLS, _PADDED, _FINE = 96, 128, 2  # of the window, across; with room around; parts of a cell that are looked at
_CELL = _WINDOW / _CELLS
_TURNS = 72
_MIDDLE = np.array([[0.0, 285.0 / 7.0]])  # of the block's area
_SURE = 100.0  # a fit that is worse by a hundredth weighs less by the factor e
_BEYOND = 20.0  # what weighs less by e to this is left out
_TRACE = 0.0005  # of a block that is always taken to be as far off as one can be


def block_in(image: Image) -> Array:
    """How much each pixel of an image (height, width, 3) RGB is the block's, (height, width) from 0 to 1."""
    apart = ((image - _GREY) ** 2).sum(axis=-1)
    return np.maximum(np.exp(-apart / (2 * _SPREAD**2)) - _FLOOR, 0.0) / (1.0 - _FLOOR)


def off(image: Image) -> float:
    """How far off the block is in an image (height, width, 3) RGB of the whole window, as `block.off` has it [px].

    Never quite 0, since its neighbours fit, too. An image without a block is as far off as one can be.
    """
    spectra, offs, area = _shapes()
    shares = cv2.resize(block_in(image).astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    shifts = np.arange(_CELLS) - _CELLS // 2
    filtered = fft.irfft2(spectra * fft.rfft2(shares, (_PADDED, _PADDED)), (_PADDED, _PADDED))
    fits = filtered[:, shifts[:, None], shifts] / area
    best = max(float(fits.max()), 1e-9)
    near = fits > (1.0 - _BEYOND / _SURE) * best
    found = float(np.average(offs[near], weights=np.exp(_SURE * (fits[near] / best - 1.0)))) if near.any() else 0.0
    return (best * found + _TRACE * float(offs.max())) / (best + _TRACE)


@functools.lru_cache(maxsize=1)
def _shapes() -> tuple[NDArray[np.complex64], Array, float]:
    """Spectra of the block in the window's middle (turns, _PADDED, ...), as a filter; how far off it is in each turn
    with its middle at each cell's corner (turns, rows, columns) [px]; its area [cells]."""
    fine = _CELL / _FINE * (np.arange(_CELLS * _FINE) + 0.5) - 0.5 * _WINDOW
    around = np.stack(np.meshgrid(fine, fine), axis=-1).reshape(-1, 2)
    corners = _CELL * np.arange(_CELLS)
    middles = np.stack(np.meshgrid(corners, corners), axis=-1)
    shapes, offs = [], []
    for angle in 2 * math.pi / _TURNS * np.arange(_TURNS):
        origin = -block.to_world((0.0, 0.0, angle), _MIDDLE)[0]  # from its middle
        covered = block.distance((*origin, angle), around) <= 0.0
        shapes.append(covered.reshape(_CELLS, _FINE, _CELLS, _FINE).mean(axis=(1, 3)))
        poses = np.concatenate([middles + origin, np.full((_CELLS, _CELLS, 1), angle)], axis=-1)
        offs.append(block.off(poses))
    found = np.array(shapes, np.float32)
    return fft.rfft2(found, (_PADDED, _PADDED)).conj(), np.array(offs), float(found[0].sum())
