"""`kinema ground`: learn from captioned pictures what words mean, for `kinema train --look`."""

import argparse
from collections.abc import Callable, Mapping
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
from kinema.training.grounding import Captioned, Captions, Grounding, Readings
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan

_SHIFT = 0.008  # [-] of an image's width that it is moved by at most: offsets stay as they are
_READINGS = 1024  # of a step of locating


class _Measured(Watcher):
    """Says what share of the pictures that were held out is understood, and remembers it."""

    def __init__(self, held_out: Captions, console: Console) -> None:
        self.latest: Mapping[str, float] = {}
        self._held_out, self._console = held_out, console

    def looked(self, step: int, model: Any) -> None:
        self.latest = grounding.measured(model, self._held_out)
        told = ", ".join(
            f"{name} {value if name.endswith(('mm', 'deg')) else 100 * value:.0f}"
            for name, value in self.latest.items()
        )
        self._console.print(f"step {step}, found where it is (%), else missed by: {told}", soft_wrap=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=Path, required=True, metavar="FOLDER", help="pictures of `kinema scenes`")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"state, and {look_file.NAME}")
    told = "of an earlier grounding, or of a policy that sees by one, to go on from"
    parser.add_argument("--begin", type=Path, metavar="FOLDER", help=told)
    parser.add_argument("--steps", type=int, default=6000, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step, default %(default)s")
    parser.add_argument(
        "--locating-steps", type=int, default=6000, help="then, of locating by what the eyes see; default %(default)s"
    )
    parser.add_argument("--rate", type=float, default=2e-3, help="of learning, at its highest; default %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time limit of the eyes; the rate of learning falls by the clock"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), help="mixed; default: bf16 on a GPU, else no")


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the network; 0 at the plan's end, STOPPED before it."""
    pictures = scenes.read(arguments.scenes)
    learned, held_out = grounding.split(pictures)
    width, _ = pictures.size
    captions = Captions(pictures, learned, round(_SHIFT * width))
    accelerator = Accelerator(mixed_precision=arguments.precision or ("bf16" if torch.cuda.is_available() else "no"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    seed = arguments.seed
    eyes = Plan(grounding.EYES, arguments.steps, arguments.batch, 1, seed, arguments.rate, minutes=arguments.minutes)
    locating = Plan(grounding.LOCATING, arguments.locating_steps, _READINGS, 1, seed, arguments.rate, measure=2000)
    torch.manual_seed(seed)
    model = Grounding(LookConfig(), pictures.images.shape[1], pictures.size)
    before = None if arguments.begin is None else look_file.restore(model.look, arguments.begin)
    facts = {"scenes": pictures.fingerprint, "precision": accelerator.mixed_precision, "begin": before}
    console = Console(stderr=True)
    measured = _Measured(Captions(pictures, held_out, 0), console)
    told: dict[str, Any] = {}

    with bars(console) as progress, Stop() as stop:

        def learn(plan: Plan, batch_of: Callable[[int], Captioned | Readings]) -> bool:
            """Learn by a plan, on top of those before; False when stopped."""
            told[plan.stage] = {name: value for name, value in asdict(plan).items() if name not in ("save", "measure")}
            training = Training(model, plan, accelerator, arguments.out / f"{plan.stage}.pt", {**facts, **told})
            if not training.run(lambda step, piece: batch_of(step), Bar(measured, progress, plan), stop):
                console.print(f"{plan.stage} stopped at step {training.step}; the same command goes on from there")
                return False
            with training.averaged():
                weights = {name: value.clone() for name, value in model.state_dict().items()}
            model.load_state_dict(weights)
            return True

        if not learn(eyes, lambda step: captions.draw(eyes.batch, seed, step)):
            return STOPPED
        torch.manual_seed(seed)
        with accelerator.autocast():
            readings = grounding.read(model.eval(), captions)
        model.train()
        if not learn(locating, lambda step: readings.draw(locating.batch, seed, step)):
            return STOPPED
    saved = look_file.save(arguments.out, model.look, {**facts, **told, "found": dict(measured.latest)})
    console.print(f"{arguments.out / look_file.NAME}: {saved[:12]}")
    return 0
