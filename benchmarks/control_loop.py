"""The control loop while a deployment runs, beside a bare loop on the same mechanism in the same minutes.

    . tools/env.sh; python benchmarks/control_loop.py [--episodes 1]

The bare pair is the arm's side of the tick protocol without physics and a loop that answers without thinking, as two
more processes with the same real-time set-up: what it shows is the machine's doing, not ours. A deadline is missed when
the arm's tick got no answer in time.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import deployment
import msgspec
import numpy as np

from kinema import paths, records, robots
from kinema.apps.telemetry import LOOP
from kinema.clock import Slip
from kinema.control.messages import State
from kinema.control.rate import set_up_real_time
from kinema.devices.virtual import VirtualArm
from kinema.interfaces import ArmCommand, CommandKind
from kinema.ring import RingReader, RingWriter
from kinema.virtual.requests import CellStatus
from kinema.virtual.server import ArmLink
from kinema.virtual.world_server import Pace
from kinema.wire import Server

_ROBOT = "virtual_ur5e"
_BARE = np.dtype([("monotonic_ns", "i8"), ("compute_ns", "i8"), ("unanswered", "i8")])
_KEPT = 600_000  # ticks of the bare loop: 20 minutes


def _until_told() -> Callable[[], bool]:
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: told.append(number))
    return lambda: bool(told)


def bare_arm(folder: Path) -> None:
    dof, period = robots.arm(_ROBOT).dof, 0.002
    facts = {"robot": _ROBOT, "dof": dof, "period": period, "command_kind": int(CommandKind.TORQUE)}
    link, pace, told = ArmLink(Server(folder / "arm.sock", facts)), Pace(period, Slip(folder)), _until_told()
    record, k = np.zeros((), records.ARM_STATE), 0
    record["dof"] = dof
    set_up_real_time(40)
    while not told():
        record["k"], record["wrench"][0] = k, link.unanswered  # so that the loop can note it beside its own times
        link.exchange(record, k)
        k += 1
        pace.wait()
    link.server.close()


def bare_loop(folder: Path) -> None:
    ring, told = RingWriter(folder / "bare.ring", _BARE, _KEPT), _until_told()
    arm, note = VirtualArm(_ROBOT, folder), np.zeros((), _BARE)
    command = ArmCommand(CommandKind.TORQUE, np.zeros(robots.arm(_ROBOT).dof))
    set_up_real_time(50)
    while not told():
        state = arm.read(1.0)
        note["monotonic_ns"] = time.monotonic_ns()
        if state is None:
            continue
        arm.write(state.k, command)
        note["compute_ns"] = time.monotonic_ns() - note["monotonic_ns"]
        note["unanswered"] = state.wrench[0]
        ring.write(note)
    arm.close()


def _unanswered(ring: RingReader) -> int:
    found = ring.latest()
    return 0 if found is None else msgspec.json.decode(bytes(found[1]["text"]), type=CellStatus).unanswered


@dataclass(frozen=True, slots=True)
class Watched:
    """The deployment's loop from the first motion to the launch's end; begin and end [ns, monotonic]."""

    period_ns: np.ndarray
    compute_ns: np.ndarray
    unanswered: int
    begin_ns: int
    end_ns: int


def _watch(launch: subprocess.Popen) -> Watched:
    ring = RingReader(paths.runtime() / "loop.ring", LOOP)
    status = RingReader(paths.runtime() / "status.ring", records.STATUS)
    times: list[tuple[int, int]] = []
    last = begin_ns = before = after = 0
    while launch.poll() is None:
        for sequence, record in ring.since(last):
            last = sequence
            if not times and record["state"] == State.EXECUTING:
                begin_ns, before = time.monotonic_ns(), _unanswered(status)
            if record["connected"] and (times or record["state"] == State.EXECUTING):
                times.append((int(record["period_ns"]), int(record["compute_ns"])))
        after = _unanswered(status)
        time.sleep(0.5)
    period_ns, compute_ns = np.array(times, np.int64).reshape(-1, 2).T
    return Watched(period_ns, compute_ns, after - before, begin_ns, time.monotonic_ns())


def _row(name: str, period_ns: np.ndarray, compute_ns: np.ndarray, missed: int) -> str:
    cells = [f"{np.percentile(period_ns, q) / 1e6:>8.2f}" for q in (50, 99, 100)]
    cells += [f"{np.percentile(compute_ns, q) / 1e3:>8.0f}" for q in (50, 99, 100)]
    return f"{name:<12}{len(period_ns):>9}{''.join(cells)}{missed:>9}"


def _started(folder: Path) -> Iterator[subprocess.Popen]:
    for part in ("arm", "loop"):
        yield subprocess.Popen([sys.executable, __file__, "--bare", part, str(folder)])
        time.sleep(2.0)


def measure(episodes: int) -> None:
    deployment.isolate()
    folder = Path(tempfile.mkdtemp(prefix="kinema-benchmark-"))
    pair = list(_started(folder))
    try:
        with deployment.deployed(folder / "run", episodes=episodes) as launch:
            seen = _watch(launch)
        bare = [record for _, record in RingReader(folder / "bare.ring", _BARE).since(0)]
    finally:
        for process in reversed(pair):
            process.send_signal(signal.SIGINT)
            process.wait()
    if not len(seen.period_ns):
        raise SystemExit(f"the arm never moved; see {folder / 'run' / 'launch.log'}")
    beside = np.array([tuple(row) for row in bare], _BARE)
    beside = beside[(beside["monotonic_ns"] >= seen.begin_ns) & (beside["monotonic_ns"] <= seen.end_ns)]
    print(f"{'':<12}{'':>9}{'period [ms]':>24}{'record to answer [us]':>24}{'deadlines':>9}")
    print(f"{'':<12}{'ticks':>9}{'p50':>8}{'p99':>8}{'max':>8}{'p50':>8}{'p99':>8}{'max':>8}{'missed':>9}")
    print(_row("deployment", seen.period_ns, seen.compute_ns, seen.unanswered))
    print(_row("bare", np.diff(beside["monotonic_ns"]), beside["compute_ns"], int(np.ptp(beside["unanswered"]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--bare", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        {"arm": bare_arm, "loop": bare_loop}[arguments.bare[0]](Path(arguments.bare[1]))
    else:
        measure(arguments.episodes)


if __name__ == "__main__":
    main()
