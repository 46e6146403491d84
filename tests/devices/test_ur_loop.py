"""The control loop, a real process, around a UrArm: what becomes of it, and of the arm, when either is lost."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from kinema.apps.clients import LoopClient
from kinema.apps.telemetry import Telemetry
from kinema.control.messages import Enable, Jog, Order, Reset, State
from kinema.errors import DeviceError

from .ur_cell import UrCell, cells

_LOOP = """
import sys
from kinema import cell_file, paths
from kinema.apps.control_loop import ControlLoop
from kinema.apps.drivers import arm_driver
from kinema.control.rate import set_up_real_time
from kinema.devices import ur
ur._WATCHDOG = 5.0  # a busy machine may keep the loop from commanding for 40 ms
cell = cell_file.load(sys.argv[1])
loop = ControlLoop(cell, "virtual_ur5e", paths.runtime(), arm_driver(cell, "virtual_ur5e"))
set_up_real_time(50)
while True:
    loop.cycle()
"""


@pytest.fixture(scope="module")
def cell():
    yield from cells(_until, "e-series")


def _until(condition, timeout=60.0, what="the condition"):
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} not seen within {timeout} s"
        time.sleep(0.02)
    return value


class Loop:
    """A control loop process and its node."""

    def __init__(self, cell: UrCell, start) -> None:
        environment = {**os.environ, "KINEMA_CELL": cell.folder.name}
        self.process: subprocess.Popen = start([sys.executable, "-c", _LOOP, cell.file], env=environment)
        self._folder, self.node = cell.folder, None
        _until(self._connect, what="the loop")
        self.until(lambda seen: seen.connected and seen.ticks > 10)

    def _connect(self) -> bool:
        assert self.process.poll() is None, "the loop has ended"
        try:
            self.node = LoopClient(self._folder)
        except DeviceError:
            return False
        return True

    def until(self, condition) -> Telemetry:
        end = time.monotonic() + 30.0
        while (seen := self.node.telemetry()) is None or not condition(seen):
            assert time.monotonic() < end, f"the loop says {seen} and {self.node.events()}"
            time.sleep(0.01)
        return seen

    def order(self, order: Order, state: State) -> Telemetry:
        self.node.send(order)
        return self.until(lambda seen: seen.connected and seen.state is state)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.node.close()


@pytest.fixture
def loop(cell, start):
    cell.disturb("clear")
    loop = Loop(cell, start)
    yield loop
    loop.kill()
    cell.disturb("clear")


@pytest.mark.parametrize("how", ["cut", pytest.param("silent", marks=pytest.mark.slow)])
def test_f16_a_lost_controller_is_a_fault_that_the_loop_survives_and_a_reset_mends(loop, cell, how):
    loop.order(Enable(), State.READY)
    cell.disturb(how)
    lost = loop.until(lambda seen: not seen.connected)
    assert lost.state is State.FAULT and loop.process.poll() is None
    assert "F16" in {event.fault for event in loop.node.events(1.0)}
    cell.disturb("clear")
    time.sleep(0.5)
    assert not loop.node.telemetry().connected, "nothing connects by itself"
    found = loop.order(Reset(), State.IDLE)
    assert abs(found.q - lost.q).max() < 0.01


def test_f17_a_killed_loop_leaves_an_arm_that_stops_and_the_next_loop_does_not_follow_its_last_word(loop, cell, start):
    loop.order(Enable(), State.READY)
    loop.order(Jog(np.array([0.0, 0.0, 0.05, 0.0, 0.0, 0.0]), 5.0), State.EXECUTING)
    moving = loop.until(lambda seen: abs(seen.dq).max() > 0.02)
    loop.kill()
    _until(lambda: cell.log.read_text().count("the program has ended") > 0, what="the watchdog of the arm")
    again = Loop(cell, start)
    first = again.node.telemetry()
    assert first.state is State.IDLE and abs(first.dq).max() < 0.02
    time.sleep(0.3)
    assert abs(again.node.telemetry().q - first.q).max() < 2e-3
    assert abs(first.q - moving.q).max() < 0.1
    again.kill()


@pytest.mark.slow
def test_f18_a_protective_stop_is_a_fault_until_a_person_has_unlocked_it(loop, cell):
    loop.order(Enable(), State.READY)
    cell.disturb("protective_stop")
    stopped = loop.until(lambda seen: seen.state is State.FAULT)
    assert stopped.connected and "PROTECTIVE_STOP" in stopped.reason
    loop.node.events()
    loop.node.send(Reset())
    refused = _until(lambda: [event for event in loop.node.events() if event.kind == "order_refused"])
    assert "5s after occurrence" in refused[0].text
    assert loop.node.telemetry().state is State.FAULT
    time.sleep(5.2)
    loop.order(Reset(), State.IDLE)
    loop.order(Enable(), State.READY)
