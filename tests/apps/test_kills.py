"""The control loop killed at moments that nobody chose: F17 again and again."""

import random
import threading

import pytest

from kinema.control.messages import Enable, Jog, Reset, State
from kinema.interfaces import ArmMode
from kinema.virtual import server
from kinema.virtual.server import BRAKE_AFTER

pytestmark = pytest.mark.slow

_MOVE = Jog([0.04, 0.0, 0.02, 0.0, 0.0, 0.1], 1.0)


def test_f17_twenty_kills_at_random_moments_each_end_in_a_braked_arm_that_waits_for_a_reset(loop_rig, monkeypatch):
    moments = random.Random(17)
    for attempt in range(20):
        process = loop_rig.start_loop()
        assert loop_rig.order(Reset(), 5).state is State.IDLE
        loop_rig.order(Enable(), 5)
        loop_rig.order(Jog([-x for x in _MOVE.twist] if attempt % 2 else _MOVE.twist, 1.0))
        killer = threading.Timer(moments.uniform(0.0, 0.3), process.kill)
        killer.start()
        monkeypatch.setattr(server, "ANSWER_WAIT", 1.0)  # the kill falls into the midst of a tick
        while loop_rig.mode is ArmMode.RUNNING:
            loop_rig.cell.tick()
            assert loop_rig.cell.arm.silent <= BRAKE_AFTER
        killer.join()
        process.wait()
        loop_rig.ticks(300)
        assert loop_rig.mode is ArmMode.BRAKED
        assert abs(loop_rig.cell.world.arm_state().dq).max() < 0.02, "the arm has to be at rest"
        monkeypatch.setattr(server, "ANSWER_WAIT", 30.0)
