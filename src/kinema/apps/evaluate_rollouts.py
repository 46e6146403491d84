"""`kinema evaluate rollouts`: a policy acts in lockstep in the scenarios of the lists; the physics says how it went.

Scenarios are the same for every policy and setting, so that differences can be taken in pairs. What stands in the
results already is not done again; one process a core, one thread each.
"""

import argparse
import os
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema import cell_file, paths
from kinema.apps import evaluate_table, trials
from kinema.apps.cli import positive
from kinema.apps.rollouts import Player, play
from kinema.apps.trials import LISTS, PURPOSES, Images, Setting
from kinema.control.messages import Mode
from kinema.control.settings import Execution
from kinema.virtual.tasks import SHIPPED, TASKS
from kinema.workers import on_all_cores

_USUAL = ["seen", "unseen_objects", "unseen_background"]  # lists


def settings(arguments: argparse.Namespace, player: Player, execution: Execution) -> list[Setting]:
    """Every combination that the command line asks for."""
    return [
        player.setting(
            execution,
            executed=executed,
            images=images,
            mode=arguments.execution,
            latency=arguments.latency,
            robot=arguments.robot,
            time_limit=arguments.time_limit,
        )
        for executed in arguments.executed
        for images in arguments.images
    ]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", help="a checkpoint's folder, demonstrator, or random")
    parser.add_argument(
        "--like", default="", metavar="FOLDER", help="random moves like what this checkpoint learned from"
    )
    parser.add_argument("--inference", default="", help="as single, few:4, paper; default: the checkpoint's first")
    parser.add_argument("--task", nargs="+", default=list(SHIPPED), choices=TASKS, help="default: %(default)s")
    parser.add_argument("--list", nargs="+", default=_USUAL, choices=LISTS, help="default: %(default)s")
    parser.add_argument("--scenarios", type=positive, default=100, help="of each list and task, default %(default)s")
    parser.add_argument("--purpose", default="report", choices=PURPOSES, help="other scenarios to choose settings by")
    parser.add_argument(
        "--executed", nargs="+", type=int, default=[0], help="steps between observations, as 24 12 8; 0: its own"
    )
    parser.add_argument(
        "--images", nargs="+", default=["normal"], choices=get_args(Images), help="veiled: the goal lies over the image"
    )
    parser.add_argument("--execution", type=Mode, choices=Mode, help="default: by the latency")
    parser.add_argument("--latency", type=float, help="declared [s]; default: the checkpoint's")
    parser.add_argument("--robot", default=trials.ROBOT)
    parser.add_argument(
        "--time-limit", type=float, default=trials.TIME_LIMIT, help="simulated time [s], default %(default)s"
    )
    parser.add_argument("--cell", type=Path, default=cell_file.VIRTUAL)
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)"
    )
    parser.add_argument(
        "--results", type=Path, default=paths.root() / trials.RESULTS, help="folder, default %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is missing, then show the table of this policy; 0 even where it failed: that is a result."""
    cell = cell_file.load(arguments.cell)
    cell.check_robot(arguments.robot)
    player = Player.of(arguments.policy, arguments.inference, arguments.like)
    chosen = settings(arguments, player, cell.control.execution)
    scenes = trials.scenes(arguments.task, arguments.list, arguments.purpose, arguments.scenarios)
    file = trials.results_file(arguments.results, chosen[0])
    standing = {(row.setting, row.scene): row for row in trials.read(file)}
    wanted = [(setting, scene) for setting in chosen for scene in scenes]
    missing = [pair for pair in wanted if pair not in standing]
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[good]} succeeded"), TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        good = sum(standing[pair].success for pair in wanted if pair in standing)
        bar = progress.add_task(chosen[0].policy, total=len(wanted), completed=len(wanted) - len(missing), good=good)
        for rollout in on_all_cores(play, [(player, *pair, arguments.cell) for pair in missing], arguments.jobs):
            trials.append(file, rollout)
            standing[rollout.setting, rollout.scene] = rollout
            good += rollout.success
            progress.update(bar, advance=1, good=good)
    evaluate_table.show([standing[pair] for pair in wanted])
    return 0
