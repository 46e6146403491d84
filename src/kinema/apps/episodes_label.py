"""`kinema episodes label`: actions for videos that nobody knows the actions of, read from the images by a UVA.

Into a data set of its own: the images and texts of another, the tool's path as it is seen. The path of an episode
begins at the origin of the tool's own frame; what a policy learns from it is relative to the tool all the same.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from kinema.apps.console import console
from kinema.episodes.shards import Array32, ShardDataset, relabel
from kinema.errors import CheckpointError, EpisodeError
from kinema.policies import checkpoint
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.uva import dynamics, policy
from kinema.policies.uva.model import UvaModel
from kinema.training.measures import path_errors


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="folder of a UVA that has learned all its tasks")
    parser.add_argument("--in", dest="data", type=Path, required=True, metavar="SHARDS", help="images and texts")
    parser.add_argument("--out", type=Path, required=True, metavar="SHARDS", help="the same, with actions")
    parser.add_argument("--compare", action="store_true", help="with the actions that were recorded")
    parser.add_argument("--device", default="", help="default: cuda where there is one, else cpu")


def run(arguments: argparse.Namespace) -> int:
    folder, data = arguments.checkpoint, ShardDataset(arguments.data)
    facts = checkpoint.read(folder)
    _check(folder, facts, data)
    model = policy.network(folder, arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    errors: list[Mapping[str, float]] = []

    def states() -> Iterator[Array32]:
        for episode in track(range(len(data)), "labelling", console=console()):
            state = _label(model, facts, data, episode)
            if arguments.compare:
                errors.append(path_errors(facts.action, state, data.state(episode)))
            yield state

    relabel(data, arguments.out, states(), f"read from images by {facts.kind} {facts.hash[:12]}")
    print(f"{arguments.out}: {len(data)} episodes with actions as {facts.kind} {facts.hash[:12]} reads them")
    if errors:
        position, rotation = (np.mean([row[name] for row in errors]) for name in ("position_mm", "rotation_deg"))
        print(f"mean over chunks: {position / 10:.2f} cm, {rotation:.2f} degrees from what was recorded")
    return 0


def _check(folder: Path, facts: Checkpoint, data: ShardDataset) -> None:
    """Raises CheckpointError for what can't read actions from images, EpisodeError for images that it doesn't know."""
    if facts.kind != policy.NAME or facts.training.get("stage") != "joint":
        raise CheckpointError(
            f"{folder}: is a {facts.kind}, stage {facts.training.get('stage')}; actions are read from images by a "
            f"{policy.NAME} of the stage joint"
        )
    if not np.isclose(facts.action.dt * data.rate, 1.0):
        raise EpisodeError(
            f"{data.folder}: has {data.rate} images a second, {folder} knows {1 / facts.action.dt:.0f}; export it with "
            "another --rate"
        )
    for episode in range(len(data)):
        sizes = {data.size(episode, camera) for camera in facts.cameras}
        if sizes != {facts.image_size}:
            raise EpisodeError(
                f"{data.folder}, {data.name(episode)}: images of {sizes} px, {folder} knows {facts.image_size}; export "
                "it with another --size"
            )


def _label(model: UvaModel, facts: Checkpoint, data: ShardDataset, episode: int) -> Array32:
    """(n, 11) of an episode."""
    images = data.window(episode, facts.cameras, range(data.frames(episode)))
    stacked = np.stack([images[camera] for camera in facts.cameras], axis=1)
    return dynamics.infer(model, facts.action, stacked, data.text(episode), seed=episode).astype(np.float32)
