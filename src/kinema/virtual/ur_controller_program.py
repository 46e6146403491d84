"""The control script that ur_rtde uploads, as its register protocol; and the motions that it asks of the arm.

Source: the script inside librtde 1.6.5 (read with `strings`) and Universal Robots' "URScript" manual. The client writes
a command's number into input integer register 0 and its arguments into the registers after it; the script answers in
output integer register 0: 1 ready, 2 done. Real-time commands (servoj, force_mode, direct_torque) are answered at once,
the others are done when they are done, and the client then writes 0. What kinema doesn't use isn't here: an unknown
command ends the program with a message, as an error in a script does.
"""

import enum
from dataclasses import dataclass

import numpy as np

from kinema.dh import Chain
from kinema.geometry import Array, Pose
from kinema.robots import ArmModel
from kinema.virtual.ur_controller_rtde import Rtde

READY, DONE = 1, 2  # output integer register 0
_COMPLIANCE = (400.0, 20.0)  # [N s/m, N m s/rad] how force mode turns a force that is missing into a speed
_REGULAR = 1e-4  # of the damped inverse in force mode


class Command(enum.IntEnum):
    """The numbers that the client writes into input integer register 0."""

    IDLE = 0
    FORCE_MODE = 6
    FORCE_MODE_STOP = 7
    ZERO_FT_SENSOR = 8
    SERVOJ = 11
    SERVO_STOP = 16
    SET_PAYLOAD = 17
    SET_WATCHDOG = 35
    GET_TCP_OFFSET = 40
    DIRECT_TORQUE = 66
    STOP_SCRIPT = 255


_REAL_TIME = (Command.FORCE_MODE, Command.SERVOJ, Command.DIRECT_TORQUE)


@dataclass(slots=True)
class Installation:
    """What the pendant has set up: the TCP as a pose from the flange, payload [kg] and its centre (3,) [m]."""

    tcp: Pose
    payload: float
    cog: Array


@dataclass(frozen=True, eq=False, slots=True)
class ForceMode:
    """force_mode(task_frame, selection, wrench, 2, limits): limits are speeds [m/s, rad/s] along compliant axes."""

    task: Pose
    selection: Array
    wrench: Array
    limits: Array


class Program:
    """One run of the script, from its upload to its end.

    q  (n,) [rad] where the arm stands; the arm's reference starts from there. `torque` (n,) [N m] is set while
    direct_torque is asked for; otherwise the arm follows `reference`.
    """

    def __init__(self, model: ArmModel, chain: Chain, installation: Installation, q: Array, period: float) -> None:
        self._chain, self._installation, self._period = chain, installation, period
        self._step = model.limits("speed") * period
        self._servoed, self._given = q.copy(), np.zeros(len(q))  # the servo's own reference, and force mode's share
        self.torque: Array | None = None
        self.watchdog = 0.0  # [Hz] least rate of updates; 0: none is set
        self._silent = 0.0  # [s] since register 0 was written
        self._target: Array | None = None  # of servoj
        self._lookahead = 0.1
        self._force: ForceMode | None = None
        self._force_zero = np.zeros(6)
        self._executed = False
        self.state = READY
        self.doubles = np.zeros(24)  # output double registers
        self.ended = ""  # why it is over; empty: it runs

    @property
    def reference(self) -> Array:
        """(n,) [rad] where the arm is to be now."""
        return self._servoed + self._given

    def kick(self) -> None:
        """Register 0 has been written: what the watchdog watches."""
        self._silent = 0.0

    def step(self, rtde: Rtde, wrench: Array) -> None:
        """One cycle: the client's command, then the motion. `wrench` (6,) at the TCP in the controller's base axes."""
        self._silent += self._period
        if self.watchdog and self._silent * self.watchdog > 1 - 1e-9:
            self.ended = f"the RTDE watchdog: no update within {1e3 / self.watchdog:.0f} ms"
            return
        self._obey(rtde.integer(0), rtde, wrench)
        if self._target is not None:
            way = (self._target - self._servoed) * min(1.0, self._period / self._lookahead)
            self._servoed = self._servoed + np.clip(way, -self._step, self._step)
        if self._force is not None:
            self._comply(self._force, wrench - self._force_zero)

    def _obey(self, command: int, rtde: Rtde, wrench: Array) -> None:
        if command == Command.IDLE:
            self._executed, self.state = False, READY
        elif command in _REAL_TIME:
            self._real_time(command, rtde)
            self.state = READY
        elif not self._executed:
            self._executed, self.state = True, DONE
            self._regular(command, rtde, wrench)

    def _real_time(self, command: int, rtde: Rtde) -> None:
        self.torque = None
        if command == Command.SERVOJ:
            self._target, self._lookahead = rtde.double(0, 6), float(rtde.double(9)[0])
        elif command == Command.DIRECT_TORQUE:  # with friction scales of zero: the script never uses the client's
            self.torque, self._target = rtde.double(0, 6), None
        else:
            frame, selection = rtde.double(0, 6), np.array([rtde.integer(2 + i) for i in range(6)], float)
            task = Pose.from_rotvec(frame[:3], frame[3:])
            self._force = ForceMode(task, selection, rtde.double(6, 6), rtde.double(12, 6))

    def _regular(self, command: int, rtde: Rtde, wrench: Array) -> None:
        match command:
            case Command.FORCE_MODE_STOP:
                self._force = None
                self._servoed, self._given = self.reference, np.zeros(len(self._given))
                self._target = None if self._target is None else self._servoed
            case Command.ZERO_FT_SENSOR:
                self._force_zero = wrench.copy()
            case Command.SERVO_STOP:
                self._target = None
            case Command.SET_PAYLOAD:
                self._installation.payload, cog = float(rtde.double(0)[0]), rtde.double(1, 3)
                if cog.any():  # all zero: the script keeps the centre as it is
                    self._installation.cog = cog
            case Command.SET_WATCHDOG:
                self.watchdog, self._silent = float(rtde.double(0)[0]), 0.0
            case Command.GET_TCP_OFFSET:
                tcp = self._installation.tcp
                self.doubles[:6] = *tcp.position, *tcp.rotvec
            case Command.STOP_SCRIPT:
                self.ended = "the client has stopped it"
            case _:
                self.ended = f"command {command} is not one that this controller knows"

    def _comply(self, force: ForceMode, wrench: Array) -> None:
        """Along the selected axes of the task frame the arm moves until what it feels balances what it shall press."""
        R = force.task.rotation
        felt = np.concatenate([R.T @ wrench[:3], R.T @ wrench[3:]])
        speed = (force.wrench + felt) / np.repeat(_COMPLIANCE, 3)
        twist = force.selection * np.clip(speed, -force.limits, force.limits)
        _, J = self._chain.jacobian(self.reference, self._installation.tcp)
        twist = np.concatenate([R @ twist[:3], R @ twist[3:]])
        step = J.T @ np.linalg.solve(J @ J.T + _REGULAR * np.eye(6), twist) * self._period
        self._given = self._given + np.clip(step, -self._step, self._step)
