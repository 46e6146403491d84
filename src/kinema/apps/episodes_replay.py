"""`kinema episodes replay`: let the robot do what was demonstrated, and let the physics say whether the task is done.

In lockstep, in the scenario that the episode names; with `--live` on the ROS graph, by the launch file of deployments.
"""

import argparse
import concurrent.futures
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from kinema import cell_file
from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.apps.lockstep import LATENCY, EpisodeResult, run_episode
from kinema.control.messages import Mode
from kinema.control.pacing import Pace
from kinema.episodes import facts as facts_file
from kinema.episodes.facts import ScenarioFacts
from kinema.episodes.reader import find
from kinema.errors import CalibrationError, ConfigError, EpisodeError
from kinema.policies import replay
from kinema.training.success import success_rate
from kinema.workers import workers


def scene(folder: Path) -> ScenarioFacts:
    """The scenario of an episode; raises EpisodeError for one that was recorded outside of the virtual cell."""
    drawn = facts_file.load(folder).scenario
    if drawn is None:
        raise EpisodeError(f"{folder}: names no scenario of the virtual cell that it could be replayed in")
    return drawn


def replay_folder(
    folder: Path, robot: str, execution: Mode | None = None, cell: Path = cell_file.VIRTUAL
) -> EpisodeResult:
    """Replay one episode in lockstep."""
    drawn, policy = scene(folder), replay.load(str(folder))
    pace = Pace(execution) if execution else None
    return run_episode(drawn.task, drawn.split, drawn.seed, robot, policy, cell=cell_file.load(cell), pace=pace)


def _attempt(folder: Path, robot: str, execution: Mode | None, cell: Path) -> EpisodeResult | str:
    try:
        return replay_folder(folder, robot, execution, cell)
    except (CalibrationError, EpisodeError) as error:
        return str(error)


def replay_all(
    folders: Sequence[Path], robot: str, execution: Mode | None, cell: Path, jobs: int
) -> Iterator[tuple[Path, EpisodeResult | str]]:
    """Results as they come, or why there is none: an episode that can't be replayed doesn't end the others."""
    with workers(jobs) as pool:
        futures = {pool.submit(_attempt, folder, robot, execution, cell): folder for folder in folders}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()


def _live(folder: Path, arguments: argparse.Namespace) -> int:
    """The deployment's launch file with this episode; what it says goes to the terminal."""
    scene(folder)
    command = ["ros2", "launch", "policy_bringup", "deploy.launch.py", "policy:=replay", f"episode:={folder.resolve()}"]
    command += ["episodes:=1", f"robot:={arguments.robot}", f"cell:={arguments.cell}"]
    command += [f"execution:={arguments.execution}"] if arguments.execution else []
    return subprocess.run(command, check=False).returncode


def _show(results: Mapping[str, EpisodeResult | str], robot: str, origins: Collection[str]) -> None:
    table = Table(Column("episode", overflow="fold"), "outcome", box=None, pad_edge=False)
    table.add_column("s", justify="right")
    for name, result in results.items():
        if isinstance(result, str):
            table.add_row(name, Text(f"not replayed: {result}", style="yellow"))
        else:
            style = "green" if result.success else "red"
            table.add_row(name, Text(result.outcome, style=style), f"{result.duration:.1f}")
    replayed = [result for result in results.values() if not isinstance(result, str)]
    rate = success_rate(sum(result.success for result in replayed), len(replayed))
    out = console()
    out.print(table)
    out.print(
        f"{robot}, {LATENCY * 1000:.0f} ms: {rate.successes} of {rate.episodes} replayed demonstrations did the task "
        f"again (95 % interval {100 * rate.low:.0f}..{100 * rate.high:.0f} %, Wilson)\n"
        f"calibration: {', '.join(sorted(origins))}",
        soft_wrap=True,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of episodes")
    parser.add_argument("--robot", default="virtual_ur5e")
    parser.add_argument("--execution", type=Mode, choices=Mode, help="default: the cell file's")
    parser.add_argument("--cell", type=Path, default=cell_file.VIRTUAL)
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)"
    )
    parser.add_argument("--live", action="store_true", help="on the ROS graph instead of in lockstep; one episode")


def run(arguments: argparse.Namespace) -> int:
    """Replay, print what came of it; 0 even where the task was not done again: that is a result.

    Raises EpisodeError when nothing could be replayed.
    """
    found = find(arguments.folder)
    if arguments.live:
        if len(found) != 1:
            raise ConfigError(f"{arguments.folder} holds {len(found)} episodes; --live takes one")
        return _live(next(iter(found.values())), arguments)
    names = {folder: name for name, folder in found.items()}
    results: dict[Path, EpisodeResult | str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"replay / {arguments.robot}", total=len(names))
        chosen = (arguments.robot, arguments.execution, arguments.cell, arguments.jobs)
        for folder, result in replay_all(list(names), *chosen):
            results[folder] = result
            progress.advance(bar)
    told = {name: results[folder] for folder, name in names.items()}
    reasons = [result for result in told.values() if isinstance(result, str)]
    if len(reasons) == len(told):
        raise EpisodeError(reasons[0])
    replayed = (facts_file.load(folder) for folder, result in results.items() if not isinstance(result, str))
    _show(told, arguments.robot, {facts.calibration_origin or "unknown" for facts in replayed})
    return 0
