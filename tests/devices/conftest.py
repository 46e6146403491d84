"""A cell that runs in real time beside the test, for drivers whose device stands in it."""

import os
import sys
import threading

import numpy as np
import pytest

from kinema.devices.virtual import VirtualArm, VirtualGripper
from kinema.interfaces import CommandKind
from kinema.virtual import scenario, server
from kinema.virtual.server import CellServer
from kinema.virtual.xarm_controller import XArmController
from kinema.virtual.xarm_controller_ports import XArmPorts


class Cell:
    """A cell in a thread; its arm takes positions."""

    def __init__(self, folder, robot):
        self.server = CellServer(folder, robot, scenario.draw("open_drawer", "train", 1), CommandKind.POSITION)
        self.folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.server.run, args=(self._ended.is_set,))
        self._thread.start()

    @property
    def q(self):
        return self.server.world.data.qpos[:7].copy()

    @property
    def dq(self):
        return self.server.world.data.qvel[:7].copy()

    def push(self, *force):
        self.server.world.external_wrench("flange", np.r_[force, 0.0, 0.0, 0.0] if force else np.zeros(6))

    def close(self):
        self._ended.set()
        self._thread.join()
        self.server.close()


class Box:
    """A virtual xArm control box that runs: controller and ports."""

    def __init__(self, cell, address, port, **options):
        self._gripper, self._arm = VirtualGripper(cell.folder), VirtualArm("virtual_xarm7", cell.folder)
        self.controller = XArmController(self._arm, self._gripper, **options)
        self.ports = XArmPorts(self.controller, address, port)
        self._ended = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._ended:
            self.controller.step(0.1)

    def close(self):
        self._ended = True
        self._thread.join()
        self.ports.close()
        self._arm.close()
        self._gripper.close()


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """With an xArm 7 whose watchdog, tested elsewhere, is off: on a busy machine somebody will be late."""
    patient = pytest.MonkeyPatch()
    patient.setattr(server, "BRAKE_AFTER", 1_000_000)
    patient.setattr(server, "ANSWER_WAIT", 0.2)  # below what the cell's other clients wait
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # as in the cell's own process: cell, device and driver share this one
    cell = Cell(tmp_path_factory.mktemp("cell"), "virtual_xarm7")
    yield cell
    cell.close()
    sys.setswitchinterval(before)
    patient.undo()


@pytest.fixture(scope="session")
def box_at():
    """Address and control port of virtual control boxes: this process's own."""
    pid = os.getpid()
    return f"127.18.{pid // 250 % 250 + 1}.{pid % 250 + 1}", 10502


@pytest.fixture
def make_box(cell, box_at):
    boxes = []

    def make(**options):
        boxes.append(Box(cell, *box_at, **options))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()
    cell.push()


@pytest.fixture
def box(make_box):
    return make_box()


@pytest.fixture
def running():
    """`running(device)` is closed at the test's end."""
    devices = []

    def keep(opened):
        devices.append(opened)
        return opened

    yield keep
    for opened in devices:
        opened.close()


@pytest.fixture
def settled():
    """`settled(gripper, width, reads)`: the state of a gripper that has come to a width [m]; answers may be missing."""

    def wait(gripper, width, reads):
        for _ in range(reads):
            state = gripper.read(1.0)
            if state is not None and abs(state.width - width) < 2e-3:
                return state
        raise AssertionError(f"{state}, wanted {width}")

    return wait
