"""The jaw of the load-cell gripper: one serial servo, a DYNAMIXEL XM430-W350, by ROBOTIS' own dynamixel-sdk.

In current-based position control the goal current bounds what it presses with and the present current tells it (ROBOTIS
e-Manual, "XM430-W350"). The servo has a multiplying linkage behind it, taken for linear; a calibrated jaw width is the
tags' affair, a calibrated force the load cell's.
"""

import errno
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema import clock
from kinema.devices.ownership import owner_of
from kinema.devices.polling import Polling, check_finite
from kinema.errors import ConfigError, DeviceError, OwnershipError
from kinema.interfaces import GripperState, JawCommand

MODEL = 1020  # XM430-W350

_MODE = 5  # current-based position control
_RADIANS_PER_COUNT = 0.0239691227  # [rad/s] of a count of velocity: 0.229 r/min
_COUNTS_PER_RADIAN = 4096 / 6.283185307179586
_SLICE = 0.002  # [s] that a read waits for bytes; by itself the SDK waits awake
_ATTEMPTS = 3  # a bus loses a packet now and then
_ALERT = 0x80  # in the error byte: look at the hardware error status
_ERRORS = {0: "input voltage", 2: "too hot", 3: "encoder", 4: "electrical shock", 5: "overload"}

_OPERATING_MODE = (11, 1)  # address, size [bytes] in the control table
_TORQUE_ENABLE = (64, 1)
_HARDWARE_ERROR = (70, 1)
_GOAL_CURRENT = (102, 2)
_PROFILE_VELOCITY = (112, 4)
_GOAL_POSITION = (116, 4)
_PRESENT = (126, 10)  # current, velocity, position


@dataclass(frozen=True, slots=True)
class ServoGripperSettings:
    """port           of the USB adapter; `baud` and `servo` (its id) as set in the servo
    rate              [Hz] at which the position is asked for
    opened, closed    [counts] of the servo at full opening and at closed fingers
    stroke            [m] at full opening
    newton_per_count  [N] at the fingers of a count of current (2.69 mA)
    speed, force      [m/s], [N] the most that is asked of it
    """

    port: Path
    baud: int = 57600
    servo: int = 1
    rate: float = 60.0
    opened: int = 1024
    closed: int = 3072
    stroke: float = 0.085
    newton_per_count: float = 0.1
    speed: float = 0.15
    force: float = 60.0

    @property
    def metres_per_count(self) -> float:
        return self.stroke / (self.closed - self.opened)

    @property
    def speed_per_count(self) -> float:
        """[m/s] of a count of velocity."""
        return abs(self.metres_per_count) * _COUNTS_PER_RADIAN * _RADIANS_PER_COUNT


class ServoGripper:
    """A gripper that only answers; its force is the motor's current. It goes on holding when nobody speaks to it."""

    def __init__(self, settings: ServoGripperSettings) -> None:
        """Switches the servo on where it stands; one that is on keeps its grip.

        Raises OwnershipError naming who has the port, DeviceError when no such servo answers or it has a fault.
        """
        if settings.opened == settings.closed or min(settings.stroke, settings.newton_per_count) <= 0.0:
            raise ConfigError(f"{settings}: opened and closed must differ, stroke and newton_per_count be above 0")
        self._settings = settings
        self._polling = Polling(settings.rate)
        self._bus = _Bus(settings.port, settings.baud, settings.servo)
        try:
            self._switch_on()
        except DeviceError:
            self.close()
            raise

    def _switch_on(self) -> None:
        if (model := self._bus.ping()) != MODEL:
            raise DeviceError(f"servo {self._settings.servo} is of model {model}; needed is {MODEL}, an XM430-W350")
        on = self._bus.read(*_TORQUE_ENABLE)
        if self._bus.read(*_OPERATING_MODE) != _MODE:
            if on:
                raise DeviceError(
                    "the servo holds in another operating mode than current-based position control, and changing it "
                    "lets go of what it holds: take that out, and switch its torque off"
                )
            self._bus.write(*_OPERATING_MODE, _MODE)
        if not on:
            self._bus.write(*_GOAL_POSITION, self._present()[1])
            self._bus.write(*_TORQUE_ENABLE, 1)

    def read(self, timeout: float) -> GripperState | None:
        """The state, when it is time to ask for the next; raises DeviceError when it does not answer or has a fault."""
        if not self._polling.wait(timeout):
            return None
        asked_ns = clock.now_ns()
        current, position = self._present()
        settings = self._settings
        closing = 1 if settings.closed > settings.opened else -1
        force = max(closing * current, 0) * settings.newton_per_count
        return self._polling.state(asked_ns, (settings.closed - position) * settings.metres_per_count, force)

    def command(self, width: float, speed: float, force: float) -> JawCommand:
        """Everything as rounded to counts: speed and force down, so that neither is more than was asked."""
        check_finite(width, speed, force)
        settings = self._settings
        width = min(max(width, 0.0), settings.stroke)
        position = round(settings.closed - width / settings.metres_per_count)
        velocity = max(int(min(speed, settings.speed) / settings.speed_per_count + 1e-9), 1)  # 0 would be no limit
        current = max(int(min(force, settings.force) / settings.newton_per_count + 1e-9), 1)
        self._bus.write(*_GOAL_CURRENT, current)
        self._bus.write(*_PROFILE_VELOCITY, velocity)
        self._bus.write(*_GOAL_POSITION, position)
        return JawCommand(
            (settings.closed - position) * settings.metres_per_count,
            velocity * settings.speed_per_count,
            current * settings.newton_per_count,
        )

    def close(self) -> None:
        """Leave it as it is: it keeps its grip."""
        self._bus.close()

    def _present(self) -> tuple[int, int]:
        """Current and position [counts], in one answer."""
        data = self._bus.read(*_PRESENT).to_bytes(_PRESENT[1], "little")
        return tuple(int.from_bytes(part, "little", signed=True) for part in (data[:2], data[6:]))  # type: ignore[return-value]


class _Bus:
    """Registers of one servo by the vendor's SDK, over a serial port that this process has for itself."""

    def __init__(self, path: Path, baud: int, servo: int) -> None:
        import dynamixel_sdk

        self._path, self._servo = path, servo
        self._port = dynamixel_sdk.PortHandler(str(path))
        self._packets = dynamixel_sdk.PacketHandler(2.0)
        try:
            if not self._port.setBaudRate(baud):
                raise ConfigError(f"baud rate {baud}: the SDK knows 9600 to 4000000 in the servo's own steps")
            self._port.ser.timeout = _SLICE
            self._port.ser.exclusive = True
        except OSError as error:  # pyserial's own errors are some
            self.close()
            if error.errno == errno.EAGAIN:
                raise OwnershipError(f"{path} belongs to {owner_of(path)}; it has to end first") from None
            raise DeviceError(f"{path} cannot be opened ({error}); is its adapter plugged in?") from error

    def ping(self) -> int:
        """The model's number."""
        return self._try("ping", lambda: self._packets.ping(self._port, self._servo))

    def read(self, address: int, size: int) -> int:
        """A register, or several in a row, as one unsigned number."""
        return self._try(f"reading {address}", lambda: self._read(address, size))

    def write(self, address: int, size: int, value: int) -> None:
        data = list(value.to_bytes(size, "little", signed=value < 0))
        packets, port, servo = self._packets, self._port, self._servo
        self._try(f"writing {address}", lambda: (0, *packets.writeTxRx(port, servo, address, size, data)))

    def close(self) -> None:
        if self._port.ser is not None:
            self._port.closePort()

    def _read(self, address: int, size: int) -> tuple[int, int, int]:
        from dynamixel_sdk import COMM_RX_CORRUPT

        data, result, error = self._packets.readTxRx(self._port, self._servo, address, size)
        if result == 0 and len(data) != size:  # the answer to something else, come late
            result = COMM_RX_CORRUPT
        return int.from_bytes(bytes(data), "little"), result, error

    def _try(self, what: str, exchange: Any) -> int:
        """Value of an exchange that gives value, result of the communication, and the servo's error byte."""
        result = 0
        for _ in range(_ATTEMPTS):
            try:
                value, result, error = exchange()
            except (OSError, termios.error) as gone:
                raise DeviceError(f"{self._path} has gone ({gone}); look after its cable") from gone
            if result == 0:
                self._check(what, error)
                return int(value)
        reason = self._packets.getTxRxResult(result).partition("] ")[2]
        raise DeviceError(f"servo {self._servo} on {self._path}, {what}: {reason or 'no result'} Look after its power")

    def _check(self, what: str, error: int) -> None:
        if error & _ALERT and what != f"reading {_HARDWARE_ERROR[0]}":
            bits = self.read(*_HARDWARE_ERROR)
            found = ", ".join(name for bit, name in _ERRORS.items() if bits >> bit & 1)
            raise DeviceError(f"servo {self._servo} has switched itself off: {found}; let it cool, then power-cycle it")
        if error & ~_ALERT:
            reason = self._packets.getRxPacketError(error & ~_ALERT).partition("] ")[2]
            raise DeviceError(f"servo {self._servo} refuses {what}: {reason}")
