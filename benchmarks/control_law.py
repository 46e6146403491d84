"""What one control cycle costs: playback, tracking filter, law and safety chain, hot and paced with cold caches.

    python benchmarks/control_law.py [--cycles 3000]

The arm is a record that moves as commanded (no physics in the measured time); a chunk of 24 steps is always playing and
a new one joins every 8 steps. "hot" runs cycle after cycle, "paced" sleeps to 500 Hz deadlines and walks through 64 MiB
of memory before each cycle, so that no cache still knows the loop. Cycles in which a chunk joins are counted apart.
"""

import argparse
import os
import platform
import time

import numpy as np

from kinema import robots
from kinema.chunk import ActionChunk
from kinema.clock import NS
from kinema.control.core import Controller
from kinema.control.messages import Enable, Mode, Order, PlayChunk, StartPolicy
from kinema.control.rate import set_up_real_time
from kinema.control.settings import ControlSettings
from kinema.geometry import Pose, so3_exp
from kinema.interfaces import ArmMode, ArmState, CommandKind, ForceSample, GripperState

_PERIOD_NS = 2_000_000
_CACHES = np.zeros(64 * 1024 * 1024 // 8)


def _chunk(number: int, t_ns: int, anchor: Pose) -> ActionChunk:
    steps = np.arange(1, 33) / 30
    relative = [
        Pose(np.array([0.03 * np.sin(2 * t), 0.02 * np.cos(2 * t) - 0.02, 0.0]), so3_exp(np.array([0.0, 0.0, 0.1 * t])))
        for t in steps
    ]
    matrices = np.array([T.matrix for T in relative])
    return ActionChunk(number, "bench", t_ns, anchor, 0.05, 1 / 30, 1 / 30, matrices, np.zeros(32), np.ones(32), 24)


def measure(robot: str, kind: CommandKind, cycles: int, paced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Durations [us] of ordinary cycles, and of those in which a chunk joins."""
    arm = robots.arm(robot)
    controller = Controller(arm, ControlSettings(), kind)
    q, dq, zero = np.array(arm.home), np.zeros(arm.dof), np.zeros(arm.dof)
    rng, chunks = np.random.default_rng(0), 0
    ordinary, joining = [], []
    tick = None
    begin = time.perf_counter_ns()
    for k in range(cycles):
        t_ns = NS + k * _PERIOD_NS
        orders: list[Order] = []
        if k == 1:
            orders = [Enable(), StartPolicy(Mode.OVERLAP, 1.0)]
        elif tick is not None and tick.request is not None:
            chunks += 1
            t0_ns = max(t_ns - 20 * _PERIOD_NS, tick.request.not_before_ns)
            orders = [PlayChunk(_chunk(chunks, t0_ns, tick.T_base_tcp), tick.request.id)]
        wrench = rng.normal(size=6) * 0.1
        state = ArmState(k, t_ns, q + rng.normal(size=arm.dof) * 2e-5, dq, zero, wrench, ArmMode.RUNNING)
        jaw, force = GripperState(t_ns, 0.05, 0.0, 0.0), ForceSample(t_ns, 1.0, False, True)
        if paced:
            _CACHES[::8] += 1.0
            left = begin + k * _PERIOD_NS - time.perf_counter_ns()
            if left > 0:
                time.sleep(left / 1e9)
            else:
                begin = time.perf_counter_ns() - k * _PERIOD_NS
        start = time.perf_counter_ns()
        tick = controller.tick(state, orders, jaw, force, False)
        (joining if orders else ordinary).append((time.perf_counter_ns() - start) / 1e3)
    return np.array(ordinary[50:]), np.array(joining[1:])


def _row(name: str, values: np.ndarray) -> str:
    p50, p99 = np.percentile(values, [50, 99])
    return f"{name:<38}{len(values):>7}{p50:>9.0f}{p99:>9.0f}{values.max():>9.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3000)
    cycles = parser.parse_args().cycles
    print(set_up_real_time(50))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{'cycle [us]':<38}{'n':>7}{'p50':>9}{'p99':>9}{'max':>9}")
    for robot in robots.ARMS:
        for kind in (CommandKind.TORQUE, CommandKind.POSITION):
            for paced in (False, True):
                ordinary, joining = measure(robot, kind, cycles, paced)
                name = f"{robot} {kind.name.lower()} {'paced, cold' if paced else 'hot'}"
                print(_row(name, ordinary))
                print(_row("    with a chunk joining", joining))


if __name__ == "__main__":
    main()
