"""Kinema time: how it slips with a world, what is due when, and loops that keep a rate.

Nothing here depends on how fast the machine is.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kinema import clock, paths
from kinema.clock import NS, Every, RateKeeper, Slip, now_ns
from kinema.device_clock import DeviceClock
from kinema.errors import ConfigError
from kinema.virtual.world_server import Pace


@pytest.mark.parametrize(("rate", "period_ns"), [(30.0, 2_000_000), (80.0, 2_000_000), (200.0, 5_000_000)])
def test_once_in_every_period_at_the_first_moment_not_before_it(rate, period_ns):
    every = Every(rate, origin_ns=7 * NS)
    due = np.array([t_ns for t_ns in range(7 * NS, 9 * NS, period_ns) if every.due(t_ns)])
    late_ns = due - 7 * NS - np.arange(len(due)) * NS / rate
    assert len(due) == 2 * rate and every.count == len(due) - 1
    assert late_ns.min() > -2 and late_ns.max() < period_ns


def test_periods_that_were_slept_through_are_not_made_up():
    every = Every(10.0, origin_ns=0)
    assert [every.due(t_ns) for t_ns in (0, NS // 2, NS // 2 + 1, NS)] == [True, True, False, True]
    assert every.count == 10


class Clock:
    """Stands in for the monotonic clock: `sleep` moves it, as does a cycle's work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 5_000_000_000
        self.slept: list[float] = []
        monkeypatch.setattr(time, "monotonic_ns", self.read)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def read(self) -> int:
        self.now += 50  # looking at the clock takes time, or a spin would never end
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1e9)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """The monotonic clock in the test's hands, of a process in a cell of its own in `tmp_path`."""
    own = Slip(tmp_path)
    monkeypatch.setattr(clock, "_own_slip", lambda: own)
    monkeypatch.setattr(clock, "_newest_ns", 0)
    return Clock(monkeypatch)


def test_deadlines_are_absolute(ticking: Clock) -> None:
    keeper = RateKeeper(0.004)
    begun = ticking.now
    for i in range(1, 101):
        ticking.now += 1_000_000 + 7_000 * i  # the work takes ever longer
        assert keeper.wait() == 0
        assert abs(ticking.now - begun - i * 4_000_000) < 1000


def test_f19_late_cycles_are_counted_and_skipped_without_a_burst(ticking: Clock) -> None:
    keeper = RateKeeper(0.004)
    begun = ticking.now
    keeper.wait()
    ticking.now += 13_000_000  # deadlines at 8, 12 and 16 ms pass
    assert keeper.wait() == 3
    assert abs(ticking.now - begun - 20_000_000) < 1000  # the next that lies ahead: in phase, no catching up
    ticking.now += 5_000_000
    assert keeper.wait() == 1
    ticking.now += 1_000_000
    assert keeper.wait() == 0


def test_f19_while_kinema_time_stands_still_no_cycle_begins(ticking: Clock, tmp_path: Path) -> None:
    """Two records of an arm with one stamp would stop it."""
    keeper, stamps = RateKeeper(0.004), []
    for cycle in range(200):
        ticking.now += 1_000_000
        if cycle % 20 == 10:
            Slip(tmp_path).ns += 30_000_000  # the world has fallen behind
        assert keeper.wait() == 0
        stamps.append(now_ns())
    assert np.allclose(np.diff(stamps), 4_000_000, atol=10_000)


@pytest.mark.parametrize("period", [0.0, -1.0])
def test_impossible_rates_are_refused(period: float) -> None:
    with pytest.raises(ConfigError, match="allowed is more than 0"):
        RateKeeper(period)


def test_a_slip_is_that_of_all_processes_of_its_cell() -> None:
    behind_ns, cells = 3600 * NS, [paths.runtime(f"{os.environ['KINEMA_CELL']}-{name}") for name in ("slip", "none")]
    Slip(cells[0]).ns = behind_ns

    def told_ns(cell: Path) -> int:
        command = [sys.executable, "-c", "from kinema.clock import now_ns; print(now_ns())"]
        environment = {**os.environ, "KINEMA_CELL": cell.name}
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    before_ns, slipped_ns, after_ns = told_ns(cells[1]), told_ns(cells[0]), told_ns(cells[1])
    for cell in cells:
        shutil.rmtree(cell)
    assert before_ns < slipped_ns + behind_ns < after_ns


def test_kinema_time_stands_still_for_as_long_as_the_world_has(ticking: Clock, tmp_path: Path) -> None:
    began_ns = now_ns()
    Slip(tmp_path).ns = 30_000_000
    for step_ns in range(0, 30_000_000, 5_000_000):
        assert now_ns() == began_ns, step_ns
        ticking.now += 5_000_000
    ticking.now += 7_000_000
    assert abs(now_ns() - began_ns - 7_000_000) < 1000


def test_drivers_stamps_agree_with_the_worlds_own_however_far_it_falls_behind(ticking: Clock, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pace, driver, errors = Pace(0.002, Slip(tmp_path)), DeviceClock(), []
    origin_ns = now_ns()
    for k in range(5000):
        world_ns = origin_ns + k * 2_000_000
        ticking.now += 100_000 + round(rng.exponential(300_000))  # the record's way to the driver
        errors.append(driver.to_kinema_ns(world_ns, now_ns()) - world_ns)
        if k % 250 == 249:
            ticking.now += 50_000_000  # somebody else had the core
        pace.wait()
    assert pace.slipped > 0.5
    assert min(errors) >= 0 and max(errors[20:]) < 1_000_000


def test_a_world_at_half_of_real_time_takes_kinema_time_with_it(ticking: Clock, tmp_path: Path) -> None:
    pace, origin_ns, began = Pace(0.002, Slip(tmp_path), 0.5), now_ns(), ticking.now
    for k in range(1000):
        assert 0 <= now_ns() - (origin_ns + k * 2_000_000) < 10_000, k
        pace.wait()
    assert ticking.now - began == pytest.approx(4e9, rel=1e-3) and pace.slipped == pytest.approx(2.0, rel=1e-3)
