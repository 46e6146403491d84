"""Lockstep: episodes a minute and real-time factor, without and with images, on one process and on all cores.

    python benchmarks/lockstep.py [--episodes 6]

The real-time factor is simulated time of all episodes over wall-clock time. With images, all three cameras are rendered
with sensor noise for every observation of the policy.
"""

import argparse
import os
import time

from rich.console import Console
from rich.table import Table

from kinema import cell_file
from kinema.apps.lockstep import LATENCY, Batch, run_batch
from kinema.virtual.tasks import SHIPPED


def _row(task: str, render: bool, jobs: int, episodes: int) -> tuple[str, ...]:
    batch = Batch(
        task=task,
        split="train",
        robot="virtual_ur5e",
        policy="demonstrator",
        seed=0,
        episodes=episodes,
        execution=None,
        latency=LATENCY,
        render=render,
        cell=cell_file.VIRTUAL,
    )
    begin = time.perf_counter()
    results = list(run_batch(batch, jobs))
    wall = time.perf_counter() - begin
    simulated = sum(result.duration for result in results)
    successes = sum(result.success for result in results)
    return (
        task,
        "3 cameras" if render else "none",
        str(jobs),
        f"{60 * episodes / wall:.1f}",
        f"{simulated / wall:.1f}",
        f"{simulated / episodes:.1f}",
        f"{successes}/{episodes}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=6, help="of each kind")
    arguments = parser.parse_args()
    table = Table()
    for column in ("task", "images", "processes", "episodes/min", "real-time factor", "s/episode", "succeeded"):
        table.add_column(column, justify="left" if column in ("task", "images") else "right")
    cores = len(os.sched_getaffinity(0))
    for task in SHIPPED:
        for render in (False, True):
            for jobs in sorted({1, cores}):
                table.add_row(*_row(task, render, jobs, arguments.episodes))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
