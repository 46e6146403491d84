"""`kinema pusht ground`: teach eyes where block and agent are, for `kinema train --look`.

Half of the pictures are of scenes as the environment draws them, half of what the expert does in some of these, where
an episode is decided. The truth comes from the environment, and is left behind: a policy that begins with these eyes
sees images alone.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import track

from kinema.apps.cli import positive
from kinema.apps.training import STOPPED, Bar, Stop, bars
from kinema.policies import look_file
from kinema.pusht.client import VERSION, Moment, PushT
from kinema.pusht.demonstration import episode
from kinema.training import pusht_eyes
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan
from kinema.training.pusht_eyes import Eyes, Pictures

FIRST_SEED = 3_000_000  # demonstrations and evaluation have others

_PICTURES = "pictures.npz"


class _Measured(Watcher):
    """Says how far off is what the eyes tell of pictures held out, and remembers it."""

    def __init__(self, held_out: Pictures, console: Console) -> None:
        self.latest: Mapping[str, float] = {}
        self._held_out, self._console = held_out, console

    def looked(self, step: int, model: Any) -> None:
        self.latest = pusht_eyes.measured(model, self._held_out)
        told = ", ".join(f"{name} {value:.1f}" for name, value in self.latest.items())
        self._console.print(f"step {step}, held out: {told}", soft_wrap=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"state, and {look_file.NAME}")
    parser.add_argument("--pictures", type=positive, default=30_000, help="default %(default)s")
    parser.add_argument("--steps", type=positive, default=6000, help="default %(default)s")
    parser.add_argument("--batch", type=positive, default=64, help="pictures a step, default %(default)s")
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its highest; default %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time limit; the rate of learning falls by the clock"
    )
    parser.add_argument("--seed", type=int, default=0)


def _moments(env: PushT, count: int) -> Iterator[Moment]:
    """Half scenes, half episodes."""
    left, seed = count - count // 2, FIRST_SEED
    for _ in range(count // 2):
        yield env.reset(seed)
        seed += 1
    while left > 0:
        for moment, _ in episode(env, seed):
            yield moment
            left -= 1
            if not left:
                return
        seed += 1


def pictures(file: Path, count: int, console: Console) -> Pictures:
    """From the file, or made and kept there."""
    if not file.exists():
        with PushT() as env:
            made = list(track(_moments(env, count), "pictures", total=count, console=console))
        mixed = np.random.default_rng(0).permutation(count)
        images, block, agent = (
            np.stack([getattr(moment, name) for moment in made])[mixed] for name in ("image", "block", "agent")
        )
        np.savez_compressed(file, images=images, block=block, agent=agent)
    with np.load(file) as stored:
        return Pictures(stored["images"], stored["block"], stored["agent"])


def run(arguments: argparse.Namespace) -> int:
    """Make the pictures, train, write the eyes; 0 at the plan's end, STOPPED before it."""
    console = Console(stderr=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    learned, held_out = pictures(arguments.out / _PICTURES, arguments.pictures, console).split()
    accelerator, seed = Accelerator(), arguments.seed
    plan = Plan(pusht_eyes.STAGE, arguments.steps, arguments.batch, 1, seed, arguments.rate, minutes=arguments.minutes)
    torch.manual_seed(seed)
    model = Eyes((learned.images.shape[2], learned.images.shape[1]))
    facts = {"environment": VERSION, "pictures": len(learned.images), **asdict(plan)}
    measured = _Measured(held_out, console)
    with bars(console) as progress, Stop() as stop:
        training = Training(model, plan, accelerator, arguments.out / "state.pt", facts)
        draw = lambda step, piece: learned.draw(plan.batch, seed, step)  # noqa: E731
        if not training.run(draw, Bar(measured, progress, plan), stop):
            console.print(f"stopped at step {training.step}; the same command goes on from there")
            return STOPPED
    with training.averaged():
        saved = look_file.save(arguments.out, model.look, {**facts, "found": dict(measured.latest)})
    console.print(f"{arguments.out / look_file.NAME}: {saved[:12]}")
    return 0
