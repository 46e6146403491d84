"""A trained policy as a folder: what it is, and its weights. Nothing else is needed to deploy it.

    checkpoint.json    kind, configuration, action space, cameras, where it comes from, the SHA-256 of the weights
    model.safetensors  the weights by name

Whatever is wrong with the folder is refused before anything moves, naming the file and what is allowed (FAULTS F07).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import pydantic
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save as serialised
from torch import Tensor, nn

from kinema import yaml_file
from kinema.errors import CheckpointError
from kinema.policies.actions import ActionSpace

FACTS, WEIGHTS = "checkpoint.json", "model.safetensors"
TOOL = "tool"  # folder beside them, of the tool that a policy follows

Model = TypeVar("Model", bound=pydantic.BaseModel)


class Checkpoint(pydantic.BaseModel):
    """What has to be known of a trained policy besides its weights.

    kind                which policy it is, as in `kinema.policies.registry`
    config              of the network, as that policy's own configuration class writes it
    cameras, image_size in the network's order; width, height [px] of every image
    dataset             fingerprint of the data set
    calibration_origin  of its episodes: `measured`, `simulator truth`
    latency             [s] to declare in lockstep, by inference mode
    executed            steps between two observations that it does best with, as evaluation chose; 0: nobody has
    training            how it was trained: for people and for tables
    weights             SHA-256 of the weights' file; `save` fills it in
    """

    model_config = yaml_file.STRICT

    format: Literal[1] = 1
    kind: str
    config: dict[str, pydantic.JsonValue]
    action: ActionSpace
    cameras: tuple[str, ...] = pydantic.Field(min_length=1)
    image_size: tuple[int, int]
    dataset: str
    calibration_origin: tuple[str, ...]
    latency: dict[str, float]
    executed: int = pydantic.Field(default=0, ge=0)
    training: dict[str, pydantic.JsonValue]
    weights: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 of all this, and so of the weights too; not of `executed`: it is chosen by results kept under it."""
        known = self.model_dump(mode="json", exclude={"executed"})
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def configured(self, model: type[Model], folder: Path) -> Model:
        """`config` as the policy's own configuration; raises CheckpointError naming the key that doesn't fit."""
        return yaml_file.checked(folder / FACTS, model, json.dumps(self.config), CheckpointError)


def save(folder: Path, checkpoint: Checkpoint, tensors: Mapping[str, Tensor], half: bool = True) -> Checkpoint:
    """Write the folder, floating point numbers in 16 bits if `half`; returns the checkpoint with its weights' SHA-256.

    A save that is cut short leaves the checkpoint before, or one that `load` refuses: never one that is half of each.
    Raises CheckpointError for numbers that are not finite, or not in 16 bits.
    """
    kept = {name: _kept(tensor, half) for name, tensor in tensors.items()}
    for name, tensor in kept.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{folder}: {name} is not finite{' in 16 bits' if half else ''}: nothing was saved")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{WEIGHTS}"
    draft.write_bytes(serialised(kept))  # and not save_file, whose files nobody else may read
    saved = checkpoint.model_copy(update={"weights": _sha256(draft)})
    _place(draft, folder / WEIGHTS)
    draft = folder / f".{FACTS}"
    draft.write_text(saved.model_dump_json(indent=1) + "\n")
    _place(draft, folder / FACTS)
    return saved


def read(folder: Path) -> Checkpoint:
    """What a folder says of itself, the weights not looked at; raises CheckpointError."""
    try:
        text = (folder / FACTS).read_text()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / FACTS}: cannot be read: {error}; a checkpoint has one") from error
    return yaml_file.checked(folder / FACTS, Checkpoint, text, CheckpointError)


def load(folder: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """A checkpoint and its weights, floating point numbers in 32 bits; raises CheckpointError for what isn't whole."""
    checkpoint, file = read(folder), folder / WEIGHTS
    try:
        found = _sha256(file)
        if found != checkpoint.weights:
            raise CheckpointError(
                f"{file}: is cut short, altered or of another checkpoint: its SHA-256 begins with {found[:12]}, "
                f"{FACTS} says {checkpoint.weights[:12]}"
            )
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error
    return checkpoint, {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def restore(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> None:
    """Put the weights into the network, and it onto the device.

    Raises CheckpointError naming all weights that are missing, unknown or misshapen, or what is wrong with the device.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / WEIGHTS}: is not what {FACTS} describes: {error}") from error
    try:
        network.to(device)
    except (RuntimeError, AssertionError) as error:  # out of memory; a device that torch was not built for
        raise CheckpointError(f"{folder}: does not go onto device {device!r}: {error}") from error


def _kept(tensor: Tensor, half: bool) -> Tensor:
    smaller = half and tensor.is_floating_point()
    return tensor.detach().cpu().to(torch.float16 if smaller else tensor.dtype).contiguous()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _place(draft: Path, file: Path) -> None:
    """The draft, on the disk, takes the file's place."""
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(draft, file)
