"""A load cell whose amplifier board speaks the line protocol on a serial port: see `firmware/load_cell`.

The port is opened for this process alone, and opened again after it was lost; a board of another serial number is
refused. After an interruption the cell is untared. A damaged line costs its own sample, never a wrong one.
"""

import time
from collections import deque
from pathlib import Path

from kinema.calibration.files import ForceScale
from kinema.clock import now_ns, to_ns
from kinema.device_clock import Counter, DeviceClock
from kinema.devices.bridge import Bridge
from kinema.devices.serial_port import SerialPort
from kinema.errors import ConfigError, DeviceError
from kinema.interfaces import ForceSample
from kinema.load_cell_lines import COUNTS, HELLO, VERSION, Conversion, Hello, LineReader, Missing

BAUD = 115200

_BOOT = 4.0  # [s] that a board may take to say who it is: many start anew when their port is opened
_ASK = 0.5  # [s] between two questions
_SILENCE = 1.0  # [s] without a line after which the port is opened anew


class SerialLoadCell:
    """The cell of one serial number on one port.

    gaps     samples that the board numbered and that did not arrive whole
    dropped  lines that were none
    """

    def __init__(self, serial: str, port: Path, scale: ForceScale, latency: float = 0.0) -> None:
        """`latency` [s] from a conversion's end to the arrival of its line, at best; stamps are that much earlier.

        Raises OwnershipError naming who has the port, DeviceError when the board is absent, silent or another one.
        """
        self.serial, self.gaps, self.dropped = serial, 0, 0
        self._path = port
        self._bridge = Bridge(scale, COUNTS)
        self.use(scale, latency)
        self._port: SerialPort | None = None
        self._open()
        deadline = time.monotonic() + _BOOT
        try:
            while self._chip is None:
                if time.monotonic() > deadline:
                    raise DeviceError(
                        f"{port}: no load cell says who it is within {_BOOT:g} s; look after its firmware"
                    )
                self._pump(_ASK)
        except DeviceError:
            self.close()
            raise

    def read(self, timeout: float) -> ForceSample | None:
        """The next sample, waiting at most `timeout` [s]; None when none came.

        Raises DeviceError while the port is gone; every call tries it again.
        """
        if self._port is None:
            self._bridge.forget()
            self._open()
        until = time.monotonic() + timeout
        while not self._samples:
            left = until - time.monotonic()
            self._pump(max(left, 0.0))
            if left <= 0.0:
                break
        return self._samples.popleft() if self._samples else None

    def tare(self) -> float:
        return self._bridge.tare(now_ns())

    def readings(self) -> list[float]:
        return self._bridge.readings(now_ns())

    def use(self, scale: ForceScale, latency: float) -> None:
        if scale.unit != "count":
            raise ConfigError(f"load cell {self.serial}: its calibration is in {scale.unit}, this board reads counts")
        self._latency_ns = to_ns(latency)
        self._bridge.use(scale)

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    # -- the connection

    def _open(self) -> None:
        self._port = SerialPort(self._path, BAUD)
        self._lines = LineReader()
        self._samples: deque[ForceSample] = deque()
        self._chip: str | None = None  # until the board has said who it is, nothing that it says counts
        self._heard = time.monotonic()
        self._asked = -_ASK
        self._restart()

    def _restart(self) -> None:
        """The board's counters begin anew."""
        self._numbers, self._times, self._clock = Counter(32), Counter(32), DeviceClock()
        self._number: int | None = None

    def _pump(self, timeout: float) -> None:
        """Take what has come, waiting at most `timeout` [s] for something; close what is lost."""
        assert self._port is not None
        try:
            if self._chip is None and time.monotonic() - self._asked >= _ASK:
                self._asked = time.monotonic()
                self._port.write(HELLO)
            data, arrival_ns, now = self._port.read(timeout), now_ns(), time.monotonic()
            before = self._lines.dropped
            for line in self._lines.feed(data):
                self._heard = now
                self._take(line, arrival_ns)
            self.dropped += self._lines.dropped - before
            if now - self._heard > _SILENCE and (self._chip is not None or now - self._heard > _BOOT):
                raise DeviceError(f"{self._path}: load cell {self.serial} is silent; the port is opened anew")
        except DeviceError:
            self.close()
            raise

    def _take(self, line: Hello | Conversion | Missing, arrival_ns: int) -> None:
        if isinstance(line, Hello):
            self._check(line)
        elif self._chip is not None and self._news(line):
            time_ns = 1000 * self._times.extend(line.time_us)
            stamp_ns = self._clock.to_kinema_ns(time_ns, arrival_ns) - self._latency_ns
            reading = float(line.counts) if isinstance(line, Conversion) else float("nan")
            self._samples.append(self._bridge.take(stamp_ns, reading))

    def _check(self, hello: Hello) -> None:
        if hello.version != VERSION:
            raise DeviceError(
                f"{self._path}: the board speaks version {hello.version} of the protocol, wanted is {VERSION}; "
                "flash firmware/load_cell anew"
            )
        if hello.serial != self.serial:
            raise DeviceError(
                f"{self._path}: the load cell there is {hello.serial!r}, the cell file says {self.serial!r}"
            )
        self._chip = hello.chip

    def _news(self, line: Conversion | Missing) -> bool:
        """Whether a line goes on where the last one was; after the board's restart the cell is untared."""
        number, last = self._numbers.extend(line.number), self._number
        if last is not None and number < last:
            self._bridge.forget()
            self._restart()
            return self._news(line)
        self._number = number
        self.gaps += 0 if last is None else max(number - last - 1, 0)
        return number != last
