"""A cell that runs in real time beside the test, for drivers whose device stands in it."""

import sys
import threading

import numpy as np
import pytest

from kinema.interfaces import CommandKind
from kinema.virtual import server
from kinema.virtual.server import CellServer


class Cell:
    """A cell in a thread; its arm takes positions."""

    def __init__(self, folder, robot):
        self.server = CellServer(folder, robot, "open_drawer", "train", 1, CommandKind.POSITION)
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
