"""UrArm before controllers of both generations: real ur_rtde, the virtual controller, an arm that follows at once."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from kinema import robots
from kinema.devices import ur
from kinema.devices.ur import UrArm
from kinema.errors import ConfigError, DeviceError
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind
from kinema.virtual.ur_controller import CB3, E_SERIES, UrController

_ADDRESS = f"127.{1 + os.getpid() % 200}.{os.getpid() // 200 % 250}.9"
_ZERO = np.zeros(6)


class _Follower:
    """The arm behind the controller: it stands where it was told to."""

    command_kind, has_wrench = CommandKind.POSITION, True

    def __init__(self, model: robots.ArmModel) -> None:
        self.name, self.period, self._q, self._k = model.name, model.period, np.array(model.home), 0

    def read(self, timeout: float) -> ArmState:
        time.sleep(self.period)
        self._k += 1
        return ArmState(self._k, round(self._k * self.period * 1e9), self._q, _ZERO, _ZERO, _ZERO, ArmMode.RUNNING)

    def write(self, k: int, command: ArmCommand) -> ArmCommand:
        if command.kind is CommandKind.POSITION:
            self._q = command.values
        return command

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def _served(robot: str, version: tuple[int, ...], *what: str) -> Iterator[None]:
    """A controller of such an arm, to which some of DISTURBANCES have happened."""
    model, over = robots.arm(robot), threading.Event()
    controller = UrController(_Follower(model), model, _ADDRESS, version)
    for name in what:
        controller.disturb(name)

    def serve() -> None:
        while not over.is_set():
            controller.tick()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        controller.close()


def test_a_ur5_is_driven_at_125_hz_and_its_wrench_does_not_count(monkeypatch):
    monkeypatch.setattr(ur, "_WATCHDOG", 0.5)
    with _served("ur5", CB3), closing(UrArm(robots.arm("ur5"), _ADDRESS)) as arm:
        assert arm.period == 0.008 and not arm.has_wrench
        first = state = arm.read(5.0)
        goal = first.q + 0.01
        while state.k < first.k + 200 and np.abs(state.q - goal).max() > 1e-4:
            arm.write(state.k, ArmCommand(CommandKind.POSITION, goal))
            state = arm.read(5.0)
        assert state.mode is ArmMode.RUNNING and np.abs(state.q - goal).max() < 1e-4
        assert state.t_ns - first.t_ns == pytest.approx((state.k - first.k) * 8e6, rel=2e-3)


@pytest.mark.parametrize(
    ("stands", "version", "named", "reason"),
    [
        ("ur5", CB3, "ur5e", "a CB3 controller with 125 Hz; a ur5e has 500 Hz"),
        ("ur3e", E_SERIES, "ur3", "an e-series controller with 500 Hz; a ur3 has 125 Hz"),
        ("ur5", CB3, "ur10", "mm apart, allowed is 1 mm"),
    ],
)
def test_an_arm_of_another_generation_or_size_is_refused(stands, version, named, reason):
    with _served(stands, version), pytest.raises(DeviceError, match=reason):
        UrArm(robots.arm(named), _ADDRESS)


def test_a_ur5_whose_kinematics_are_millimetres_off_is_refused_until_its_own_are_taken():
    with _served("ur5", CB3, "other_arm"):
        with pytest.raises(DeviceError, match="mm apart, allowed is 1 mm"):
            UrArm(robots.arm("ur5"), _ADDRESS)
        with pytest.raises(ConfigError, match="another type of arm"):
            ur.arm_model("ur10", _ADDRESS)
        with closing(UrArm(ur.arm_model("ur5", _ADDRESS), _ADDRESS)) as arm:
            assert arm.read(5.0).mode is ArmMode.RUNNING
