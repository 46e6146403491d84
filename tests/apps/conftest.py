"""A cell inside the test: the test itself ticks it, so that it can count; clients run beside it in threads."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from kinema import paths, records
from kinema.apps.clients import CellClient, LoopClient
from kinema.apps.telemetry import Telemetry
from kinema.control.messages import Event, Order
from kinema.devices.virtual import VirtualArm
from kinema.errors import DeviceError
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind
from kinema.virtual import scenario, server
from kinema.virtual.server import CellServer


class Rig:
    """`cell` with its own ticks; `during(call)` ticks until the call, which waits for the cell, has returned."""

    def __init__(self, folder: Path, kind: CommandKind = CommandKind.POSITION, robot: str = "virtual_ur5e") -> None:
        self.folder, self.kind, self.robot = folder, kind, robot
        self.cell = CellServer(folder, robot, scenario.draw("open_drawer", "train", 1), kind)

    def during(self, call):
        results = []

        def run():
            try:
                results.append((call(), None))
            except Exception as error:
                results.append((None, error))

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            self.cell.tick()
        value, error = results[0]
        if error is not None:
            raise error
        return value

    def arm(self) -> VirtualArm:
        arm = self.during(lambda: VirtualArm(self.robot, self.folder))
        self.cell.tick()  # its first record
        return arm

    def client(self) -> CellClient:
        return self.during(lambda: CellClient(self.folder))

    def answered_tick(self, arm: VirtualArm, command: ArmCommand | None = None) -> None:
        """One tick whose answer lies ready before the cell asks."""
        home = ArmCommand(CommandKind.POSITION, np.array(self.cell.world.arm.home))
        arm.write(self.cell.k, command or home)
        self.cell.tick()

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.cell.tick()

    def newest(self, arm: VirtualArm) -> ArmState:
        """The record of one more tick, which is not answered; older ones that wait in the socket are dropped."""
        arm.read(0.0)
        self.cell.tick()
        state = arm.read(0.0)
        assert state is not None and state.k == self.cell.k - 1
        return state

    @property
    def mode(self) -> ArmMode:
        return self.cell.world.arm_state().mode

    def close(self) -> None:
        self.cell.close()


@pytest.fixture
def make_rig(tmp_path):
    """Makes rigs in the test's folder, and checks that they leave nothing there."""
    rigs = []

    def make(**options) -> Rig:
        rigs.append(Rig(tmp_path, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"stop", "slip"}, "but these two outlive a cell on purpose"


@pytest.fixture
def rig(make_rig) -> Rig:
    """A cell whose arm takes positions."""
    return make_rig()


class LoopRig(Rig):
    """A rig with a real control loop process at its arm.

    Arm and loop are patient with one another, so on a busy machine too the ticks that go unanswered are those that the
    test wants.
    """

    def __init__(self, folder: Path, start: Callable[..., subprocess.Popen], kind: CommandKind, robot: str) -> None:
        super().__init__(folder, kind, robot)
        self._hurry_after_resets()
        self._start = start
        self.events: list[Event] = []
        self.node: LoopClient | None = None

    def start_loop(self, **environment: str) -> subprocess.Popen:
        """Start the loop, connect a node, and tick until the loop answers."""
        cell = yaml.safe_load((paths.root() / "launch/cells/virtual.yaml").read_text())
        cell["devices"]["arm"]["command"] = self.kind.name.lower()
        (self.folder / "cell.yaml").write_text(yaml.safe_dump(cell))
        command = [sys.executable, "-m", "kinema.apps.control_loop", "--robot", self.robot]
        command += ["--cell", str(self.folder / "cell.yaml"), "--silence", "120"]
        process = self._start(command, env={**os.environ, "KINEMA_CELL": self.folder.name, **environment})
        _retry(lambda: self._node_of(process))
        _retry(self._owner)
        self.until(lambda seen: seen.connected and seen.ticks > 0)
        return process

    def _node_of(self, process: subprocess.Popen) -> None:
        assert process.poll() is None, "the loop has ended"
        self.node = LoopClient(self.folder)

    def _owner(self) -> None:
        """Let the loop in without a tick: so the first tick that it sees is always the same."""
        self.cell.arm.server.receive()
        if self.cell.arm.server.owner is None:
            raise DeviceError("the loop has not come yet")

    def connect_node(self) -> None:
        """Another node for the loop that runs."""
        self.node = self.during(lambda: LoopClient(self.folder))

    def until(self, condition: Callable[[Telemetry], bool], most: int = 5000) -> Telemetry:
        """Tick until the loop's telemetry fulfils a condition."""
        for _ in range(most):
            self.cell.tick()
            seen = self.node.telemetry()
            if seen is not None and condition(seen):
                return seen
            if self.cell.arm.server.owner is None:
                time.sleep(0.002)  # the loop does something else than answering
        raise AssertionError(f"not within {most} ticks; the loop says {self.node.telemetry()}")

    def until_lost(self) -> Telemetry:
        """Tick until the loop says that it has no arm."""
        self.until(lambda seen: not seen.connected)
        return self.node.telemetry()

    def restart(self) -> None:
        """A new cell in place of the closed one."""
        super().__init__(self.folder, self.kind, self.robot)
        self._hurry_after_resets()

    def _hurry_after_resets(self) -> None:
        """A loop that clears its arm leaves that record unanswered and reads the next: nobody waits for the answer."""
        server, cleared = self.cell.arm.server, False
        receive = server.receive

        def hurried(timeout: float = 0.0) -> bytes | None:
            nonlocal cleared
            packet = receive(0.0 if cleared else timeout)
            cleared = packet is not None and np.frombuffer(packet, records.ARM_ANSWER)[0]["kind"] == records.RESET
            return packet

        server.receive = hurried

    def seen(self) -> Telemetry:
        """What the loop says of the newest tick that it answered."""
        k = self.cell.k - 1
        return _retry(lambda: _of_tick(self.node.telemetry(), k))

    def order(self, order: Order, ticks: int = 1) -> Telemetry:
        """Send an order and tick; what the loop says then."""
        self.node.send(order)
        self.ticks(ticks)
        return self.seen()

    def heard(self, fault: str = "", kind: str = "") -> list[Event]:
        """All events so far, of one fault and kind if these are given."""
        self.events += self.node.events()
        return [event for event in self.events if (fault or event.fault) == event.fault and kind in ("", event.kind)]


def _of_tick(seen: Telemetry | None, k: int) -> Telemetry:
    if seen is None or seen.k < k:
        raise DeviceError(f"no telemetry of tick {k} yet")
    return seen


def _retry(call: Callable, timeout: float = 60.0):
    end = time.monotonic() + timeout
    while True:
        try:
            return call()
        except DeviceError:
            if time.monotonic() > end:
                raise
            time.sleep(0.002)


_numbers = itertools.count()


@pytest.fixture
def make_loop_rig(start, monkeypatch):
    """Makes loop rigs, each in the run-time directory of a cell of its own."""
    monkeypatch.setattr(server, "ANSWER_WAIT", 10.0)
    rigs = []

    def make(kind: CommandKind = CommandKind.TORQUE, robot: str = "virtual_ur5e") -> LoopRig:
        folder = paths.runtime(f"{os.environ['KINEMA_CELL']}-{next(_numbers)}")
        rigs.append(LoopRig(folder, start, kind, robot))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
        if rig.node is not None:
            rig.node.close()
        shutil.rmtree(rig.folder)


@pytest.fixture
def loop_rig(make_loop_rig) -> LoopRig:
    return make_loop_rig()
