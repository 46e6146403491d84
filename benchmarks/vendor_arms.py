"""Arms behind vendors' code: our control loop beside the vendor's own, and the compliance that reaches the table.

    . tools/env.sh; python benchmarks/vendor_arms.py [--seconds 300] [--factor 0.5]

A virtual controller on loopback takes the arm's place, so what is measured is our loop, the SDK and virtual devices, on
one machine, not a robot. Our loop and the vendor's run in turn with nothing else, the UR's at 500 Hz and the xArm's at
250; then ours in a whole deployment that works at its episodes, at the cell file's rate. While they are pushed the
payload is 10 % heavier than anybody was told; wrench noise and delay are the noise file's. `factor` is the real-time
factor of the pushes: they show how the arm yields, not how fast the machine is.
"""

import argparse
import contextlib
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import deployment
import numpy as np
import yaml

from kinema import cell_file, clock, paths, robots
from kinema.apps.clients import LoopClient
from kinema.apps.telemetry import LOOP
from kinema.control.messages import Enable, Jog, Reset, State
from kinema.control.rate import set_up_real_time
from kinema.control.settings import ControlSettings
from kinema.devices.xarm_box import connect
from kinema.errors import DeviceError
from kinema.geometry import Array, pose_error
from kinema.interfaces import CommandKind
from kinema.ring import RingReader
from kinema.virtual import scenario
from kinema.virtual.scenario import Scenario
from kinema.virtual.server import CellServer
from kinema.virtual.world import World

_ARMS = {"virtual_ur5e": "ur_controller", "virtual_xarm7": "xarm_controller"}  # cell file, virtual controller
_XARM_RATE = 250.0  # [Hz]
_EPISODE = 10.0  # [s] that one lasts at least
_PAYLOAD_ERROR = 0.1
_PUSH = np.repeat([30.0, 4.0], 3)  # [N, N m]
_STIFFNESS = np.repeat(ControlSettings().impedance.stiffness, 3)
_DEEP = 0.04  # [m] that the equilibrium is led into the table
_PATIENCE = 60.0  # [s]


# ---- the cell, as a process that may be pushed


class _PushedCell(CellServer):
    """Reads wrenches (6,) at the TCP, in base_link axes, from its standard input: a line each."""

    def _build(self, drawn: Scenario, origin_ns: int) -> World:
        kind, error = self._command_kind, _PAYLOAD_ERROR
        return World(drawn, self._robot, command_kind=kind, payload_error=error, seed=drawn.seed, origin_ns=origin_ns)

    def tick(self) -> None:
        if select.select([sys.stdin], [], [], 0)[0] and (line := sys.stdin.readline()):
            self.world.push(np.array(line.split(), float))
        super().tick()


def _serve(robot: str, factor: float) -> None:
    server = _PushedCell(paths.runtime(), robot, scenario.draw("open_drawer", "train", 0), CommandKind.POSITION)
    server.world.tare()
    set_up_real_time(40)
    server.run(lambda: os.getppid() == 1, factor)


# ---- the vendors' own loops, as their examples have them


def _own_ur(address: str, seconds: float) -> list[int]:
    from rtde_control import RTDEControlInterface
    from rtde_receive import RTDEReceiveInterface

    receive, control = RTDEReceiveInterface(address, 500.0), RTDEControlInterface(address, 500.0)
    q, stamps, end = receive.getActualQ(), [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = control.initPeriod()
        stamps.append(time.monotonic_ns())
        control.servoJ(q, 0.0, 0.0, 0.002, 0.05, 300.0)
        control.waitPeriod(began)
    control.servoStop()
    control.stopScript()
    return stamps


def _own_xarm(address: str, port: int, rate: float, seconds: float) -> list[int]:
    api = connect(address, port, 2.0)
    api.motion_enable(True)
    api.set_mode(1)
    api.set_state(0)
    time.sleep(0.5)
    _, q = api.get_servo_angle(is_radian=True)
    stamps, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        stamps.append(time.monotonic_ns())
        api.set_servo_angle_j(q, is_radian=True)
        time.sleep(max(0.0, stamps[-1] * 1e-9 + 1 / rate - time.monotonic()))
    api.disconnect()
    return stamps


def _own(file: Path, seconds: float) -> None:
    """Print when each cycle began [ns]."""
    set_up_real_time(50)
    arm = cell_file.load(file).arm
    ur = arm.backend == "ur"
    stamps = _own_ur(arm.address, seconds) if ur else _own_xarm(arm.address, arm.port, arm.rate, seconds)
    print(*stamps)
    sys.stdout.flush()
    os._exit(0)  # the SDKs' threads are not waited for


# ---- measuring


@dataclass(frozen=True, slots=True)
class _Rig:
    """A cell and its controller, which run; the loop is started and ended around each measurement."""

    robot: str
    file: Path
    cell: subprocess.Popen
    log: Path

    def push(self, wrench: Array) -> None:
        assert self.cell.stdin is not None
        self.cell.stdin.write(" ".join(f"{x:.9g}" for x in wrench) + "\n")
        self.cell.stdin.flush()

    @contextlib.contextmanager
    def loop(self) -> Iterator["_Loop"]:
        command = [sys.executable, "-m", "kinema.apps.control_loop", "--robot", self.robot, "--cell", str(self.file)]
        with _process(command, self.log):
            yield _Loop()


class _Loop:
    """The control loop's node: gives orders, reads what it says of every cycle."""

    def __init__(self) -> None:
        self._node: LoopClient | None = None
        _until(self._connect, "the control loop")
        assert self._node is not None
        self.node: LoopClient = self._node
        _until(self._moving, "the arm")
        self._ring = RingReader(paths.runtime() / "loop.ring", LOOP)

    def _connect(self) -> bool:
        with contextlib.suppress(DeviceError):
            self._node = LoopClient()
        return self._node is not None

    def _moving(self) -> bool:
        seen = self.node.telemetry()
        return seen is not None and seen.connected and seen.ticks > 100

    def enable(self) -> None:
        """A busy machine may have made the arm brake before the loop was there."""
        if self.seen.state is State.FAULT:
            self.node.send(Reset())
            _until(lambda: self.seen.state is State.IDLE, "IDLE")
        self.node.send(Enable())
        _until(lambda: self.seen.state is State.READY, "READY")

    @property
    def seen(self):
        found = self.node.telemetry()
        assert found is not None
        return found

    def records(self, seconds: float) -> np.ndarray:
        """Every cycle's record of so many seconds of the cell's time."""
        last, rows, end_ns = self.seen.sequence, [], clock.now_ns() + clock.to_ns(seconds)
        while clock.now_ns() < end_ns:
            for sequence, record in self._ring.since(last):
                last = sequence
                rows.append(record.copy())
            time.sleep(0.2)
        return np.array(rows)


def _until(condition, what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {_PATIENCE:g} s")
        time.sleep(0.05)


@contextlib.contextmanager
def _process(command: list[str], log: Path, **more: object) -> Iterator[subprocess.Popen]:
    with log.open("a") as lines:
        process = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT, text=True, **more)  # type: ignore
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20.0)


@contextlib.contextmanager
def _rig(robot: str, factor: float) -> Iterator[_Rig]:
    folder = paths.runtime()
    raw = yaml.safe_load((paths.root() / "launch/cells" / f"{robot}.yaml").read_text())
    number = os.getpid()
    address = f"127.{1 + number % 200}.{number // 200 % 250}.9"
    for device in ("arm", "gripper"):
        raw["devices"][device]["address"] = address
    if raw["devices"]["arm"]["backend"] == "xarm":
        raw["devices"]["arm"]["rate"] = _XARM_RATE
    raw["control"]["limits"] = {"workspace": [[0.0, -0.8, -0.2], [1.0, 0.8, 1.0]], "force": 400.0, "torque": 100.0}
    file, log = folder / "cell.yaml", folder / "log"
    file.write_text(yaml.safe_dump(raw))
    served = [sys.executable, __file__, "--cell", robot, str(factor)]
    with _process(served, log, stdin=subprocess.PIPE) as cell:
        command = [sys.executable, "-m", f"kinema.apps.{_ARMS[robot]}", "--robot", robot, "--cell", str(file)]
        with _process(command, log):
            _until((folder / f"{_ARMS[robot]}.sock").exists, "the virtual controller")
            try:
                yield _Rig(robot, file, cell, log)
            except BaseException:
                print(log.read_text(), file=sys.stderr)
                raise
    for socket in folder.glob("*.sock"):
        socket.unlink(missing_ok=True)  # not the whole folder: in it is the clock that this process has open


def _row(robot: str, name: str, period_ns: Array, missed: str) -> str:
    cells = [f"{np.percentile(period_ns, q) / 1e6:>8.2f}" for q in (50, 99, 100)]
    return f"{robot:<15}{name:<18}{len(period_ns):>8}{''.join(cells)}{missed:>9}"


def periods(seconds: float) -> None:
    """Both loops in turn, ten seconds each, a third of the time, so that both meet the same machine; then a stack."""
    print(f"{'':<15}{'':<18}{'':>8}{'period [ms]':>24}{'':>9}")
    print(f"{'arm':<15}{'loop':<18}{'cycles':>8}{'p50':>8}{'p99':>8}{'max':>8}{'missed':>9}")
    pieces = max(1, round(seconds / 3 / 10.0))
    for robot in _ARMS:
        ours, theirs, missed = [], [], 0
        with _rig(robot, 1.0) as rig:
            for _ in range(pieces):
                with rig.loop() as loop:
                    loop.enable()
                    rows = loop.records(10.0)
                    ours.append(rows["period_ns"])
                    missed += int(np.ptp(rows["missed"]))
                own = [sys.executable, __file__, "--own", str(rig.file), "10"]
                said = subprocess.run(own, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
                theirs.append(np.diff(np.array(said.split(), np.int64)))
        print(_row(robot, "ours", np.concatenate(ours), str(missed)))
        print(_row(robot, "the SDK's example", np.concatenate(theirs), "-"), flush=True)
        subprocess.run([sys.executable, __file__, "--stack", robot, str(seconds)], check=True)


def _stack(robot: str, seconds: float) -> None:
    """The row of a deployment's loop, so long from its first motion on; in a process, and a cell, of its own."""
    deployment.isolate()
    folder, ring = Path(tempfile.mkdtemp(prefix="kinema-benchmark-")), RingReader(paths.runtime() / "loop.ring", LOOP)
    episodes, cell = math.ceil(seconds / _EPISODE), f"launch/cells/{robot}.yaml"
    seen, rows = 0, []  # of rows the cycle's stamp, its period [ns], and what was missed until then
    with deployment.deployed(folder, robot=robot, cell=cell, episodes=episodes) as launch:
        while launch.poll() is None and (not rows or rows[-1][0] - rows[0][0] < clock.to_ns(seconds)):
            for sequence, record in ring.since(seen):
                seen = sequence
                if record["connected"] and (rows or record["state"] == State.EXECUTING):
                    rows.append(tuple(int(record[name]) for name in ("t_ns", "period_ns", "missed")))
            time.sleep(0.5)
    if not rows:
        raise SystemExit(f"the arm never moved; see {folder / 'launch.log'}")
    _, period_ns, missed = np.array(rows).T
    print(_row(robot, "ours, whole stack", period_ns, str(np.ptp(missed))), flush=True)


def compliance(factor: float) -> None:
    """What a known wrench moves, over what stiffness says; then pressed onto the table, and left there."""
    print(f"\n{'yielded / expected':<24}{''.join(f'{axis:>7}' for axis in ('x', 'y', 'z', 'rx', 'ry', 'rz'))}")
    pressed = []
    for robot in _ARMS:
        with _rig(robot, factor) as rig, rig.loop() as loop:
            loop.enable()
            loop.records(1.5)
            ratios = []
            for axis in range(6):
                wrench = np.zeros(6)
                wrench[axis] = _PUSH[axis] * (1 if axis % 2 else -1)
                rest = loop.seen.T_base_tcp
                for share in np.linspace(0.02, 1.0, 50):  # a hand, not a hammer
                    rig.push(share * wrench)
                    time.sleep(0.006 / factor)
                loop.records(2.0)
                ratios.append(pose_error(rest, loop.seen.T_base_tcp)[axis] / (wrench / _STIFFNESS)[axis])
                rig.push(np.zeros(6))
                loop.records(2.0)
            print(f"{robot:<24}{''.join(f'{ratio:>7.2f}' for ratio in ratios)}", flush=True)
            pressed.append(_press(robot, loop))
    print(f"\n{'pressed onto the table':<24}{'force [N]':>10}{'of k x':>8}{'swing of each second after [N]':>34}")
    print("\n".join(pressed))


def _press(robot: str, loop: _Loop) -> str:
    height = loop.seen.T_base_tcp.position[2] - 0.02
    speed, reach = 0.02, robots.GRIPPER.tip
    loop.node.send(Jog(np.array([0, 0, -0.1, 0, 0, 0]), height / 0.1))
    loop.records(height / 0.1 + 0.5)
    deep = loop.seen.T_base_goal.position[2] + _DEEP - reach
    loop.node.send(Jog(np.array([0, 0, -speed, 0, 0, 0]), deep / speed))
    loop.records(deep / speed)
    seconds = [loop.records(1.0) for _ in range(4)]
    force = -np.mean(seconds[-1]["wrench"][:, 2])
    inside = np.mean(seconds[-1]["T_base_goal"]["position"][:, 2] - seconds[-1]["T_base_tcp"]["position"][:, 2])
    swings = "  ".join(f"{np.std(rows['wrench'][:, 2]):.2f}" for rows in seconds)
    return f"{robot:<24}{abs(force):>10.1f}{abs(force / (_STIFFNESS[2] * inside)):>8.2f}{swings:>34}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of a deployment's loop, default %(default)s")
    parser.add_argument(
        "--factor", type=float, default=0.5, help="of real time while it is pushed, default %(default)s"
    )
    parser.add_argument("--cell", nargs=2, metavar=("ROBOT", "FACTOR"), help=argparse.SUPPRESS)
    parser.add_argument("--stack", nargs=2, metavar=("ROBOT", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--own", nargs=2, metavar=("FILE", "SECONDS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        return _serve(arguments.cell[0], float(arguments.cell[1]))
    if arguments.stack:
        return _stack(arguments.stack[0], float(arguments.stack[1]))
    if arguments.own:
        return _own(Path(arguments.own[0]), float(arguments.own[1]))
    deployment.isolate()
    try:
        periods(arguments.seconds)
        compliance(arguments.factor)
    finally:
        shutil.rmtree(paths.runtime())


if __name__ == "__main__":
    main()
