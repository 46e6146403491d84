"""A virtual UR controller before the virtual cell's arm. `python -m kinema.apps.ur_controller`.

Real ur_rtde connects to it at `--address`; every address below 127 is this machine, so several may run side by side.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kinema import paths, robots
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.control.rate import set_up_real_time
from kinema.devices.virtual import VirtualArm
from kinema.errors import DeviceError, OwnershipError
from kinema.virtual import ur_controller
from kinema.virtual.ur_controller import CB3, E_SERIES, UrController
from kinema.wire import Server

_PRIORITY = 45  # of SCHED_FIFO, between the cell's and the control loop's
_RETRY = 0.2  # [s] between two looks for the cell


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1", help="where its ports are served")
    parser.add_argument("--generation", choices=("e-series", "cb3"), default="e-series")


def _find(robot: str, folder: Path, stopped: Callable[[], bool]) -> VirtualArm | None:
    """The cell's arm, as soon as there is one; None when the process is to end before that."""
    while not stopped():
        try:
            return VirtualArm(robot, folder)
        except OwnershipError:
            raise
        except DeviceError as error:
            logging.debug("%s", error)
            time.sleep(_RETRY)
    return None


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder, model = paths.runtime(), robots.arm(arguments.robot)
    version = E_SERIES if arguments.generation == "e-series" else CB3
    plant = _find(arguments.robot, folder, stopped)
    if plant is None:
        return
    try:
        controller = UrController(plant, model, arguments.address, version)
        requests = Server(folder / "ur_controller.sock", {"address": arguments.address})
        logging.info("%s at %s", arguments.generation, arguments.address)
        logging.info(set_up_real_time(_PRIORITY))
        try:
            while not stopped():
                controller.tick()
                ur_controller.serve(requests.receive, requests.send, controller)
        finally:
            requests.close()
            controller.close()
    finally:
        plant.close()


def main() -> int:
    return process.main("ur_controller", _run, _arguments)


if __name__ == "__main__":
    sys.exit(main())
