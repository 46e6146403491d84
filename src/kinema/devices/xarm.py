"""An xArm 7 by xarm-python-sdk: joint states and F/T sensor in, servo_j targets out.

The control box has no tick of its own, so the driver paces: each cycle asks for the joints, then for the force, and is
answered by one target in servo mode (UFACTORY, "xArm User Manual", servo motion mode: the newest target is followed at
once, with no planning). The box has no watchdog in that mode: when no more targets come, the arm stands, stiffly, at
the last one, which is never further ahead than the arm moves in a cycle (FAULTS F16, F17).

Connecting moves nothing and switches nothing on but the F/T sensor. A stopped arm reports BRAKED, or PROTECTIVE_STOP
where the box shows an error, until a person's `reset` (F18), which is refused while tool or kinematics disagree with
ours. The box's own admittance is not used: it is ignored in servo mode, so the impedance is the host's.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np

from kinema import clock, robots
from kinema.clock import RateKeeper
from kinema.devices import xarm_box
from kinema.devices.ownership import claim
from kinema.devices.xarm_box import Tool
from kinema.errors import ConfigError, DeviceError
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind

_ANSWER = 0.2  # [s] the box gets for one; the loop asks again
_SERVO_MODE = 1
_STOP_STATE = 4
_CATCH_UP = 5  # cycles of motion that one target may make up for
_EMERGENCY = (1, 2, 3)  # error codes of emergency stops
_FROZEN = 0.25  # [s] of the very same force, to the last bit: what measures draws noise

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class XArmSettings:
    """Where the control box is and what is mounted.

    address    IPv4 of the box; `port` of its control socket (502 in every real one)
    rate       [Hz] of the control cycle, 50 to 250
    T_flange_sensor  the F/T sensor's frame [m]; force_sign -1 where it reports what the tool does to the world
    """

    address: str
    port: int = 502
    rate: float = 250.0
    tool: Tool = xarm_box.GRIPPER
    T_flange_sensor: Pose = xarm_box.IDENTITY
    force_sign: float = 1.0


class XArm:
    """The arm behind one control box; see the module for what connecting does and does not."""

    command_kind = CommandKind.POSITION
    has_wrench = True  # or connecting is refused

    def __init__(self, robot: str, settings: XArmSettings) -> None:
        """Raises OwnershipError naming who has the box, DeviceError when it is silent or not what we need."""
        if not 50.0 <= settings.rate <= 250.0:
            raise ConfigError(f"rate {settings.rate} Hz: an xArm takes servo targets at 50 to 250 Hz")
        self.name, self.period = robot, 1.0 / settings.rate
        self._model, self._settings = robots.arm(robot), settings
        self._lower, self._upper, self._speed = (self._model.limits(name) for name in ("lower", "upper", "speed"))
        self._claim = claim(f"xarm-{settings.address}-{settings.port}")
        try:
            self._api = xarm_box.connect(settings.address, settings.port, _ANSWER)
        except DeviceError:
            self._claim.close()
            raise
        try:
            xarm_box.check(self._api, self._model)
        except DeviceError:
            self.close()
            raise
        self._k = -1
        self._pace = RateKeeper(self.period)
        self._mode = ArmMode.BRAKED
        self._error = 0
        self._last: tuple[int, Array] | None = None  # k and values of the last target, since the last reset
        self._q = np.zeros(self._model.dof)
        self._force: list[float] = []
        self._same = 0  # records with the force of the one before

    # -- every cycle

    def read(self, timeout: float) -> ArmState | None:
        """The state at the next deadline; None when the box stays silent for `timeout` [s].

        Raises DeviceError when the connection has ended.
        """
        until = time.monotonic() + timeout
        while True:
            self._k += 1 + self._pace.wait()
            state = self._ask()
            if state is not None:
                return state
            if not self._api.connected:
                raise self._lost()
            if time.monotonic() >= until:
                return None

    def write(self, k: int, command: ArmCommand) -> ArmCommand:
        """Answer record k; returns what was applied: clipped to joint ranges, and to what the arm moves in a cycle.

        A stopped arm takes nothing, and says so with BRAKE; one that we take for stopped is stopped.
        """
        if command.kind not in (CommandKind.POSITION, CommandKind.BRAKE):
            raise DeviceError(f"{self.name} takes POSITION, not {command.kind.name}")
        if self._mode is not ArmMode.RUNNING or command.kind is CommandKind.BRAKE:
            if self._api.core.state_is_ready and self._api.mode == _SERVO_MODE:
                self._api.set_state(_STOP_STATE)
                self._last = None
            return ArmCommand(CommandKind.BRAKE, np.empty(0))
        if command.values.shape != (self._model.dof,) or not np.isfinite(command.values).all():
            raise DeviceError(f"{self.name} takes {self._model.dof} finite positions, not {command.values}")
        last_k, last = self._last or (k - 1, self._q)
        reach = self._speed * self.period * min(max(k - last_k, 1), _CATCH_UP)
        target = np.clip(np.clip(command.values, self._lower, self._upper), last - reach, last + reach)
        self._api.set_servo_angle_j(target.tolist(), is_radian=True)  # what went wrong shows in the next record
        if not self._api.connected:
            raise self._lost()
        self._last = (k, target)
        return ArmCommand(CommandKind.POSITION, target)

    def _ask(self) -> ArmState | None:
        before_ns = clock.now_ns()
        code, found = self._api.get_joint_states(is_radian=True, num=3)
        t_ns = (before_ns + clock.now_ns()) // 2
        if code != 0:
            return None
        code, force = self._api.get_ft_sensor_data()
        if code != 0:
            return None
        q, dq, tau = (np.array(row[: self._model.dof]) for row in found)
        self._same = self._same + 1 if force == self._force else 0
        self._q, self._force = q, force
        self._mode = self._judge()
        return ArmState(self._k, t_ns, q, dq, tau, self._wrench(q, np.array(force)), self._mode)

    def _judge(self) -> ArmMode:
        """What the last answer and the newest report say of the arm; on an error one more question names it."""
        if self._api.has_err_warn:
            code, found = self._api.get_err_warn_code()
            error = found[0] if code == 0 else self._error
            if error and error != self._error:
                _log.error("the control box reports error %d: %s", error, xarm_box.meaning(error))
            self._error = error
        else:
            self._error = 0
        if self._error or self._same * self.period > _FROZEN or not self._api.report_data.ft_sensor_is_enable:
            return ArmMode.PROTECTIVE_STOP  # without a living sensor nobody would feel what it touches
        ready = self._api.core.state_is_ready and self._api.mode == _SERVO_MODE
        return ArmMode.RUNNING if ready else ArmMode.BRAKED

    def _wrench(self, q: Array, sensed: Array) -> Array:
        """What the sensor says of the world's force, at the TCP in base_link axes (6,)."""
        T_flange_sensor = self._settings.T_flange_sensor
        R = robots.forward_kinematics(self._model, q).rotation @ T_flange_sensor.rotation
        force = self._settings.force_sign * (R @ sensed[:3])
        torque = self._settings.force_sign * (R @ sensed[3:])
        arm = R @ T_flange_sensor.inverse().apply(self._settings.tool.T_flange_tcp.position)
        return np.concatenate([force, torque - np.cross(arm, force)])

    def _lost(self) -> DeviceError:
        return DeviceError(f"the connection to the control box at {self._settings.address} has ended")

    # -- by a person

    def reset(self) -> None:
        """Clean errors, switch the motors on and enter servo mode; the arm stands where it is. Takes about a second.

        Raises DeviceError, before anything is switched on, while an emergency stop is pressed, or while tool or
        kinematics of the box disagree with the settings.
        """
        api = self._api
        code, found = api.get_err_warn_code()
        if code != 0:
            raise xarm_box.refused("get_err_warn_code", code)
        if found[0] in _EMERGENCY:
            raise DeviceError(f"error {found[0]}: {xarm_box.meaning(found[0])}; release it, then reset")
        xarm_box.check_tool(api, self._model, self._settings.tool)
        for name, arguments in (
            ("clean_error", ()),
            ("clean_warn", ()),
            ("motion_enable", (True,)),
            ("set_mode", (_SERVO_MODE,)),
            ("set_state", (0,)),
        ):
            code = getattr(api, name)(*arguments)
            if code != 0:
                raise xarm_box.refused(name, code)
        if not xarm_box.within(lambda: api.mode == _SERVO_MODE and api.core.state_is_ready and not api.has_error):
            raise DeviceError(
                f"the control box did not enter servo mode in time: mode {api.mode}, state {api.state}, "
                f"error {api.error_code} ({xarm_box.meaning(api.error_code)}); look at UFACTORY Studio"
            )
        if self._ask() is None:
            raise DeviceError("the control box does not answer after its reset")
        self._last = None
        self._pace = RateKeeper(self.period)

    def close(self) -> None:
        """Leave the box as it is: an arm in servo mode stands at its last target."""
        self._api.disconnect()
        self._claim.close()
