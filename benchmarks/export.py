"""Export: episodes a minute into both formats, on one process and on all cores.

    python benchmarks/export.py [--episodes 16] [--in FOLDER]

Without a folder, two demonstrations of each task are recorded in lockstep (320x240, JPEG 90); the export then does
copies of them, as many as were asked for. `shards, smaller` decodes, scales and encodes; `shards` takes the JPEGs over.
`a core` is episodes a minute of CPU time, which other work on the machine doesn't change.
"""

import argparse
import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kinema import cell_file
from kinema.apps.lockstep_recording import Recipe, record
from kinema.episodes.export import Format, export
from kinema.episodes.lerobot import LeRobot
from kinema.episodes.reader import find
from kinema.episodes.shards import Shards
from kinema.errors import KinemaError
from kinema.virtual.tasks import SHIPPED

_EACH = 2
_SMALLER = (192, 144)


def _demonstrations(out: Path) -> None:
    for task in SHIPPED:
        recipe = Recipe(task, "train", out, cell_file.VIRTUAL, (320, 240), 90)
        good = (recorded for seed in itertools.count() if (recorded := record(recipe, seed)).folder)
        if len(list(itertools.islice(good, _EACH))) < _EACH:
            raise KinemaError(f"{task}: no demonstrations")


def _copies(source: Path, out: Path, count: int) -> None:
    folders = itertools.islice(itertools.cycle(find(source).values()), count)
    for i, folder in enumerate(folders):
        target = out / f"copy-{i:03d}" / folder.name
        shutil.copytree(folder, target)


def _row(name: str, form: Format, episodes: dict[str, Path], scratch: Path, jobs: int) -> tuple[str, ...]:
    out = scratch / "out"
    begin, used = time.perf_counter(), sum(os.times()[:4])
    summary = export(episodes, out, form, jobs=jobs)
    wall, used = time.perf_counter() - begin, sum(os.times()[:4]) - used
    recorded = sum(file.stat().st_size for folder in episodes.values() for file in folder.rglob("*") if file.is_file())
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    frames = sum(part.frames for part in summary.exported)
    for folder in (out, out.with_name("out.parts")):
        shutil.rmtree(folder)
    minute = 60 * len(summary.exported)
    cells = (
        name,
        str(jobs),
        f"{len(summary.exported)}/{len(episodes)}",
        f"{minute / wall:.0f}",
        f"{minute / used:.0f}",
    )
    return (*cells, f"{3 * frames / wall:.0f}", f"{recorded / 1e6:.0f}", f"{size / 1e6:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=16, help="how many to export")
    parser.add_argument("--in", dest="source", type=Path, help="folder of recorded episodes")
    arguments = parser.parse_args()
    table = Table()
    columns = (
        "data set",
        "processes",
        "exported",
        "episodes/min",
        "a core",
        "images/s",
        "MB recorded",
        "MB exported",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "data set" else "right")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if arguments.source is None:
            _demonstrations(scratch / "recorded")
        _copies(arguments.source or scratch / "recorded", scratch / "episodes", arguments.episodes)
        episodes = find(scratch / "episodes")
        cores = len(os.sched_getaffinity(0))
        forms: tuple[tuple[str, Format], ...] = (
            (f"LeRobot {LeRobot().name.split()[-1]}", LeRobot()),
            ("shards", Shards()),
            (f"shards, smaller ({_SMALLER[0]}x{_SMALLER[1]})", Shards(size=_SMALLER)),
        )
        for (name, form), jobs in itertools.product(forms, sorted({1, cores})):
            table.add_row(*_row(name, form, episodes, scratch, jobs))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
