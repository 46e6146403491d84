"""`kinema calibration`: what can be done with a cell's calibration files, from one table of commands."""

import argparse
from pathlib import Path

from kinema import cell_file
from kinema.apps.cli import add_commands
from kinema.calibration.bundle import ALL, CalibrationFile, Kind
from kinema.calibration.files import load, previous
from kinema.cell_file import Cell
from kinema.errors import CalibrationError

# name -> module with `configure(parser) -> None` and `run(arguments) -> int`, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("kinema.apps.calibration_list", "which files there are, how good they are, and which ones are missing"),
    "show": ("kinema.apps.calibration_show", "one file's numbers, and the previous ones"),
    "compare": ("kinema.apps.calibration_compare", "what differs between two of a file's versions, and what it means"),
    "rehearse": ("kinema.apps.calibration_rehearse", "calibrate the virtual cell from nothing, by its sensors alone"),
    "judge": ("kinema.apps.calibration_judge", "a calibration of the virtual cell beside the simulator's truth"),
    "retire": ("kinema.apps.calibration_retire", "take files of replaced devices, and broken ones, out of force"),
    "rollback": ("kinema.apps.calibration_rollback", "make a previous file the one in force again"),
}


def add_cell(parser: argparse.ArgumentParser) -> None:
    """`--cell`, which says whose files."""
    parser.add_argument("--cell", type=Path, default=cell_file.VIRTUAL, help="the cell file, default: %(default)s")


def add_name(parser: argparse.ArgumentParser) -> None:
    """`--cell`, and which file of its folder."""
    add_cell(parser)
    parser.add_argument("name", help="as `left.yaml`")


def named(arguments: argparse.Namespace) -> tuple[Path, Kind]:
    """The file that the arguments name; raises CalibrationError naming the ones there are."""
    name = arguments.name if arguments.name.endswith(".yaml") else f"{arguments.name}.yaml"
    if name not in ALL:
        raise CalibrationError(f"{arguments.name!r} is no calibration file; allowed: {', '.join(ALL)}")
    return cell_file.load(arguments.cell).calibration_folder / name, ALL[name]


def version(path: Path, kind: Kind, number: int | None) -> CalibrationFile:
    """A previous file by its number, or with None the one in force; old or bad ones, too."""
    versions = previous(path)
    if number is not None and number not in versions:
        there = ", ".join(str(known) for known in versions) or "none"
        raise CalibrationError(f"{path}: there is no previous file {number}; there are: {there}")
    return load(path if number is None else versions[number], kind.schema, remedy=kind.remedy, override=True)


def newest(path: Path) -> int:
    """The number of the previous file that was replaced last; raises CalibrationError when there is none."""
    versions = previous(path)
    if not versions:
        raise CalibrationError(f"{path}: there is no previous file")
    return max(versions)


def serials(cell: Cell) -> dict[str, str]:
    """Serial numbers by role of all devices that the cell has."""
    found = cell.serials(handheld=False) if cell.devices.arm is not None else {}
    return found | (cell.serials(handheld=True) if cell.devices.tracker is not None else {})


def configure(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS)
