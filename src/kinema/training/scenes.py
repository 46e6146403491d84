"""Pictures of scenes with captions: what a text names, and where that is in every image.

    index.json     what there is, and how it was made
    images.npy     (n, cameras, height, width, 3) uint8
    frames.npy     (m,) which of the n images a caption is of
    states.npy     (n, 10) float32: the tool's, as `kinema.policies.tool_state` has it
    places.npy     (m, cameras, queries, 2) float32: x and y from -1 to 1 over the image; NaN where it is out of sight
    offsets.npy    (m, queries, 3) float32: from the tool, in its own frame [m]
    turns.npy      (m, 2) float32: cosine and sine of twice the angle of the thing's longer side about the tool's z; the
                   shorter, the less long and narrow the thing is; 0 for round ones
    texts.json     the m captions

A caption's queries are those of `kinema.policies.look`: the thing, and the goal that it goes to.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.episodes.export import write_json
from kinema.errors import EpisodeError

VERSION = 3
INDEX = "index.json"

_ARRAYS = ("images", "states", "frames", "places", "offsets", "turns")


@dataclass(frozen=True, eq=False, slots=True)
class Scenes:
    """Arrays as in the module's text; `about`: how they were made."""

    about: Mapping[str, Any]
    images: NDArray[np.uint8]
    states: NDArray[np.float32]
    frames: NDArray[np.int64]
    places: NDArray[np.float32]
    offsets: NDArray[np.float32]
    turns: NDArray[np.float32]
    texts: Sequence[str]

    @property
    def size(self) -> tuple[int, int]:
        """Width, height [px] of the images."""
        return self.images.shape[3], self.images.shape[2]

    @property
    def fingerprint(self) -> str:
        """Of how they were made."""
        return hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()


def write(folder: Path, scenes: Scenes) -> None:
    """The index comes last, so that a folder with one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(scenes, name))
    write_json(folder / "texts.json", list(scenes.texts))
    write_json(folder / INDEX, {"version": VERSION, **scenes.about})


def read(folder: Path) -> Scenes:
    """Raises EpisodeError when there are no scenes of this version, or they don't fit each other."""
    try:
        about = json.loads((folder / INDEX).read_text())
        texts = json.loads((folder / "texts.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    except (OSError, ValueError) as error:
        raise EpisodeError(f"{folder}: holds no scenes: {error}; make them with `kinema scenes`") from error
    if (version := about.pop("version", None)) != VERSION:
        raise EpisodeError(f"{folder / INDEX}: version is {version}, allowed is {VERSION}")
    frames, places, pictures = arrays["frames"], arrays["places"], len(arrays["images"])
    captions = {len(texts), *(len(arrays[name]) for name in ("frames", "places", "offsets", "turns"))}
    if len(captions) > 1 or frames.max() >= pictures or len(arrays["states"]) != pictures:
        raise EpisodeError(f"{folder}: {len(texts)} texts, {len(frames)} frames and {len(places)} places disagree")
    return Scenes(
        about, **{name: array if name == "images" else np.asarray(array) for name, array in arrays.items()}, texts=texts
    )
