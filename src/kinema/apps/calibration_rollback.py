"""`kinema calibration rollback`: make a previous file the one in force again."""

import argparse

from kinema import cell_file
from kinema.apps.calibration import add_name, named, newest, serials, version
from kinema.apps.cli import positive
from kinema.calibration.files import load, previous, save


def configure(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("number", type=positive, nargs="?", help="of a previous file; default: the newest")


def run(arguments: argparse.Namespace) -> int:
    """0 when it is in force; what may not be used is an error, and nothing changes."""
    path, kind = named(arguments)
    number = arguments.number or newest(path)
    version(path, kind, number)  # refuses a number that there is not
    serial = kind.serial(serials(cell_file.load(arguments.cell)))
    remedy = "a file that may not be used is not rolled back to"
    value = load(previous(path)[number], kind.schema, serial=serial, remedy=remedy)
    save(path, value)
    print(f"{path} is previous file {number} again, of {value.provenance.date}")
    return 0
