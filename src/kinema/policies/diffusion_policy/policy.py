"""The baseline behind the policy seam: looks at three images and a text, and samples the next chunk."""

import time
from pathlib import Path

import torch
from torch import Tensor

from kinema.chunk import Observation, ObservationSpec, Prediction
from kinema.policies import action_unet, checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.actions import WIDTH
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import MODE, DiffusionPolicyConfig, DiffusionPolicyModel, sample
from kinema.policies.engines import backends
from kinema.policies.engines.engine import Timed
from kinema.policies.engines.graph import Run, running

NAME = "diffusion_policy"


class DiffusionPolicy:
    """Images, words and the tool's state in, nothing else: no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name = NAME

    def __init__(self, facts: Checkpoint, model: DiffusionPolicyModel, seed: int = 0, run: Run | None = None) -> None:
        """`run` runs the model's parts; None: the model itself."""
        self.checkpoint = facts
        self._model, self._run, self._seed, self._chunks = model, run or running(model), seed, 0
        self._device = next(model.parameters()).device
        self._told: tuple[str, Tensor] | None = None  # the last instruction, read
        self._known = min(model.prefix, facts.action.committed(facts.latency[MODE]))
        self.spec = ObservationSpec(
            cameras=facts.cameras,
            image_size=facts.image_size,
            committed_prefix=self._known + 1,
            force=False,
        )
        self.reset()

    def reset(self) -> None:
        self._since_reset = 0

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; raises ObservationError for images or a text that are not as in training."""
        began, timed = time.perf_counter(), Timed(self._run, self._device)
        told = self._read(observation.text)
        read = time.perf_counter() - began
        now = pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)
        state = torch.from_numpy(tool_state.of(observation)).to(self._device)
        self._chunks += 1
        self._since_reset += 1
        noise = _noise(self.checkpoint.action.horizon, sampling.generator(self._seed, self._since_reset), self._device)
        known = self.checkpoint.action.prefix(observation)[: self._known]
        given, prefix = action_unet.committed(known, noise)
        values = sample(timed, self._model.config, now[None], told, state[None], noise, given, prefix)
        chunk = self.checkpoint.action.chunk(values[0].cpu().numpy(), observation, self._chunks, self.name)
        return Prediction(chunk, timing={"read": read, **timed.seconds})

    def _read(self, text: str) -> Tensor:
        known = self._told
        if known is None or known[0] != text:
            self._told = known = text, self._model.look.read((text,))
        return known[1]


def _noise(horizon: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(1, horizon, WIDTH, generator=generator).to(device)


def probe(facts: Checkpoint, model: DiffusionPolicyModel, mode: str, run: Run) -> dict[str, Tensor]:
    """A whole prediction at a fixed moment, two steps committed: what engines are measured by."""
    device = next(model.parameters()).device
    now = pictures.fixed(model.cameras, model.image_size).to(device)[None]
    noise = _noise(facts.action.horizon, sampling.generator(0), device)
    prefix = torch.tensor([min(2, model.prefix)], device=device)
    told, state = model.look.read((text.FIXED,)), tool_state.fixed().to(device)[None]
    return {"actions": sample(run, model.config, now, told, state, noise, 0.5 * noise, prefix)}


def load(folder: Path, seed: int = 0, device: str = "cpu", backend: str = backends.EAGER) -> DiffusionPolicy:
    """The policy in a checkpoint's folder, on a backend of `kinema.policies.engines.backends`.

    Raises CheckpointError, ConfigError for an unknown backend, EngineError for one that it can't use.
    """
    facts, model = checkpoint.read(folder), network(folder, device)
    return DiffusionPolicy(facts, model, seed, loading.run(model, folder, facts.hash, MODE, backend, device, probe))


def network(folder: Path, device: str = "cpu") -> DiffusionPolicyModel:
    """The network with its weights, ready to act; raises CheckpointError."""
    return loading.network(DiffusionPolicyModel, DiffusionPolicyConfig, folder, device)
