"""`kinema doctor`: is this machine fit for a cell, and the cell for work? What is wrong, and what to do about each."""

import argparse
import datetime
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.table import Column, Table
from rich.text import Text

from kinema import cell_devices, cell_file
from kinema.apps import doctor_cell, doctor_machine
from kinema.apps.console import console
from kinema.apps.doctor_machine import BASLER, SDKS, Finding
from kinema.cell_devices import CameraDevice
from kinema.cell_file import Cell
from kinema.devices import basler, realsense, t265
from kinema.streams import Level

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.ERROR: "red"}
_USB = {"realsense", "basler", "t265", "phidget", "serial", "servo"}  # backends whose devices are plugged in here


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cell", metavar="FILE", help="also what this cell file names; without it, the machine alone")


def _present(camera: CameraDevice) -> Mapping[str, str]:
    """The cameras that the SDK of one sees, by serial number."""
    if isinstance(camera, cell_devices.Basler):
        return basler.present(camera.link)
    return realsense.present()


def _machine(cell: Cell | None, named: set[str]) -> Iterator[Finding]:
    """What holds for whatever runs here; as errors, where the cell can't do without."""
    yield from doctor_machine.real_time(cell is not None and not cell.simulated and cell.devices.arm is not None)
    yield from doctor_machine.kernel()
    if cell is None or not cell.simulated:
        yield doctor_machine.rules(bool(named & _USB))
        yield from doctor_machine.groups(("plugdev", "dialout"))
    for row in SDKS:
        if cell is None or row.backends & named:
            yield doctor_machine.sdk(row)


def _plugged(cell: Cell | None) -> Iterator[Finding]:
    """What is plugged in, and what of the cell is not."""
    found = doctor_machine.usb()
    yield from map(doctor_machine.judge_usb, found)
    if any(device.kind is BASLER for device in found) and (memory := doctor_machine.usb_memory()):
        yield memory
    if cell is not None:
        yield from doctor_cell.cameras(cell, _present)
        yield from doctor_cell.others(cell, found)


def findings(cell: Cell | None, today: datetime.date) -> Iterator[Finding]:
    """Everything, in the order in which one would mend it. A simulated cell has nothing plugged in."""
    named = set() if cell is None else doctor_cell.backends(cell)
    yield from _machine(cell, named)
    if cell is None or not cell.simulated:
        if cell is not None and "t265" in named:
            yield doctor_cell.t265_interpreter(t265.find_python)
        yield from _plugged(cell)
    if cell is not None:
        if not cell.simulated:
            yield from doctor_cell.reach(cell)
        yield from doctor_cell.calibration(cell, today)


def run(arguments: argparse.Namespace) -> int:
    """1 if there is an error, else 0; a cell file that can't be read is one, told by itself."""
    cell = cell_file.load(arguments.cell) if arguments.cell else None
    table = Table(
        Column("", no_wrap=True), Column("", no_wrap=True), "state", "found", "what to do", box=None, pad_edge=False
    )
    counts: Counter[Level] = Counter()
    for found in findings(cell, datetime.datetime.now(datetime.UTC).date()):
        counts[found.level] += 1
        state = Text(found.level.name, style=_STYLES[found.level])
        table.add_row(found.part, found.subject, state, Text(found.text), Text(found.remedy))
    out = console()
    out.print(table)
    out.print(f"{counts[Level.ERROR]} errors, {counts[Level.WARN]} warnings, {counts[Level.OK]} in order")
    return 1 if counts[Level.ERROR] else 0
