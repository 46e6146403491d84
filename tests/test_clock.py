"""Kinema time: what is due when, and loops that keep a rate. Nothing here depends on how fast the machine is."""

import time

import numpy as np
import pytest

from kinema.clock import NS, Every, RateKeeper
from kinema.errors import ConfigError


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


def test_deadlines_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    keeper = RateKeeper(0.004)
    begun = clock.now
    for i in range(1, 101):
        clock.now += 1_000_000 + 7_000 * i  # the work takes ever longer
        assert keeper.wait() == 0
        assert abs(clock.now - begun - i * 4_000_000) < 1000
    assert keeper.missed == 0


def test_f19_late_cycles_are_counted_and_skipped_without_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    keeper = RateKeeper(0.004)
    begun = clock.now
    keeper.wait()
    clock.now += 13_000_000  # deadlines at 8, 12 and 16 ms pass
    assert keeper.wait() == 3
    assert abs(clock.now - begun - 20_000_000) < 1000  # the next that lies ahead: in phase, no catching up
    assert (keeper.missed, keeper.missed_in_row) == (3, 3)
    clock.now += 5_000_000
    assert keeper.wait() == 1
    assert (keeper.missed, keeper.missed_in_row) == (4, 4)
    clock.now += 1_000_000
    assert keeper.wait() == 0
    assert (keeper.missed, keeper.missed_in_row) == (4, 0)


def test_spinning_replaces_the_end_of_the_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    keeper = RateKeeper(0.004, spin=0.0005)
    keeper.wait()
    assert clock.slept[0] == pytest.approx(0.0035, abs=1e-6)


@pytest.mark.parametrize(("period", "spin"), [(0.0, 0.0), (-1.0, 0.0), (0.002, 0.002), (0.002, -0.1)])
def test_impossible_rates_are_refused(period: float, spin: float) -> None:
    with pytest.raises(ConfigError, match="allowed are"):
        RateKeeper(period, spin)
