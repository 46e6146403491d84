"""`kinema calibration list`: one line a file."""

import argparse
from pathlib import Path

from rich.table import Column, Table

from kinema import cell_file
from kinema.apps.calibration import add_cell, serials, version
from kinema.apps.console import console
from kinema.calibration.bundle import ALL, KINDS, LATENCY, LOAD_CELL, Kind, fault, stuck
from kinema.calibration.files import previous
from kinema.errors import CalibrationError


def _row(path: Path, kind: Kind) -> tuple[str, ...]:
    """Serial number, date, origin, samples, residual, number of previous files."""
    kept = str(len(previous(path)))
    try:
        value = version(path, kind, None)
    except CalibrationError:
        return "", "", "", "", "", kept
    made = value.provenance
    residual = f"{made.rms:.3g} {value.rms_unit}" if made.rms else ""
    return made.serial, str(made.date), made.origin, str(made.samples), residual, kept


def configure(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)


def run(arguments: argparse.Namespace) -> int:
    """0 when all that the cell needs may be used, else 1."""
    cell = cell_file.load(arguments.cell)
    folder, devices = cell.calibration_folder, serials(cell)
    needed = {kind.file for kind in KINDS if kind.device in devices} | {LATENCY.file}
    needed |= {LOAD_CELL.file} if cell.bridge else set()
    columns = ("file", "serial", "date", "origin", "samples", "residual", "previous")
    table = Table(*columns, Column("state", overflow="fold"), box=None, pad_edge=False)
    wrong = 0
    for file, kind in ALL.items():
        if file not in needed and not (folder / file).exists():
            continue
        reason = fault(folder, kind, devices)
        wrong += bool(reason) and file in needed
        table.add_row(file, *_row(folder / file, kind), reason or "good")
    out = console()
    out.print(table)
    out.print(f"{folder}: {wrong} of {len(needed)} files that the cell needs may not be used")
    if any(stuck(folder, kind, devices) for kind in ALL.values()):
        out.print(
            "no override lets files pass that are broken, or of another device. Where a device was replaced:\n"
            f"kinema calibration retire --cell {arguments.cell}",
            highlight=False,
            soft_wrap=True,
        )
    return 1 if wrong else 0
