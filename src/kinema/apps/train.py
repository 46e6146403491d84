"""`kinema train`: a policy from shards, on one device, or with `accelerate launch -m kinema.apps.train ...` on many.

Run it again with the same words after whatever has ended it: it goes on where it was, with the very losses it would
have had. SIGTERM and SIGINT end it after the step under way.
"""

import argparse
import functools
import sys
from dataclasses import fields
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console

from kinema.apps.training import STOPPED, Bar, Stop, bars
from kinema.errors import KinemaError
from kinema.training import stages
from kinema.training.curves import Curves
from kinema.training.loop import Watcher
from kinema.training.plan import Plan
from kinema.training.session import CHECKPOINT, Order, Session

_KINDS, _SIZES, _STAGES = (sorted({key[i] for key in stages.RECIPES}) for i in range(3))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", choices=[kind.replace("_", "-") for kind in _KINDS])
    parser.add_argument("--data", type=Path, required=True, metavar="SHARDS", help="what to learn from")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="state, curves, videos, checkpoint")
    parser.add_argument("--size", default="small", choices=_SIZES, help="default: %(default)s")
    parser.add_argument("--stage", choices=_STAGES, help="default: joint, or the only one that the policy has")
    parser.add_argument(
        "--videos", type=Path, nargs="+", default=[], metavar="SHARDS", help="without actions: --stage video"
    )
    told = "another network than the size's, as YAML; with --begin, of what is to differ"
    parser.add_argument("--config", type=Path, metavar="FILE", help=told)
    parser.add_argument("--begin", type=Path, metavar="CHECKPOINT", help="to go on from, as --stage action does")
    parser.add_argument("--look", type=Path, metavar="FOLDER", help="that `kinema ground` made, to begin with")
    parser.add_argument(
        "--tool", type=Path, metavar="FOLDER", help="that the videos show, with tool.yaml: it goes with the checkpoint"
    )
    parser.add_argument("--scratch", action="store_true", help="no published weights, which the full size begins with")
    parser.add_argument(
        "--cameras", nargs="+", default=(), help="in the network's order; default: the cell's, as the policy has them"
    )
    plan = parser.add_argument_group("how long and how fast; by default as the policy, its size and stage ask for")
    plan.add_argument("--steps", type=int)
    plan.add_argument("--minutes", type=float, default=0.0, help="time limit; the rate of learning falls by the clock")
    plan.add_argument("--batch", type=int, help="moments a step, over all processes")
    plan.add_argument("--pieces", type=int, default=1, help="that a process takes its part of a batch in")
    plan.add_argument("--rate", type=float, help="of learning, at its highest")
    plan.add_argument("--warm-up", type=int, help="steps")
    plan.add_argument("--average", type=float, help="how much of the weights' moving average stays at a step")
    plan.add_argument("--shift", type=float, help="of images, at most, of their width; 0 where no camera ever moves")
    plan.add_argument("--seed", type=int, default=0)
    plan.add_argument("--save", type=int, default=500, help="steps from state to state, default %(default)s")
    plan.add_argument(
        "--measure", type=int, default=500, help="steps from one measuring to the next, default %(default)s"
    )
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), help="mixed; default: bf16 on a GPU, else no")
    parser.add_argument(
        "--executable", type=int, default=0, help="steps of a chunk that may be played; default: 24, of uva 8 of 16"
    )
    parser.add_argument("--held-out", type=float, default=0.05, help="share of episodes, default %(default)s")
    parser.add_argument("--memory", type=float, help="[GB] of decoded images, default: a quarter of what is free")


def _plan(arguments: argparse.Namespace, stage: str, recipe: stages.Recipe) -> Plan:
    known = {row.name for row in fields(Plan)}
    asked = {name: value for name, value in vars(arguments).items() if name in known and value is not None}
    usual = {row.name: getattr(recipe, row.name) for row in fields(recipe) if row.name in known}
    return Plan(**usual | asked | {"stage": stage})


def _order(arguments: argparse.Namespace) -> Order:
    kind = arguments.policy.replace("-", "_")
    there = [stage for *policy, stage in stages.RECIPES if policy == [kind, arguments.size]]
    stage = arguments.stage or ("joint" if "joint" in there or not there else there[0])
    return Order(
        kind=kind,
        size=arguments.size,
        stage=stage,
        data=arguments.data,
        videos=tuple(arguments.videos),
        config=arguments.config,
        begin=arguments.begin,
        look=arguments.look,
        tool=arguments.tool,
        published=not arguments.scratch,
        cameras=tuple(arguments.cameras) or stages.cameras(kind),
        held_out=arguments.held_out,
        shift=arguments.shift,
        executable=arguments.executable,
        memory=arguments.memory,
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then write the checkpoint; 0 at the plan's end, STOPPED before it."""
    order = _order(arguments)
    plan = _plan(arguments, order.stage, stages.recipe(order.kind, order.size, order.stage))
    accelerator = Accelerator(mixed_precision=arguments.precision or ("bf16" if torch.cuda.is_available() else "no"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    session = Session(order, plan, accelerator, arguments.out)
    if not accelerator.is_main_process:
        with Stop() as stop:
            finished = session.run(Watcher(), stop)
        accelerator.end_training()
        return 0 if finished else STOPPED
    console = Console(stderr=True)
    with bars(console) as progress, Stop() as stop:
        curves = Curves(session, functools.partial(console.print, soft_wrap=True))
        if not session.run(Bar(curves, progress, plan), stop):
            console.print(f"stopped at step {session.training.step}; the same command goes on from there")
            return STOPPED
    saved = session.write(curves.latest)
    console.print(f"{arguments.out / CHECKPOINT}: {order.kind}, stage {order.stage}, {saved.hash[:12]}")
    accelerator.end_training()
    return 0


def main() -> int:
    """For `accelerate launch`; the same as `kinema train`."""
    parser = argparse.ArgumentParser(prog="python -m kinema.apps.train")
    configure(parser)
    try:
        return run(parser.parse_args())
    except KinemaError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
