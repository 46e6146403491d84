"""A virtual UR controller before the virtual cell's arm. `python -m kinema.apps.ur_controller`.

Real ur_rtde connects to it at the address in the cell file; every address below 127 is this machine, so several may run
side by side.
"""

import argparse
import logging
import sys
from collections.abc import Callable

from kinema import paths, robots
from kinema.apps import process
from kinema.cell_devices import UrArm
from kinema.cell_file import Cell
from kinema.control.rate import set_up_real_time
from kinema.devices.virtual import VirtualArm
from kinema.errors import ConfigError
from kinema.virtual import disturbances
from kinema.virtual.ur_controller import CB3, DISTURBANCES, E_SERIES, UrController
from kinema.wire import Server

_PRIORITY = 45  # of SCHED_FIFO, between the cell's and the control loop's


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generation", choices=("e-series", "cb3"), default="e-series")


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    if not (cell.simulated and isinstance(cell.arm, UrArm)):
        raise ConfigError(f"cell {cell.name!r}: a virtual UR controller is for a cell with a world and arm.backend ur")
    folder, model, address = paths.runtime(), robots.arm(arguments.robot), cell.arm.address
    version = E_SERIES if arguments.generation == "e-series" else CB3
    plant = process.patiently(lambda: VirtualArm(arguments.robot, folder), stopped)
    if plant is None:
        return
    try:
        controller = UrController(plant, model, address, version)
        requests = Server(folder / "ur_controller.sock", {"address": address})
        logging.info("%s at %s", arguments.generation, address)
        logging.info(set_up_real_time(_PRIORITY))
        try:
            over = process.last(stopped, lambda: controller.serving)
            while not over():
                controller.tick()
                disturbances.serve(requests, controller.disturb, DISTURBANCES)
        finally:
            requests.close()
            controller.close()
    finally:
        plant.close()


def main() -> int:
    return process.main("ur_controller", _run, _arguments)


if __name__ == "__main__":
    sys.exit(main())
