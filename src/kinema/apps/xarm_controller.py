"""A virtual xArm control box before the virtual cell's arm and jaw. `python -m kinema.apps.xarm_controller`.

The real xarm-python-sdk connects to it at `--address`; every address below 127 is this machine, so several may run side
by side. What is to be disturbed in it is asked for at `xarm_controller.sock`.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kinema import paths
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.control.rate import set_up_real_time
from kinema.devices.virtual import VirtualArm, VirtualGripper
from kinema.errors import DeviceError, OwnershipError
from kinema.virtual.ur_controller import DISTURB, Done
from kinema.virtual.xarm_controller import XArmController
from kinema.virtual.xarm_controller_ports import DISTURBANCES, XArmPorts
from kinema.wire import Server

_PRIORITY = 45  # of SCHED_FIFO, between the cell's and the control loop's
_RETRY = 0.2  # [s] between two looks for the cell
_SILENCE = 0.1  # [s] of one wait for the arm
_SWITCH = 1e-4  # [s] after which the thread of the ports gets the interpreter


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1", help="where its ports are served")
    parser.add_argument("--port", type=int, default=10502, help="of the control socket; a real box's 502 is root's")


def _find(robot: str, folder: Path, stopped: Callable[[], bool]) -> tuple[VirtualGripper, VirtualArm] | None:
    """The cell's jaw and arm, as soon as there is a cell; None when the process is to end before that."""
    while not stopped():
        try:
            gripper = VirtualGripper(folder)
            try:
                return gripper, VirtualArm(robot, folder)
            except DeviceError:
                gripper.close()
                raise
        except OwnershipError:
            raise
        except DeviceError as error:
            logging.debug("%s", error)
            time.sleep(_RETRY)
    return None


def _serve(requests: Server, ports: XArmPorts) -> None:
    """Answer the requests for disturbances that have arrived."""
    while (packet := requests.receive()) is not None:
        try:
            request = DISTURB.decode(packet)
            ports.disturb(request.name)
            answer = Done(True, DISTURBANCES[request.name])
        except DeviceError as error:
            answer = Done(False, str(error))
        requests.send(DISTURB.encode(answer))


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder = paths.runtime()
    found = _find(arguments.robot, folder, stopped)
    if found is None:
        return
    gripper, arm = found
    try:
        controller = XArmController(arm, gripper)
        ports = XArmPorts(controller, arguments.address, arguments.port)
        requests = Server(folder / "xarm_controller.sock", {"address": arguments.address, "port": arguments.port})
        logging.info("a control box at %s:%d", arguments.address, arguments.port)
        logging.info(set_up_real_time(_PRIORITY))
        sys.setswitchinterval(_SWITCH)
        try:
            while not stopped():
                controller.step(_SILENCE)
                _serve(requests, ports)
        finally:
            requests.close()
            ports.close()
    finally:
        arm.close()
        gripper.close()


def main() -> int:
    return process.main("xarm_controller", _run, _arguments)


if __name__ == "__main__":
    sys.exit(main())
