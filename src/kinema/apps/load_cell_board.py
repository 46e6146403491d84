"""The virtual load cell's amplifier board on a pty, in real time. `python -m kinema.apps.load_cell_board`.

The port is `load_cell.tty` in the cell's run-time directory, as a link to the pty.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable

from kinema import paths
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.virtual.load_cell import VirtualBoard

PORT = "load_cell.tty"

_POLL = 0.002  # [s]


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder = paths.runtime()
    board = VirtualBoard(folder, folder / PORT, cell.devices.load_cell.serial)
    logging.info("the load cell's board is at %s", folder / PORT)
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
