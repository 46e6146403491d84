"""The TCP ports of the virtual xArm controller, in a thread of their own: control by question and answer, and reports.

A question is answered at once, whatever the arm's cycle is doing; so is it in the real box, where the two are apart.
"""

import math
import select
import threading
import time
from dataclasses import replace

import numpy as np

from kinema import dh
from kinema.errors import DeviceError
from kinema.virtual import xarm_controller_wire as wire
from kinema.virtual.controller_ports import Connection, Port
from kinema.virtual.xarm_controller import COLLISION, XArmController

DISTURBANCES = {
    "cut": "every connection ends; new ones are welcome",
    "silent": "nothing is answered and nothing reported; connections stay open",
    "frozen": "the same state is told again and again",
    "collision": "as after a collision",
    "emergency_stop": "the button of the box is pressed",
    "other_arm": "kinematics of another arm of the same type, two millimetres off; for good",
    "clear": "answers and reports come again, the button is released; an error stays until it is cleaned",
}

_OFF = 0.002  # [m]
_IDLE = 0.2  # [s] at most between two looks at whether it is to end


class XArmPorts:
    """Serves a controller until closed. Raises DeviceError when a port is taken.

    address  standard numbers are used for the reports; several controllers take several addresses below 127
    control  number of the control port: 502 as in the real box is for privileged users only
    """

    def __init__(self, controller: XArmController, address: str, control: int = wire.CONTROL_PORT) -> None:
        self._controller = controller
        self._control = Port(address, control, self._hear)
        self._reports: dict[int, Port] = {}
        try:
            for number in wire.REPORTS:
                self._reports[number] = Port(address, number, _ignore)
        except BaseException:
            self._close_ports()
            raise
        self._due = dict.fromkeys(self._reports, time.monotonic())
        self._ended = threading.Event()
        self._cut = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xarm ports", daemon=True)
        self._thread.start()

    @property
    def serving(self) -> bool:
        """Whether anybody commands it."""
        return bool(self._control.clients)

    def disturb(self, name: str) -> None:
        """One of DISTURBANCES; raises DeviceError naming them for any other."""
        controller = self._controller
        match name:
            case "cut":
                self._cut.set()
            case "silent":
                controller.mute = True
            case "frozen":
                controller.frozen = True
            case "collision":
                controller.fail(COLLISION)
            case "emergency_stop":
                controller.pressed = True
            case "other_arm":
                chain = dh.nominal(controller.model)
                other = replace(chain, d=chain.d + _OFF * np.eye(len(chain.d))[2])
                controller.model = dh.calibrated(controller.model, other)
            case "clear":
                controller.mute = controller.frozen = controller.pressed = False
            case _:
                known = "; ".join(f"{key}: {text}" for key, text in DISTURBANCES.items())
                raise DeviceError(f"disturbance {name!r} is not in the table; allowed: {known}")

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._close_ports()

    # -- in the thread

    def _run(self) -> None:
        ports = [self._control, *self._reports.values()]
        while not self._ended.is_set():
            waiting: list[Port | Connection] = [*ports]
            for port in ports:
                waiting += (client for client in port.clients if client.open)
            due = [self._due[number] for number, port in self._reports.items() if port.clients]
            left = max(min(due, default=math.inf) - time.monotonic(), 0.0)
            ready = select.select(waiting, [], [], min(left, _IDLE))[0]
            for port in ports:
                if port in ready or any(not client.open or client in ready for client in port.clients):
                    port.poll()
            if self._cut.is_set():
                self._cut.clear()
                for port in ports:
                    port.cut()
            self._send_reports()

    def _hear(self, client: Connection) -> None:
        found, client.data = wire.requests(client.data)
        for request in found:
            answer = self._controller.answer(request)
            if answer is not None:
                client.send(answer)

    def _send_reports(self) -> None:
        now = time.monotonic()
        for number, port in self._reports.items():
            if now < self._due[number]:
                continue
            self._due[number] = max(self._due[number] + 1.0 / wire.REPORTS[number][1], now)
            if port.clients and (record := self._controller.report(number)) is not None:
                for client in port.clients:
                    client.send(record)

    def _close_ports(self) -> None:
        for port in (self._control, *self._reports.values()):
            port.close()


def _ignore(client: Connection) -> None:
    """Nobody is expected to say anything on a report port."""
    client.data = b""
