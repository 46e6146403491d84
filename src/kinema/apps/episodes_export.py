"""`kinema episodes export`: recorded episodes into a data set for training."""

import argparse
import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.calibration.bundle import LATENCY
from kinema.calibration.files import Latencies, load
from kinema.episodes.export import Format, Part, Summary, export
from kinema.episodes.lerobot import LeRobot
from kinema.episodes.reader import find
from kinema.episodes.rows import RATE
from kinema.episodes.shards import Shards
from kinema.errors import ConfigError

FORMATS = ("lerobot", "shards")


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT [px]."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r}: WIDTHxHEIGHT is allowed, as 320x240")
    return int(width), int(height)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=FORMATS, help="LeRobot data set v3.0, or the project's own shards")
    parser.add_argument("--in", dest="episodes", type=Path, default=Path("episodes"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the data set")
    parser.add_argument("--rate", type=positive, default=RATE, help="steps a second (default %(default)s)")
    parser.add_argument(
        "--latency", type=Path, metavar="FILE", help="a better latency.yaml than those in force at the recording"
    )
    parser.add_argument(
        "--jobs", type=positive, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)"
    )
    parser.add_argument(
        "--crf",
        type=int,
        choices=range(52),
        metavar="0..51",
        help="lerobot: H.264's rate factor, 0 lossless to 51 (default 20)",
    )
    parser.add_argument("--size", type=size, metavar="WxH", help="shards: of the images (default: as recorded)")
    parser.add_argument(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="1..100",
        help="shards: of images that are not taken over as recorded (default 90)",
    )


def _format(arguments: argparse.Namespace) -> Format:
    options = {"lerobot": ("crf",), "shards": ("size", "quality")}
    given = {name: getattr(arguments, name) for names in options.values() for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if foreign := set(given) - set(options[arguments.format]):
        raise ConfigError(f"--{min(foreign)} is not for {arguments.format}")
    return LeRobot(**given) if arguments.format == "lerobot" else Shards(**given)


def _show(summary: Summary, arguments: argparse.Namespace, seconds: float) -> None:
    out = console()
    if summary.left_out:
        table = Table("left out", "because")
        for part in summary.left_out:
            table.add_row(part.name, part.left_out)
        out.print(table)
    frames = sum(part.frames for part in summary.exported)
    origins = ", ".join(sorted({part.facts["calibration_origin"] or "unknown" for part in summary.exported}))
    out.print(
        f"{len(summary.exported)} of {len(summary.parts)} episodes, {frames} steps, in {arguments.out} "
        f"({60 * len(summary.parts) / seconds:.0f} episodes/min)\n"
        f"calibration: {origins}\nfingerprint: {summary.fingerprint}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Export; 0 even where episodes had to be left out, each with its reason."""
    form, episodes = _format(arguments), find(arguments.episodes)
    latencies = load(arguments.latency, Latencies, remedy=LATENCY.remedy) if arguments.latency else None
    begin = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[out]} left out"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(form.name, total=len(episodes), out=0)
        left_out = 0

        def done(part: Part) -> None:
            nonlocal left_out
            left_out += bool(part.left_out)
            progress.update(bar, advance=1, out=left_out)

        summary = export(
            episodes, arguments.out, form, rate=arguments.rate, latencies=latencies, jobs=arguments.jobs, done=done
        )
    _show(summary, arguments, time.perf_counter() - begin)
    return 0
