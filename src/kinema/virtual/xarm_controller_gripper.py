"""The xArm gripper on the tool's RS485, as a virtual controller passes it on: Modbus registers over a jaw of the cell.

Source: UFACTORY, "xArm Developer Manual", chapter on the gripper's Modbus RTU registers; the frames come without CRC,
because the controller adds it. Positions are pulses, 850 of them at full opening; speed is the rotor's [r/min].
"""

import logging
import struct
from dataclasses import dataclass

from kinema import robots
from kinema.errors import DeviceError
from kinema.interfaces import Gripper, GripperState

_SLAVE = 8
_READ, _WRITE = 3, 16  # Modbus functions
_STATUS, _ENABLE, _SPEED, _TARGET, _POSITION, _VERSION = 0x0000, 0x0100, 0x0303, 0x0700, 0x0702, 0x0801
_PULSES, _STROKE, _ROTOR = 850, 0.085, 5000
_FORCE = 30.0  # [N] it squeezes with; not adjustable
_AT_REST = 1e-3  # [m/s]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Command:
    width: float
    speed: float


class ToolGripper:
    """Registers in front of a jaw. `answer` and `take` want one lock around them; `drive`, which waits, needs none."""

    def __init__(self, gripper: Gripper) -> None:
        self._gripper = gripper
        self._state: GripperState | None = None
        self._enabled, self._rotor = False, _ROTOR
        self._command: _Command | None = None

    def answer(self, payload: bytes) -> bytes:
        """Host, slave, function, address, count, [size, data] to the slave's answer; ValueError: nobody answers."""
        if len(payload) < 7 or payload[1] != _SLAVE:
            raise ValueError(f"no slave for {payload.hex()}")
        address, count = struct.unpack_from(">HH", payload, 3)
        if payload[2] == _READ:
            registers = self._registers()
            data = b"".join(struct.pack(">H", registers.get(address + i, 0) & 0xFFFF) for i in range(count))
            return payload[:3] + bytes([len(data)]) + data
        if payload[2] != _WRITE or len(payload) != 8 + 2 * count:
            raise ValueError(f"no Modbus request: {payload.hex()}")
        self._write(address, int.from_bytes(payload[8:], "big", signed=True))
        return payload[:7]

    def take(self) -> _Command | None:
        """The newest command that has not been carried out."""
        command, self._command = self._command, None
        return command

    def drive(self, command: _Command | None) -> None:
        """Pass a command on, and look at the jaw. One that does not answer does not stop the arm."""
        try:
            if command is not None:
                self._gripper.command(command.width, command.speed, _FORCE)
            state = self._gripper.read(0.0)
            while state is not None:
                self._state, state = state, self._gripper.read(0.0)
        except DeviceError as error:
            _log.error("the gripper: %s", error)

    def _write(self, address: int, value: int) -> None:
        if address == _ENABLE:
            self._enabled = bool(value)
        elif address == _SPEED:
            self._rotor = min(max(value, 0), _ROTOR)
        elif address == _TARGET and self._enabled:
            self._command = _Command(value / _PULSES * _STROKE, self._rotor / _ROTOR * robots.GRIPPER.speed)

    def _registers(self) -> dict[int, int]:
        state = self._state
        if state is None:
            return {}
        pulses = round(state.width / _STROKE * _PULSES)
        moving = abs(state.speed) > _AT_REST
        registers = {_STATUS: int(moving), _POSITION: pulses >> 16, _POSITION + 1: pulses}
        return registers | {_VERSION + i: number for i, number in enumerate((3, 4, 3))}
