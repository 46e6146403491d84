"""What has learned to see, as one file to begin trainings with."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save as serialised
from torch import Tensor

from kinema.errors import CheckpointError
from kinema.policies.checkpoint import WEIGHTS
from kinema.policies.image_encoder import Encoders
from kinema.policies.look import Look, grounded

NAME = "look.safetensors"


def save(folder: Path, look: Look | Encoders, facts: Mapping[str, Any]) -> str:
    """Write what grounding taught into a file in the folder, with how; returns its SHA-256."""
    content = serialised(
        {name: value.detach().cpu().contiguous() for name, value in _taught(look).items()},
        {"facts": json.dumps(facts, sort_keys=True)},
    )
    draft = folder / f".{NAME}"
    draft.write_bytes(content)
    os.replace(draft, folder / NAME)
    return hashlib.sha256(content).hexdigest()


def restore(look: Look | Encoders, folder: Path) -> str:
    """Give the look what one of the same shape has learned; returns the file's SHA-256. Raises CheckpointError.

    folder  of a grounding, or the checkpoint of a policy that sees by such a look
    """
    file, wanted = folder / NAME, _taught(look)
    try:
        if not file.exists() and (folder / WEIGHTS).exists():
            file = folder / WEIGHTS
        content = file.read_bytes()
        tensors = load(content)
        if file.name == WEIGHTS:
            tensors = {name: tensors[part] for name in wanted if (part := f"look.{name}") in tensors}
        if tensors.keys() != wanted.keys():
            raise RuntimeError(f"it has other parts: {', '.join(sorted(tensors.keys() ^ wanted.keys())[:5])}")
        look.load_state_dict(tensors, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]  # torch names every weight, a line each
        raise CheckpointError(
            f"{file}: does not fit this look: {told}; make one with `kinema ground`, or `kinema pusht ground`"
        ) from error
    return hashlib.sha256(content).hexdigest()


def _taught(look: Look | Encoders) -> dict[str, Tensor]:
    """What grounding teaches, by name."""
    taught = {id(value) for value in grounded(look)}
    return {name: value for name, value in look.named_parameters() if id(value) in taught}
