"""The rate keeper counts and skips; the set-up says what it got. Nothing here depends on how fast the machine is."""

import subprocess
import sys
import time

import pytest

from kinema.control.rate import RateKeeper, set_up_real_time
from kinema.errors import ConfigError


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


def test_the_set_up_says_what_was_granted() -> None:
    with pytest.raises(ConfigError, match=r"allowed is 1\.\.99"):
        set_up_real_time(0)
    script = (
        "import gc; from kinema.control.rate import set_up_real_time as s; print(s(1, 0)); print(gc.isenabled());"
        "print(gc.get_freeze_count() > 1000)"
    )
    granted, enabled, frozen = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()
    assert granted.startswith("garbage collector off, ")
    assert "SCHED_FIFO" in granted and "memory" in granted and "core 0" in granted
    assert (enabled, frozen) == ("False", "True")
