"""The virtual cell with the handheld gripper in a person's hand, in real time. `python -m kinema.apps.handheld`."""

import argparse
import logging
import sys
from collections.abc import Callable

from kinema import paths
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.errors import ConfigError
from kinema.virtual import scenario
from kinema.virtual.handheld_server import HandheldServer

_SWITCH = 1e-4  # [s] after which the thread that builds a new scene hands the interpreter back to the ticks


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    if cell.world is None:
        raise ConfigError(f"cell {cell.name!r} has no section 'world': it is not a virtual one")
    server = HandheldServer(paths.runtime(), scenario.draw(*process.world(cell.world, arguments)))
    logging.info("the handheld gripper, %s, in %s", server.world.scenario.text, paths.runtime())
    sys.setswitchinterval(_SWITCH)
    try:
        server.run(stopped, cell.world.real_time_factor)
    finally:
        server.close()
        logging.info("%d ticks, %.3f s slipped", server.k, server.pace.slipped)


def main() -> int:
    return process.main("handheld", _run, process.world_arguments)


if __name__ == "__main__":
    sys.exit(main())
