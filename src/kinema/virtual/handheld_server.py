"""The handheld gripper as a process serves it, and the simulated person who holds it.

Between demonstrations the gripper stays where the person has put it: in its dock. Nobody's control loop hangs on this
world, so its time waits for the renderer where that is slow: a recording then takes longer and misses no image.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema import records
from kinema.clock import to_ns
from kinema.ring import RingReader
from kinema.robots import GRIPPER
from kinema.virtual.hand import Hand
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.requests import CellStatus, Demonstrate, Reply, ResetScenario
from kinema.virtual.scenario import Scenario
from kinema.virtual.world_server import WorldServer

_AHEAD = 0.060  # [s] that the world may be ahead of its pictures: into the next one, never into the one after
_PATIENCE = 3.0  # [s] after which a renderer that shows nothing new is not waited for


class _Renderer:
    """The renderer, as far as the world waits for it: not before its first picture, nor after it has fallen silent."""

    def __init__(self, folder: Path) -> None:
        self._ring = RingReader(folder / "rendered.ring", records.RENDERED)
        self._newest_ns, self._since = -1, 0.0

    def wait(self, t_ns: int) -> None:
        """Until it has nearly caught up with a moment, or does not come forward."""
        while True:
            found, now = self._ring.latest(), time.monotonic()
            if found is None or t_ns - int(found[1]["t_ns"]) <= to_ns(_AHEAD):
                return
            if int(found[1]["t_ns"]) != self._newest_ns:
                self._newest_ns, self._since = int(found[1]["t_ns"]), now
            if now - self._since > _PATIENCE:
                return
            time.sleep(0.001)


class HandheldServer(WorldServer[HandheldWorld]):
    """Handheld gripper, tracker, load cell and person of one cell behind their sockets and rings in `folder`."""

    def __init__(self, folder: Path, drawn: Scenario) -> None:
        super().__init__(folder, None, drawn, ("tracker", "load_cell"))
        self._open(folder, {"period": self.world.period}, "load_cell", "cell")
        self._renderer = _Renderer(folder)
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
        self._renderer.wait(self._t_ns())
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
