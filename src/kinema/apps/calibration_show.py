"""`kinema calibration show`: one file's numbers, what they are good for, and the previous ones."""

import argparse

from kinema.apps.calibration import add_name, named, version
from kinema.apps.console import console
from kinema.calibration.compare import numbers, uncertainty
from kinema.calibration.files import previous
from kinema.errors import CalibrationError


def configure(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def run(arguments: argparse.Namespace) -> int:
    """0; a file that can't be read is an error."""
    path, kind = named(arguments)
    value, out = version(path, kind, None), console()
    made = value.provenance
    out.print(f"{path}: {made.origin}, {made.date}, device {made.serial}, kinema {made.software_version}")
    out.print(f"{made.samples} samples of {made.board or 'no board'}, residual {made.rms:.4g} {value.rms_unit}")
    if meant := uncertainty(value):
        out.print(meant)
    for place, number in numbers(value.model_dump(mode="json")).items():
        out.print(f"  {place:<40} {number}", highlight=False)
    for number in previous(path):
        try:
            old = version(path, kind, number).provenance
            out.print(f"previous {number}: {old.origin}, {old.date}, residual {old.rms:.4g} {value.rms_unit}")
        except CalibrationError as error:
            out.print(f"previous {number}: {error}")
    return 0
