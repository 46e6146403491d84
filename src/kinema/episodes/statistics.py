"""Statistics of a data set, for normalisation: exact, whatever the order or the number of processes. Pure.

Numbers are summed in float64 episode by episode; images are counted into histograms of their 256 grey levels, from
which everything follows.
"""

import numpy as np
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.geometry import Array

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
LEVELS = 256
COUNTED = 5  # of an episode's images every fifth is counted

_STRIDE = 2

Statistics = dict[str, list]
Counts = NDArray[np.int64]  # (3, 256): how often each grey level occurs in red, green, blue


def _name(quantile: float) -> str:
    return f"q{round(100 * quantile):02d}"


def of_numbers(values: Array) -> Statistics:
    """min, max, mean, std, quantiles, each (k,), and count (1,) of values (n, k)."""
    exact = np.asarray(values, np.float64)
    rows = {"min": exact.min(axis=0), "max": exact.max(axis=0), "mean": exact.mean(axis=0), "std": exact.std(axis=0)}
    rows |= {_name(q): row for q, row in zip(QUANTILES, np.quantile(exact, QUANTILES, axis=0), strict=True)}
    return {name: row.tolist() for name, row in rows.items()} | {"count": [len(exact)]}


def count_levels(image: Image) -> Counts:
    """How often each grey level occurs in an image (height, width, 3); every second row and column is looked at."""
    part = image[::_STRIDE, ::_STRIDE]
    return np.stack([np.bincount(part[..., channel].ravel(), minlength=LEVELS) for channel in range(3)])


def of_levels(counts: Counts, images: int) -> Statistics:
    """As `of_numbers`, each (3, 1, 1), of colours from 0 to 1; `images` is what stands in count."""
    level = np.arange(LEVELS) / (LEVELS - 1)
    total = counts.sum(axis=1, keepdims=True)
    mean = (counts * level).sum(axis=1, keepdims=True) / total
    share = counts.cumsum(axis=1) / total
    rows = {
        "min": level[(counts > 0).argmax(axis=1)],
        "max": level[LEVELS - 1 - (counts[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean[:, 0],
        "std": np.sqrt((counts * (level - mean) ** 2).sum(axis=1) / total[:, 0]),
    }
    rows |= {_name(q): level[(share >= q).argmax(axis=1)] for q in QUANTILES}
    return {name: row.reshape(3, 1, 1).tolist() for name, row in rows.items()} | {"count": [images]}
