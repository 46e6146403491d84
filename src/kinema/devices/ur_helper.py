"""The process that holds ur_rtde for one UrArm, so that it can be killed: see `devices/ur.py` for why.

`python -m kinema.devices.ur_helper ADDRESS FREQUENCY PRIORITY RECORDS REQUESTS`: the last two are inherited sockets.
Records go out as they come; requests are JSON `[interface, method, arguments]`, answered by `[value, error]`, but for
those in ONE_WAY. The kernel kills it when the thread that started it has ended, whatever ur_rtde is waiting for.
Neither kinema nor numpy is imported here, to start soon.
"""

import contextlib
import ctypes
import json
import os
import platform
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

_LAYOUT = struct.Struct("<dqIIIi24d")


class Record(NamedTuple):
    """One record of the controller, in its own base axes; `arrival_ns` is CLOCK_MONOTONIC.

    `connected` is 0 in the last one, which says nothing else; runtime_state, safety_status_bits and robot_mode are
    RTDE's own numbers.
    """

    stamp: float
    arrival_ns: int
    connected: int
    runtime: int
    safety: int
    robot: int
    q: tuple[float, ...]
    dq: tuple[float, ...]
    tau: tuple[float, ...]
    wrench: tuple[float, ...]

    def pack(self) -> bytes:
        return _LAYOUT.pack(*self[:6], *self.q, *self.dq, *self.tau, *self.wrench)

    @staticmethod
    def unpack(packet: bytes) -> "Record":
        head, numbers = (values := _LAYOUT.unpack(packet))[:6], values[6:]
        return Record(*head, *(numbers[i : i + 6] for i in (0, 6, 12, 18)))


_ZEROS = (0.0,) * 6
_END = Record(0.0, 0, 0, 0, 0, 0, _ZEROS, _ZEROS, _ZEROS, _ZEROS)
SIZE = _LAYOUT.size
OUTPUTS = [
    *("timestamp", "actual_q", "actual_qd", "target_moment", "actual_TCP_pose", "actual_TCP_force"),
    *("robot_mode", "safety_status_bits", "runtime_state", "robot_status_bits", "payload", "payload_cog"),
]
ONE_WAY = ("servoJ", "directTorque")
MAX_REQUEST = 4096  # [bytes]
_PR_SET_PDEATHSIG = 1  # of prctl
_POLL = 0.0001  # [s] between two looks for the next record
_ENOUGH = 4  # cores on which ur_rtde's threads may look as often as they like
_RESERVED = 200_000, 500_000  # [ns] of a core that each of them has on fewer cores, and in how long
_SCHED_DEADLINE = 6
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}  # system call, by machine
_AWAKE = 0.8  # [-] of a period after a record in which nobody looks for the next


def _interfaces() -> dict[str, Any]:
    import dashboard_client
    import rtde_control
    import rtde_io
    import rtde_receive

    return {
        "control": rtde_control.RTDEControlInterface,
        "receive": rtde_receive.RTDEReceiveInterface,
        "io": rtde_io.RTDEIOInterface,
        "dashboard": dashboard_client.DashboardClient,
    }


def _record(receive: Any, stamp: float) -> Record:
    """The record of a timestamp, or of a later one, whole: read again while a new one comes in between."""
    while True:
        arrival_ns = time.monotonic_ns()
        modes = receive.getRuntimeState(), receive.getSafetyStatusBits(), receive.getRobotMode()
        motion = receive.getActualQ(), receive.getActualQd(), receive.getTargetMoment(), receive.getActualTCPForce()
        before, stamp = stamp, receive.getTimestamp()
        if stamp == before:
            return Record(stamp, arrival_ns, 1, *modes, *motion)


def _watch(receive: Any, records: socket.socket, period: float) -> None:
    """Send every record; a last one, not connected, when the connection has ended."""
    last = None
    while receive.isConnected():
        stamp = receive.getTimestamp()
        if stamp == last:
            time.sleep(_POLL)
            continue
        record = _record(receive, stamp)
        last = record.stamp
        with contextlib.suppress(BlockingIOError):  # a parent that does not read misses it
            records.send(record.pack())
        time.sleep(_AWAKE * period)
    records.send(_END.pack())


@contextlib.contextmanager
def _sparing() -> Iterator[None]:
    """On few cores, let the threads that start in here look for data every half millisecond.

    They look every 0.1 ms, which nothing of ur_rtde changes, and two of them take a third of a core. Finding nothing
    they yield: to the kernel a thread with a reservation has then done its work of this period. Without the privilege
    they go on as they are.
    """
    before = set(os.listdir("/proc/self/task"))
    yield
    call = _SCHED_SETATTR.get(platform.machine())
    if (os.cpu_count() or 1) >= _ENOUGH or call is None:
        return
    runtime, period = _RESERVED
    attributes = struct.pack("IIQiIQQQ", 48, _SCHED_DEADLINE, 0, 0, 0, runtime, period, period)
    for thread in set(os.listdir("/proc/self/task")) - before:
        ctypes.CDLL(None).syscall(call, int(thread), attributes, 0)


def _answer(held: dict[str, Any], address: str, interface: str, method: str, arguments: list) -> Any:
    if method == "open":
        with _sparing():
            held[interface] = _interfaces()[interface](address, *arguments)
        return None
    if method == "close":
        held.pop(interface).disconnect()
        return None
    return getattr(held[interface], method)(*arguments)


def main() -> None:
    address, frequency, priority = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    records, requests = (socket.socket(fileno=int(number)) for number in sys.argv[4:6])
    records.setblocking(False)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which brakes the arm first
    with contextlib.suppress(OSError):  # this user may not
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))  # ur_rtde's threads inherit it
    held: dict[str, Any] = {}
    while request := requests.recv(MAX_REQUEST):
        interface, method, arguments = json.loads(request)
        try:
            value, error = _answer(held, address, interface, method, arguments), None
        except (RuntimeError, ImportError) as raised:
            value, error = None, str(raised).strip()
        if (interface, method, error) == ("receive", "open", None):
            watcher = (held["receive"], records, 1 / frequency)
            threading.Thread(target=_watch, args=watcher, daemon=True).start()
        if method not in ONE_WAY:
            requests.send(json.dumps([value, error]).encode())
    os._exit(0)  # the parent has gone; ur_rtde's threads are not waited for


if __name__ == "__main__":
    main()
