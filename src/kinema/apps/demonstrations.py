"""`kinema demonstrations`: as many recorded demonstrations of a task as wanted, in lockstep, one process a core.

Seeds are taken in their order until so many good episodes stand in the output folder: a demonstration that failed, or
whose recording must be refused (a tracker that jumped, as trackers do), leaves none, and the next seed takes its place.
What stands there already is not made again, nor what was refused (`refused.jsonl`), so a run that was cut short goes on
where it was.
"""

import argparse
import concurrent.futures
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from kinema import cell_file, paths
from kinema.apps import lines
from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.apps.lockstep_recording import Recipe, Recorded, folder, record
from kinema.clock import to_seconds
from kinema.episodes import facts as facts_file
from kinema.episodes.provenance import calibration_origin
from kinema.errors import EpisodeError
from kinema.virtual.cameras import DEFAULT_SIZE, SIZES
from kinema.virtual.objects import SPLITS
from kinema.virtual.tasks import TASKS
from kinema.workers import workers

REFUSED = "refused.jsonl"  # in the output folder: what came of seeds that left no episode

_HOPELESS = 20  # refused in a row: something is wrong that no further seed will mend


@functools.cache
def _origin(recipe: Recipe) -> str:
    return calibration_origin(recipe.bundle())


def standing(recipe: Recipe, seed: int) -> Recorded | None:
    """The good episode of a seed where there is one already; raises EpisodeError where another one has its place."""
    place = folder(recipe, seed)
    if not place.exists():
        return None
    facts = facts_file.load(place)
    drawn, images = facts.scenario, facts.images
    same = drawn is not None and (drawn.task, drawn.split, drawn.seed) == (recipe.task, recipe.split, seed)
    alike = (images.compression, images.quality, images.width, images.height)
    same = same and (facts.operator, facts.calibration_origin) == (recipe.operator, _origin(recipe))
    if not (same and facts.finished and not facts.rejected) or alike != ("jpeg", recipe.quality, *recipe.image_size):
        raise EpisodeError(
            f"{place}: is not the episode of {recipe.task}, {recipe.split}, seed {seed} by the {recipe.operator} "
            f"with images of {recipe.image_size} as JPEG {recipe.quality}, calibration: {_origin(recipe)}; "
            "move it away, or give another --out"
        )
    return Recorded(seed, facts.text, place, "", to_seconds(facts.ended_ns - facts.began_ns))


def _manner(recipe: Recipe) -> dict[str, Any]:
    """What a refusal depends on besides the seed."""
    size, operator, origin = list(recipe.image_size), recipe.operator, _origin(recipe)
    return {"task": recipe.task, "split": recipe.split, "operator": operator, "images": size, "calibration": origin}


def _refusals(recipe: Recipe) -> dict[int, Recorded]:
    """By seed, as an earlier run of this recipe found them."""
    manner, rows = _manner(recipe), map(msgspec.json.decode, lines.read(recipe.out / REFUSED))
    return {row["seed"]: Recorded(row["seed"], row["text"], None, row["why"]) for row in rows if row["of"] == manner}


def _remember(recipe: Recipe, result: Recorded) -> None:
    row = {"seed": result.seed, "text": result.text, "why": result.rejected, "of": _manner(recipe)}
    lines.append(recipe.out / REFUSED, msgspec.json.encode(row))


def produce(recipe: Recipe, first: int, episodes: int, jobs: int) -> Iterator[Recorded]:
    """What came of the seeds from `first` on, as they come, until so many are good: the first ones that are.

    Never more are under way than still are missing, so the set is the same for any number of processes. Raises
    EpisodeError when one refusal follows the other.
    """
    seeds, missing, refused, known = itertools.count(first), episodes, 0, _refusals(recipe)
    with workers(jobs) as pool:
        under_way: set[concurrent.futures.Future[Recorded]] = set()
        while missing > 0:
            while len(under_way) < min(missing, jobs):
                seed = next(seeds)
                if seed in known:
                    yield known[seed]
                    continue
                there = standing(recipe, seed)
                if there is None:
                    under_way.add(pool.submit(record, recipe, seed))
                    continue
                missing, refused = missing - 1, 0
                yield there
            done, under_way = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                result = future.result()
                good = result.folder is not None
                missing, refused = missing - good, 0 if good else refused + 1
                if not good:
                    _remember(recipe, result)
                yield result
                if refused == _HOPELESS:
                    raise EpisodeError(
                        f"{refused} demonstrations in a row came to nothing; the last: {result.rejected}"
                    )


def _size(text: str) -> tuple[int, int]:
    """'320x240' as width, height [px]."""
    found = {f"{width}x{height}": (width, height) for width, height in SIZES}.get(text)
    if found is None:
        allowed = ", ".join(f"{width}x{height}" for width, height in SIZES)
        raise argparse.ArgumentTypeError(f"{text!r} is no size of the virtual cameras; allowed: {allowed}")
    return found


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share; allowed: 0 to 1")
    return share


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="pick_and_place", choices=TASKS)
    parser.add_argument("--split", default="train", choices=SPLITS)
    parser.add_argument("--episodes", type=positive, default=20, help="how many good ones, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="the first scenario's seed; the others follow")
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes, default: the cores"
    )
    parser.add_argument("--out", type=Path, default=paths.root() / "episodes", help="default: %(default)s")
    parser.add_argument("--image-size", type=_size, default=DEFAULT_SIZE, help="default: 320x240")
    parser.add_argument("--quality", type=int, default=90, choices=range(1, 101), metavar="1..100", help="of the JPEGs")
    parser.add_argument("--recovery", type=_share, default=0.0, help="share that begins off course, as 0.4; default: 0")
    parser.add_argument(
        "--out-of-view",
        action="store_true",
        help="begin where no side camera sees the hand: what Dreamitate learns from",
    )
    parser.add_argument("--cell", type=Path, default=cell_file.VIRTUAL)
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="the files to record by; default: those of the cell"
    )


def _show(results: list[Recorded], recipe: Recipe) -> None:
    out = console()
    refused = [result for result in results if result.folder is None]
    if refused:
        table = Table("seed", "task", "refused", title="not recorded")
        for result in refused:
            table.add_row(str(result.seed), result.text, result.rejected)
        out.print(table)
    good = [result for result in results if result.folder is not None]
    out.print(
        f"{len(good)} demonstrations of {recipe.task} ({recipe.split}), {sum(r.duration for r in good) / 60:.1f} "
        f"minutes, stand in {recipe.out}; {len(refused)} of {len(results)} seeds were refused. Success is the "
        f"simulator's truth; calibration: {_origin(recipe)}."
    )


def run(arguments: argparse.Namespace) -> int:
    """Record until there are enough, then say what was refused and why."""
    recipe = Recipe(
        task=arguments.task,
        split=arguments.split,
        out=arguments.out.absolute(),
        cell=arguments.cell,
        image_size=arguments.image_size,
        quality=arguments.quality,
        recovery=arguments.recovery,
        out_of_view=arguments.out_of_view,
        calibration=arguments.calibration and arguments.calibration.absolute(),
    )
    results: list[Recorded] = []
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[refused]} refused"), TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{recipe.task} / {recipe.split}", total=arguments.episodes, refused=0)
        for result in produce(recipe, arguments.seed, arguments.episodes, arguments.jobs):
            results.append(result)
            good = sum(r.folder is not None for r in results)
            progress.update(bar, completed=good, refused=len(results) - good)
    _show(sorted(results, key=lambda result: result.seed), recipe)
    return 0
