"""The virtual controller of an xArm 7: modes, states, errors, servo commands, F/T sensor, gripper. No sockets.

It stands between an arm of the virtual cell and whoever speaks UXBUS: `step` is one cycle of that arm, `answer` one
request. It is our reading of the manual, not the vendor's simulator. What is known to matter and is modelled:
- Nothing moves before motion is enabled, a mode is set and state 0 is set, in this order; setting a mode stops.
- In mode 1 the newest servo_j target is followed at the arm's own limits, with no planning and no watchdog: when no
  more targets come, the arm stands at the last one.
- An error stops the arm and stays until it is cleaned; then the order above again.
- The F/T sensor gives zeros until it is enabled; its axes are the flange's.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from kinema import robots
from kinema.errors import DeviceError
from kinema.geometry import Array, Pose
from kinema.interfaces import Arm, ArmCommand, ArmMode, ArmState, CommandKind, Gripper
from kinema.virtual import xarm_controller_wire as wire
from kinema.virtual.xarm_controller_gripper import ToolGripper
from kinema.virtual.xarm_controller_wire import Flag, Function, Request

SERVO_MODE = 1
READY, MOVING, PAUSED, STOPPED, MODE_CHANGED = 2, 1, 3, 4, 5  # states as reported
EMERGENCY, SERVO_ERROR, TOOL_ERROR, JOINT_RANGE, SPEED, COLLISION, FT_ERROR = 1, 10, 19, 23, 24, 31, 50  # codes

_JUMP = 0.1  # [s] at full speed: a servo target further off than that is an error; our estimate
_AT_REST = 0.01  # [rad/s]
_BRAKE = ArmCommand(CommandKind.BRAKE, np.empty(0))
_BAUD_INDEX = 11  # of 2 Mbit/s, the gripper's
_TOOL_BAUD = 0x0A0B


@dataclass(frozen=True, slots=True)
class Identity:
    """What the controller says of itself, as the manual writes it: below 40 characters in all."""

    version: str = "v2.7.1"
    arm_serial: str = "XI130700000001"
    box_serial: str = "AC1307000001"

    @property
    def text(self) -> str:
        return f"7,7,{self.arm_serial},{self.box_serial},{self.version}"


@dataclass(eq=False, slots=True)
class _Tool:
    """What is configured for the end of the arm: TCP [mm, rad], load [kg, mm], F/T zero [N, N m].

    At first it is what somebody has set for the robot table's gripper.
    """

    offset: Array = field(default_factory=lambda: np.append(robots.GRIPPER.T_flange_tcp.position * 1e3, np.zeros(3)))
    load: Array = field(default_factory=lambda: np.array((robots.GRIPPER.mass, 0.0, 0.0, robots.GRIPPER.com * 1e3)))
    ft_enabled: bool = False
    ft_zero: Array = field(default_factory=lambda: np.zeros(6))


class XArmController:
    """A controller for one arm that takes positions, and the gripper at its tool's RS485, if there is one.

    model      the arm's real kinematics, by which the controller reports poses; the table's where None
    collision  [N] of outside force at the TCP that trips the collision error; our estimate of sensitivity 3
    ft_sensor  whether there is one
    mute       nothing is answered and nothing reported, but connections stay: what a hung controller does
    frozen     the same state is told again and again
    pressed    the emergency stop's button: its error comes back until it is released
    """

    def __init__(
        self,
        arm: Arm,
        gripper: Gripper | None = None,
        *,
        model: robots.ArmModel | None = None,
        identity: Identity | None = None,
        collision: float = 90.0,
        ft_sensor: bool = True,
    ) -> None:
        if arm.command_kind is not CommandKind.POSITION:
            raise DeviceError(f"{arm.name} takes {arm.command_kind.name}; an xArm controller drives an arm by POSITION")
        self.model = model or robots.arm(arm.name)
        self.identity = identity or Identity()
        self.mode, self.error, self.warning = 0, 0, 0
        self.mute = self.frozen = self.pressed = False
        self.target: Array | None = None  # the newest servo target
        self.servo_commands = 0
        self._arm, self._collision, self._ft_sensor = arm, collision, ft_sensor
        self._gripper = None if gripper is None else ToolGripper(gripper)
        self._lock = threading.Lock()  # between `step` and `answer`, which come from two threads
        self._enabled, self._state = False, STOPPED
        self._tool = _Tool()
        self._seen: ArmState | None = None
        self._resume = False
        self._resumed_k = -1
        self._handlers: dict[int, Callable[[Request], bytes]] = {
            Function.VERSION: lambda request: self.identity.text.encode().ljust(40, b"\0"),
            Function.SERIAL: lambda request: self.identity.arm_serial.encode().ljust(40, b"\0"),
            Function.ENABLE: self._enable,
            Function.SET_STATE: self._set_state,
            Function.GET_STATE: lambda request: bytes([self.state]),
            Function.WAITING: lambda request: bytes(2),
            Function.GET_ERROR: lambda request: bytes([self.error, self.warning]),
            Function.CLEAN_ERROR: self._clean_error,
            Function.CLEAN_WARNING: self._clean_warning,
            Function.SET_MODE: self._set_mode,
            Function.SERVO_J: self._servo_j,
            Function.SET_TCP_OFFSET: self._set_tcp_offset,
            Function.SET_LOAD: self._set_load,
            Function.GET_POSE: lambda request: wire.floats(self._pose()),
            Function.GET_JOINTS: self._joints,
            Function.RS485: self._rs485,
            Function.TOOL_READ: self._tool_read,
            Function.FT_DATA: lambda request: wire.floats(self._ft(raw=bool(request.payload))),
            Function.FT_ENABLE: self._ft_enable,
            Function.FT_ZERO: self._ft_set_zero,
        }

    # -- the arm's side

    def step(self, timeout: float) -> bool:
        """One cycle of the arm, waiting at most `timeout` [s] for its record; whether there was one."""
        state = self._arm.read(timeout)
        if state is None:
            return False
        with self._lock:
            command = self._control(state)
            resume, self._resume = self._resume, False
            jaw = None if self._gripper is None else self._gripper.take()
        if resume:
            self._arm.reset()
        self._arm.write(state.k, command)
        if self._gripper is not None:  # after the answer: the cell serves the jaw in its next tick
            self._gripper.drive(jaw)
        return True

    def fail(self, error: int) -> None:
        """An error of the controller's own: the arm stops, and stays until it is cleaned."""
        with self._lock:
            self._fail(error)

    def _fail(self, error: int) -> None:
        self.error, self._state, self.target = error, STOPPED, None

    def _control(self, state: ArmState) -> ArmCommand:
        if not self.frozen or self._seen is None:
            self._seen = state
        if self.pressed and self.error != EMERGENCY:
            self._fail(EMERGENCY)
        if self._resume:
            self._resumed_k = state.k
        elif self._moving and state.mode is not ArmMode.RUNNING and state.k > self._resumed_k + 1:
            self._fail(SERVO_ERROR)
        if self._moving and np.linalg.norm(state.wrench[:3]) > self._collision:
            self._fail(COLLISION)
        if not self._moving or self.target is None:
            return _BRAKE
        return ArmCommand(CommandKind.POSITION, self.target)

    # -- what it says of itself

    @property
    def _moving(self) -> bool:
        """Whether it may move: enabled, and told to go on."""
        return self._enabled and self._state == READY and not self.error

    @property
    def state(self) -> int:
        """As reported: 1 in motion, 2 ready, 3 paused, 4 stopped, 5 stopped by a change of mode."""
        if self._moving and self._seen is not None and np.abs(self._seen.dq).max() > _AT_REST:
            return MOVING
        return self._state

    def _flange(self) -> Pose:
        state = self._known()
        return robots.forward_kinematics(self.model, state.q)

    def _known(self) -> ArmState:
        if self._seen is None:
            raise ValueError("the arm has not said anything yet")
        return self._seen

    def _pose(self) -> Array:
        """The TCP as configured, in the base: [mm] and roll, pitch, yaw [rad]."""
        offset = self._tool.offset
        T = self._flange() @ Pose(offset[:3] * 1e-3, Rotation.from_euler("xyz", offset[3:]).as_matrix())
        return np.concatenate([T.position * 1e3, Rotation.from_matrix(T.rotation).as_euler("xyz")])

    def _ft(self, raw: bool) -> Array:
        """What the sensor at the flange reads of the outside force [N] and torque [N m] (6,), in its axes."""
        if not self._tool.ft_enabled:
            return np.zeros(6)
        wrench, R = self._known().wrench, self._flange().rotation
        force, torque = R.T @ wrench[:3], R.T @ wrench[3:]
        sensed = np.concatenate([force, torque + np.cross(robots.GRIPPER.T_flange_tcp.position, force)])
        return sensed if raw else sensed - self._tool.ft_zero

    def report(self, port: int) -> bytes | None:
        """One record of a report port; None while it is mute or knows nothing of its arm."""
        with self._lock:
            if self.mute or self._seen is None:
                return None
            facts: dict[str, object] = {
                "state_mode": self.mode << 4 | self.state,
                "joints": self._seen.q,
                "pose": self._pose(),
                "torques": self._seen.tau,
                "brakes": 0xFF * self._enabled,
                "enabled": 0xFF * self._enabled,
                "error": self.error,
                "warning": self.warning,
                "tcp_offset": self._tool.offset,
                "load": self._tool.load,
                "collision_sensitivity": 3,
                "gravity": (0.0, 0.0, -1.0),
                "robot_type": 7,
                "axes": 7,
                "version": self.identity.version.encode(),
                "tcp_limits": (1000.0, 1.0, 50000.0, 0.1, 1000.0),
                "joint_limits": (20.0, 0.01, 20.0, 0.0001, 3.14),
                "ft": self._ft(raw=False),
                "ft_raw": self._ft(raw=True),
                "switches": int(self._tool.ft_enabled),
            }
        return wire.report(port, facts)

    # -- requests

    def answer(self, request: Request) -> bytes | None:
        """The reply to a request; None while it is mute, and for what is no request."""
        if self.mute or request.protocol not in wire.PRIVATE:
            return None
        with self._lock:
            handler, data, flags = self._handlers.get(request.function), b"", Flag(0)
            try:
                if handler is None:
                    raise ValueError(f"function {request.function}")
                data = handler(request)
            except (ValueError, IndexError):
                flags |= Flag.INVALID
            flags |= Flag.ERROR if self.error else Flag(0)
            flags |= Flag.WARNING if self.warning else Flag(0)
            flags |= Flag.NOT_READY if self._state in (STOPPED, MODE_CHANGED) else Flag(0)
            return wire.reply(request, flags, data)

    def _enable(self, request: Request) -> bytes:
        self._enabled = bool(request.payload[1])
        if not self._enabled:
            self._state = STOPPED
        return b""

    def _set_state(self, request: Request) -> bytes:
        wanted = request.payload[0]
        if wanted == 0 and self._enabled and not self.error:
            if self._state != READY:
                self._resume, self.target = True, self._known().q
            self._state = READY
        elif wanted in (PAUSED, STOPPED):
            self._state, self.target = wanted, None
        return b""

    def _set_mode(self, request: Request) -> bytes:
        self.mode, self._state, self.target = request.payload[0], MODE_CHANGED, None
        return b""

    def _clean_error(self, request: Request) -> bytes:
        self.error = 0
        return b""

    def _clean_warning(self, request: Request) -> bytes:
        self.warning = 0
        return b""

    def _servo_j(self, request: Request) -> bytes:
        wanted = request.floats(7)
        if not self._moving or self.mode != SERVO_MODE or self.target is None:
            return b""
        self.servo_commands += 1
        lower, upper, speed = (self.model.limits(name) for name in ("lower", "upper", "speed"))
        if not (np.isfinite(wanted).all() and (lower - 1e-6 <= wanted).all() and (wanted <= upper + 1e-6).all()):
            self._fail(JOINT_RANGE)
        elif (np.abs(wanted - self.target) > speed * _JUMP).any():
            self._fail(SPEED)
        else:
            self.target = wanted
        return b""

    def _joints(self, request: Request) -> bytes:
        state = self._known()
        blocks = [state.q, state.dq, state.tau][: request.payload[0] & 0x0F if request.payload else 1]
        return wire.floats(np.concatenate(blocks))

    def _set_tcp_offset(self, request: Request) -> bytes:
        self._tool.offset = request.floats(6)
        return b""

    def _set_load(self, request: Request) -> bytes:
        self._tool.load = request.floats(4)
        return b""

    def _ft_enable(self, request: Request) -> bytes:
        self._tool.ft_enabled = bool(request.payload[0]) and self._ft_sensor
        if not self._ft_sensor:
            self._fail(FT_ERROR)
        return b""

    def _ft_set_zero(self, request: Request) -> bytes:
        self._tool.ft_zero = self._ft(raw=True)
        return b""

    def _tool_read(self, request: Request) -> bytes:
        address = int.from_bytes(request.payload[1:3], "big")
        return (_BAUD_INDEX if address == _TOOL_BAUD else 0).to_bytes(4, "big")

    def _rs485(self, request: Request) -> bytes:
        if self._gripper is None:
            self._fail(TOOL_ERROR)
            return b""
        return self._gripper.answer(request.payload)
