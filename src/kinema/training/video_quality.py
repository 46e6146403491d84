"""How near a predicted video comes to what happened: three measures, none of which needs a learned network. Pure.

All take clips (n, height, width, 3) uint8 and give (n,), frame by frame.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.geometry import Array

_SMALLEST = 1 / 12  # [grey levels^2] mean square of what rounding to uint8 leaves: no image is nearer than that
_BLUR, _SIGMA, _RIM = (11, 11), 1.5, 5  # of SSIM's window, and what of its rim the window can't fill [px]
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_CELL, _BLOCK, _BINS = 8, 16, 9  # [px] and orientations of the gradients' histograms

Grey = NDArray[np.float32]


def psnr(predicted: Image, happened: Image) -> Array:
    """Peak signal to noise ratio [dB]; 59 for equal images, since rounding alone is worth that."""
    error = predicted.astype(np.float64) - happened
    return 10 * np.log10(255**2 / np.maximum((error**2).mean(axis=(1, 2, 3)), _SMALLEST))


def ssim(predicted: Image, happened: Image) -> Array:
    """Structural similarity of brightness, at most 1 (Wang et al. 2004, equation 13, their window and constants)."""
    return np.array([_ssim(_grey(a), _grey(b)) for a, b in zip(predicted, happened, strict=True)])


def feature_distance(predicted: Image, happened: Image) -> Array:
    """1 - cosine of the histograms of oriented gradients (Dalal and Triggs 2005): 0 where edges lie alike.

    Sees what is where, and neither blur's low price in PSNR nor brightness. Images of at least 16 x 16 pixels.
    """
    height, width = (length // _CELL * _CELL for length in predicted.shape[1:3])
    describe = cv2.HOGDescriptor((width, height), (_BLOCK, _BLOCK), (_CELL, _CELL), (_CELL, _CELL), _BINS).compute

    def features(frame: Image) -> Array:
        found = np.asarray(describe(np.ascontiguousarray(frame[:height, :width])), np.float64)
        return found / max(float(np.linalg.norm(found)), 1e-12)

    return np.array([1 - features(a) @ features(b) for a, b in zip(predicted, happened, strict=True)])


def _grey(frame: Image) -> Grey:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32)


def _mean(values: Grey) -> Grey:
    return np.asarray(cv2.GaussianBlur(values, _BLUR, _SIGMA), np.float32)[_RIM:-_RIM, _RIM:-_RIM]


def _ssim(a: Grey, b: Grey) -> float:
    mean_a, mean_b = _mean(a), _mean(b)
    var_a, var_b = _mean(a * a) - mean_a**2, _mean(b * b) - mean_b**2
    both = _mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float((luminance * (2 * both + _C2) / (var_a + var_b + _C2)).mean())
