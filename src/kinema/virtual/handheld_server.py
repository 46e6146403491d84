"""The handheld gripper as a process serves it, and the simulated person who holds it.

Between demonstrations the gripper stays where the person has put it: in its dock.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema import records
from kinema.robots import GRIPPER
from kinema.virtual.hand import Hand
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.requests import CellStatus, Demonstrate, Reply, ResetScenario
from kinema.virtual.scenario import Scenario
from kinema.virtual.world_server import WorldServer


class HandheldServer(WorldServer[HandheldWorld]):
    """Handheld gripper, tracker, load cell and person of one cell behind their sockets and rings in `folder`."""

    def __init__(self, folder: Path, task: str, split: str, seed: int) -> None:
        super().__init__(folder, None, task, split, seed, ("tracker", "load_cell"))
        self._open(folder, {"period": self.world.period}, "load_cell", "cell")
        self._hand: Hand | None = None
        self._goal = T_BASE_TCP_START, GRIPPER.stroke

    def _build(self, drawn: Scenario, origin_ns: int) -> HandheldWorld:
        return HandheldWorld(drawn, seed=drawn.seed, origin_ns=origin_ns)

    def _adopt(self, fresh: HandheldWorld) -> None:
        fresh.adopt(self.world)

    def _answer(self, request: object) -> Reply | None:
        match request:
            case Demonstrate() | ResetScenario() if self._hand is not None:
                return Reply(False, f"the person is busy ({self._hand.phase.value}); wait until they have done")
            case Demonstrate() if self._reset is not None or self.fault:
                return Reply(False, self.fault or "a reset is under way; wait for its answer")
            case Demonstrate():
                self._hand = Hand(self.world, self.world.scenario.seed)
                return Reply(True, self.world.scenario.text)
        return super()._answer(request)

    def _step(self) -> None:
        if self._hand is not None:
            self._goal = self._hand.goal()
        self._advance(lambda: self.world.step(*self._goal))
        if self._hand is not None and (self._hand.done or self.fault):
            self._hand = None
        if self.fault:
            self._goal = T_BASE_TCP_START, GRIPPER.stroke  # where a fresh world begins

    def status(self) -> CellStatus:
        return replace(super().status(), hand="" if self._hand is None else self._hand.phase.value)

    def _sense(self) -> None:
        tracked, record = self.world.tracked(), None
        if tracked is not None:
            pose = tracked.T_world_tracker
            record = self._record(
                records.TRACKER,
                position=np.nan if self._broken("nan", "tracker") else pose.position,
                rotation=pose.rotation,
                confidence=tracked.confidence,
                jumped=tracked.jumped,
            )
        self._pass("tracker", record)
