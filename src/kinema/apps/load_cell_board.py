"""The virtual load cell's amplifier board on a pty, in real time. `python -m kinema.apps.load_cell_board`.

Its port, a link to the pty, has the cell file's name in the cell's run-time directory.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable

from kinema import paths
from kinema.apps import process
from kinema.cell_devices import SerialLoadCell
from kinema.cell_file import Cell
from kinema.errors import ConfigError
from kinema.virtual.load_cell import VirtualBoard

_POLL = 0.002  # [s]


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder, device = paths.runtime(), cell.devices.load_cell
    if not (cell.simulated and isinstance(device, SerialLoadCell)):
        raise ConfigError(
            f"cell {cell.name!r}: a virtual board is for a cell with a world and load_cell.backend serial"
        )
    board = VirtualBoard(folder, folder / device.port, device.serial)
    logging.info("the load cell's board is at %s", folder / device.port)
    try:
        while not stopped():
            board.step()
            time.sleep(_POLL)
    finally:
        board.close()


def main() -> int:
    return process.main("load_cell_board", _run)


if __name__ == "__main__":
    sys.exit(main())
