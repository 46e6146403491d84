"""The load cell between the jaws: wrench, its trustworthiness, and taring. Newtons; grams stay inside the device."""

import threading

import numpy as np
from std_srvs.srv import Trigger

from kinema import cell_file
from kinema.devices.virtual import VirtualLoadCell
from kinema.perception.force_watch import ForceWatch
from kinema_ros.convert import force_msg, wrench_msg
from kinema_ros.node import Node, Parameter, spin

_TIMEOUT = 0.1  # [s] of one wait for a sample


class LoadCellNode(Node):
    """Publishes every sample at the cell's own rate; `~/zero` takes the present load for zero."""

    PARAMETERS = (Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),)

    def configure(self) -> None:
        cell = cell_file.load(self.value("cell"))
        self._device = VirtualLoadCell(cell.devices.load_cell.serial)
        self._lock = threading.Lock()  # a device serves one thread at a time
        self._watch = ForceWatch()
        self._wrench = self.outlet("load_cell/wrench")
        self._force = self.outlet("load_cell/force")
        self.serve(Trigger, "~/zero", self._zero)
        self.watch("force", lambda monotonic_ns: self._watch.health())

    def activate(self) -> None:
        self.loop(self._read)

    def cleanup(self) -> None:
        if device := self.__dict__.pop("_device", None):
            device.close()

    def _read(self) -> None:
        with self._lock:
            sample = self._device.read(_TIMEOUT)
        if sample is not None:
            self._watch.take(sample)
            closing = np.array([sample.force, 0.0, 0.0, 0.0, 0.0, 0.0])  # the jaws close along the TCP's x
            self._wrench.publish(wrench_msg(sample.stamp_ns, "tcp", closing))
            self._force.publish(force_msg(sample))

    def _zero(self, request: Trigger.Request, response: Trigger.Response) -> str:
        with self._lock:
            offset = self._device.tare()
        return f"tared; the load taken for zero is {offset:.3f} N"


def main() -> None:
    spin(lambda: LoadCellNode("load_cell"))
