"""The video policy behind the seam: three ways to act with one checkpoint, and the imagined video when it is wanted.

single   one pass of the video U-Net, then the action U-Net alone; the video is finished only if somebody asks
few:k    video and actions denoised side by side in k steps
paper    the same in 30 steps, guided ("Video Generators are Robot Policies", appendix A.1)
"""

import functools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.chunk import Observation, ObservationSpec, Prediction
from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.policies import checkpoint, pictures, sampling, tool_state
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import Noise, Sight, VideoPolicyModel

NAME = "video_policy"
SINGLE = "single"

_PAPER_STEPS = 30


class VideoPolicy:
    """Images, words and the tool's state in, nothing else: no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name = NAME

    def __init__(self, facts: Checkpoint, model: VideoPolicyModel, mode: str = SINGLE, seed: int = 0) -> None:
        """Raises ConfigError for a mode that the checkpoint declares no latency of, naming those that it does."""
        if mode not in facts.latency:
            raise ConfigError(f"{NAME} has no mode {mode!r}; allowed: {', '.join(facts.latency)}")
        self.checkpoint, self.mode = facts, mode
        self._model, self._seed, self._chunks = model, seed, 0
        self._device = next(model.parameters()).device
        self._known = min(model.prefix, facts.action.committed(facts.latency[mode]))
        self.spec = ObservationSpec(
            cameras=facts.cameras,
            image_size=facts.image_size,
            committed_prefix=self._known + 1,
            force=False,
        )
        self.reset()

    def reset(self) -> None:
        self._before = self._chunks
        self._latents: tuple[int, Tensor] | None = None  # of the video of one chunk, by the chunk's id

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; raises ObservationError for images or a text that are not as in training."""
        began = time.perf_counter()
        sight = self._sight(observation)
        looked = time.perf_counter()
        self._chunks += 1
        noise, space = self._noise(self._chunks), self.checkpoint.action
        given, prefix = self._committed(observation, noise.actions)
        if self.mode == SINGLE:
            values = self._model.single(sight, noise, given, prefix)
        else:
            values, latents = self._model.joint(sight, noise, given, prefix, *self._steps())
            self._latents = self._chunks, latents
        chunk = space.chunk(values[0].cpu().numpy(), observation, self._chunks, self.name)
        return Prediction(chunk, timing={"look": looked - began, self.mode: time.perf_counter() - looked})

    @torch.no_grad()
    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        """The same prediction with its video, of the same noise: the images at t0, then the imagined ones.

        Takes much longer than `predict` in `single` mode. Raises ObservationError for a chunk of before `reset`.
        """
        began, chunk = time.perf_counter(), prediction.chunk
        if not self._before < chunk.id <= self._chunks:
            raise ObservationError(
                f"chunk {chunk.id} is none of this episode's, which are {self._before + 1}..{self._chunks}"
            )
        if self._latents is None or self._latents[0] != chunk.id:
            self._latents = chunk.id, self._video(observation, chunk.id)
        now = self._now(observation)
        coming = self._model.decode(self._latents[1], now[None])[0].cpu().numpy()
        seen = now.cpu().numpy()
        video = {camera: np.concatenate([seen[i : i + 1], coming[i]]) for i, camera in enumerate(self.spec.cameras)}
        timing = {**prediction.timing, "imagine": time.perf_counter() - began}
        return Prediction(chunk, video, self._model.stride * self.checkpoint.action.dt, timing)

    def _video(self, observation: Observation, id: int) -> Tensor:
        sight, noise = self._sight(observation), self._noise(id)
        if self.mode == SINGLE:
            return self._model.finish(sight, noise)
        return self._model.joint(sight, noise, *self._committed(observation, noise.actions), *self._steps())[1]

    def _steps(self) -> tuple[int, float]:
        """How many, and how much guidance."""
        kind, _, count = self.mode.partition(":")
        return (int(count), 1.0) if kind == "few" else (_PAPER_STEPS, self._model.config.guidance)

    def _sight(self, observation: Observation) -> Sight:
        state = torch.from_numpy(tool_state.of(observation)).to(self._device)
        return self._model.see(self._now(observation)[None], (observation.text,), state[None])

    def _now(self, observation: Observation) -> Tensor:
        return pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)

    def _noise(self, id: int) -> Noise:
        return self._model.noise(1, sampling.generator(self._seed, id - self._before))

    def _committed(self, observation: Observation, like: Tensor) -> tuple[Tensor, Tensor]:
        """The known first steps in a chunk `like` (1, horizon, width) this one, and how many they are."""
        known = torch.from_numpy(self.checkpoint.action.prefix(observation)[: self._known]).to(like)
        given = torch.zeros_like(like)
        given[0, : len(known)] = known
        return given, torch.tensor([len(known)], device=like.device)


def load(folder: Path, mode: str = SINGLE, seed: int = 0, device: str = "cpu") -> VideoPolicy:
    """The policy in a checkpoint's folder; raises CheckpointError, ConfigError for a mode that it doesn't have."""
    facts = checkpoint.read(folder)
    if facts.training.get("stage") == "video":
        raise CheckpointError(f"{folder}: has learned to imagine, not to act: train the stage `action` on it")
    return VideoPolicy(facts, _model(folder, facts.hash, device), mode, seed)


@functools.lru_cache(maxsize=1)
def _model(folder: Path, hash: str, device: str) -> VideoPolicyModel:
    """The network with its weights; the last one stays, so that many episodes don't load it again."""
    facts, tensors = checkpoint.load(folder)
    config = facts.configured(VideoPolicyConfig, folder)
    model = VideoPolicyModel(config, len(facts.cameras), facts.image_size)
    checkpoint.restore(model, tensors, folder, device)
    return model.eval()
