"""What crosses the border of the control loop process: orders in, events out, one telemetry record a tick.

The node side of it is in `clients.py`.
"""

import mmap
import os
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.control.messages import Event, Order, State, Tick
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmMode, ArmState, ForceSample, GripperState
from kinema.records import MAX_DOF
from kinema.wire import Codec

ORDERS = Codec(*typing.get_args(Order), plain=(Event,))

_joints = ("f8", (MAX_DOF,))
_pose = [("position", "f8", (3,)), ("rotation", "f8", (3, 3))]

LOOP = np.dtype(
    [
        *(("t_ns", "i8"), ("k", "u8"), ("ticks", "u8"), ("missed", "u8"), ("events_dropped", "u8")),
        *(("period_ns", "i8"), ("compute_ns", "i8"), ("not_before_ns", "i8"), ("request", "u4")),
        *(("state", "u4"), ("mode", "u4"), ("kind", "u4"), ("dof", "u4"), ("connected", "u4")),
        *(("chunk", "i4"), ("step", "i4"), ("steps_left", "i4"), ("owner_pid", "i4")),
        *(("q", *_joints), ("dq", *_joints), ("tau", *_joints), ("command", *_joints), ("wrench", "f8", (6,))),
        *(("T_base_tcp", _pose), ("T_base_goal", _pose)),
        *(("correction", "f8"), ("jaw_goal", "f8"), ("jaw_width", "f8"), ("jaw_speed", "f8"), ("force", "f8")),
        *(("owner", "S64"), ("reason", "S256")),
    ],
    align=True,
)


@dataclass(frozen=True, eq=False, slots=True)
class Telemetry:
    """One telemetry record as values; SI units. `jaw_goal`, `jaw_width`, `jaw_speed`, `force` are NaN while unknown.

    sequence    of the record in its ring; it stands still when the loop does
    connected   whether the arm's link is up; without it the other numbers are the last ones
    command     of the arm's last answer [N m or rad]
    period, compute  [s] from the last record to this one, and from its arrival to its answer
    missed      ticks that the arm sent and the loop did not answer
    reason      why the state is FAULT or STOPPED
    owner       who may send orders, empty: nobody
    """

    sequence: int
    t_ns: int
    k: int
    ticks: int
    missed: int
    events_dropped: int
    period: float
    compute: float
    state: State
    reason: str
    owner: str
    owner_pid: int
    connected: bool
    mode: ArmMode
    q: Array
    dq: Array
    tau: Array
    command: Array
    wrench: Array
    T_base_tcp: Pose
    T_base_goal: Pose
    correction: float
    chunk: int
    step: int
    steps_left: int
    request: int
    not_before_ns: int
    jaw_goal: float
    jaw_width: float
    jaw_speed: float
    force: float


def _put(field: np.ndarray, pose: Pose) -> None:
    field["position"], field["rotation"] = pose.position, pose.rotation


def _get(field: np.void) -> Pose:
    return Pose(field["position"], field["rotation"])


def fill(record: np.ndarray, state: ArmState, tick: Tick, jaw: GripperState | None, force: ForceSample | None) -> None:
    """Put one cycle into a record; what counts the loop itself is its own to fill in."""
    n = len(state.q)
    record["t_ns"], record["k"], record["dof"], record["mode"] = state.t_ns, state.k, n, state.mode
    record["q"][:n], record["dq"][:n], record["tau"][:n] = state.q, state.dq, state.tau
    record["wrench"], record["state"], record["kind"] = state.wrench, tick.state, tick.command.kind
    record["command"] = 0.0
    record["command"][: len(tick.command.values)] = tick.command.values
    _put(record["T_base_tcp"], tick.T_base_tcp)
    _put(record["T_base_goal"], tick.T_base_goal)
    record["correction"] = tick.correction
    record["chunk"], record["step"], record["steps_left"] = tick.chunk, tick.step, tick.steps_left
    wish = tick.request
    record["request"], record["not_before_ns"] = (wish.id, wish.not_before_ns) if wish else (0, 0)
    if tick.jaw is not None:
        record["jaw_goal"] = tick.jaw.width
    if jaw is not None:
        record["jaw_width"], record["jaw_speed"] = jaw.width, jaw.speed
    if force is not None:
        record["force"] = force.force


def to_telemetry(sequence: int, record: np.void) -> Telemetry:
    n = int(record["dof"])
    return Telemetry(
        sequence=sequence,
        t_ns=int(record["t_ns"]),
        k=int(record["k"]),
        ticks=int(record["ticks"]),
        missed=int(record["missed"]),
        events_dropped=int(record["events_dropped"]),
        period=float(record["period_ns"]) * 1e-9,
        compute=float(record["compute_ns"]) * 1e-9,
        state=State(int(record["state"])),
        reason=bytes(record["reason"]).decode(errors="replace"),
        owner=bytes(record["owner"]).decode(errors="replace"),
        owner_pid=int(record["owner_pid"]),
        connected=bool(record["connected"]),
        mode=ArmMode(int(record["mode"])),
        q=record["q"][:n],
        dq=record["dq"][:n],
        tau=record["tau"][:n],
        command=record["command"][:n],
        wrench=record["wrench"],
        T_base_tcp=_get(record["T_base_tcp"]),
        T_base_goal=_get(record["T_base_goal"]),
        correction=float(record["correction"]),
        chunk=int(record["chunk"]),
        step=int(record["step"]),
        steps_left=int(record["steps_left"]),
        request=int(record["request"]),
        not_before_ns=int(record["not_before_ns"]),
        jaw_goal=float(record["jaw_goal"]),
        jaw_width=float(record["jaw_width"]),
        jaw_speed=float(record["jaw_speed"]),
        force=float(record["force"]),
    )


class StopByte:
    """The software stop: one byte of a mapped file, read every tick, written by whoever wants the arm to stop."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stop"
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size == 0:
                os.ftruncate(file, 1)
            self._byte = mmap.mmap(file, 1)
        finally:
            os.close(file)

    @property
    def pressed(self) -> bool:
        return self._byte[0] != 0

    def press(self) -> None:
        self._byte[0] = 1

    def release(self) -> None:
        """Only the control loop does this, when it is given a Reset."""
        self._byte[0] = 0
