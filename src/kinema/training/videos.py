"""Videos to look at: what a model imagined below what happened, as MP4."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kinema.chunk import Image

_CODEC, _PIXELS = "libx264", "yuv420p"
_OPTIONS = {"crf": "18", "preset": "veryfast"}
_GAP = 4  # [px] between what happened and what was imagined


def side_by_side(happened: Image, imagined: Image) -> Image:
    """Frames (n, height, width, 3) of two clips (cameras, n, h, w, 3): cameras from left to right, imagined below."""
    above, below = (np.concatenate(list(clip), axis=2) for clip in (happened, imagined))
    gap = np.full((len(above), _GAP, *above.shape[2:]), 255, np.uint8)
    return np.concatenate([above, gap, below], axis=1)


def write(file: Path, frames: Image, rate: float) -> None:
    """An MP4 of frames (n, height, width, 3), `rate` of them a second; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in frames.shape[1:3])
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(file, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(_CODEC, rate=Fraction(rate).limit_denominator(1000), options=_OPTIONS)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, _PIXELS
        for frame in frames[:, :height, :width]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
