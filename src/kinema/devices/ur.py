"""UR arms, CB3 and e-series, through ur_rtde: position servo with the arm's own watchdog, wrench, recovery.

The controller's timestamp is the only sign of life that is believed: `servoJ` goes on returning True when data stops.
ur_rtde lives in a process of its own (`ur_helper.py`): when a wire is cut it crashes, or mends the connection by
itself, uploads its script and obeys again, without a watchdog. At the first sign of a loss that process is killed;
only `reset`, or a new UrArm, makes a new connection.

Sources: ur_rtde 1.6.5; Universal Robots, "Real-Time Data Exchange (RTDE) Guide", "Dashboard Server", "URScript".
The controller's base frame is base_link turned by the robot table's `base_yaw`.
"""

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema import clock, dh, robots
from kinema.clock import to_ns
from kinema.device_clock import DeviceClock
from kinema.devices.ownership import claim
from kinema.devices.ur_checks import check_kinematics, check_payload, check_tcp, read_chain
from kinema.devices.ur_helper import MAX_REQUEST, ONE_WAY, OUTPUTS, SIZE, Record
from kinema.errors import DeviceError
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind
from kinema.robots import GRIPPER, ArmModel, GripperModel

_OLDEST = {3: (3, 15), 5: (5, 11)}  # [PolyScope] that send the payload; ur_rtde dies of an output that isn't offered
_GENERATIONS = {3: (0.008, "a CB3"), 5: (0.002, "an e-series")}  # [s] cycle, and what such a controller is called
_TORQUE_SINCE = (5, 26)  # [PolyScope] whose direct_torque ur_rtde's script uses
_PRIORITY = 48  # of SCHED_FIFO: above the virtual cell, below the control loop
_WATCHDOG = 25.0  # [Hz] least rate of commands: 40 ms without one, and the arm stops (FAULTS F16)
_REPLY = 20.0  # [s] for the slowest request: uploading the script may take three attempts of 5 s
_STOP = 1.0  # [s] for stopping the script: an arm that has not stopped by then was stopped by its watchdog
_START = 5.0  # [s] for the uploaded script to run
_SLEW = 1e-3  # [-] how fast the clocks' offset may follow its estimate: control time has no jumps
_RUNNING_MODE, _PLAYING = 7, 2  # robot_mode, runtime_state
_NORMAL_OR_REDUCED = 0b11  # safety_status_bits: everything else is a stop that a person clears


@dataclass(frozen=True, slots=True)
class Servo:
    """servoj's lookahead_time [s] in 0.03..0.2 and gain [-] in 100..2000: smaller and larger are stiffer.

    lead  [s] how far along its speed a target is sent ahead, against the lag of the smoothing. Without it an arm that
          yields on the host yields too late: pressed onto something stiff it bounces, ever more. More than the arm's
          own lag does the same.
    """

    lookahead: float = 0.05
    gain: float = 300.0
    lead: float = 0.05


class Lead:
    """Sends positions ahead along their speed by `lead` [s], so that a servo which lags as long is where it should."""

    def __init__(self, lead: float, period: float) -> None:
        self._lead, self._period = lead, period
        self._before: tuple[int, Array] | None = None

    def forget(self) -> None:
        """The arm stands; whatever came before is no motion."""
        self._before = None

    def ahead(self, k: int, values: Array) -> Array:
        """Where to send the servo (n,) so that it is at `values` (n,) [rad] in cycle k."""
        before, self._before = self._before, (k, values)
        if before is None or k <= before[0]:
            return values
        return values + self._lead * (values - before[1]) / ((k - before[0]) * self._period)


class _Helper:
    """The process that holds ur_rtde, seen from here. Every method raises DeviceError once it has ended."""

    def __init__(self, name: str, address: str, frequency: float) -> None:
        self._name = name
        self._records, records = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests, requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._poll = select.poll()
        self._poll.register(self._records, select.POLLIN)
        with records, requests:
            ends = (records.fileno(), requests.fileno())
            command = [sys.executable, "-m", "kinema.devices.ur_helper", address, f"{frequency:g}", str(_PRIORITY)]
            self._process = subprocess.Popen([*command, *map(str, ends)], pass_fds=ends, stdout=subprocess.DEVNULL)

    def ask(self, interface: str, method: str, *arguments: Any) -> Any:
        """A call of ur_rtde and what it returns; DeviceError with its words where it raises."""
        request = json.dumps([interface, method, arguments]).encode()
        try:
            self._requests.send(request)
            if method in ONE_WAY:
                return None
            self._requests.settimeout(_STOP if method == "stopScript" else _REPLY)
            reply = self._requests.recv(MAX_REQUEST)
        except OSError as error:
            raise DeviceError(f"{self._name}: ur_rtde does not answer {interface}.{method} ({error})") from error
        if not reply:
            raise DeviceError(f"{self._name}: ur_rtde has crashed in {interface}.{method}")
        value, refusal = json.loads(reply)
        if refusal is not None:
            raise DeviceError(f"{self._name}: {refusal}")
        return value

    def record(self, timeout: float) -> Record | None:
        """The newest record, waiting at most `timeout` [s] for one."""
        if not self._poll.poll(max(1, round(timeout * 1e3))):
            return None
        newest = None
        with contextlib.suppress(BlockingIOError):
            while packet := self._records.recv(SIZE, socket.MSG_DONTWAIT):
                newest = Record.unpack(packet)
                if not newest.connected:
                    raise DeviceError(f"{self._name} has closed the connection")
            raise DeviceError(f"{self._name}: ur_rtde has crashed")
        return newest

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._records.close()
        self._requests.close()


class UrArm:
    """One UR arm with the gripper of the robot table at its flange.

    model      the arm as control has it; it has to be the controller's own, see `arm_model`. Its period says of which
               generation the controller is, and how often that sends
    command_kind  what `write` takes: POSITION by servoj, or TORQUE by direct_torque, where the controller offers it
    estimated_wrench  whether a CB3's wrench, which is estimated from motor currents, counts as a source of wrench

    Raises DeviceError naming what is wrong and what is allowed: nobody there, no remote control, a software that is too
    old, a controller of the other generation, kinematics, TCP or payload that differ from ours. An arm that is stopped
    can be connected; `reset` clears it.
    """

    def __init__(
        self,
        model: ArmModel,
        address: str,
        command_kind: CommandKind = CommandKind.POSITION,
        gripper: GripperModel = GRIPPER,
        servo: Servo | None = None,
        estimated_wrench: bool = False,
    ) -> None:
        self.name, self.command_kind = f"{model.name} at {address}", command_kind
        self._model, self._address, self._gripper, self._servo = model, address, gripper, servo or Servo()
        torque = model.limits("torque")
        ends = {CommandKind.TORQUE: (-torque, torque)}
        self._low, self._high = ends.get(command_kind, (model.limits("lower"), model.limits("upper")))
        self._q = np.array(model.home)  # of the newest record
        self._lead = Lead(self._servo.lead, model.period)
        self._T_link_base = Pose.from_rotvec(np.zeros(3), np.array([0.0, 0.0, model.base_yaw]))
        self._controlled = self._watched = False
        self._claim = claim(f"ur-{address}")
        self.period = model.period
        self._helper = _Helper(self.name, address, 1 / self.period)
        try:
            self._version = self._find()
            self.has_wrench = self._version[0] >= 5 or estimated_wrench
            self._helper.ask("receive", "open", 1 / self.period, OUTPUTS)
            self._settle()
            self._check()
            if self._mode is not ArmMode.PROTECTIVE_STOP and self._status("robotmode") == "RUNNING":
                self._take_control()
        except BaseException:
            self.close()
            raise

    # -- connections

    def _find(self) -> tuple[int, ...]:
        """Reach the dashboard; the version of PolyScope that it tells."""
        self._helper.ask("dashboard", "open")
        try:
            self._helper.ask("dashboard", "connect")
        except DeviceError as error:
            raise DeviceError(f"{error}; is the arm switched on, and is this its address?") from error
        text = self._helper.ask("dashboard", "polyscopeVersion").strip()
        version = _version(text)
        oldest = _OLDEST.get(version[0])
        if oldest is None or version < oldest:
            raise DeviceError(f"{self.name} runs {text}; allowed are 3.15 and 5.11, or later")
        period, generation = _GENERATIONS[version[0]]
        if period != self.period:
            raise DeviceError(
                f"{self.name} runs {text}, so it has {generation} controller with {1 / period:g} Hz; "
                f"a {self._model.name} has {1 / self.period:g} Hz: name the arm that stands there in the cell file, "
                "as ur5 (CB3) or ur5e"
            )
        if self.command_kind is CommandKind.TORQUE and version < _TORQUE_SINCE:
            raise DeviceError(f"{self.name} runs {text}; direct torque needs 5.26, so it takes positions alone")
        return version

    def _status(self, question: str) -> str:
        """The dashboard's answer to 'robotmode' or 'safetystatus', without what it repeats of the question."""
        return str(self._helper.ask("dashboard", question)).partition(":")[2].strip()

    def _take_control(self) -> None:
        """Upload the control script anew and wait until it runs: so a command that is left in its registers is lost."""
        if self._version >= (5, 6) and not self._helper.ask("dashboard", "isInRemoteControl"):
            raise DeviceError(f"{self.name} is in local control; choose remote control at the pendant")
        if self._controlled:
            self._controlled = False
            self._helper.ask("control", "close")
        self._helper.ask("control", "open", 1 / self.period)
        self._controlled, self._watched = True, False
        self._lead.forget()
        until = time.monotonic() + _START
        while self._next(_START) is not None and self._mode is not ArmMode.RUNNING:
            if time.monotonic() > until:
                raise DeviceError(f"{self.name}: the control script does not run within {_START:g} s")
        check_tcp(self.name, self._gripper, self._helper.ask("control", "getTCPOffset"))

    # -- checks

    def _settle(self) -> None:
        """Watch a few records, so that the clocks' offset begins near the least delay."""
        self._clock, self._offset_ns, self._origin = DeviceClock(), 0.0, -1.0
        for _ in range(25):
            record = self._next(_START)
            if record is None:
                raise DeviceError(f"{self.name}: its timestamp stands still: the controller is dead, or its data is")
            self._offset_ns, self._origin = float(self._estimate_ns(record)), record.stamp

    def _check(self) -> None:
        """Refuse an arm that is not the one that control has a model of."""
        q = np.array(self._helper.ask("receive", "getActualQ"))
        vector = self._helper.ask("receive", "getActualTCPPose")
        pose = self._T_link_base @ Pose.from_rotvec(vector[:3], vector[3:])
        check_kinematics(self.name, self._model, self._gripper, q, pose, read_chain(self._address))
        mass, cog = (self._helper.ask("receive", question) for question in ("getPayload", "getPayloadCog"))
        check_payload(self.name, self._gripper, mass, cog)

    # -- records

    def _estimate_ns(self, record: Record) -> int:
        """The offset [ns] of Kinema time to the controller's, by the least delay seen."""
        arrival_ns = clock.now_ns() - time.monotonic_ns() + record.arrival_ns
        device_ns = to_ns(record.stamp)
        return self._clock.to_kinema_ns(device_ns, arrival_ns) - device_ns

    def _next(self, timeout: float) -> Record | None:
        """The next record, and what the controller says of itself in it; every safety stop is a person's to clear."""
        record = self._helper.record(timeout)
        if record is None:
            return None
        if record.stamp < self._origin:
            raise DeviceError(f"{self.name}: its clock went back to {record.stamp:g} s: it was started anew")
        playing = self._controlled and record.runtime == _PLAYING and record.robot == _RUNNING_MODE
        if not record.safety & _NORMAL_OR_REDUCED:
            self._mode = ArmMode.PROTECTIVE_STOP
        else:
            self._mode = ArmMode.RUNNING if playing else ArmMode.BRAKED
        return record

    def read(self, timeout: float) -> ArmState | None:
        """The newest record; None when the controller's timestamp stood still for `timeout` [s]."""
        record = self._next(timeout)
        if record is None:
            return None
        step = _SLEW * to_ns(self.period)
        self._offset_ns += min(max(self._estimate_ns(record) - self._offset_ns, -step), step)
        R, felt, self._q = self._T_link_base.rotation, np.array(record.wrench), np.array(record.q)
        return ArmState(
            round((record.stamp - self._origin) / self.period),
            to_ns(record.stamp) + round(self._offset_ns),
            self._q,
            np.array(record.dq),
            np.array(record.tau),
            np.concatenate([R @ felt[:3], R @ felt[3:]]),
            self._mode,
        )

    # -- commands

    def write(self, k: int, command: ArmCommand) -> ArmCommand:
        """Answer record k; returns the command clipped to the joints' limits, or BRAKE from an arm that is stopped.

        direct_torque comes on top of what the controller itself gives against gravity, so that is taken off here; its
        friction compensation is not used: ur_rtde 1.6.5 sends the scales, and its script drops them.
        """
        if command.kind not in (self.command_kind, CommandKind.BRAKE):
            raise DeviceError(f"{self.name} takes {self.command_kind.name}, not {command.kind.name}")
        if not self._controlled or self._mode is not ArmMode.RUNNING:
            return ArmCommand(CommandKind.BRAKE, np.empty(0))
        if command.kind is CommandKind.BRAKE:
            self._helper.ask("control", "stopScript")
            self._mode = ArmMode.BRAKED
            return command
        values = np.clip(command.values, self._low, self._high)
        if not self._watched:
            self._helper.ask("control", "setWatchdog", _WATCHDOG)
            self._watched = True
        if command.kind is CommandKind.TORQUE:
            carried = self._gripper.mass, np.array([0.0, 0.0, self._gripper.com])
            asked = values - robots.gravity_torque(self._model, self._q, *carried)
            self._helper.ask("control", "directTorque", asked.tolist(), [0.0] * 6, [0.0] * 6)
        else:
            servo, target = self._servo, np.clip(self._lead.ahead(k, values), self._low, self._high)
            self._helper.ask("control", "servoJ", target.tolist(), 0.0, 0.0, self.period, servo.lookahead, servo.gain)
        return ArmCommand(command.kind, values)

    def reset(self) -> None:
        """Unlock a protective stop and start the control script anew; takes a second.

        Raises DeviceError naming what a person has to do at the arm, and why a stop can't be unlocked yet.
        """
        safety, robot = self._status("safetystatus"), self._status("robotmode")
        if safety == "PROTECTIVE_STOP":
            self._helper.ask("dashboard", "closeSafetyPopup")
            self._helper.ask("dashboard", "unlockProtectiveStop")
        elif safety not in ("NORMAL", "REDUCED"):
            raise DeviceError(f"{self.name}: the safety status is {safety}; clear it at the pendant, then reset")
        if robot != "RUNNING":
            raise DeviceError(f"{self.name}: the robot mode is {robot}; power it on and release the brakes, then reset")
        self._take_control()

    def power_on(self) -> None:
        """Switch the arm on and release its brakes, which moves it by a little; `reset` then starts its program."""
        self._helper.ask("dashboard", "powerOn")
        self._helper.ask("dashboard", "brakeRelease")

    # -- beyond the protocol

    def force_mode(self, T_base_task: Pose, selection: Sequence[int], wrench: Array, limits: Sequence[float]) -> None:
        """Press with a wrench (6,) [N, N m] along the selected axes (6,) of a task frame, no faster than `limits`.

        The arm's own force_mode, type 2, on top of the servo, limits [m/s, rad/s]; impedance on the host needs none.
        """
        task = self._T_link_base.inverse() @ T_base_task
        vector, wanted = [*task.position.tolist(), *task.rotvec.tolist()], np.asarray(wrench, float).tolist()
        self._helper.ask("control", "forceMode", vector, list(selection), wanted, 2, list(limits))
        for _ in range(3):  # no answer tells that it was taken, and the next servo command would take its place
            self._next(_START)

    def end_force_mode(self) -> None:
        self._helper.ask("control", "forceModeStop")

    def set_payload(self, mass: float, cog: Sequence[float]) -> None:
        """Tell the controller what hangs at the flange: mass [kg] and its centre (3,) [m] from the flange."""
        self._helper.ask("control", "setPayload", mass, list(cog))

    def set_speed_slider(self, fraction: float) -> None:
        """The pendant's speed slider, 0..1: it slows the controller's own motions, not the servo."""
        self._helper.ask("io", "open")
        self._helper.ask("io", "setSpeedSlider", fraction)
        self._helper.ask("io", "close")

    def close(self) -> None:
        """Let go of the controller: whose program then ends by its watchdog, if it does not end at once."""
        if self._controlled:
            self._controlled = False
            with contextlib.suppress(DeviceError):
                if self._helper.record(0.1) is not None:  # else it is dead, and would keep us waiting
                    self._helper.ask("control", "stopScript")
        self._helper.close()
        self._claim.close()


def _version(text: str) -> tuple[int, ...]:
    """(5, 12) from whatever surrounds '5.12.4.1101319'."""
    number = next((word for word in text.replace("(", " ").split() if word[0].isdigit() and "." in word), "0")
    return tuple(int(part) for part in number.split(".")[:2])


def arm_model(robot: str, address: str) -> ArmModel:
    """The robot table's arm with the calibration that its controller holds."""
    return dh.calibrated(robots.arm(robot), read_chain(address))
