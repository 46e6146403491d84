"""A frame of a recorded episode as a ghost over the live images, so that a person can set the scene as it was then."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from kinema.chunk import Image
from kinema.episodes.reader import Episode
from kinema.errors import ConfigError, EpisodeError
from kinema.topics import CAMERAS


def load(folder: Path) -> dict[str, Image]:
    """The first image of each camera of an episode; raises ConfigError for a folder that holds none."""
    try:
        episode, found = Episode.open(folder), {}
        for camera in CAMERAS:
            found[camera] = episode.image(camera, 0)
    except (EpisodeError, OSError, IndexError) as error:
        raise ConfigError(f"ghost {folder}: {error}; allowed is the folder of an episode with images") from error
    return found


def over(images: Mapping[str, Image], ghosts: Mapping[str, Image], share: float) -> dict[str, Image]:
    """The live images with their ghosts in them: `share` 0 shows the live one alone, 1 the ghost alone."""
    if share <= 0.0:
        return dict(images)
    return {name: _blend(image, ghosts[name], share) if name in ghosts else image for name, image in images.items()}


def _blend(image: Image, ghost: Image, share: float) -> Image:
    height, width = image.shape[:2]
    fitted = cv2.resize(ghost, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.addWeighted(image, 1.0 - share, fitted, share, 0.0), np.uint8)
