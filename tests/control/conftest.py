"""An arm of the virtual cell under the control core, in one process and in simulated time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from kinema.chunk import ActionChunk
from kinema.control.core import Controller
from kinema.control.messages import Enable, Event, Mode, Order, StartPolicy, State, Tick
from kinema.control.settings import ControlSettings
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmState, CommandKind, ForceSample, GripperState
from kinema.virtual.scenario import draw
from kinema.virtual.world import World

PERIOD_NS = 2_000_000


class Rig:
    """The world, the core, and everything they said. `alter` may change the arm's record on its way."""

    def __init__(
        self,
        robot: str,
        kind: CommandKind,
        settings: ControlSettings,
        task: str = "pick_and_place",
        q: Array | None = None,
    ):
        self.world = World(draw(task, "train", 0), robot, command_kind=kind, payload_error=0.1, q=q)
        self.settings = settings
        self.core = Controller(self.world.arm, settings, kind)
        self.events: list[Event] = []
        self.ticks: list[Tick] = []
        self.alter: Callable[[ArmState], ArmState] = lambda state: state
        self.force: Callable[[], ForceSample | None] = self.world.load_cell
        self.jaw: Callable[[], GripperState | None] = self.world.jaw_state
        self.chunks = 0
        self.run(0.05)
        self.world.tare()

    @property
    def last(self) -> Tick:
        return self.ticks[-1]

    @property
    def t_ns(self) -> int:
        return self.world.t_ns

    def tick(self, *orders: Order, stop: bool = False) -> Tick:
        tick = self.core.tick(self.alter(self.world.arm_state()), orders, self.jaw(), self.force(), stop)
        self.world.step(tick.command)
        if tick.jaw is not None:
            self.world.command_jaw(tick.jaw.width, tick.jaw.speed, tick.jaw.force)
        self.ticks.append(tick)
        self.events += tick.events
        return tick

    def run(self, seconds: float, *orders: Order) -> Tick:
        """Ticks for this long; the orders go with the first."""
        for i in range(round(seconds * 1e9 / PERIOD_NS)):
            self.tick(*(orders if i == 0 else ()))
        return self.last

    def until(self, state: State, seconds: float = 10.0) -> None:
        for _ in range(round(seconds * 1e9 / PERIOD_NS)):
            if self.tick().state is state:
                return
        raise AssertionError(f"{state.name} was not reached in {seconds} s; {self.said()}")

    def enable(self) -> None:
        self.run(0.2, Enable())

    def start(
        self, mode: Mode = Mode.OVERLAP, *, uses_force: bool = False, chunks: int = 0, scale: float = 1.0
    ) -> None:
        self.enable()
        self.tick(StartPolicy(mode, scale, chunks=chunks, uses_force=uses_force))

    def chunk(self, way: Sequence[Sequence[float]] | Array, **changes: object) -> ActionChunk:
        """A chunk anchored here and now: relative positions (n, 3) of the steps, no rotation, jaw left alone."""
        self.chunks += 1
        positions = np.asarray(way, float)
        T_rel = np.tile(np.eye(4), (len(positions), 1, 1))
        T_rel[:, :3, 3] = positions @ self.last.T_base_tcp.rotation  # given in base_link axes
        values: dict[str, object] = {
            "id": self.chunks,
            "policy": "test",
            "t0_ns": self.t_ns,
            "T_base_tcp_t0": self.last.T_base_tcp,
            "width_t0": self.world.jaw_state().width,
            "dt": 1 / 30,
            "offset": 1 / 30,
            "T_rel": T_rel,
            "width_change": None,
            "force": None,
            "executable": max(1, 3 * len(positions) // 4),
        }
        return ActionChunk(**(values | changes))  # type: ignore[arg-type]

    def push(self, wrench: Array) -> None:
        """From now on an external wrench (6,) acts at the TCP, in base_link axes."""
        self.world.push(wrench)

    def said(self, kind: str = "", fault: str = "") -> list[str]:
        return [f"{e.kind} {e.fault}: {e.text}" for e in self.events if kind in ("", e.kind) and fault in ("", e.fault)]

    def pose(self) -> Pose:
        return self.world.T_base_tcp()


@pytest.fixture
def rig() -> Callable[..., Rig]:
    def make(
        robot: str = "virtual_ur5e",
        kind: CommandKind = CommandKind.TORQUE,
        settings: ControlSettings | None = None,
        **options: Any,
    ) -> Rig:
        return Rig(robot, kind, settings or ControlSettings(), **options)

    return make
