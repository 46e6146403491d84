"""Demonstrations in lockstep: what an episode costs in time, processor and disk, and how many seeds are refused.

    python benchmarks/demonstrations.py [--episodes 8]

As `kinema demonstrations` makes them: 320x240, JPEG 90, one process a core. Times are of a good episode, the refused
seeds and the processes' start among them; 6 s of wall-clock time are 400 episodes in 40 minutes.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinema import cell_file
from kinema.apps.demonstrations import produce
from kinema.apps.lockstep_recording import Recipe
from kinema.virtual.cameras import DEFAULT_SIZE
from kinema.virtual.tasks import SHIPPED


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(task: str, episodes: int, jobs: int, out: Path) -> tuple[str, ...]:
    recipe = Recipe(
        task=task,
        split="train",
        out=out,
        cell=cell_file.VIRTUAL,
        image_size=DEFAULT_SIZE,
        quality=90,
    )
    wall, cpu = time.perf_counter(), _cpu()
    results = list(produce(recipe, 0, episodes, jobs))
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    good = [result for result in results if result.folder is not None]
    size = sum(file.stat().st_size for result in good for file in result.folder.rglob("*.mcap"))
    return (
        task,
        str(jobs),
        f"{len(good)}/{len(results)}",
        f"{sum(result.duration for result in good) / episodes:.1f}",
        f"{wall / episodes:.1f}",
        f"{cpu / episodes:.1f}",
        f"{size / 1e6 / episodes:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8, help="good ones, of each task")
    arguments = parser.parse_args()
    table = Table()
    for column in ("task", "processes", "good/seeds", "recorded [s]", "wall [s]", "CPU [s]", "MB"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task in SHIPPED:
        with tempfile.TemporaryDirectory() as out:
            table.add_row(*_row(task, arguments.episodes, len(os.sched_getaffinity(0)), Path(out)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
