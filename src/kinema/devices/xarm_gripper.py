"""The xArm gripper, by xarm-python-sdk through the control box, on a connection of its own beside the arm's.

Source: UFACTORY, "xArm User Manual", chapter on the gripper: 0 to 850 pulses of opening, rotor up to 5000 r/min, and
30 N, which can't be set. Pulses and turns are taken for linear in metres; a calibrated jaw width is the tags' affair.
"""

from dataclasses import dataclass
from typing import Any

from kinema import clock
from kinema.devices import xarm_box
from kinema.devices.ownership import claim
from kinema.devices.polling import Polling, check_finite
from kinema.errors import DeviceError
from kinema.interfaces import GripperState, JawCommand

_ANSWER = 0.5  # [s] the box gets for one, RS485 and all
_SILENT = 3  # reads in a row without an answer
_TIMED_OUT = 3  # API code
_POSITION_MODE = 0
_ROTOR = (1, 5000)  # [r/min]


@dataclass(frozen=True, slots=True)
class XArmGripperSettings:
    """address, port  of the control box
    rate           [Hz] at which the position is asked for: it takes three turns of the tool's RS485
    pulses, stroke at full opening: as counted, and [m]
    speed          [m/s] of the opening at 5000 r/min; our estimate, to be measured once
    force          [N] that it squeezes with
    """

    address: str
    port: int = 502
    rate: float = 30.0
    pulses: int = 850
    stroke: float = 0.085
    speed: float = 0.15
    force: float = 30.0


class _NoAnswerError(DeviceError):
    """The answer is missing, for now or for ever."""


class XArmGripper:
    """A gripper that only answers. It has no force of its own to tell: `GripperState.force` is 0."""

    def __init__(self, settings: XArmGripperSettings) -> None:
        """Enables it, which moves nothing. Raises OwnershipError naming who has it, DeviceError when it isn't there."""
        self._settings = settings
        self._polling = Polling(settings.rate)
        self._silent = 0  # reads in a row
        self._claim = claim(f"xarm-gripper-{settings.address}-{settings.port}")
        try:
            self._api = xarm_box.connect(settings.address, settings.port, _ANSWER)
        except DeviceError:
            self._claim.close()
            raise
        try:
            self._call("get_gripper_version")
            self._call("set_gripper_enable", True)
            self._call("set_gripper_mode", _POSITION_MODE)
        except DeviceError:
            self.close()
            raise

    def read(self, timeout: float) -> GripperState | None:
        """The state, when it is time to ask for the next; None, too, when the answer is missing.

        Raises DeviceError when three are missing in a row, or the gripper has a fault.
        """
        if not self._polling.wait(timeout):
            return None
        asked_ns = clock.now_ns()
        try:
            pulses = self._call("get_gripper_position")
        except _NoAnswerError:
            self._silent += 1
            if self._silent < _SILENT and self._api.connected:
                return None
            raise
        self._silent = 0
        return self._polling.state(asked_ns, pulses / self._settings.pulses * self._settings.stroke, 0.0)

    def command(self, width: float, speed: float, force: float) -> JawCommand:
        """Width and speed as clipped and rounded to pulses and turns; the force is the gripper's, whatever is asked.

        It presses by its own force on what is in its way, so a width below that of what is held changes nothing.
        """
        check_finite(width, speed, force)
        settings = self._settings
        pulses = min(max(round(width / settings.stroke * settings.pulses), 0), settings.pulses)
        rotor = min(max(round(speed / settings.speed * _ROTOR[1]), _ROTOR[0]), _ROTOR[1])
        self._call("set_gripper_position", pulses, wait=False, speed=rotor, wait_motion=False)
        return JawCommand(
            pulses / settings.pulses * settings.stroke, rotor / _ROTOR[1] * settings.speed, settings.force
        )

    def close(self) -> None:
        """Leave it as it is: it keeps its grip."""
        self._api.disconnect()
        self._claim.close()

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """One call of the SDK; its value, where it has one. Asked for one, the SDK may say success and give none."""
        answer = getattr(self._api, name)(*arguments, **options)
        code, value = answer if isinstance(answer, tuple) else (answer, 0)
        if code == 0 and value is not None:
            return value
        if code in (0, _TIMED_OUT) or not self._api.connected:
            raise _NoAnswerError(f"the xArm gripper did not take {name}: the control box does not answer")
        fault = self._api.core.gripper_modbus_get_errcode()[1]
        raise DeviceError(
            f"the xArm gripper did not take {name}: API code {code}, gripper error {fault}, control box error "
            f"{self._api.error_code} ({xarm_box.meaning(self._api.error_code)}); look at UFACTORY Studio"
        )
