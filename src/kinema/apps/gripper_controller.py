"""A virtual gripper before the virtual cell's jaw: a Robotiq's URCap, or a serial servo.

`python -m kinema.apps.gripper_controller`. Address, or the port's name in the run-time directory, are the cell file's.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kinema import paths
from kinema.apps import process
from kinema.cell_devices import RobotiqGripper, ServoGripper
from kinema.cell_file import Cell
from kinema.devices.virtual import VirtualGripper
from kinema.errors import ConfigError
from kinema.virtual.robotiq_socket import RobotiqSocket
from kinema.virtual.servo_pty import ServoPty

_LOOK = 0.1  # [s] between two looks whether it is to end


def serve(cell: Cell, jaw: VirtualGripper, folder: Path) -> RobotiqSocket | ServoPty:
    """The gripper that the cell file names, before a jaw; raises ConfigError for one that has no virtual one."""
    match cell.devices.gripper:
        case RobotiqGripper() as device:
            logging.info("a Robotiq's URCap at %s:%d", device.address, device.port)
            return RobotiqSocket(jaw, device.address, device.port)
        case ServoGripper() as device:
            logging.info("a serial servo at %s", folder / device.port)
            return ServoPty(jaw, folder / device.port, servo=device.servo)
    raise ConfigError(
        f"cell {cell.name!r}: gripper.backend is {cell.devices.gripper.backend!r}; robotiq or servo allowed"
    )


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    if not cell.simulated:
        raise ConfigError(f"cell {cell.name!r}: a virtual gripper is for a cell with a world")
    folder = paths.runtime()
    jaw = process.patiently(lambda: VirtualGripper(folder), stopped)
    if jaw is None:
        return
    try:
        served = serve(cell, jaw, folder)
        try:
            over = process.last(stopped, lambda: served.serving)
            while not over():
                time.sleep(_LOOK)
        finally:
            served.close()
    finally:
        jaw.close()


def main() -> int:
    return process.main("gripper_controller", _run)


if __name__ == "__main__":
    sys.exit(main())
