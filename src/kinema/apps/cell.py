"""The cell process: the virtual cell in real time behind its sockets and rings. `python -m kinema.apps.cell`."""

import argparse
import logging
import sys
from collections.abc import Callable

from kinema import paths
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.control.rate import set_up_real_time
from kinema.errors import ConfigError
from kinema.virtual import scenario
from kinema.virtual.server import CellServer

_PRIORITY = 40  # of SCHED_FIFO; the control loop's is higher, for the cell waits for its answers
_SWITCH = 1e-4  # [s] after which the thread that builds a new scene hands the interpreter back to the ticks


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    if cell.world is None:
        raise ConfigError(f"cell {cell.name!r} has no section 'world': it is not a virtual one")
    drawn = scenario.draw(*process.world(cell.world, arguments))
    server = CellServer(paths.runtime(), arguments.robot, drawn, cell.arm.command_kind)
    logging.info("%s, %s, in %s", arguments.robot, server.world.scenario.text, paths.runtime())
    logging.info(set_up_real_time(_PRIORITY))
    sys.setswitchinterval(_SWITCH)
    try:
        server.run(process.last(stopped, lambda: server.serving), cell.world.real_time_factor)
    finally:
        server.close()
        logging.info("%d ticks, %d unanswered, %.3f s slipped", server.k, server.arm.unanswered, server.pace.slipped)


def main() -> int:
    return process.main("cell", _run, process.world_arguments)


if __name__ == "__main__":
    sys.exit(main())
