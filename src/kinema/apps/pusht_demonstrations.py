"""`kinema pusht demonstrations`: episodes of an expert in gym-pusht, as shards that `kinema train` takes.

Seeds are taken in their order; what the expert doesn't solve is left out, and said.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.episodes import shards
from kinema.episodes.shards import Played
from kinema.pusht import client, plane
from kinema.pusht.client import PushT
from kinema.pusht.demonstration import SOLVED, Demonstration, demonstrate, score

HORIZON = 16  # steps of a chunk, as published


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="SHARDS")
    parser.add_argument("--episodes", type=positive, default=200, help="tried, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first, default %(default)s; the others follow")


def played(found: Demonstration) -> Played:
    """As an episode of a data set; its states are targets (`kinema.pusht.plane`)."""
    name = f"pusht_{found.seed:06d}"
    return Played(name, plane.TEXT, plane.state(found.targets), {plane.CAMERA: found.images})


def run(arguments: argparse.Namespace) -> int:
    """Record; 0 where anything was solved."""
    scores: list[float] = []
    steps = []

    def solved(env: PushT) -> Iterator[Played]:
        seeds = range(arguments.seed, arguments.seed + arguments.episodes)
        for seed in track(seeds, "expert", console=Console(stderr=True)):
            found = demonstrate(env, seed)
            scores.append(score(found.coverage))
            if found.coverage > SOLVED:
                steps.append(len(found.targets) - 1)
                yield played(found)

    with PushT() as env:
        shards.write(arguments.out, solved(env), plane.RATE, f"gym-pusht {client.VERSION}", HORIZON)
    console().print(
        f"{len(steps)} of {len(scores)} episodes are solved and stand in {arguments.out}, {np.mean(steps):.0f} steps "
        f"each; mean score of all {np.mean(scores):.3f}. The expert reads the environment's truth."
    )
    return 0
