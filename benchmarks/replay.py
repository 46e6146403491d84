"""Replay: how many recorded handheld demonstrations do their task again when the robot does what was demonstrated.

    python benchmarks/replay.py [--episodes 50] [--folder episodes]

The first episodes of each task below the folder, made by `kinema demonstrations` or recorded live, are replayed in
lockstep through the executor. What has been replayed is kept in `runs/replay_<robot>.jsonl` and not replayed again;
delete that file after a change of policy, executor or cell.
"""

import argparse
import dataclasses
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kinema import cell_file, paths
from kinema.apps.episodes_replay import replay_all
from kinema.episodes import facts as facts_file
from kinema.episodes.reader import find
from kinema.training.success import success_rate


def _chosen(root: Path, episodes: int) -> dict[str, list[Path]]:
    """The first good handheld episodes of each task, in the order of their names."""
    chosen: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(find(root).values(), key=lambda folder: folder.name):
        facts = facts_file.load(folder)
        usable = facts.finished and not facts.rejected and facts.scenario is not None
        if usable and facts.source == "handheld" and len(chosen[facts.task]) < episodes:
            chosen[facts.task].append(folder)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=50, help="of each task")
    parser.add_argument("--folder", type=Path, default=paths.root() / "episodes")
    parser.add_argument("--robot", default="virtual_ur5e")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    chosen = _chosen(arguments.folder, arguments.episodes)
    kept = paths.root() / "runs" / f"replay_{arguments.robot}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = {row["folder"]: row for row in map(json.loads, lines)}
    missing = [folder for folders in chosen.values() for folder in folders if str(folder) not in done]
    with kept.open("a") as out:
        for folder, result in replay_all(missing, arguments.robot, None, cell_file.VIRTUAL, arguments.jobs):
            if isinstance(result, str):
                raise SystemExit(result)
            done[str(folder)] = {"folder": str(folder), **dataclasses.asdict(result)}
            out.write(json.dumps(done[str(folder)]) + "\n")
            out.flush()
    table = Table()
    for column in ("task", "robot", "succeeded", "95 % interval (Wilson)", "s/replay", "chunks refused"):
        table.add_column(column, justify="left" if column in ("task", "robot") else "right")
    failures = []
    for task, folders in sorted(chosen.items()):
        rows = [done[str(folder)] for folder in folders]
        good = sum(row["success"] for row in rows)
        rate = success_rate(good, len(rows))
        spans = f"{100 * rate.low:.0f}..{100 * rate.high:.0f} %"
        seconds = f"{np.mean([row['duration'] for row in rows]):.1f}"
        refused = str(sum(row["refused"] for row in rows))
        table.add_row(task, arguments.robot, f"{good}/{len(rows)}", spans, seconds, refused)
        failures += [f"{task}, seed {row['seed']}: {row['outcome']}" for row in rows if not row["success"]]
    console = Console(width=120)
    console.print(table)
    for failure in failures:
        console.print(failure)


if __name__ == "__main__":
    main()
