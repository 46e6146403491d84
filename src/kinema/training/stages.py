"""What can be trained, and what each training begins with: policies, sizes, stages.

The two stages of "Video Generators are Robot Policies" (section 3.3) are `video`, which learns to imagine, also from
videos that nobody knows the actions of, and `action`, which learns to read actions from a video network that stays as
it is. `joint` learns both at once. Of UVA `joint` draws a task for every moment from five, `video` and `action` are one
of them alone: to begin with videos, and to see what is lost without them ("Unified Video Action Model", section V-D).
Dreamitate learns videos of the side cameras, and nothing else.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from kinema import yaml_file
from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.errors import CheckpointError, ConfigError, TrainingError
from kinema.policies import checkpoint, look_file
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.image_encoder import Encoders
from kinema.policies.look import Look
from kinema.policies.uva.model import UvaConfig, UvaModel
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel
from kinema.topics import CAMERAS

# by kind: the class of its configuration, which has a preset for each size, and that of its network
_NETWORKS: dict[str, tuple[Any, Any]] = {
    "video_policy": (VideoPolicyConfig, VideoPolicyModel),
    "diffusion_policy": (DiffusionPolicyConfig, DiffusionPolicyModel),
    "uva": (UvaConfig, UvaModel),
    "dreamitate": (DreamitateConfig, DreamitateModel),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a training where nothing else is asked for; see `Plan`.

    shift [-] is how far a camera's images are moved at most, of their width.
    """

    rate: float
    batch: int
    steps: int
    warm_up: int = 200
    average: float = 0.999
    shift: float = 0.016


class _Changes(pydantic.RootModel[dict[str, pydantic.JsonValue]]):
    """Some of a configuration's keys, as a YAML file has them."""


RECIPES = {  # by kind, size and stage
    ("video_policy", "small", "video"): Recipe(2e-3, 16, 10_000),
    ("video_policy", "small", "action"): Recipe(1e-3, 32, 10_000),
    ("video_policy", "small", "joint"): Recipe(1e-3, 32, 10_000),
    ("video_policy", "medium", "video"): Recipe(1e-3, 64, 20_000),
    ("video_policy", "medium", "action"): Recipe(1e-3, 64, 20_000),
    ("video_policy", "medium", "joint"): Recipe(1e-3, 64, 20_000),
    # rate, batch and steps of the paper (table 5), which shifts no images
    ("video_policy", "full", "video"): Recipe(1e-5, 32, 370_000, average=0.9999, shift=0.0),
    ("video_policy", "full", "action"): Recipe(1e-5, 32, 140_000, average=0.9999, shift=0.0),
    ("video_policy", "full", "joint"): Recipe(1e-5, 32, 370_000, average=0.9999, shift=0.0),
    ("diffusion_policy", "small", "action"): Recipe(1e-3, 64, 20_000),
    ("diffusion_policy", "full", "action"): Recipe(3e-4, 64, 60_000, average=0.9999),
    # untuned
    ("uva", "small", "video"): Recipe(1e-3, 32, 10_000),
    ("uva", "small", "action"): Recipe(1e-3, 32, 10_000),
    ("uva", "small", "joint"): Recipe(1e-3, 32, 20_000),
    ("uva", "full", "video"): Recipe(1e-4, 64, 200_000, average=0.9999, shift=0.0),
    ("uva", "full", "action"): Recipe(1e-4, 64, 200_000, average=0.9999, shift=0.0),
    ("uva", "full", "joint"): Recipe(1e-4, 64, 200_000, average=0.9999, shift=0.0),
    ("dreamitate", "small", "video"): Recipe(2e-3, 8, 10_000, shift=0.0),  # cameras that stand where they stand
    ("dreamitate", "full", "video"): Recipe(1e-5, 4, 16_384, average=0.9999, shift=0.0),  # the paper's table 3
}


def cameras(kind: str) -> tuple[str, ...]:
    """Which cameras a policy of this kind learns from: its batches' order."""
    return SIDE_CAMERAS if kind == "dreamitate" else CAMERAS


def recipe(kind: str, size: str, stage: str) -> Recipe:
    """Raises TrainingError naming the stages that there are."""
    found = RECIPES.get((kind, size, stage))
    if found is None:
        stages = ", ".join(other for *policy, other in RECIPES if policy == [kind, size])
        raise TrainingError(f"{kind} in the size {size} has no stage {stage!r}; allowed: {stages}")
    return found


def fresh(kind: str, size: str, file: Path | None, views: int, image_size: tuple[int, int]) -> Any:
    """A network that has learned nothing yet, of a size or as a YAML file has it; raises ConfigError for that file."""
    config, model = _NETWORKS[kind]
    wanted = yaml_file.read(file, config, ConfigError) if file else getattr(config, size)()
    return model(wanted, views, image_size)


def begin_look(model: Any, folder: Path) -> str:
    """Give a network the look that was grounded; returns its SHA-256. Raises TrainingError, CheckpointError."""
    if not isinstance(getattr(model, "look", None), Look | Encoders):
        raise TrainingError(f"{folder}: this network has no look that it could be given to")
    return look_file.restore(model.look, folder)


def restored(folder: Path, kind: str, file: Path | None = None) -> tuple[Checkpoint, Any]:
    """A checkpoint and its network, to be trained further; what a YAML file says of its configuration goes first.

    Raises CheckpointError, also where it is of another kind or the network has other parts, ConfigError for the file.
    """
    facts, tensors = checkpoint.load(folder)
    if facts.kind != kind:
        raise CheckpointError(f"{folder}: is a checkpoint of {facts.kind}, wanted is one of {kind}")
    config, model = _NETWORKS[kind]
    wanted = facts.configured(config, folder)
    if file is not None:
        changes = yaml_file.read(file, _Changes, ConfigError).root
        wanted = yaml_file.checked(file, config, json.dumps({**facts.config, **changes}), ConfigError)
    made = model(wanted, len(facts.cameras), facts.image_size)
    checkpoint.restore(made, tensors, folder)
    return facts, made
