"""`kinema episodes recover`: finish what killed recorders left."""

import argparse
import sys
from pathlib import Path

from kinema.clock import to_seconds
from kinema.episodes import facts as facts_file
from kinema.episodes.reader import find
from kinema.episodes.repair import recover
from kinema.errors import EpisodeError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="+", help="an episode, or a folder with episodes")


def run(arguments: argparse.Namespace) -> int:
    """0 when everything unfinished has been recovered, 1 when something could not be."""
    failed = 0
    folders = [folder for root in arguments.folder for folder in find(root).values()]
    for folder in folders:
        try:
            before = facts_file.load(folder)
            after = recover(folder)
        except EpisodeError as error:
            print(f"not recovered: {error}", file=sys.stderr)
            failed += 1
            continue
        if after != before:
            length = to_seconds(after.ended_ns - after.began_ns)
            print(f"{folder}: recovered {length:.1f} s, {sum(after.messages.values())} messages; {after.rejected}")
    return 1 if failed else 0
