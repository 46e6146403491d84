"""From an observation's images to what a network sees; whatever is not as in training is refused by name."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinema.chunk import Observation
from kinema.errors import ObservationError


def newest(observation: Observation, cameras: Sequence[str], size: tuple[int, int]) -> Tensor:
    """The newest image of each camera, (cameras, height, width, 3) uint8 RGB; as `recent`."""
    return recent(observation, cameras, size, 1)[0]


def recent(observation: Observation, cameras: Sequence[str], size: tuple[int, int], moments: int) -> Tensor:
    """The last images of each camera, (moments, cameras, height, width, 3) uint8 RGB; `size` is width, height [px].

    Raises ObservationError for a camera that is missing, for fewer moments than these, and for images of another size
    or type. Pixels that are whole numbers of 8 bits are always numbers.
    """
    images = []
    for camera in cameras:
        history = observation.images.get(camera)
        if history is None or not len(history):
            there = ", ".join(observation.images) or "none"
            raise ObservationError(f"no image of camera {camera!r}; there are: {there}; needed: {', '.join(cameras)}")
        if len(history) < moments:
            raise ObservationError(
                f"{camera}: the observation has a history of {len(history)} moments, the policy needs {moments}; it "
                "waits until there are so many"
            )
        some = [np.asarray(image) for image in history[-moments:]]
        for image in some:
            if image.dtype != np.uint8 or image.shape != (size[1], size[0], 3):
                raise ObservationError(
                    f"{camera}: the image is {image.dtype} of shape {image.shape}, needed is uint8 of shape "
                    f"{(size[1], size[0], 3)}"
                )
        images.append(np.stack(some))
    return torch.from_numpy(np.stack(images, axis=1))


def signal(images: Tensor) -> Tensor:
    """Images (..., height, width, 3) of 0 to 255, bytes or not, as (..., 3, height, width) float32 from -1 to 1."""
    numbers = images.movedim(-1, -3).to(torch.float32, copy=True)  # twice as fast as dividing bytes
    return numbers.div_(127.5).sub_(1.0)


def fixed(cameras: int, size: tuple[int, int], cell: int = 8) -> Tensor:
    """Images (cameras, height, width, 3) uint8, always the same: coloured squares, that no network saw in training."""
    width, height = size
    generator = torch.Generator().manual_seed(0)
    shape = (cameras, -(-height // cell), -(-width // cell), 3)
    squares = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return squares.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width]
