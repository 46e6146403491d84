"""A Robotiq 2F-85 by the socket of its URCap, port 63352 of the UR controller that it hangs on.

Text: `SET POS 120 GTO 1` is answered by `ack`, `GET POS` by `POS 120`. Sources: Robotiq, "2F-85 & 2F-140 Instruction
Manual" (registers, faults, 20 to 150 mm/s, 20 to 235 N), and the URCap's socket server as it ships with the gripper.
No vendor's SDK speaks this, so it is spoken here.
"""

import socket
from dataclasses import dataclass

from kinema import clock
from kinema.devices.ownership import claim
from kinema.devices.polling import Polling, check_finite
from kinema.errors import DeviceError
from kinema.interfaces import GripperState, JawCommand

PORT = 63352

_ANSWER = 0.5  # [s]
_ACTIVE = 3  # of STA
_FULL = 255  # of every register
_ACTIVATION = 10.0  # [s] it may take
_LOOK = 0.05  # [s]
_FAULTS = {  # of FLT; smaller ones pass by themselves
    5: "has to be activated",
    7: "has to be activated",
    8: "is too hot",
    10: "has too little voltage",
    11: "is releasing automatically",
    12: "has an internal fault",
    13: "could not be activated",
    14: "drew too much current",
    15: "has released automatically; it has to be activated",
}


@dataclass(frozen=True, slots=True)
class RobotiqSettings:
    """address, port  of the URCap's socket
    rate          [Hz] at which the position is asked for
    activate      whether connecting may activate it, which opens and closes it fully; else a person does that before
    stroke        [m] at full opening; `opened` and `closed` are the positions counted there and at closed fingers
    speed, force  [m/s], [N] at register values 0 and 255
    """

    address: str
    port: int = PORT
    rate: float = 60.0
    activate: bool = False
    stroke: float = 0.085
    opened: int = 3
    closed: int = 230
    speed: tuple[float, float] = (0.020, 0.150)
    force: tuple[float, float] = (20.0, 235.0)


class Robotiq:
    """A gripper that only answers. It does not tell its force: `GripperState.force` is 0."""

    def __init__(self, settings: RobotiqSettings) -> None:
        """Raises OwnershipError naming who has it, DeviceError when it isn't there or not active."""
        self._settings = settings
        self._polling = Polling(settings.rate)
        self._claim = claim(f"robotiq-{settings.address}-{settings.port}")
        try:
            self._socket = socket.create_connection((settings.address, settings.port), _ANSWER)
        except OSError as error:
            self._claim.close()
            raise DeviceError(
                f"no Robotiq URCap answers at {settings.address}:{settings.port} ({error}); is the gripper's URCap "
                "installed, and the UR controller on?"
            ) from error
        try:
            self._socket.settimeout(_ANSWER)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._get("STA") != _ACTIVE:
                self._activate()
        except DeviceError:
            self.close()
            raise

    def read(self, timeout: float) -> GripperState | None:
        """The state, when it is time to ask for the next; raises DeviceError when it does not answer or has a fault."""
        if not self._polling.wait(timeout):
            return None
        asked_ns = clock.now_ns()
        settings, position = self._settings, self._get("POS")
        state = self._polling.state(
            asked_ns, (settings.closed - position) / (settings.closed - settings.opened) * settings.stroke, 0.0
        )
        if (fault := self._get("FLT")) in _FAULTS:
            raise DeviceError(f"the gripper {_FAULTS[fault]} (fault {fault}); see Robotiq's manual")
        return state

    def command(self, width: float, speed: float, force: float) -> JawCommand:
        """Everything as rounded to the registers: speed and force down, so that neither is more than was asked.

        Less than the gripper's least speed or force is its least.
        """
        check_finite(width, speed, force)
        settings = self._settings
        span = settings.closed - settings.opened
        opening = min(max(round(width / settings.stroke * span), 0), span)
        speed_count, speed = _register(speed, *settings.speed)
        force_count, force = _register(force, *settings.force)
        self._set(POS=settings.closed - opening, SPE=speed_count, FOR=force_count, GTO=1)
        return JawCommand(opening / span * settings.stroke, speed, force)

    def close(self) -> None:
        """Leave it as it is: it keeps its grip."""
        self._socket.close()
        self._claim.close()

    def _activate(self) -> None:
        if not self._settings.activate:
            raise DeviceError(
                "the gripper is not active, and activating it opens and closes it fully: do so at the pendant, or "
                "allow it by `activate`"
            )
        self._set(ACT=0, ATR=0)
        self._set(ACT=1)
        polling, until = Polling(1 / _LOOK), clock.now_ns() + clock.to_ns(_ACTIVATION)
        while self._get("STA") != _ACTIVE:
            if clock.now_ns() > until:
                raise DeviceError(f"the gripper was not active after {_ACTIVATION:g} s; is something in its way?")
            polling.wait(1.0)

    def _get(self, name: str) -> int:
        answer = self._ask(f"GET {name}")
        key, _, value = answer.partition(" ")
        if key != name or not value.isdigit():
            raise DeviceError(f"the gripper answered {answer!r} to GET {name}; allowed is '{name} 0..255'")
        return int(value)

    def _set(self, **values: int) -> None:
        words = " ".join(f"{name} {value}" for name, value in values.items())
        if (answer := self._ask(f"SET {words}")) != "ack":
            raise DeviceError(f"the gripper answered {answer!r} to SET {words}; expected is 'ack'")

    def _ask(self, question: str) -> str:
        """One exchange. After one that failed the connection is of no use: its answer may still come."""
        try:
            self._socket.sendall(question.encode() + b"\n")
            answer = self._socket.recv(1024)
        except OSError as error:
            raise DeviceError(f"the gripper did not answer {question!r} ({error})") from error
        if not answer:
            raise DeviceError("the gripper has closed the connection")
        return answer.decode(errors="replace").strip()


def _register(value: float, low: float, high: float) -> tuple[int, float]:
    """The count 0..255 for a value between its ends, rounded down, and the value that it stands for."""
    count = min(max(int((value - low) / (high - low) * _FULL + 1e-9), 0), _FULL)
    return count, low + count / _FULL * (high - low)
