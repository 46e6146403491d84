"""When a gripper is asked next, and the speed that follows. The clock stands still but for what is slept."""

import time

import numpy as np
import pytest

from kinema import clock
from kinema.devices.polling import Polling, check_finite
from kinema.errors import DeviceError


@pytest.fixture
def sleep(monkeypatch):
    now = [5_000_000_000]

    def sleep(seconds):
        now[0] += round(seconds * 1e9)

    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(clock, "_newest_ns", 0)  # Kinema time, too, begins with the test
    return sleep


def test_it_is_asked_no_more_often_than_its_rate_and_never_in_a_burst(sleep):
    polling, begun = Polling(50.0), time.monotonic_ns()
    assert polling.wait(1.0) and not polling.wait(0.0)
    assert not polling.wait(0.005) and time.monotonic_ns() - begun == 5_000_000
    assert polling.wait(1.0) and time.monotonic_ns() - begun == 20_000_000
    sleep(0.5)  # whoever was late
    assert polling.wait(0.0) and not polling.wait(0.010)


def test_speed_is_the_change_between_two_answers(sleep):
    polling = Polling(50.0)
    assert polling.state(clock.now_ns(), 0.050, 1.0).speed == 0.0
    asked_ns = clock.now_ns()
    sleep(0.200)
    state = polling.state(asked_ns, 0.040, 2.0)
    assert state.stamp_ns == asked_ns + 100_000_000
    assert state.speed == pytest.approx(-0.1) and state.force == 2.0


@pytest.mark.parametrize("command", [(np.nan, 0.1, 1.0), (0.1, np.inf, 1.0), (0.1, 0.1, -np.inf)])
def test_what_is_not_finite_is_no_command(command):
    with pytest.raises(DeviceError, match="is not finite"):
        check_finite(*command)
