"""What learned policies have in common behind the seam: a network, what runs its parts, a seed, chunks by number."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Prediction
from kinema.errors import ObservationError
from kinema.policies import action_unet, pictures, sampling, tool_state
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines.engine import Timed
from kinema.policies.engines.graph import Run, running

Told = TypeVar("Told")  # an instruction as a network has read it


class Learned(ABC, Generic[Told]):
    """Images, words and the tool's state in, nothing else: no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name: str

    def __init__(self, facts: Checkpoint, model: Any, mode: str, seed: int = 0, run: Run | None = None) -> None:
        """`run` runs the model's parts; None: the model itself. `mode`: one that the checkpoint has a latency of."""
        self.checkpoint, self.mode = facts, mode
        self._model, self._run, self._seed, self._chunks = model, run or running(model), seed, 0
        self._device = next(model.parameters()).device
        self._told: tuple[str, Told] | None = None  # the last instruction, read
        self._known = min(model.prefix, facts.action.committed(facts.latency[mode]))
        self.spec = ObservationSpec(
            cameras=facts.cameras,
            image_size=facts.image_size,
            committed_prefix=self._known + 1,
            force=False,
        )
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self._seed = self._seed if seed is None else seed
        self._before = self._chunks

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; raises ObservationError for what is seen or read and isn't as in training."""
        began, timed, id = time.perf_counter(), Timed(self._run, self._device), self._chunks + 1
        self._read(observation.text)
        read = time.perf_counter() - began
        values = self._act(timed, observation, id)
        self._chunks = id
        chunk = self.checkpoint.action.chunk(values[0].cpu().numpy(), observation, id, self.name)
        return Prediction(chunk, timing={"read": read, **timed.seconds})

    @torch.no_grad()
    def propose(self, observation: Observation, count: int) -> tuple[ActionChunk, ...]:
        """Several chunks of one moment, those that `predict` would answer with in turn; raises as it does."""
        ids = range(self._chunks + 1, self._chunks + count + 1)
        values = self._several(self._run, observation, ids).cpu().numpy()
        self._chunks += count
        space = self.checkpoint.action
        return tuple(space.chunk(rows, observation, id, self.name) for id, rows in zip(ids, values, strict=True))

    @abstractmethod
    def _act(self, run: Run, observation: Observation, id: int) -> Tensor:
        """The values (1, horizon, 11) of chunk `id`."""

    def _several(self, run: Run, observation: Observation, ids: Sequence[int]) -> Tensor:
        """The values (n, horizon, 11) of chunks `ids` of one moment; one after the other, where nothing is gained."""
        return torch.cat([self._act(run, observation, id) for id in ids])

    def _read(self, text: str) -> Told:
        """Once, for as long as it stays the same."""
        known = self._told
        if known is None or known[0] != text:
            self._told = known = text, self._model.read((text,))
        return known[1]

    def _now(self, observation: Observation) -> Tensor:
        """(cameras, height, width, 3) uint8: the present images."""
        return pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)

    def _state(self, observation: Observation) -> Tensor:
        """(1, 10) of the tool."""
        return torch.from_numpy(tool_state.of(observation)).to(self._device)[None]

    def _committed(self, observation: Observation, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """The committed steps in a chunk like this one (1, horizon, 11), and how many they are (1,)."""
        return action_unet.committed(self.checkpoint.action.prefix(observation)[: self._known], chunk)

    def _generator(self, id: int) -> torch.Generator:
        """Of what chunk `id` draws."""
        return sampling.generator(self._seed, id - self._before)


class Imagining(Learned[Told]):
    """One that shows what it expects to see."""

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._video: tuple[int, Tensor] | None = None  # of one chunk, by the chunk's id, not decoded

    @torch.no_grad()
    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        """The same prediction with its video, of the same noise: the images at t0, then the imagined ones.

        May take much longer than `predict`. Raises ObservationError for a chunk of before `reset`.
        """
        began, timed, chunk = time.perf_counter(), Timed(self._run, self._device), prediction.chunk
        if not self._before < chunk.id <= self._chunks:
            raise ObservationError(
                f"chunk {chunk.id} is none of this episode's, which are {self._before + 1}..{self._chunks}"
            )
        known = self._video  # once: a chunk may be predicted meanwhile
        drawn = known[1] if known and known[0] == chunk.id else self._draw(timed, observation, chunk.id)
        (video,) = self._shown(timed, observation, drawn)
        timing = {
            **prediction.timing,
            **{f"imagine {part}": seconds for part, seconds in timed.seconds.items()},
            "imagine": time.perf_counter() - began,
        }
        return Prediction(chunk, video, self._model.stride * self.checkpoint.action.dt, timing)

    @abstractmethod
    def _draw(self, run: Run, observation: Observation, id: int) -> Tensor:
        """The video of chunk `id`, which was predicted before, not decoded."""

    @abstractmethod
    def _decode(self, run: Run, drawn: Tensor, now: Tensor) -> Tensor:
        """Images (k, cameras, frames, height, width, 3) uint8 of k videos; `now` (k, cameras, ...) those at t0."""

    def _shown(self, run: Run, observation: Observation, drawn: Tensor) -> list[Mapping[str, Image]]:
        """Videos as `Prediction.video` has them, of what was drawn: the images at t0, then the coming ones."""
        now = self._now(observation)
        coming = self._decode(run, drawn, now.expand(len(drawn), *now.shape)).cpu().numpy()
        seen = now.cpu().numpy()
        return [
            {name: np.concatenate([seen[i : i + 1], video[i]]) for i, name in enumerate(self.spec.cameras)}
            for video in coming
        ]
