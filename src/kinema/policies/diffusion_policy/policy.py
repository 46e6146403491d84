"""The baseline behind the policy seam: looks at three images and a text, and samples the next chunk."""

import functools
import time
from pathlib import Path

import torch

from kinema.chunk import Observation, ObservationSpec, Prediction
from kinema.policies import checkpoint, pictures, sampling, tool_state
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import MODE, DiffusionPolicyConfig, DiffusionPolicyModel

NAME = "diffusion_policy"


class DiffusionPolicy:
    """Images, words and the tool's state in, nothing else: no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name = NAME

    def __init__(self, facts: Checkpoint, model: DiffusionPolicyModel, seed: int = 0) -> None:
        self.checkpoint = facts
        self._model, self._seed, self._chunks = model, seed, 0
        self._device = next(model.parameters()).device
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

    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; raises ObservationError for images or a text that are not as in training."""
        began = time.perf_counter()
        batch = self._batch(observation)
        looked = time.perf_counter()
        self._chunks += 1
        self._since_reset += 1
        values = self._model.act(batch, sampling.generator(self._seed, self._since_reset))[0].cpu().numpy()
        chunk = self.checkpoint.action.chunk(values, observation, self._chunks, self.name)
        return Prediction(chunk, timing={"look": looked - began, MODE: time.perf_counter() - looked})

    def _batch(self, observation: Observation) -> Batch:
        space = self.checkpoint.action
        now = pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)
        known = torch.from_numpy(space.prefix(observation)[: self._known]).to(self._device)
        given = torch.zeros(1, space.horizon, known.shape[1], device=self._device)
        given[0, : len(known)] = known
        prefix = torch.tensor([len(known)], device=self._device)
        state = torch.from_numpy(tool_state.of(observation)).to(self._device)
        return Batch(now[None], state[None], None, (observation.text,), given, prefix)


def load(folder: Path, seed: int = 0, device: str = "cpu") -> DiffusionPolicy:
    """The policy in a checkpoint's folder; raises CheckpointError."""
    facts = checkpoint.read(folder)
    return DiffusionPolicy(facts, _model(folder, facts.hash, device), seed)


@functools.lru_cache(maxsize=1)
def _model(folder: Path, hash: str, device: str) -> DiffusionPolicyModel:
    """The network with its weights; the last one stays, so that many episodes don't load it again."""
    facts, tensors = checkpoint.load(folder)
    config = facts.configured(DiffusionPolicyConfig, folder)
    model = DiffusionPolicyModel(config, len(facts.cameras), facts.image_size)
    checkpoint.restore(model, tensors, folder, device)
    return model.eval()
