"""A load cell on a Phidget bridge (1046 PhidgetBridge, DAQ1500 and the like) through Phidgets' own library.

The library attaches the bridge anew whenever it comes back; the cell is then untared. Bridges have no clock of their
own: a sample is stamped at its arrival, less the latency. Phidget22 API, VoltageRatioInput.
"""

import contextlib
import math
import queue
from typing import Any

from Phidget22.BridgeGain import BridgeGain
from Phidget22.Devices.VoltageRatioInput import VoltageRatioInput
from Phidget22.ErrorEventCode import ErrorEventCode
from Phidget22.PhidgetException import PhidgetException

from kinema.calibration.files import ForceScale
from kinema.clock import now_ns, to_ns
from kinema.devices.bridge import Bridge
from kinema.devices.ownership import claim
from kinema.errors import ConfigError, DeviceError
from kinema.interfaces import ForceSample

_ATTACH = 3.0  # [s] that the bridge may take to appear
_INTERVAL_MS = 12  # 83 samples/s; 80 are wanted
_MEMORY = 256  # samples that wait for a slow reader

_BACK = "back"  # among the readings: the bridge was attached


class PhidgetLoadCell:
    """One channel of the bridge with a serial number."""

    def __init__(
        self, serial: str, scale: ForceScale, *, channel: int = 0, latency: float = 0.0, attach: float = _ATTACH
    ) -> None:
        """`latency` [s] from a sample's middle to its arrival; `attach` [s] that the bridge may take to appear.

        Raises OwnershipError naming who has the bridge's channel, DeviceError when it is absent or too slow.
        """
        _check_unit(serial, scale)
        if not serial.isdigit():
            raise ConfigError(f"load cell {serial!r}: a Phidget's serial number has digits only, as on its back")
        self.serial, self._latency_ns = serial, to_ns(latency)
        self._readings: queue.Queue[tuple[int, float | str]] = queue.Queue(_MEMORY)
        self._refused = ""
        self._claim = claim(f"phidget-{serial}-{channel}")
        self._input = VoltageRatioInput()
        try:
            self._open(channel, attach)
            ends = self._input.getMinVoltageRatio(), self._input.getMaxVoltageRatio()
        except PhidgetException as error:
            self.close()
            raise DeviceError(
                f"Phidget bridge {serial}, channel {channel}: {_words(error)}; look after its cable, and whether its "
                "udev rule is installed (firmware/60-kinema-devices.rules)"
            ) from error
        if self._refused:
            self.close()
            raise DeviceError(f"Phidget bridge {serial}, channel {channel}: {self._refused}")
        self._bridge = Bridge(scale, ends)

    def read(self, timeout: float) -> ForceSample | None:
        """The next sample, waiting at most `timeout` [s]; None when none came.

        Raises DeviceError while the bridge is unplugged.
        """
        try:
            stamp_ns, reading = self._readings.get(timeout=max(timeout, 1e-4))
        except queue.Empty:
            if not self._input.getAttached():
                raise DeviceError(f"Phidget bridge {self.serial} is unplugged; look after its cable") from None
            return None
        if isinstance(reading, str):
            self._bridge.forget()
            return None
        return self._bridge.take(stamp_ns, reading)

    def tare(self) -> float:
        return self._bridge.tare(now_ns())

    def readings(self) -> list[float]:
        return self._bridge.readings(now_ns())

    def use(self, scale: ForceScale, latency: float) -> None:
        _check_unit(self.serial, scale)
        self._latency_ns = to_ns(latency)
        self._bridge.use(scale)

    def close(self) -> None:
        self._input.close()
        self._claim.close()

    # -- the library calls back from threads of its own

    def _open(self, channel: int, attach: float) -> None:
        self._input.setDeviceSerialNumber(int(self.serial))
        self._input.setChannel(channel)
        self._input.setOnAttachHandler(self._attached)
        self._input.setOnVoltageRatioChangeHandler(self._changed)
        self._input.setOnErrorHandler(self._troubled)
        self._input.openWaitForAttachment(max(1, round(attach * 1e3)))

    def _attached(self, channel: Any) -> None:
        """The bridge forgets its settings whenever it is plugged in."""
        try:
            slowest = channel.getMinDataInterval()
            if slowest > _INTERVAL_MS:
                self._refused = f"samples every {slowest} ms at best, needed are {_INTERVAL_MS} ms"
                return
            channel.setDataInterval(_INTERVAL_MS)
            channel.setBridgeGain(BridgeGain.BRIDGE_GAIN_128)
            channel.setBridgeEnabled(True)
            channel.setVoltageRatioChangeTrigger(0.0)  # every sample, changed or not
        except PhidgetException as error:
            self._refused = _words(error)
        self._put(_BACK)

    def _changed(self, channel: Any, ratio: float) -> None:
        self._put(ratio)

    def _troubled(self, channel: Any, code: int, description: str) -> None:
        """Out of its range it sends no ratio, but this."""
        if code in (ErrorEventCode.EEPHIDGET_SATURATION, ErrorEventCode.EEPHIDGET_OUTOFRANGE):
            self._put(math.inf)

    def _put(self, reading: float | str) -> None:
        if self._readings.full():
            with contextlib.suppress(queue.Empty):  # the reader was faster
                self._readings.get_nowait()  # the oldest says least
        self._readings.put_nowait((now_ns() - self._latency_ns, reading))


def _check_unit(serial: str, scale: ForceScale) -> None:
    if scale.unit != "V/V":
        raise ConfigError(f"load cell {serial}: its calibration is in {scale.unit}, this bridge reads V/V")


def _words(error: PhidgetException) -> str:
    return f"{error.description} (Phidget22 code {error.code})"
