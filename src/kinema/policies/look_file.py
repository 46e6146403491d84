"""A `Look` that has learned what words mean, as one file to begin trainings with."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save as serialised

from kinema.errors import CheckpointError
from kinema.policies.look import Look

NAME = "look.safetensors"


def save(folder: Path, look: Look, facts: Mapping[str, Any]) -> str:
    """Write the file into the folder, with how it was made; returns its SHA-256."""
    content = serialised(
        {name: value.detach().cpu().contiguous() for name, value in look.state_dict().items()},
        {"facts": json.dumps(facts, sort_keys=True)},
    )
    draft = folder / f".{NAME}"
    draft.write_bytes(content)
    os.replace(draft, folder / NAME)
    return hashlib.sha256(content).hexdigest()


def restore(look: Look, folder: Path) -> str:
    """Give the look what one of the same shape has learned; returns the file's SHA-256. Raises CheckpointError."""
    file = folder / NAME
    try:
        content = file.read_bytes()
        look.load_state_dict(load(content))
    except (OSError, SafetensorError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]  # torch names every weight, a line each
        raise CheckpointError(f"{file}: does not fit this look: {told}; make one with `kinema ground`") from error
    return hashlib.sha256(content).hexdigest()
