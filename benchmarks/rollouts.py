"""Where a rollout's processor time goes, and what evaluating a learned policy costs.

    python benchmarks/rollouts.py [--seconds 10]

Rollouts that never succeed, so that each lasts as long as it may: networks of the small size with drawn weights look
and think, then chance moves the arm. One process, one thread; 100 scenarios are for every core that there is, at the
time limit of `kinema evaluate rollouts`.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kinema import cell_file
from kinema.apps.evaluate_rollouts import TIME_LIMIT
from kinema.apps.lockstep import run_episode
from kinema.chunk import Observation, Prediction
from kinema.control.core import Controller
from kinema.policies.actions import ActionSpace
from kinema.policies.chance import Chance
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.diffusion_policy.policy import DiffusionPolicy
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.tasks import SHIPPED
from kinema.virtual.world import World

_SIZE, _CAMERAS = (96, 72), ("gripper", "left", "right")
_STEPS = 8  # between observations
_STD = (0.06, 0.06, 0.06, *(0.1,) * 6, 0.02, 3.0)
_SPACE = ActionSpace(
    horizon=32, dt=0.1, offset=0.1, executable=24, mean=(*(0.0,) * 3, 1, *(0,) * 3, 1, *(0,) * 3), std=_STD
)


class Thinks:
    """Looks and thinks as one policy does, and does what another one wants."""

    name = "thinks"

    def __init__(self, thinker: DiffusionPolicy, mover: Chance) -> None:
        self.spec = thinker.spec
        self._thinker, self._mover = thinker, mover

    def reset(self, seed: int | None = None) -> None:
        self._mover.reset(seed)

    def predict(self, observation: Observation) -> Prediction:
        self._thinker.predict(observation)
        return self._mover.predict(observation)


def _baseline() -> DiffusionPolicy:
    config = DiffusionPolicyConfig.small()
    torch.manual_seed(0)
    model = DiffusionPolicyModel(config, len(_CAMERAS), _SIZE).eval()
    facts = Checkpoint(
        kind="diffusion_policy",
        config={},
        action=_SPACE,
        cameras=_CAMERAS,
        image_size=_SIZE,
        dataset="",
        calibration_origin=(),
        latency=model.latency,
        training={},
    )
    return DiffusionPolicy(facts, model)


class _Clock:
    """Sums up the processor time of methods, and counts their calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def watch(self, part: str, owner: Any, method: str) -> None:
        inner: Callable[..., Any] = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            found = inner(*arguments, **options)
            self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - began
            self.calls[part] = self.calls.get(part, 0) + 1
            return found

        setattr(owner, method, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="simulated, of each rollout")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cell = cell_file.load(cell_file.VIRTUAL)
    execution = replace(cell.control.execution, replan_steps=_STEPS)
    cell = cell.model_copy(update={"control": replace(cell.control, execution=execution)})
    clock = _Clock()
    for part, owner, method in (
        ("physics", World, "step"),
        ("control", Controller, "tick"),
        ("images", CellRenderer, "render"),
        ("policy", DiffusionPolicy, "predict"),
    ):
        clock.watch(part, owner, method)
    table = Table()
    table.add_column("task")
    for column in (
        "simulated s",
        "CPU s",
        *("physics", "control", "images", "policy"),
        "rest",
        "looks",
        "100 of them, CPU min",
    ):
        table.add_column(column, justify="right")
    for task in SHIPPED:
        clock.seconds.clear()
        clock.calls.clear()
        began = time.process_time()
        run_episode(
            task, "train", 0, "virtual_ur5e", Thinks(_baseline(), Chance(_SPACE)), cell=cell, latency=0.1, render=True,
            time_limit=arguments.seconds,
        )  # fmt: skip
        whole = time.process_time() - began
        parts = [clock.seconds[part] for part in ("physics", "control", "images", "policy")]
        shares = [f"{100 * seconds / whole:.0f} %" for seconds in (*parts, whole - sum(parts))]
        cost = 100 * whole / arguments.seconds * TIME_LIMIT / 60
        table.add_row(
            task, f"{arguments.seconds:.0f}", f"{whole:.1f}", *shares, str(clock.calls["policy"]), f"{cost:.0f}"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
