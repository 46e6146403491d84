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
    print(f"{arguments.folder}: {to_seconds(facts.ended_ns - facts.began_ns):.3f} s are useful now")
    return 0
