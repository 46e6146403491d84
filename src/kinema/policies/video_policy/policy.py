"""The video policy behind the seam: three ways to act with one checkpoint, and the imagined video when it is wanted."""

from pathlib import Path

import torch
from torch import Tensor

from kinema.chunk import Observation
from kinema.errors import CheckpointError, ConfigError
from kinema.policies import checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines import backends
from kinema.policies.engines.graph import Run
from kinema.policies.learned import Imagining
from kinema.policies.text import Told
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel
from kinema.policies.video_policy.sampler import SINGLE, Noise, Sight

NAME = "video_policy"


class VideoPolicy(Imagining[Told]):
    """See `Learned`. Its video takes much longer than a chunk in `single` mode."""

    name = NAME

    def __init__(
        self, facts: Checkpoint, model: VideoPolicyModel, mode: str = SINGLE, seed: int = 0, run: Run | None = None
    ) -> None:
        super().__init__(facts, model, mode, seed, run)

    def _act(self, run: Run, observation: Observation, id: int) -> Tensor:
        values, latents = self._both(run, observation, id)
        if latents is not None:
            self._video = id, latents
        return values

    def _both(self, run: Run, observation: Observation, id: int) -> tuple[Tensor, Tensor | None]:
        """Values, and the video where the mode draws it side by side."""
        sight, noise = self._sight(run, observation), self._noise(id)
        given, prefix = self._committed(observation, noise.actions)
        return sampler.act(run, self._model.config, self.mode, sight, noise, given, prefix)

    def _draw(self, run: Run, observation: Observation, id: int) -> Tensor:
        if self.mode == SINGLE:
            return sampler.finish(run, self._model.config, self._sight(run, observation), self._noise(id))
        latents = self._both(run, observation, id)[1]
        assert latents is not None
        return latents

    def _decode(self, run: Run, drawn: Tensor, now: Tensor) -> Tensor:
        return sampler.decode(run, drawn, now)

    def _sight(self, run: Run, observation: Observation) -> Sight:
        told = self._read(observation.text)
        return sampler.see(run, self._now(observation)[None], told, self._state(observation))

    def _noise(self, id: int) -> Noise:
        noise: Noise = self._model.noise(1, self._generator(id))
        return noise


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
