"""`kinema ground`: learn from captioned pictures what words mean, for `kinema train --look`."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from kinema.apps.training import STOPPED, Bar, Stop, bars
from kinema.policies import look_file
from kinema.policies.look import LookConfig
from kinema.training import grounding, scenes
from kinema.training.grounding import Captioned, Captions, Grounding
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan

_SHIFT = 0.008  # [-] of an image's width that it is moved by at most: offsets stay as they are


class _Measured(Watcher):
    """Says what share of the pictures that were held out is understood, and remembers it."""

    def __init__(self, held_out: Captions, console: Console) -> None:
        self.latest: Mapping[str, float] = {}
        self._held_out, self._console = held_out, console

    def looked(self, step: int, model: Any) -> None:
        self.latest = grounding.measured(model, self._held_out)
        told = ", ".join(
            f"{name} {value if name.endswith('mm') else 100 * value:.0f}" for name, value in self.latest.items()
        )
        self._console.print(f"step {step}, found where it is (%), missed by (mm): {told}", soft_wrap=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=Path, required=True, metavar="FOLDER", help="pictures of `kinema scenes`")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"state, and {look_file.NAME}")
    parser.add_argument("--steps", type=int, default=6000, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step, default %(default)s")
    parser.add_argument("--rate", type=float, default=2e-3, help="of learning, at its highest; default %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time limit; the rate of learning falls by the clock"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), help="mixed; default: bf16 on a GPU, else no")


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the network; 0 at the plan's end, STOPPED before it."""
    pictures = scenes.read(arguments.scenes)
    learned, held_out = grounding.split(pictures)
    width, _ = pictures.size
    captions = Captions(pictures, learned, round(_SHIFT * width))
    plan = Plan(
        grounding.STAGE,
        arguments.steps,
        arguments.batch,
        seed=arguments.seed,
        rate=arguments.rate,
        minutes=arguments.minutes,
    )
    accelerator = Accelerator(mixed_precision=arguments.precision or ("bf16" if torch.cuda.is_available() else "no"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    model = Grounding(LookConfig(), pictures.images.shape[1], pictures.size)
    told = {name: value for name, value in asdict(plan).items() if name not in ("save", "measure")}
    told |= {"scenes": pictures.fingerprint, "precision": accelerator.mixed_precision}
    training = Training(model, plan, accelerator, arguments.out / "state.pt", told)
    console = Console(stderr=True)

    def batch_of(step: int, piece: int) -> Captioned:
        return captions.draw(plan.batch, plan.seed, step)

    with bars(console) as progress, Stop() as stop:
        measured = _Measured(Captions(pictures, held_out, 0), console)
        if not training.run(batch_of, Bar(measured, progress, plan), stop):
            console.print(f"stopped at step {training.step}; the same command goes on from there")
            return STOPPED
    with training.averaged():
        saved = look_file.save(arguments.out, model.look, {**told, "found": dict(measured.latest)})
    console.print(f"{arguments.out / look_file.NAME}: {saved[:12]}")
    return 0
