"""A virtual xArm control box before the virtual cell's arm and jaw. `python -m kinema.apps.xarm_controller`.

The real xarm-python-sdk connects to it at the cell file's address and port; every address below 127 is this machine, so
several may run side by side. The jaw hangs on it where the gripper's backend says so. What is to be disturbed in it is
asked for at `xarm_controller.sock`.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from kinema import paths
from kinema.apps import process
from kinema.cell_devices import XArm, XArmGripper
from kinema.cell_file import Cell
from kinema.control.rate import set_up_real_time
from kinema.devices.virtual import VirtualArm, VirtualGripper
from kinema.errors import ConfigError, DeviceError
from kinema.virtual import disturbances
from kinema.virtual.xarm_controller import XArmController
from kinema.virtual.xarm_controller_ports import DISTURBANCES, XArmPorts
from kinema.wire import Server

_PRIORITY = 45  # of SCHED_FIFO, between the cell's and the control loop's
_SILENCE = 0.1  # [s] of one wait for the arm
_SWITCH = 1e-4  # [s] after which the thread of the ports gets the interpreter


def _connect(robot: str, folder: Path, with_jaw: bool) -> tuple[VirtualArm, VirtualGripper | None]:
    gripper = VirtualGripper(folder) if with_jaw else None
    try:
        return VirtualArm(robot, folder), gripper
    except DeviceError:
        if gripper is not None:
            gripper.close()
        raise


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    if not (cell.simulated and isinstance(cell.arm, XArm)):
        raise ConfigError(f"cell {cell.name!r}: a virtual control box is for a cell with a world and arm.backend xarm")
    folder, address, port = paths.runtime(), cell.arm.address, cell.arm.port
    with_jaw = isinstance(cell.devices.gripper, XArmGripper)
    found = process.patiently(lambda: _connect(arguments.robot, folder, with_jaw), stopped)
    if found is None:
        return
    arm, gripper = found
    try:
        controller = XArmController(arm, gripper)
        ports = XArmPorts(controller, address, port)
        requests = Server(folder / "xarm_controller.sock", {"address": address, "port": port})
        logging.info("a control box at %s:%d", address, port)
        logging.info(set_up_real_time(_PRIORITY))
        sys.setswitchinterval(_SWITCH)
        try:
            over = process.last(stopped, lambda: ports.serving)
            while not over():
                controller.step(_SILENCE)
                disturbances.serve(requests, ports.disturb, DISTURBANCES)
        finally:
            requests.close()
            ports.close()
    finally:
        arm.close()
        if gripper is not None:
            gripper.close()


def main() -> int:
    return process.main("xarm_controller", _run)


if __name__ == "__main__":
    sys.exit(main())
