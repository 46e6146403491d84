"""Learned networks from checkpoints' folders, and what runs their parts; the last one stays for the next episode."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kinema.policies import checkpoint
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines import backends
from kinema.policies.engines.graph import Run

Model = TypeVar("Model", bound=nn.Module)

# of a checkpoint, a network, a mode and what runs its parts: a whole prediction, by which engines are measured
Probe = Callable[[Checkpoint, Any, str, Run], dict[str, Tensor]]


@functools.lru_cache(maxsize=1)
def _network(kind: Any, config: Any, folder: Path, hash: str, device: str) -> Any:
    facts, tensors = checkpoint.load(folder)
    model = kind(facts.configured(config, folder), len(facts.cameras), facts.image_size)
    checkpoint.restore(model, tensors, folder, device)
    return model.eval()


def network(kind: Callable[..., Model], config: type, folder: Path, device: str) -> Model:
    """The network of a checkpoint with its weights, ready to act: `kind` of its configuration, cameras and image size.

    Raises CheckpointError.
    """
    model: Model = _network(kind, config, folder, checkpoint.read(folder).hash, device)
    return model


@functools.lru_cache(maxsize=1)
def run(model: Any, folder: Path, hash: str, mode: str, backend: str, device: str, probe: Probe) -> Run:
    """What runs a network's parts on a backend of `kinema.policies.engines.backends`; `hash`: the checkpoint's.

    Raises ConfigError for an unknown backend, EngineError for one that it can't use.
    """
    act = functools.partial(probe, checkpoint.read(folder), model, mode)
    return backends.ready(backend, hash, model, mode, act, torch.device(device))
