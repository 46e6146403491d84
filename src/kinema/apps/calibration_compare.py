"""`kinema calibration compare`: what differs between two of a file's versions, and what it means."""

import argparse

from rich.table import Table

from kinema.apps.calibration import add_name, named, newest, version
from kinema.apps.cli import positive
from kinema.apps.console import console
from kinema.calibration.compare import changes, meaning


def configure(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("before", type=positive, nargs="?", help="number of a previous file; default: the newest")
    parser.add_argument("after", type=positive, nargs="?", help="number of another; default: the file in force")


def run(arguments: argparse.Namespace) -> int:
    """0, whatever differs."""
    path, kind = named(arguments)
    before = version(path, kind, arguments.before or newest(path))
    after = version(path, kind, arguments.after)
    table = Table("", f"{before.provenance.date}", f"{after.provenance.date}", box=None, pad_edge=False)
    for place, pair in changes(before, after).items():
        table.add_row(place, *("" if number is None else str(number) for number in pair))
    out = console()
    out.print(table)
    out.print(meaning(before, after))
    return 0
