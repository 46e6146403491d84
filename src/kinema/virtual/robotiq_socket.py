"""The socket of Robotiq's URCap before a jaw of the virtual cell: our reading of it, not the vendor's.

What is modelled: registers ACT, GTO, ATR, SPE, FOR, POS, PRE, STA, OBJ, FLT of the 2F-85 (Robotiq, "2F-85 & 2F-140
Instruction Manual"), an activation that opens fully, motion only when active and with GTO set, and fault 7 without.
"""

import logging
import select
import threading

from kinema import robots
from kinema.errors import DeviceError
from kinema.interfaces import Gripper, GripperState
from kinema.virtual.controller_ports import Connection, Port

PORT = 63352
_OPENED, _CLOSED = 3, 230  # positions counted at full opening and at closed fingers
_SPEED, _FORCE = (0.020, 0.150), (20.0, 235.0)  # [m/s], [N] at 0 and at 255
_MOVING, _STOPPED_OPENING, _STOPPED_CLOSING, _ARRIVED = range(4)  # OBJ
_INACTIVE, _ACTIVATING, _ACTIVE = 0, 1, 3  # STA
_NOT_ACTIVATED = 7  # FLT
_WAIT = 0.2  # [s] at most between two looks at whether it is to end
_SLOW = 2e-3  # [m/s] counts as standing
_NEAR = 3  # counts from the goal

_log = logging.getLogger(__name__)

_SET = ("ACT", "GTO", "ATR", "SPE", "FOR", "POS")


class RobotiqSocket:
    """Serves one jaw until closed, in a thread. Raises DeviceError when the port is taken."""

    def __init__(self, gripper: Gripper, address: str, port: int = PORT) -> None:
        self._gripper = gripper
        self.values = dict.fromkeys((*_SET, "STA", "FLT"), 0)
        self.mute = False  # connections stay, nothing is answered
        self._state: GripperState | None = None
        self._port = Port(address, port, self._hear)
        self._ended, self._cut = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="robotiq socket", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection; whoever comes next is welcome."""
        self._cut.set()

    @property
    def serving(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._port.clients)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._port.close()

    # -- in the thread

    def _run(self) -> None:
        while not self._ended.is_set():
            waiting: list[Port | Connection] = [self._port]
            waiting += (client for client in self._port.clients if client.open)
            select.select(waiting, [], [], _WAIT)
            try:
                self._look()
            except DeviceError as error:
                _log.error("the jaw: %s", error)
                return
            self._port.poll()
            if self._cut.is_set():
                self._cut.clear()
                self._port.cut()

    def _look(self) -> None:
        state = self._gripper.read(0.0)
        while state is not None:
            self._state, state = state, self._gripper.read(0.0)
        opened = self._state is not None and self._state.width > 0.95 * robots.GRIPPER.stroke
        if self.values["STA"] == _ACTIVATING and opened:
            self.values["STA"] = _ACTIVE

    def _hear(self, client: Connection) -> None:
        *lines, client.data = client.data.split(b"\n")
        for line in lines:
            if self.mute:
                continue
            try:
                client.send(self._answer(line.decode(errors="replace").split()))
            except DeviceError as error:  # the jaw behind: nobody answers then
                _log.error("the jaw: %s", error)

    def _answer(self, words: list[str]) -> bytes:
        match words:
            case ["GET", name] if (value := self._value(name)) is not None:
                return f"{name} {value}\n".encode()
            case ["SET", *pairs] if pairs and len(pairs) % 2 == 0 and set(pairs[::2]) <= set(_SET):
                before = self.values["ACT"]
                self.values |= {name: int(float(value)) for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
                self._obey(before)
                return b"ack"
        return b"?"

    def _obey(self, before: int) -> None:
        values = self.values
        if not values["ACT"]:
            values["STA"], values["FLT"], values["GTO"] = _INACTIVE, 0, 0
        elif not before:
            values["STA"] = _ACTIVATING
            self._gripper.command(robots.GRIPPER.stroke, _SPEED[1], _FORCE[0])
        elif values["GTO"] and values["STA"] == _ACTIVE:
            speed, force = (low + values[name] / 255 * (high - low) for name, (low, high) in _RANGES.items())
            self._gripper.command(_width(values["POS"]), speed, force)
        if values["GTO"] and values["STA"] != _ACTIVE:
            values["FLT"] = _NOT_ACTIVATED

    def _value(self, name: str) -> int | None:
        if name == "POS":
            return self._position()
        if name == "PRE":
            return self.values["POS"]
        return self._object() if name == "OBJ" else self.values.get(name)

    def _position(self) -> int:
        width = robots.GRIPPER.stroke if self._state is None else self._state.width
        return min(max(round(_CLOSED - width / robots.GRIPPER.stroke * (_CLOSED - _OPENED)), 0), 255)

    def _object(self) -> int:
        speed, left = 0.0 if self._state is None else self._state.speed, self.values["POS"] - self._position()
        if abs(left) <= _NEAR:
            return _ARRIVED
        if abs(speed) > _SLOW:
            return _MOVING
        return _STOPPED_CLOSING if left > 0 else _STOPPED_OPENING


_RANGES = {"SPE": _SPEED, "FOR": _FORCE}


def _width(position: int) -> float:
    """[m] The fingers close, and press, as far as the counts go."""
    return (_CLOSED - position) / (_CLOSED - _OPENED) * robots.GRIPPER.stroke
