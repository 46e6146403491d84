"""Learning what words mean, from captioned pictures: where the matches of a `Look` belong.

Each query's match with the places of an image is a distribution over them; it is drawn towards where the thing is
(cross entropy), in every camera that sees it. A picture is looked at once, however many captions it has.
"""

import math
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

EYES, LOCATING = "ground", "locate"  # the stages: what is where in images; then, from what eyes see, where it is
CAPTIONS = 3  # of each picture in a batch

_BLUR = 0.7  # [cells of a map] within which a match is as good
_NEAR = 0.15  # of half an image's width: as far from its place a match is counted as right
_HELD_OUT = 0.05  # [-] of the scenes
_FAR = 0.5  # [UNIT] off, an error counts half as much as at the tool
_LONG = 0.5  # of the length that `turns` have: from there on it is said how well they are told
_CLOSE = 0.15  # [m] within which offsets are measured apart
_TURN = 0.3  # weight of how a thing lies


@dataclass(frozen=True, slots=True)
class Captioned:
    """b pictures (b, cameras, height, width, 3) uint8 by a tool in states (b, 10), and b * n texts.

    places (b, n, cameras, queries, 2), offsets (b, n, queries, 3), turns (b, n, 2) as in `kinema.training.scenes`
    """

    images: Tensor
    states: Tensor
    texts: tuple[str, ...]
    places: Tensor
    offsets: Tensor
    turns: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Readings:
    """What the eyes read off m captioned pictures: `seen` of each camera (m, queries, 3 + width), as a `Look` has it.

    states (m, 10), offsets (m, queries, 3) as in `kinema.training.scenes`
    """

    seen: tuple[Tensor, ...]
    states: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.states)

    def draw(self, batch: int, seed: int, step: int) -> "Readings":
        """The batch of a step: a function of seed and step."""
        rows = torch.from_numpy(np.random.default_rng([seed, step, 3]).integers(0, len(self), batch))
        rows = rows.to(self.states.device)
        return Readings(tuple(one[rows] for one in self.seen), self.states[rows], self.offsets[rows])


class Captions:
    """The pictures of some scenes by number, a few captions each."""

    def __init__(self, scenes: Scenes, pictures: NDArray[np.int64], shift: int) -> None:
        """`shift` [px]: how far images are moved at most, every picture of a batch by itself."""
        self._scenes, self.pictures, self._shift = scenes, pictures, shift
        order = np.argsort(scenes.frames, kind="stable")
        self._of = np.split(order, np.searchsorted(scenes.frames[order], np.arange(1, len(scenes.images))))
        away = np.linalg.norm(np.nan_to_num(scenes.offsets, nan=np.inf), axis=2).min(axis=1)
        self._near = np.array([some[away[some].argmin()] for some in self._of])

    def draw(self, batch: int, seed: int, step: int) -> Captioned:
        """The batch of a step: a function of seed and step. A picture's first caption is of what is nearest."""
        rng = np.random.default_rng([seed, step, 2])
        pictures = self.pictures[rng.integers(0, len(self.pictures), batch)]
        captions = np.array([[self._near[k], *rng.choice(self._of[k], CAPTIONS - 1)] for k in pictures])
        return self._moved(self.take(pictures, captions), rng)

    def all(self, portion: int) -> Iterator[Captioned]:
        """Every picture with its first caption and that of what is nearest: for measuring."""
        for some in np.split(self.pictures, range(portion, len(self.pictures), portion)):
            yield self.take(some, np.array([[self._of[k][0], self._near[k]] for k in some]))

    def each(self, portion: int) -> Iterator[Captioned]:
        """Every picture with all its captions."""
        counts = np.array([len(self._of[k]) for k in self.pictures])
        for count in np.unique(counts):
            alike = self.pictures[counts == count]
            for some in np.split(alike, range(portion, len(alike), portion)):
                yield self.take(some, np.array([self._of[k] for k in some]))

    def take(self, pictures: NDArray[np.int64], captions: NDArray[np.int64]) -> Captioned:
        """Pictures (b,) with captions (b, n)."""
        scenes = self._scenes
        texts = tuple(scenes.texts[caption] for caption in captions.ravel().tolist())
        images, states = torch.from_numpy(np.array(scenes.images[pictures])), torch.from_numpy(scenes.states[pictures])
        told = (torch.from_numpy(values[captions]) for values in (scenes.places, scenes.offsets, scenes.turns))
        return Captioned(images, states, texts, *told)

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
        """The eyes, the reader and what compares them; or what locates by them."""
        return [{"params": look.grounded(self.look) if stage == EYES else list(self.look.locate.parameters())}]

    def loss(self, batch: Captioned | Readings, stage: str) -> dict[str, Tensor]:
        """Of pictures the cross entropy of each query, how far off the tool it is told to be, how the thing lies.

        Of readings how far off alone. What is near the tool counts more. Draws come from torch's global generator.
        """
        if isinstance(batch, Readings):
            return {"offset": _missed(self.look.offsets(batch.seen, batch.states), batch.offsets)}
        images = varied(signal(batch.images)) if self.training else signal(batch.images)
        terms: dict[str, list[Tensor]] = {query: [] for query in QUERIES}
        matches, seen = self._read(images, batch)
        for match, place in zip(matches, batch.places.unbind(dim=2), strict=True):
            error, visible = cross_entropy(match, place)
            for i, query in enumerate(QUERIES):
                terms[query].append((error[..., i] * visible[..., i]).sum() / visible[..., i].sum().clamp(min=1))
        turned = torch.linalg.vector_norm(self._turns(seen, batch) - batch.turns, dim=-1)
        others = {"offset": _missed(self._offsets(seen, batch), batch.offsets), "turn": _TURN * turned.mean()}
        return {query: torch.stack(some).mean() for query, some in terms.items()} | others

    @torch.no_grad()
    def readings(self, batch: Captioned) -> Readings:
        """What the eyes read off pictures that are varied, a row a caption; draws as `loss` does."""
        _, seen = self._read(varied(signal(batch.images)), batch)
        states = batch.states.repeat_interleave(batch.offsets.shape[1], dim=0)
        return Readings(tuple(one.flatten(0, 1) for one in seen), states, batch.offsets.flatten(0, 1))

    @torch.no_grad()
    def found(self, batch: Captioned) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Whether each query's best match (b, n, cameras, queries) is where it belongs, and whether it is in sight.

        By how much its offset is missed (b, n, queries) [m], NaN where there is none; and by how much (b, n) [rad] the
        way that a thing lies, NaN where it is nearly round.
        """
        right = []
        matches, seen = self._read(signal(batch.images), batch)
        for match, place in zip(matches, batch.places.unbind(dim=2), strict=True):
            height, width = match.shape[-2:]
            best = match.flatten(-2).argmax(dim=-1)
            at = torch.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], dim=-1) * 2 - 1
            right.append(torch.linalg.vector_norm(at - place.nan_to_num(9.0), dim=-1) < _NEAR)
        away = torch.linalg.vector_norm(look.UNIT * self._offsets(seen, batch) - batch.offsets, dim=-1)
        told, lies = self._turns(seen, batch), batch.turns
        angle = torch.atan2(told[..., 1], told[..., 0]) - torch.atan2(lies[..., 1], lies[..., 0])
        turned = torch.atan2(angle.sin(), angle.cos()).abs() / 2
        turned = turned.masked_fill(torch.linalg.vector_norm(lies, dim=-1) < _LONG, torch.nan)
        return torch.stack(right, dim=2), batch.places.isfinite().all(dim=-1), away, turned

    def _read(self, images: Tensor, batch: Captioned) -> tuple[list[Tensor], list[Tensor]]:
        """Of each camera where captions match (b, n, queries, h, w); what is read off there (b, n, queries, length)."""
        queries = self.look.read(batch.texts).unflatten(0, (len(batch), -1))
        several = queries.shape[1:3]
        places = self.look.places(images)
        matches = self.look.matches(places, queries.flatten(1, 2))
        seen = [self.look.read_off(*both) for both in zip(places, matches, strict=True)]
        return [match.unflatten(1, several) for match in matches], [one.unflatten(1, several) for one in seen]

    def _offsets(self, seen: Sequence[Tensor], batch: Captioned) -> Tensor:
        """Where each caption's things are told to be, (b, n, queries, 3), in `look.UNIT`."""
        several = batch.offsets.shape[1:3]
        return self.look.offsets([one.flatten(1, 2) for one in seen], batch.states).unflatten(1, several)

    def _turns(self, seen: Sequence[Tensor], batch: Captioned) -> Tensor:
        """How each caption's thing is told to lie, (b, n, 2)."""
        return self.look.turns([one[:, :, 0] for one in seen], batch.states)


def _missed(told: Tensor, offsets: Tensor) -> Tensor:
    """Mean distance, in `look.UNIT`, of what is told (..., 3), in that unit, from offsets [m]; NaN: there is none."""
    somewhere = offsets.isfinite().all(dim=-1)
    offsets = offsets.nan_to_num(0.0) / look.UNIT
    counts = somewhere * _FAR / (_FAR + torch.linalg.vector_norm(offsets, dim=-1))
    return (torch.linalg.vector_norm(told - offsets, dim=-1) * counts).sum() / counts.sum().clamp(min=1e-3)


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

    The median of how much its offset is missed, by '<query>_mm', and '<query>_close_mm' for those within 15 cm; and
    of by how many degrees the way that a thing lies, by 'turn_deg'.
    """
    batches = list(captions.all(portion))
    right, seen, missed, turned = (
        torch.cat(some) for some in zip(*(model.found(batch) for batch in batches), strict=True)
    )
    away = torch.linalg.vector_norm(torch.cat([batch.offsets for batch in batches]), dim=-1)
    share = (right & seen).sum(dim=(0, 1)) / seen.sum(dim=(0, 1)).clamp(min=1)
    found = {
        f"{query}_{camera}": float(share[camera, i]) for camera in range(len(share)) for i, query in enumerate(QUERIES)
    }
    for i, query in enumerate(QUERIES):
        off = missed[..., i]
        found[f"{query}_mm"] = 1e3 * float(off.nanmedian())
        found[f"{query}_close_mm"] = 1e3 * float(off.masked_fill(away[..., i] > _CLOSE, torch.nan).nanmedian())
    return found | {"turn_deg": math.degrees(float(turned.nanmedian()))}


def read(model: Grounding, captions: Captions, portion: int = 32) -> Readings:
    """What the eyes read off every picture with every caption; draws come from torch's global generator."""
    parts = [model.readings(batch) for batch in captions.each(portion)]
    seen = tuple(torch.cat(some) for some in zip(*(part.seen for part in parts), strict=True))
    return Readings(seen, torch.cat([part.states for part in parts]), torch.cat([part.offsets for part in parts]))
