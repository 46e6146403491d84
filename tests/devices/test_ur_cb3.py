"""UrArm before a controller of the CB3 generation: 125 Hz, and a wrench that is only estimated."""

import time
from contextlib import closing
from dataclasses import replace

import pytest

from kinema import robots
from kinema.devices import ur
from kinema.devices.ur import UrArm
from kinema.interfaces import ArmCommand, ArmMode, CommandKind

from .ur_cell import cells

_ARM = replace(robots.arm("ur5e"), period=robots.arm("ur5").period)  # the cell's arm, on the older controller
pytestmark = pytest.mark.slow  # a cell of its own


@pytest.fixture(scope="module")
def cell():
    yield from cells(_wait_for, "cb3")


def _wait_for(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{what} not seen within {timeout} s"
        time.sleep(0.05)


def test_a_cb3_runs_at_125_hz_and_its_wrench_counts_only_where_the_cell_says_so(cell, monkeypatch):
    monkeypatch.setattr(ur, "_WATCHDOG", 0.5)
    with closing(UrArm(_ARM, cell.address)) as arm:
        assert arm.period == 0.008 and not arm.has_wrench
        first = arm.read(5.0)
        for _ in range(20):
            state = arm.read(5.0)
            arm.write(state.k, ArmCommand(CommandKind.POSITION, first.q))
        assert state.mode is ArmMode.RUNNING
        assert state.t_ns - first.t_ns == pytest.approx((state.k - first.k) * 8e6, rel=2e-3)
    with closing(UrArm(_ARM, cell.address, estimated_wrench=True)) as arm:
        assert arm.has_wrench
