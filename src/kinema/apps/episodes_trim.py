"""`kinema episodes trim`: set the useful interval."""

import argparse
from pathlib import Path

from kinema.clock import to_seconds
from kinema.episodes.repair import trim


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode")
    for name, what in (("start", "begin"), ("end", "end")):
        parser.add_argument(
            f"--{name}", type=float, metavar="SECONDS", help=f"{what} here, counted from where it begins now"
        )


def run(arguments: argparse.Namespace) -> int:
    facts = trim(arguments.folder, arguments.start, arguments.end)
    length = to_seconds(facts.ended_ns - facts.began_ns)
    print(f"{arguments.folder}: {length:.3f} s; {facts.rejected or 'may be used'}")
    return 0
