"""`kinema episodes list`: one line an episode."""

import argparse
from collections import Counter
from pathlib import Path

from rich.table import Column, Table

from kinema.apps.console import console
from kinema.clock import to_seconds
from kinema.episodes import facts as facts_file
from kinema.episodes.facts import Facts
from kinema.episodes.reader import find
from kinema.episodes.writer import being_written
from kinema.errors import EpisodeError


def state(folder: Path, facts: Facts) -> tuple[str, str]:
    """In one word, and why."""
    if not facts.finished:
        if being_written(folder):
            return "recording", ""
        return "unfinished", f"kinema episodes recover {folder}"
    if facts.rejected:
        return "rejected", facts.rejected
    if facts.success is False:
        return "failure", facts.ended
    return "good", facts.ended


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("episodes"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """0, whatever there is; the last line counts."""
    table = Table(
        Column("episode", overflow="fold"), "task", "by", "length", "images", "state", "", box=None, pad_edge=False
    )
    counts: Counter[str] = Counter()
    good = 0.0
    for name, folder in find(arguments.folder).items():
        try:
            facts = facts_file.load(folder)
        except EpisodeError as error:
            counts["unreadable"] += 1
            table.add_row(name, "", "", "", "", "unreadable", str(error))
            continue
        word, why = state(folder, facts)
        length = max(0.0, to_seconds(facts.ended_ns - facts.began_ns))
        counts[word] += 1
        good += length * (word == "good")
        images = f"{facts.images.width}x{facts.images.height} {facts.images.compression}"
        by = facts.operator or facts.robot or facts.source
        table.add_row(name, facts.text, by, f"{length:.1f} s" if facts.ended_ns else "", images, word, why)
    out = console()
    out.print(table)
    out.print(", ".join(f"{count} {word}" for word, count in counts.most_common()) + f"; {good:.0f} s are good")
    return 0
