"""The baseline behind the policy seam: looks at three images and a text, and samples the next chunk."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinema.chunk import Observation
from kinema.policies import checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.actions import WIDTH
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import MODE, DiffusionPolicyConfig, DiffusionPolicyModel, sample
from kinema.policies.engines import backends
from kinema.policies.engines.graph import Run
from kinema.policies.learned import Learned

NAME = "diffusion_policy"


class DiffusionPolicy(Learned[Tensor]):
    """See `Learned`."""

    name = NAME

    def __init__(self, facts: Checkpoint, model: DiffusionPolicyModel, seed: int = 0, run: Run | None = None) -> None:
        super().__init__(facts, model, MODE, seed, run)

    def _act(self, run: Run, observation: Observation, id: int) -> Tensor:
        return self._several(run, observation, (id,))

    def _several(self, run: Run, observation: Observation, ids: Sequence[int]) -> Tensor:
        """In one pass: what is seen is the same."""
        now, told, horizon = self._now(observation), self._read(observation.text), self.checkpoint.action.horizon
        noise = torch.cat([_noise(horizon, self._generator(id), self._device) for id in ids])
        given, prefix = self._committed(observation, noise[:1])
        given, prefix = given.expand_as(noise), prefix.expand(len(noise))
        return sample(run, self._model.config, now[None], told, self._state(observation), noise, given, prefix)


def _noise(horizon: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(1, horizon, WIDTH, generator=generator).to(device)


def probe(facts: Checkpoint, model: DiffusionPolicyModel, mode: str, run: Run) -> dict[str, Tensor]:
    """A whole prediction at a fixed moment, two steps committed: what engines are measured by."""
    device = next(model.parameters()).device
    now = pictures.fixed(model.cameras, model.image_size).to(device)[None]
    noise = _noise(facts.action.horizon, sampling.generator(0), device)
    prefix = torch.tensor([min(2, model.prefix)], device=device)
    told, state = model.read((text.FIXED,)), tool_state.fixed().to(device)[None]
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
