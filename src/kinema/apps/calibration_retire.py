"""`kinema calibration retire`: take out of force what no override lets pass, so that sessions can make it anew."""

import argparse

from kinema import cell_file
from kinema.apps.calibration import add_cell, newest, serials
from kinema.calibration.bundle import ALL, fault, retire, stuck


def configure(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)


def run(arguments: argparse.Namespace) -> int:
    """0; files that may be used, and those that are old or bad, stay."""
    cell = cell_file.load(arguments.cell)
    folder, devices = cell.calibration_folder, serials(cell)
    found = [kind for kind in ALL.values() if stuck(folder, kind, devices)]
    for kind in found:
        print(fault(folder, kind, devices, override=True))
        retire(folder, kind, devices)
        print(f"{kind.file} is previous file {newest(folder / kind.file)} now")
    if found:
        print("launch with calibration_override:=WHY, and make anew what `kinema calibration list` misses")
    else:
        print(f"{folder}: no file is broken, or of another device than the cell's")
    return 0
