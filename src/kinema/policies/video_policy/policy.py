"""The video policy behind the seam: three ways to act with one checkpoint, and the imagined video when it is wanted."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.chunk import Observation, ObservationSpec, Prediction
from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.policies import action_unet, checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines import backends
from kinema.policies.engines.engine import Timed
from kinema.policies.engines.graph import Run, running
from kinema.policies.text import Told
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel
from kinema.policies.video_policy.sampler import SINGLE, Noise, Sight

NAME = "video_policy"


class VideoPolicy:
    """Images, words and the tool's state in, nothing else: no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name = NAME

    def __init__(
        self,
        facts: Checkpoint,
        model: VideoPolicyModel,
        mode: str = SINGLE,
        seed: int = 0,
        run: Run | None = None,
    ) -> None:
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

    def reset(self) -> None:
        self._before = self._chunks
        self._latents: tuple[int, Tensor] | None = None  # of the video of one chunk, by the chunk's id

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; raises ObservationError for images or a text that are not as in training."""
        began, timed = time.perf_counter(), Timed(self._run, self._device)
        told = self._read(observation.text)
        read = time.perf_counter() - began
        sight = self._sight(timed, observation, told)
        self._chunks += 1
        noise, space = self._noise(self._chunks), self.checkpoint.action
        values, latents = self._act(timed, observation, sight, noise)
        if latents is not None:
            self._latents = self._chunks, latents
        chunk = space.chunk(values[0].cpu().numpy(), observation, self._chunks, self.name)
        return Prediction(chunk, timing={"read": read, **timed.seconds})

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
        timed, known = Timed(self._run, self._device), self._latents
        latents = known[1] if known is not None and known[0] == chunk.id else self._video(timed, observation, chunk.id)
        now = self._now(observation)
        coming = sampler.decode(timed, latents, now[None])[0].cpu().numpy()
        seen = now.cpu().numpy()
        video = {camera: np.concatenate([seen[i : i + 1], coming[i]]) for i, camera in enumerate(self.spec.cameras)}
        timing = {
            **prediction.timing,
            **{f"imagine {part}": seconds for part, seconds in timed.seconds.items()},
            "imagine": time.perf_counter() - began,
        }
        return Prediction(chunk, video, self._model.stride * self.checkpoint.action.dt, timing)

    def _video(self, run: Run, observation: Observation, id: int) -> Tensor:
        """The latents of a chunk that was predicted before."""
        sight, noise = self._sight(run, observation, self._read(observation.text)), self._noise(id)
        if self.mode == SINGLE:
            return sampler.finish(run, self._model.config, sight, noise)
        latents = self._act(run, observation, sight, noise)[1]
        assert latents is not None
        return latents

    def _act(self, run: Run, observation: Observation, sight: Sight, noise: Noise) -> tuple[Tensor, Tensor | None]:
        known = self.checkpoint.action.prefix(observation)[: self._known]
        given, prefix = action_unet.committed(known, noise.actions)
        return sampler.act(run, self._model.config, self.mode, sight, noise, given, prefix)

    def _read(self, text: str) -> Told:
        known = self._told
        if known is None or known[0] != text:
            self._told = known = text, self._model.read((text,))
        return known[1]

    def _sight(self, run: Run, observation: Observation, told: Told) -> Sight:
        state = torch.from_numpy(tool_state.of(observation)).to(self._device)
        return sampler.see(run, self._now(observation)[None], told, state[None])

    def _now(self, observation: Observation) -> Tensor:
        return pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)

    def _noise(self, id: int) -> Noise:
        return self._model.noise(1, sampling.generator(self._seed, id - self._before))


def probe(facts: Checkpoint, model: VideoPolicyModel, mode: str, run: Run) -> dict[str, Tensor]:
    """A whole prediction with its video at a fixed moment, two steps committed: what engines are measured by."""
    device = next(model.parameters()).device
    now = pictures.fixed(model.cameras, model.image_size).to(device)[None]
    noise = model.noise(1, sampling.generator(0))
    prefix = torch.tensor([min(2, model.prefix)], device=device)
    sight = sampler.see(run, now, model.read((text.FIXED,)), tool_state.fixed().to(device)[None])
    actions, latents = sampler.act(run, model.config, mode, sight, noise, 0.5 * noise.actions, prefix)
    if latents is None:
        latents = sampler.finish(run, model.config, sight, noise)
    (images,) = run("decode", latents, now.float())
    return {"actions": actions, "video": images}


def load(
    folder: Path, mode: str = SINGLE, seed: int = 0, device: str = "cpu", backend: str = backends.EAGER
) -> VideoPolicy:
    """The policy in a checkpoint's folder, on a backend of `kinema.policies.engines.backends`.

    Raises CheckpointError; ConfigError for a mode that it declares no latency of, naming those that it does, and for an
    unknown backend; EngineError for one that it can't use.
    """
    facts = checkpoint.read(folder)
    if facts.training.get("stage") == "video":
        raise CheckpointError(f"{folder}: has learned to imagine, not to act: train the stage `action` on it")
    if mode not in facts.latency:
        raise ConfigError(f"{NAME} has no mode {mode!r}; allowed: {', '.join(facts.latency)}")
    model = network(folder, device)
    run = loading.run(model, folder, facts.hash, mode, backend, device, probe)
    return VideoPolicy(facts, model, mode, seed, run)


def network(folder: Path, device: str = "cpu") -> VideoPolicyModel:
    """The network with its weights, ready to act; raises CheckpointError."""
    return loading.network(VideoPolicyModel, VideoPolicyConfig, folder, device)
