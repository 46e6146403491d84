"""`kinema calibration judge`: a calibration of the virtual cell beside the truth, which only a simulator knows."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from kinema import cell_file
from kinema.apps.calibration import add_cell
from kinema.apps.console import console
from kinema.apps.export_virtual_calibration import virtual_calibration
from kinema.calibration.bundle import ALL, CalibrationFile
from kinema.calibration.compare import meaning, uncertainty
from kinema.calibration.files import CameraInfo, load
from kinema.errors import CalibrationError


def judge(folder: Path) -> Mapping[str, tuple[CalibrationFile, str]]:
    """Each measured file and what differs from the truth; raises CalibrationError where there is none."""
    found = {}
    for name, truth in virtual_calibration().items():
        if not (folder / name).exists():
            continue
        made = load(folder / name, type(truth), remedy=ALL[name].remedy, override=True)
        if isinstance(truth, CameraInfo) and isinstance(made, CameraInfo):
            truth = truth.scaled(made.size)
        found[name] = made, meaning(truth, made)
    if not found:
        raise CalibrationError(f"{folder}: holds no calibration file; `kinema calibration rehearse` makes them")
    return found


def configure(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)
    parser.add_argument("folder", type=Path, nargs="?", help="default: the cell's own")


def run(arguments: argparse.Namespace) -> int:
    """A line a file."""
    folder = cell_file.load(arguments.cell).calibrated_by(arguments.folder).calibration_folder
    table = Table("file", "samples", "beside the truth", "said of itself", box=None, pad_edge=False)
    for name, (made, off) in judge(folder).items():
        origin = made.provenance.origin
        table.add_row(name, str(made.provenance.samples), off, uncertainty(made) if origin == "measured" else origin)
    console().print(table)
    return 0
