"""The control loop on an xArm by the vendor's SDK: stops, losses and kills on the wire (FAULTS F16, F17, F18)."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import yaml

from kinema import cell_file
from kinema.apps.clients import LoopClient
from kinema.apps.control_loop import ControlLoop
from kinema.apps.drivers import arm_driver
from kinema.control.messages import Enable, Jog, Reset, State
from kinema.devices.xarm import XArm
from kinema.errors import DeviceError
from kinema.interfaces import ArmMode

ROBOT = "virtual_xarm7"
GAP = 3.0  # [s]
JOG = Jog(np.array([0.0, 0.05, 0.0, 0.0, 0.0, 0.0]), 1.0)


class Loop:
    """A control loop in a thread, and its node."""

    def __init__(self, folder, box_at):
        raw = yaml.safe_load((cell_file.VIRTUAL.parent / "virtual_xarm7.yaml").read_text())
        for device in ("arm", "gripper"):
            raw["devices"][device] |= {"address": box_at[0], "port": box_at[1]}
        raw["control"]["execution"]["max_gap"] = GAP  # [s] on a busy machine records come late
        (folder / "cell.yaml").write_text(yaml.safe_dump(raw))
        cell = cell_file.load(folder / "cell.yaml")
        self.loop = ControlLoop(cell, ROBOT, folder, arm_driver(cell, ROBOT), silence=5.0)
        self._ended = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._folder, self.node = folder, None
        self.events = []

    def connect(self):
        try:
            self.node = LoopClient(self._folder)
        except DeviceError:  # it is busy connecting its arm
            return False
        return True

    def _run(self):
        while not self._ended:
            self.loop.cycle()

    def until(self, fulfilled, wait_for):
        end = time.monotonic() + 60.0
        while (seen := self.node.telemetry()) is None or not fulfilled(seen):
            self.events += self.node.events()
            assert time.monotonic() < end, f"the loop says {seen} and {self.events[-5:]}"
            time.sleep(0.02)
        return seen

    def order(self, order, fulfilled, wait_for):
        self.node.send(order)
        return self.until(fulfilled, wait_for)

    def reset(self, wait_for):
        """As a person does: again where the box was too busy to answer in time."""
        while True:
            told = len(self.events)
            seen = self.order(
                Reset(), lambda seen, told=told: seen.state is State.IDLE or self._refused(told), wait_for
            )
            if seen.connected and seen.state is State.IDLE:
                return

    def _refused(self, told):
        return any(event.kind == "order_refused" for event in self.events[told:])

    def close(self):
        self._ended = True
        self._thread.join()
        self.loop.close()
        if self.node is not None:
            self.node.close()


@pytest.fixture
def loop(box, box_at, tmp_path, wait_for):
    loop = Loop(tmp_path, box_at)
    try:
        wait_for(loop.connect, 30.0, "the loop")
        yield loop
    finally:
        loop.close()


def _is(state):
    return lambda seen: seen.connected and seen.state is state


@pytest.mark.slow
def test_f18_the_loop_comes_up_stopped_moves_after_reset_and_enable_and_a_collision_is_latched(
    loop, box, cell, wait_for
):
    seen = loop.until(_is(State.FAULT), wait_for)
    assert seen.mode is ArmMode.BRAKED and box.controller.servo_commands == 0
    loop.reset(wait_for)
    begun = loop.order(Enable(), _is(State.READY), wait_for)
    loop.order(JOG, _is(State.EXECUTING), wait_for)
    moved = loop.until(_is(State.READY), wait_for)
    moved = loop.until(lambda seen: np.abs(seen.dq).max() < 0.01, wait_for)
    assert np.abs(moved.T_base_tcp.position - begun.T_base_tcp.position - [0.0, 0.05, 0.0]).max() < 0.01

    loop.order(JOG, _is(State.EXECUTING), wait_for)
    box.ports.disturb("collision")
    seen = loop.until(_is(State.FAULT), wait_for)
    assert seen.mode is ArmMode.PROTECTIVE_STOP and "PROTECTIVE_STOP" in seen.reason
    at_rest = loop.until(lambda seen: np.abs(seen.dq).max() < 0.01, wait_for)
    loop.node.send(Enable())
    loop.until(lambda seen: any(event.kind == "order_refused" for event in loop.events), wait_for)
    loop.reset(wait_for)
    again = loop.order(Enable(), _is(State.READY), wait_for)
    assert np.abs(again.T_base_goal.position - at_rest.T_base_tcp.position).max() < 5e-3  # from the measured pose
    assert np.abs(cell.q - at_rest.q).max() < 0.02


@pytest.mark.slow
def test_f16_the_loop_survives_a_cut_wire_says_so_and_connects_again_only_by_a_reset(loop, box, cell, wait_for):
    loop.until(_is(State.FAULT), wait_for)
    loop.reset(wait_for)
    loop.order(Enable(), _is(State.READY), wait_for)
    loop.order(JOG, _is(State.EXECUTING), wait_for)
    box.ports.disturb("cut")
    seen = loop.until(lambda seen: not seen.connected, wait_for)
    assert seen.state is State.FAULT and "the link to the arm is lost" in seen.reason
    wait_for(lambda: np.abs(cell.dq).max() < 0.01, what="rest")
    assert np.abs(cell.q - box.controller.target).max() < 5e-3  # it stands at its last target
    loop.until(lambda seen: [event.fault for event in loop.events if event.kind == "state"][-1] == "F16", wait_for)
    assert not loop.node.telemetry().connected
    loop.reset(wait_for)


@pytest.mark.slow
def test_a_reset_may_take_longer_than_records_may_be_apart(loop, wait_for, monkeypatch):
    reset = XArm.reset
    monkeypatch.setattr(XArm, "reset", lambda arm: (reset(arm), time.sleep(GAP + 0.5)))  # brakes are slow
    loop.until(_is(State.FAULT), wait_for)
    loop.reset(wait_for)
    k = loop.node.telemetry().k
    assert loop.until(lambda seen: seen.k > k + 20, wait_for).state is State.IDLE
    loop.order(Enable(), _is(State.READY), wait_for)


_RUNAWAY = """
import sys
from kinema.devices.xarm import XArm, XArmSettings
from kinema.interfaces import ArmCommand, CommandKind
arm = XArm("virtual_xarm7", XArmSettings(sys.argv[1], int(sys.argv[2])))
arm.reset()
state = arm.read(5.0)
target = state.q.copy()
print("moving", flush=True)
while True:
    target[0] += 0.001
    arm.write(state.k, ArmCommand(CommandKind.POSITION, target))
    state = arm.read(5.0)
"""


@pytest.mark.slow
def test_f17_a_killed_loop_leaves_the_arm_standing_at_its_last_target(box, box_at, cell, start, wait_for):
    arguments = [sys.executable, "-c", _RUNAWAY, box_at[0], str(box_at[1])]
    process = start(arguments, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: process.stdout.readline().startswith("moving"))
    wait_for(lambda: box.controller.servo_commands > 50, what="motion")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: np.abs(cell.dq).max() < 0.01, what="rest")
    target = box.controller.target.copy()
    assert np.abs(cell.q - target).max() < 5e-3
    k = cell.server.k
    wait_for(lambda: cell.server.k > k + 50)
    assert (box.controller.target == target).all() and np.abs(cell.dq).max() < 0.01
