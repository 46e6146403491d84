"""The devices of the virtual cell: each speaks to the cell process or reads one of the rings in its directory.

`folder` is the cell's run-time directory, by default the one of this process's environment.
"""

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from kinema import paths, records, robots, wire
from kinema.errors import DeviceError
from kinema.interfaces import (
    ArmCommand,
    ArmState,
    CommandKind,
    ForceSample,
    Frame,
    GripperState,
    JawCommand,
    TrackedPose,
)
from kinema.ring import RingReader
from kinema.virtual.requests import REQUESTS, MoveJaw, Reply, Tare

_POLL = 0.002  # [s] between two looks at a ring
_REPLY = 1.0  # [s]


class VirtualArm:
    """The virtual arm's tick protocol, seen from the control loop; see `virtual/server.py`.

    After a stall `read` returns the newest record and drops those before it: their time has passed, and the gap in k
    tells how many (FAULTS F19).
    """

    has_wrench = True

    def __init__(self, robot: str, folder: Path | None = None) -> None:
        """Raises DeviceError when the cell does not run, OwnershipError when another loop owns the arm."""
        folder = folder or paths.runtime()
        self.name = robot
        self._link = wire.connect(folder / "arm.sock")
        facts = self._link.facts
        if facts["robot"] != robot:
            self._link.close()
            raise DeviceError(f"the cell in {folder} runs a {facts['robot']}, not a {robot}; start both with the same")
        self.period = float(facts["period"])
        self.command_kind = CommandKind(facts["command_kind"])
        model = robots.arm(robot)
        ends = {CommandKind.TORQUE: (-model.limits("torque"), model.limits("torque"))}
        self._low, self._high = ends.get(self.command_kind, (model.limits("lower"), model.limits("upper")))
        self._answer = np.zeros((), records.ARM_ANSWER)

    def read(self, timeout: float) -> ArmState | None:
        """The newest record, waiting at most `timeout` [s] for one. Raises DeviceError when the link is lost."""
        newest = None
        packet = self._link.receive(timeout)
        while packet is not None:
            newest = packet
            packet = self._link.receive()
        if newest is None:
            return None
        return records.to_arm_state(np.frombuffer(newest, records.ARM_STATE)[0])

    def write(self, k: int, command: ArmCommand) -> ArmCommand:
        """Answer record k; returns the command clipped to the arm's limits, as the arm applies it."""
        answer = self._answer
        values = command.values
        if command.kind == self.command_kind:
            values = np.clip(command.values, self._low, self._high)
        elif command.kind != CommandKind.BRAKE:
            raise DeviceError(f"{self.name} takes {self.command_kind.name}, not {command.kind.name}")
        answer["k"], answer["kind"], answer["dof"] = k, command.kind, len(values)
        answer["values"][: len(values)] = values
        self._link.send(answer)
        return ArmCommand(command.kind, values)

    def reset(self) -> None:
        self._answer["kind"], self._answer["dof"] = records.RESET, 0
        self._link.send(self._answer)

    def close(self) -> None:
        self._link.close()


class _Requests:
    """Question and answer with the cell over one of its sockets."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self._link = wire.connect((folder or paths.runtime()) / f"{name}.sock")

    def ask(self, request: Any) -> Reply:
        self._link.send(REQUESTS.encode(request))
        packet = self._link.receive(_REPLY)
        if packet is None:
            raise DeviceError(f"{self._link.name} did not answer {type(request).__name__} within {_REPLY} s")
        reply: Reply = REQUESTS.decode(packet)
        if not reply.success:
            raise DeviceError(reply.message)
        return reply

    def check(self) -> None:
        """Raise DeviceError when the cell has gone or has closed the connection."""
        if self._link.hung_up:
            raise DeviceError(f"{self._link.name} (process {self._link.pid}) has closed the connection")

    def close(self) -> None:
        self._link.close()


class _Stream:
    """The records of one ring, each handed out once."""

    def __init__(self, name: str, folder: Path | None, layout: np.dtype) -> None:
        self._ring = RingReader((folder or paths.runtime()) / f"{name}.ring", layout)
        self._last = self._ring.head  # what was there before is not news
        self._fetched: deque[np.void] = deque()  # at once, so that who is late does not become later

    def next(self, timeout: float) -> np.void | None:
        """The oldest record not yet handed out, waiting at most `timeout` [s] for one."""
        until = time.monotonic() + timeout
        while not self._fetched:
            if found := self._ring.since(self._last):
                self._last = found[-1][0]
                self._fetched.extend(record for _, record in found)
            elif time.monotonic() >= until:
                return None
            else:
                time.sleep(_POLL)
        return self._fetched.popleft()


class VirtualGripper:
    """The virtual jaw: commands by socket, state from its ring."""

    def __init__(self, folder: Path | None = None) -> None:
        self._requests, self._stream = _Requests("jaw", folder), _Stream("jaw", folder, records.JAW)

    def read(self, timeout: float) -> GripperState | None:
        self._requests.check()
        record = self._stream.next(timeout)
        return None if record is None else records.to_gripper_state(record)

    def command(self, width: float, speed: float, force: float) -> JawCommand:
        applied = self._requests.ask(MoveJaw(width, speed, force)).value
        return JawCommand(*robots.GRIPPER.clip(applied, speed, force))

    def close(self) -> None:
        self._requests.close()


class VirtualLoadCell:
    """The load cell between the jaws: samples from its ring, taring by socket."""

    def __init__(self, serial: str, folder: Path | None = None) -> None:
        self.serial = serial
        self._requests, self._stream = _Requests("load_cell", folder), _Stream("load_cell", folder, records.LOAD_CELL)

    def read(self, timeout: float) -> ForceSample | None:
        self._requests.check()
        record = self._stream.next(timeout)
        return None if record is None else records.to_force_sample(record)

    def tare(self) -> float:
        return self._requests.ask(Tare()).value

    def close(self) -> None:
        self._requests.close()


class VirtualCamera:
    """One camera's frame ring, as the renderer process fills it."""

    def __init__(self, name: str, serial: str, size: tuple[int, int], folder: Path | None = None) -> None:
        self.name, self.serial = name, serial
        self._stream = _Stream(f"frames_{name}", folder, records.frame(size))

    def read(self, timeout: float) -> Frame | None:
        record = self._stream.next(timeout)
        if record is None:
            return None
        return Frame(self.name, int(record["sequence"]), int(record["t_ns"]), record["image"])

    def close(self) -> None:
        pass


class VirtualPoseTracker:
    """The handheld gripper's tracker."""

    def __init__(self, serial: str, folder: Path | None = None) -> None:
        self.serial = serial
        self._stream = _Stream("tracker", folder, records.TRACKER)

    def read(self, timeout: float) -> TrackedPose | None:
        record = self._stream.next(timeout)
        return None if record is None else records.to_tracked_pose(record)

    def close(self) -> None:
        pass
