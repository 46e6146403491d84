"""What in a picture is the tool: what differs from the empty scene, and has the tool's colours. Pure.

The cameras stand still, and the first picture of a clip shows the scene without the tool: what differs from it is the
tool, and the hand that holds it. Once the tool has been found, its colours tell the two apart (histograms, Swain and
Ballard 1991, as posteriors, Bibby and Reid 2008).
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from kinema.chunk import Image
from kinema.geometry import Array
from kinema.perception.silhouette import Mask

_OPTICS = 0.7  # [px] blur of both pictures before they are compared: sensor noise is not a change
_LEAST = 14.0  # [levels of 8-bit CIELAB] that differ
_UNUSUAL = 5.0  # times the picture's median difference, which is noise and a video model's flicker
_BINS = (8, 32, 32)  # of L, a, b
_NOBODY = 0.5  # of the colours outside of the tool that may be any colour
_SKIN = ((0, 133, 77), (255, 173, 127))  # Y, Cr, Cb of human skin (Chai and Ngan 1999)
_SPECK = 3  # [px] what is smaller is noise


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One frame before its empty scene.

    lab      (height, width, 3) float32, 8-bit CIELAB, slightly blurred
    changed  (height, width) float32: 0 as in the empty scene, 1 certainly not; 0.5 at the threshold
    unknown  (height, width) where nothing can be said: skin, where a bare hand may hold the tool
    """

    lab: Array
    changed: Array
    unknown: Mask

    @classmethod
    def of(cls, frame: Image, empty: Array, bare_hand: bool) -> Self:
        """`empty` is `smooth_lab` of the scene without the tool."""
        lab = smooth_lab(frame)
        apart = lab - empty
        apart -= np.median(apart[::4, ::4], axis=(0, 1)).astype(np.float32)  # the light of the whole picture
        far = np.sqrt((apart**2).sum(axis=-1))
        threshold = max(_LEAST, _UNUSUAL * float(np.median(far[::4, ::4])))
        changed = np.clip(far / threshold - 0.5, 0.0, 1.0).astype(np.float32)
        unknown = np.zeros(far.shape, bool)
        if bare_hand:
            skin = cv2.inRange(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb), *map(np.array, _SKIN)) > 0
            unknown = _solid(skin & (changed > 0.5))
        return cls(lab, changed, unknown)

    def mask(self) -> Mask:
        """What differs, without specks and what is unknown."""
        return _solid((self.changed > 0.5) & ~self.unknown)

    def evidence(self, colours: "Colours | None", others: Mask) -> Array:
        """(height, width) float32: how likely a pixel shows a tracked part; 0.5 where others of the tool hide it."""
        likely = self.changed if colours is None else self.changed * colours.likely(self.lab)
        return np.where(self.unknown | others, np.float32(0.5), likely)


@dataclass(frozen=True, eq=False, slots=True)
class Colours:
    """How likely a changed pixel of a colour belongs to the tool, by bins of L, a, b."""

    posterior: Array

    @classmethod
    def of(cls, picture: Picture, tool: Mask, others: Mask) -> Self:
        """From what is the tool, and what else has changed; beside it any colour is possible."""
        inner = cv2.erode(tool.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        around = cv2.dilate((tool | others).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        mine = _histogram(picture.lab[inner if inner.any() else tool])
        rest = (picture.changed > 0.5) & ~around
        other = np.full(_BINS, 1.0 / np.prod(_BINS))
        if rest.any():
            other = _NOBODY * other + (1.0 - _NOBODY) * _histogram(picture.lab[rest])
        return cls((mine / (mine + other + 1e-12)).astype(np.float32))

    def likely(self, lab: Array) -> Array:
        return np.asarray(self.posterior[_bins(lab)])


def smooth_lab(image: Image) -> Array:
    """(height, width, 3) float32 8-bit CIELAB, slightly blurred."""
    smooth = cv2.GaussianBlur(image, (0, 0), _OPTICS)
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), np.float32)


def _solid(mask: Mask) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SPECK, _SPECK))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel) > 0)


def _bins(lab: Array) -> tuple[NDArray[np.intp], ...]:
    return tuple((lab[..., k] * (count / 256.0)).astype(np.intp) for k, count in enumerate(_BINS))


def _histogram(pixels: Array) -> Array:
    """Shares of pixels (n, 3) by colour, smoothed by about a bin."""
    found = np.zeros(_BINS)
    np.add.at(found, _bins(pixels), 1.0)
    return np.asarray(gaussian_filter(found, 0.8, mode="nearest") / max(len(pixels), 1))
