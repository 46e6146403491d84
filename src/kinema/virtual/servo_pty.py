"""A DYNAMIXEL XM430-W350 on a pty that drives a jaw of the virtual cell: our reading of its protocol 2.0.

Sources: ROBOTIS e-Manual, "DYNAMIXEL Protocol 2.0" (packets, CRC-16, errors) and "XM430-W350" (control table, operating
modes). Modelled are the registers below, current-based position control, torque on and off, and the hardware errors;
bytes that aren't a packet for this servo are passed over, as on the wire.
"""

import logging
import select
import threading
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import DeviceError
from kinema.interfaces import Gripper, GripperState
from kinema.virtual.pty_port import PtyPort

MODEL = 1020
PING, READ, WRITE, STATUS = 1, 2, 3, 0x55
_log = logging.getLogger(__name__)

_HEADER = b"\xff\xff\xfd\x00"
_ALERT = 0x80
_BAD_INSTRUCTION, _BAD_CRC, _BAD_LENGTH, _BAD_ACCESS = 2, 3, 5, 7
_WAIT = 0.2  # [s] at most between two looks at whether it is to end

REGISTERS = {  # name: address, size [bytes]
    "Model Number": (0, 2),
    "Firmware Version": (6, 1),
    "ID": (7, 1),
    "Operating Mode": (11, 1),
    "Current Limit": (38, 2),
    "Torque Enable": (64, 1),
    "Hardware Error Status": (70, 1),
    "Goal Current": (102, 2),
    "Profile Velocity": (112, 4),
    "Goal Position": (116, 4),
    "Present Current": (126, 2),
    "Present Velocity": (128, 4),
    "Present Position": (132, 4),
}
_EEPROM = 64  # [bytes] below this address nothing is written while the torque is on
CURRENT_BASED_POSITION = 5
_RADIANS_PER_COUNT = 0.0239691227  # [rad/s] of a count of velocity: 0.229 r/min
_COUNTS_PER_RADIAN = 4096 / (2 * 3.141592653589793)


@dataclass(frozen=True, slots=True)
class Linkage:
    """How the servo moves the jaw: position [counts] at open and at closed fingers, stroke [m], force [N] per count."""

    opened: int = 1024
    closed: int = 3072
    stroke: float = 0.085
    newton_per_count: float = 0.1

    def width(self, counts: int) -> float:
        """[m]"""
        return (self.closed - counts) / (self.closed - self.opened) * self.stroke

    def counts(self, width: float) -> int:
        return round(self.closed - width / self.stroke * (self.closed - self.opened))

    def speed(self, counts: int) -> float:
        """Of the jaw [m/s] at a velocity register's counts."""
        return counts * _RADIANS_PER_COUNT * _COUNTS_PER_RADIAN / abs(self.closed - self.opened) * self.stroke


def crc(data: bytes) -> int:
    """CRC-16 of polynomial 0x8005, from 0, not reflected: the e-Manual's."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
    return value


def packet(servo: int, instruction: int, parameters: bytes) -> bytes:
    """A whole packet; a header within it is stuffed."""
    body = (bytes([instruction]) + parameters).replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")
    head = _HEADER + bytes([servo]) + (len(body) + 2).to_bytes(2, "little") + body
    return head + crc(head).to_bytes(2, "little")


class ServoPty:
    """Serves one jaw behind a serial port named `link` until closed, in a thread."""

    serving = False  # a line does not tell whether anybody listens

    def __init__(self, gripper: Gripper, link: Path, linkage: Linkage | None = None, servo: int = 1) -> None:
        self.linkage, self.servo = linkage or Linkage(), servo
        self.mute = False  # the wire is whole, nothing answers
        self._gripper = gripper
        self._state: GripperState | None = None
        self._table = bytearray(256)
        for name, value in (("Model Number", MODEL), ("ID", servo), ("Operating Mode", 3), ("Current Limit", 1193)):
            self.set(name, value)
        self.set("Goal Current", 1193)
        self._port = PtyPort(link)
        self._data = b""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="servo pty", daemon=True)
        self._thread.start()

    def get(self, name: str) -> int:
        address, size = REGISTERS[name]
        return int.from_bytes(self._table[address : address + size], "little", signed=size > 1)

    def set(self, name: str, value: int) -> None:
        address, size = REGISTERS[name]
        self._table[address : address + size] = value.to_bytes(size, "little", signed=size > 1)

    def unplug(self) -> None:
        """Pull the adapter out of the computer; the thread ends with it."""
        self._ended.set()
        self._thread.join()
        self._port.unplug()

    def close(self) -> None:
        self.unplug()
        self._port.close()

    # -- in the thread

    def _run(self) -> None:
        while self._state is None and not self._ended.is_set():  # as without power: it has no position to tell yet
            self._wake()
        while not self._ended.is_set():
            select.select([self._port], [], [], _WAIT)
            self._data += self._port.read()
            while (found := self._next()) is not None:
                if self.mute:
                    continue
                try:
                    self._port.write(self._answer(*found))
                except DeviceError as error:  # the jaw behind: nobody answers then
                    _log.error("the jaw: %s", error)

    def _wake(self) -> None:
        try:
            self._state = self._gripper.read(_WAIT)
        except DeviceError as error:
            _log.error("the jaw: %s", error)
            self._ended.wait(_WAIT)

    def _next(self) -> tuple[int, bytes] | None:
        """Instruction and parameters of the next packet for this servo; None: no whole one is there."""
        while (begin := self._data.find(_HEADER)) >= 0:
            data = self._data[begin:]
            end = 7 + int.from_bytes(data[5:7], "little") if len(data) >= 7 else 1 << 16
            if len(data) < end:
                self._data = data if end <= 1 << 10 or len(data) < 7 else data[4:]
                return None
            self._data = data[end:]
            whole = data[:end]
            if whole[4] == self.servo and len(whole) >= 10:
                good = crc(whole[:-2]) == int.from_bytes(whole[-2:], "little")
                body = whole[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
                return (body[0] if good else -1), body[1:]
        self._data = self._data[-3:]  # what may be the beginning of a header
        return None

    def _answer(self, instruction: int, parameters: bytes) -> bytes:
        self._look()
        error, data = self._carry_out(instruction, parameters)
        alert = _ALERT if self.get("Hardware Error Status") else 0
        return packet(self.servo, STATUS, bytes([error | alert]) + data)

    def _carry_out(self, instruction: int, parameters: bytes) -> tuple[int, bytes]:
        if instruction == -1:
            return _BAD_CRC, b""
        if instruction == PING:
            return 0, bytes(self._table[0:2]) + bytes(self._table[6:7])
        address = int.from_bytes(parameters[:2], "little")
        if instruction == READ and len(parameters) == 4:
            size = int.from_bytes(parameters[2:], "little")
            return (0, bytes(self._table[address : address + size])) if address + size <= 256 else (_BAD_LENGTH, b"")
        if instruction == WRITE and len(parameters) > 2:
            return self._write(address, parameters[2:]), b""
        return _BAD_INSTRUCTION, b""

    def _write(self, address: int, data: bytes) -> int:
        if (address, len(data)) not in REGISTERS.values() or address in (0, 6):
            return _BAD_ACCESS
        if address < _EEPROM and self.get("Torque Enable"):
            return _BAD_ACCESS
        self._table[address : address + len(data)] = data
        moves = (REGISTERS["Goal Position"], REGISTERS["Goal Current"], REGISTERS["Profile Velocity"])
        if self.get("Torque Enable") and (address, len(data)) in (*moves, REGISTERS["Torque Enable"]):
            self._drive()
        return 0

    def _drive(self) -> None:
        if self.get("Hardware Error Status"):
            return
        linkage, velocity = self.linkage, self.get("Profile Velocity") or 1 << 15  # 0 is no limit
        force = self.get("Goal Current") * linkage.newton_per_count
        self._gripper.command(linkage.width(self.get("Goal Position")), linkage.speed(velocity), force)

    def _look(self) -> None:
        state = self._gripper.read(0.0)
        while state is not None:
            self._state, state = state, self._gripper.read(0.0)
        assert self._state is not None, "it answers only once it is awake"
        self.set("Present Position", self.linkage.counts(self._state.width))
        self.set("Present Velocity", round(-self._state.speed / self.linkage.speed(1)))
        self.set("Present Current", round(self._state.force / self.linkage.newton_per_count))
