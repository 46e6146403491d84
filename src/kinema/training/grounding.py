"""Learning what words mean, from captioned pictures: where the matches of a `Look` belong.

Each query's match with the places of an image is a distribution over them; it is drawn towards where the thing is
(cross entropy), in every camera that sees it. A picture is looked at once, however many captions it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinema.policies import look
from kinema.policies.augmentation import varied
from kinema.policies.look import QUERIES, Look, LookConfig
from kinema.policies.pictures import signal
from kinema.training.scenes import Scenes

STAGE = "ground"
CAPTIONS = 3  # of each picture in a batch

_BLUR = 0.7  # [cells of a map] within which a match is as good
_NEAR = 0.15  # of half an image's width: as far from its place a match is counted as right
_HELD_OUT = 0.05  # [-] of the scenes


@dataclass(frozen=True, slots=True)
class Captioned:
    """b pictures (b, cameras, height, width, 3) uint8 by a tool in states (b, 10), and b * n texts.

    places (b, n, cameras, queries, 2) and offsets (b, n, queries, 3) as in `kinema.training.scenes`
    """

    images: Tensor
    states: Tensor
    texts: tuple[str, ...]
    places: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.images)


class Captions:
    """The pictures of some scenes by number, a few captions each."""

    def __init__(self, scenes: Scenes, pictures: NDArray[np.int64], shift: int) -> None:
        """`shift` [px]: how far images are moved at most, every picture of a batch by itself."""
        self._scenes, self.pictures, self._shift = scenes, pictures, shift
        order = np.argsort(scenes.frames, kind="stable")
        self._of = np.split(order, np.searchsorted(scenes.frames[order], np.arange(1, len(scenes.images))))

    def draw(self, batch: int, seed: int, step: int) -> Captioned:
        """The batch of a step: a function of seed and step."""
        rng = np.random.default_rng([seed, step, 2])
        pictures = self.pictures[rng.integers(0, len(self.pictures), batch)]
        captions = np.array([rng.choice(self._of[picture], CAPTIONS) for picture in pictures])
        return self._moved(self.take(pictures, captions), rng)

    def all(self, portion: int) -> Iterator[Captioned]:
        """Every picture with its first caption: for measuring."""
        for some in np.split(self.pictures, range(portion, len(self.pictures), portion)):
            yield self.take(some, np.array([self._of[picture][:1] for picture in some]))

    def take(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> Captioned:
        """Pictures (b,) with captions (b, n)."""
        scenes = self._scenes
        texts = tuple(scenes.texts[caption] for caption in captions.ravel().tolist())
        images, states = torch.from_numpy(np.array(scenes.images[pictures])), torch.from_numpy(scenes.states[pictures])
        places, offsets = (torch.from_numpy(told[captions]) for told in (scenes.places, scenes.offsets))
        return Captioned(images, states, texts, places, offsets)

    def _moved(self, batch: Captioned, rng: np.random.Generator) -> Captioned:
        """Every image moved by a few pixels, its border going on, and its places with it."""
        images, places = batch.images.clone(), batch.places.clone()
        height, width = images.shape[2:4]
        shifts = rng.integers(-self._shift, self._shift, (*images.shape[:2], 2), endpoint=True)
        for i, j in np.ndindex(images.shape[0], images.shape[1]):
            right, down = shifts[i, j].tolist()
            rows = (torch.arange(height) - down).clamp(0, height - 1)
            columns = (torch.arange(width) - right).clamp(0, width - 1)
            images[i, j] = images[i, j, rows][:, columns]
        places += torch.from_numpy(2.0 * shifts / (width, height)).float()[:, None, :, None]
        places[(places.abs() > 1).any(dim=-1)] = torch.nan
        return replace(batch, images=images, places=places)


def split(scenes: Scenes, share: float = _HELD_OUT) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pictures to learn from, and those of every so manieth scene to measure with."""
    number = np.arange(len(scenes.images)) // int(scenes.about["views"])
    held_out = number % round(1 / share) == 0
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


class Grounding(nn.Module):
    """A `Look` with what its training needs."""

    def __init__(self, config: LookConfig, cameras: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.look = Look(config, cameras, image_size)

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """The eyes, the reader and what compares them."""
        return [{"params": look.grounded(self.look)}]

    def loss(self, batch: Captioned, stage: str) -> dict[str, Tensor]:
        """Cross entropy of each query, and how far off it is told to be from the tool, in `look.UNIT`.

        Draws come from torch's global generator.
        """
        images = varied(signal(batch.images)) if self.training else signal(batch.images)
        terms: dict[str, list[Tensor]] = {query: [] for query in QUERIES}
        matches = self._matches(images, batch)
        for match, place in zip(matches, batch.places.unbind(dim=2), strict=True):
            error, seen = cross_entropy(match, place)
            for i, query in enumerate(QUERIES):
                terms[query].append((error[..., i] * seen[..., i]).sum() / seen[..., i].sum().clamp(min=1))
        away, told = self._away(matches, batch)
        offset = (away * told).sum() / told.sum().clamp(min=1)
        return {query: torch.stack(some).mean() for query, some in terms.items()} | {"offset": offset}

    @torch.no_grad()
    def found(self, batch: Captioned) -> tuple[Tensor, Tensor, Tensor]:
        """Whether each query's best match (b, n, cameras, queries) is where it belongs, and whether it is in sight.

        And how far off its place is told to be (b, n, queries) [m]; NaN where there is none.
        """
        right = []
        matches = self._matches(signal(batch.images), batch)
        for match, place in zip(matches, batch.places.unbind(dim=2), strict=True):
            height, width = match.shape[-2:]
            best = match.flatten(-2).argmax(dim=-1)
            at = torch.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], dim=-1) * 2 - 1
            right.append(torch.linalg.vector_norm(at - place.nan_to_num(9.0), dim=-1) < _NEAR)
        away, told = self._away(matches, batch)
        missed = (look.UNIT * away).masked_fill(~told, torch.nan)
        return torch.stack(right, dim=2), batch.places.isfinite().all(dim=-1), missed

    def _away(self, matches: Sequence[Tensor], batch: Captioned) -> tuple[Tensor, Tensor]:
        """Distances (b, n, queries), in `look.UNIT`, from where things are told to be; and where they are somewhere."""
        count = batch.offsets.shape[1]
        states = batch.states.repeat_interleave(count, dim=0)
        positions = [self.look.positions(match.flatten(0, 1)) for match in matches]
        found = self.look.offsets(positions, states).unflatten(0, (-1, count))
        error = found - batch.offsets.nan_to_num(0.0) / look.UNIT
        return torch.linalg.vector_norm(error, dim=-1), batch.offsets.isfinite().all(dim=-1)

    def _matches(self, images: Tensor, batch: Captioned) -> list[Tensor]:
        """Of each camera (b, n, queries, h, w)."""
        queries = self.look.read(batch.texts).unflatten(0, (len(batch), -1))
        count = queries.shape[1]
        found = self.look.matches(self.look.places(images), queries.flatten(1, 2))
        return [match.unflatten(1, (count, len(QUERIES))) for match in found]


def cross_entropy(match: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Of logarithms of probabilities (..., h, w) with a place (..., 2), a little blurred; whether it is in sight."""
    height, width = match.shape[-2:]
    seen, place = place.isfinite().all(dim=-1), place.nan_to_num(0.0)
    weights = []
    for axis, cells in ((1, height), (0, width)):
        at = (place[..., axis] + 1) / 2 * cells - 0.5
        weights.append(torch.exp(-0.5 * ((torch.arange(cells, device=at.device) - at[..., None]) / _BLUR) ** 2))
    wanted = weights[0][..., :, None] * weights[1][..., None, :]
    wanted = wanted / wanted.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-9)
    return -(wanted * match).sum(dim=(-2, -1)), seen


def measured(model: Grounding, captions: Captions, portion: int = 32) -> Mapping[str, float]:
    """Share [-] of captions whose query is found in each camera, by '<query>_<camera's number>'.

    And by '<query>_mm' the median of how far off the tool is told that its place is.
    """
    found = [model.found(batch) for batch in captions.all(portion)]
    right, seen, missed = (torch.cat(some) for some in zip(*found, strict=True))
    share = (right & seen).sum(dim=(0, 1)) / seen.sum(dim=(0, 1)).clamp(min=1)
    shares = {
        f"{query}_{camera}": float(share[camera, i]) for camera in range(len(share)) for i, query in enumerate(QUERIES)
    }
    return shares | {f"{query}_mm": 1e3 * float(missed[..., i].nanmedian()) for i, query in enumerate(QUERIES)}
