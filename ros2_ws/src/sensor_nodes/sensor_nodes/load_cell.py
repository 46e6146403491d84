"""The load cell between the jaws: wrench, its trustworthiness, taring, calibrating. Newtons; grams stay in the device.

To calibrate an amplifier: `~/calibrate` with a known mass at rest, the first and the last time without any, and `last`
with the last; see docs/calibration.md.
"""

import datetime
import threading
from typing import Literal

import numpy as np
from kinema_interfaces.srv import CalibrateLoadCell
from std_srvs.srv import Trigger

from kinema import cell_devices, cell_file, paths, records
from kinema.calibration.bundle import LOAD_CELL, load_bundle, load_force_scale
from kinema.calibration.files import ForceScale, LoadPoint, save
from kinema.calibration.load_cell import calibrate, load_point, newtons, uncalibrated
from kinema.cell_file import Cell
from kinema.devices.bridge import BridgeLoadCell
from kinema.devices.serial_load_cell import SerialLoadCell
from kinema.devices.virtual import VirtualLoadCell
from kinema.errors import CalibrationError
from kinema.interfaces import ForceSample, LoadCell
from kinema.perception.force_watch import ForceWatch
from kinema.ring import RingWriter
from kinema.streams import Health, Level
from kinema_ros.convert import force_msg, wrench_msg
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.parameters import CALIBRATION_OVERRIDE

_TIMEOUT = 0.1  # [s] of one wait for a sample
_KEPT = 256  # samples in the ring
_UNITS: dict[str, Literal["count", "V/V"]] = {"serial": "count", "phidget": "V/V"}


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


class LoadCellNode(Node):
    """Publishes every sample at the cell's own rate; `~/zero` takes the present load for zero.

    An amplifier whose calibration is missing is read and not published, so that it can be calibrated.
    """

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        CALIBRATION_OVERRIDE,
        Parameter("capacity", 98.0665, "[N] that the cell is rated for, for calibrating", 1.0, 2000.0),
    )

    def configure(self) -> None:
        cell = cell_file.load(self.value("cell"))
        self._serial, self._folder = cell.devices.load_cell.serial, cell.calibration_folder
        self._lacks = ""  # of calibration
        self._loads: list[tuple[LoadPoint, float]] = []  # with the standard deviation of its readings
        self._lock = threading.Lock()  # a device serves one thread at a time
        self._watch = ForceWatch()
        self._bridge: BridgeLoadCell | None = None
        self._ring: RingWriter | None = None
        self._device: LoadCell = self._open(cell)
        self._wrench = self.outlet("load_cell/wrench")
        self._force = self.outlet("load_cell/force")
        self.serve(Trigger, "~/zero", self._zero)
        self.watch("force", self._health)

    def _open(self, cell: Cell) -> LoadCell:
        """By the cell file's backend. What only this process measures reaches the control loop through a ring."""
        described = cell.devices.load_cell
        if isinstance(described, cell_devices.VirtualLoadCell):
            return VirtualLoadCell(described.serial)
        self._unit = _UNITS[described.backend]
        scale, latency = self._calibration()
        if isinstance(described, cell_devices.SerialLoadCell):
            self._bridge = SerialLoadCell(described.serial, paths.runtime() / described.port, scale, latency)
        else:
            from kinema.devices.phidget_load_cell import PhidgetLoadCell  # loads Phidgets' own library

            self._bridge = PhidgetLoadCell(described.serial, scale, channel=described.channel, latency=latency)
        self._ring = RingWriter(paths.runtime() / described.ring, records.LOAD_CELL, _KEPT)
        self.serve(CalibrateLoadCell, "~/calibrate", self._calibrate)
        return self._bridge

    def _calibration(self) -> tuple[ForceScale, float]:
        """What is in force, and the latency [s]; where a file lacks, a scale that lets the readings through."""
        override = bool(self.value("calibration_override"))
        try:
            scale = load_force_scale(self._folder, self._serial, override=override)
            bundle = load_bundle(self._folder, {"load_cell": self._serial}, override=override)
            latency = bundle.latency("load_cell")
        except CalibrationError as error:
            self._lacks = str(error)
            self.get_logger().error(self._lacks)
            return uncalibrated(self._unit, self._serial, _today()), 0.0
        self._lacks = ""
        return scale, latency

    def activate(self) -> None:
        self.loop(self._read)

    def cleanup(self) -> None:
        for name in ("_device", "_ring"):
            if opened := self.__dict__.pop(name, None):
                opened.close()

    def _read(self) -> None:
        with self._lock:
            sample = self._device.read(_TIMEOUT)
        if sample is None or self._lacks:
            return
        self._watch.take(sample)
        if self._ring is not None:
            self._ring.write(_record(sample))
        closing = np.array([sample.force, 0.0, 0.0, 0.0, 0.0, 0.0])  # the jaws close along the TCP's x
        self._wrench.publish(wrench_msg(sample.stamp_ns, "tcp", closing))
        self._force.publish(force_msg(sample))

    def _zero(self, request: Trigger.Request, response: Trigger.Response) -> str:
        if self._lacks:
            raise CalibrationError(f"not tared: {self._lacks}")
        with self._lock:
            offset = self._device.tare()
        return f"tared; the load taken for zero is {offset:.3f} N"

    def _calibrate(self, request: CalibrateLoadCell.Request, response: CalibrateLoadCell.Response) -> str:
        """Refused with `last`, the loads are forgotten: one begins anew; those that a session asked to keep stay."""
        if not request.mass >= 0.0:
            raise CalibrationError(f"a mass of {request.mass} kg; allowed are 0 (none on the cell) and more")
        if not -1 <= request.keep <= len(self._loads):
            raise CalibrationError(f"keep is {request.keep}; allowed are 0..{len(self._loads)} loads, and -1 for all")
        force = newtons(1e3 * request.mass)
        with self._lock:
            readings = self._bridge.readings()
        load = load_point(force, readings), float(np.std(readings))
        self._loads = [*(self._loads if request.keep < 0 else self._loads[: request.keep]), load]
        if not request.last:
            return f"load {len(self._loads)}: {force:.3f} N reads {np.mean(readings):.6g} {self._unit}"
        points, noises = zip(*self._loads, strict=True)
        self._loads = self._loads[: max(request.keep, 0)]
        scale = calibrate(points, self._unit, self.value("capacity"), self._serial, _today(), max(noises))
        path = self._folder / LOAD_CELL.file
        save(path, scale)
        self._loads = []
        with self._lock:
            self._bridge.use(*self._calibration())
        return f"{path} is written: {len(points)} loads, off the line by {scale.provenance.rms:.3f} N (RMS); untared"

    def _health(self, monotonic_ns: int) -> Health:
        return Health(Level.ERROR, self._lacks) if self._lacks else self._watch.health()


def _record(sample: ForceSample) -> np.ndarray:
    return np.array((sample.stamp_ns, sample.force, sample.saturated, sample.tared), records.LOAD_CELL)


def main() -> None:
    spin(lambda: LoadCellNode("load_cell"))
