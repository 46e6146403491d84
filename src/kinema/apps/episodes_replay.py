"""`kinema episodes replay`: let the robot do what was demonstrated, and let the physics say whether the task is done.

In lockstep, in the scenario that the episode names; with `--live` on the ROS graph, by the launch file of deployments.
With `--calibration` each one twice: as it was recorded, and as these files would have had it.
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
from kinema.episodes.reread import reread
from kinema.errors import CalibrationError, ConfigError, EpisodeError
from kinema.policies import replay
from kinema.training.success import paired_difference, success_rate
from kinema.workers import workers


def scene(folder: Path) -> ScenarioFacts:
    """The scenario of an episode; raises EpisodeError for one that was recorded outside of the virtual cell."""
    drawn = facts_file.load(folder).scenario
    if drawn is None:
        raise EpisodeError(f"{folder}: names no scenario of the virtual cell that it could be replayed in")
    return drawn


def replay_folder(
    folder: Path,
    robot: str,
    execution: Mode | None = None,
    cell: Path = cell_file.VIRTUAL,
    calibration: Path | None = None,
) -> EpisodeResult:
    """Replay one episode in lockstep; `calibration` holds files to read it by, in place of its own."""
    drawn = scene(folder)
    policy = replay.Replay(reread(folder, calibration)) if calibration else replay.load(str(folder))
    pace = Pace(execution) if execution else None
    return run_episode(drawn.task, drawn.split, drawn.seed, robot, policy, cell=cell_file.load(cell), pace=pace)


def _attempt(
    folder: Path, robot: str, execution: Mode | None, cell: Path, calibration: Path | None
) -> EpisodeResult | str:
    try:
        return replay_folder(folder, robot, execution, cell, calibration)
    except (CalibrationError, EpisodeError) as error:
        return str(error)


def replay_all(
    folders: Sequence[Path],
    robot: str,
    execution: Mode | None,
    cell: Path,
    jobs: int,
    calibrations: Sequence[Path | None] = (None,),
) -> Iterator[tuple[tuple[Path, Path | None], EpisodeResult | str]]:
    """Results by episode and calibration as they come, or why there is none: one that can't be replayed doesn't end
    the others."""
    with workers(jobs) as pool:
        pairs = [(folder, calibration) for folder in folders for calibration in calibrations]
        futures = {pool.submit(_attempt, pair[0], robot, execution, cell, pair[1]): pair for pair in pairs}
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


def _compare(
    results: Mapping[str, EpisodeResult | str], others: Mapping[str, EpisodeResult | str], calibration: Path
) -> None:
    """What other files would have made of the same recordings, beside each other."""
    pairs = [(results[name], others[name]) for name in results]
    both = [(a.success, b.success) for a, b in pairs if not isinstance(a, str) and not isinstance(b, str)]
    table = Table(
        Column("episode", overflow="fold"), Column(f"by {calibration}", overflow="fold"), box=None, pad_edge=False
    )
    for name, result in others.items():
        good = not isinstance(result, str) and result.success
        text = f"not replayed: {result}" if isinstance(result, str) else result.outcome
        table.add_row(name, Text(text, style="green" if good else "red"))
    out = console()
    out.print(table)
    if not both:
        return
    own, other = ([pair[i] for pair in both] for i in (0, 1))
    found = paired_difference(other, own)
    out.print(
        f"as recorded {sum(own)}, by {calibration} {sum(other)} of {len(both)}; difference {found.value:+.2f} "
        f"({found.low:+.2f}..{found.high:+.2f}, 95 % interval, Newcombe, paired)",
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
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="replay each as these files would have had it, too"
    )
    parser.add_argument("--live", action="store_true", help="on the ROS graph instead of in lockstep; one episode")


def run(arguments: argparse.Namespace) -> int:
    """Replay, print what came of it; 0 even where the task was not done again: that is a result.

    Raises EpisodeError when nothing could be replayed.
    """
    found = find(arguments.folder)
    if arguments.live and arguments.calibration:
        raise ConfigError("--calibration reads recordings anew, in lockstep; a live cell has its own: give --cell")
    if arguments.live:
        if len(found) != 1:
            raise ConfigError(f"{arguments.folder} holds {len(found)} episodes; --live takes one")
        return _live(next(iter(found.values())), arguments)
    given = None if arguments.calibration is None else arguments.calibration.absolute()
    calibrations = (None,) if given is None else (None, given)
    results: dict[tuple[Path, Path | None], EpisodeResult | str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"replay / {arguments.robot}", total=len(found) * len(calibrations))
        chosen = (arguments.robot, arguments.execution, arguments.cell, arguments.jobs)
        for pair, result in replay_all(list(found.values()), *chosen, calibrations):
            results[pair] = result
            progress.advance(bar)
    told = {name: results[folder, None] for name, folder in found.items()}
    reasons = [result for result in told.values() if isinstance(result, str)]
    if len(reasons) == len(told):
        raise EpisodeError(reasons[0])
    replayed = (facts_file.load(folder) for name, folder in found.items() if not isinstance(told[name], str))
    _show(told, arguments.robot, {facts.calibration_origin or "unknown" for facts in replayed})
    if given is not None:
        _compare(told, {name: results[folder, given] for name, folder in found.items()}, arguments.calibration)
    return 0
