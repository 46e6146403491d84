"""A world as a process serves it: paced in real time, its sensors into rings, requests by socket.

What the cell with an arm (`server.py`) and the handheld gripper (`handheld_server.py`) have in common. A new scene is
built in a thread beside the running one and swapped in between two ticks; time goes on.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from kinema import clock, records, wire
from kinema.errors import KinemaError, SimulationError
from kinema.ring import RingWriter
from kinema.topics import CAMERAS
from kinema.virtual import scenario
from kinema.virtual.faults import FaultBoard, FaultyStream
from kinema.virtual.handheld import HandheldWorld
from kinema.virtual.requests import REQUESTS, CellStatus, ClearFaults, InjectFault, Reply, ResetScenario, Tare
from kinema.virtual.scenario import Scenario
from kinema.virtual.world import World
from kinema.wire import Server

CATCH_UP_NS = 20_000_000

_log = logging.getLogger(__name__)

_RINGS = {  # layout, records kept, rate [Hz]
    "world": (records.WORLD, 64, 250.0),
    "load_cell": (records.LOAD_CELL, 256, 100.0),
    "jaw": (records.JAW, 256, 125.0),
    "tracker": (records.TRACKER, 512, 0.0),  # as often as the tracker itself
    "truth": (records.TRUTH, 32, 30.0),
    "status": (records.STATUS, 32, 10.0),
}

AnyWorld = TypeVar("AnyWorld", World, HandheldWorld)


class Pace:
    """Absolute deadlines that forgive 20 ms of lateness; what is later than that slips, off everybody's clock.

    factor  [-] of real time: below 1 every period slips by as much as it lasts longer
    """

    def __init__(self, period: float, slip: clock.Slip, factor: float = 1.0) -> None:
        self._period_ns = clock.to_ns(period)
        self._longer_ns = clock.to_ns(period / factor) - self._period_ns
        self._deadline_ns = time.monotonic_ns()
        self._slip = slip
        slip.ns = 0

    @property
    def slipped(self) -> float:
        """[s] by which the clock has fallen behind in all."""
        return clock.to_seconds(self._slip.ns)

    def wait(self) -> None:
        """Sleep to the next deadline."""
        self._slip.ns += self._longer_ns
        self._deadline_ns += self._period_ns + self._longer_ns
        ahead_ns = self._deadline_ns - time.monotonic_ns()
        if ahead_ns > 0:
            time.sleep(ahead_ns * 1e-9)
        elif -ahead_ns > CATCH_UP_NS:
            slip_ns = -ahead_ns - CATCH_UP_NS
            self._deadline_ns += slip_ns
            self._slip.ns += slip_ns


class WorldServer(ABC, Generic[AnyWorld]):
    """One world behind its sockets and rings in `folder`. `tick` does one period; `run` paces the ticks.

    robot    what the renderer is to draw; None: the handheld gripper
    sensors  the streams that pass through the fault board
    """

    def __init__(self, folder: Path, robot: str | None, drawn: Scenario, sensors: Iterable[str]) -> None:
        self.robot = robot
        self.world: AnyWorld = self._build(drawn, clock.now_ns())
        self.board = FaultBoard()
        self.k = self.episode = 0
        self.fault = ""
        self._diverged_ns = 0
        self._began = (self.k, time.monotonic_ns())
        self._reset: threading.Thread | None = None
        self._fresh: AnyWorld | KinemaError | None = None
        self._servers: dict[str, Server] = {}
        self._asked: list[Server] = []  # all but the arm's, which speaks another protocol
        self._streams = {name: FaultyStream(self.board, name, drawn.seed) for name in sensors}
        self._rings = {
            name: RingWriter(folder / f"{name}.ring", layout, kept)
            for name, (layout, kept, _) in _RINGS.items()
            if name in ("world", "truth", "status", *self._streams)
        }
        self._slip = clock.Slip(folder)  # only now: the rings were refused if another world ran here
        self.pace = Pace(self.world.period, self._slip)
        self._every: dict[str, int] = {
            name: max(1, round(1 / (rate * self.world.period))) for name, (_, _, rate) in _RINGS.items() if rate
        }

    def _open(self, folder: Path, facts: dict[str, Any], *names: str) -> None:
        self._servers |= {name: Server(folder / f"{name}.sock", facts) for name in names}
        self._asked = [server for name, server in self._servers.items() if name != "arm"]

    # -- what a world differs in

    @abstractmethod
    def _build(self, drawn: Scenario, origin_ns: int) -> AnyWorld:
        """A fresh world; also called in a thread."""

    @abstractmethod
    def _adopt(self, fresh: AnyWorld) -> None:
        """Let a fresh world go on from where the present one is."""

    @abstractmethod
    def _step(self) -> None:
        """One period of physics, by `_advance`."""

    @abstractmethod
    def _sense(self) -> None:
        """The sensors of this period into their rings, by `_pass`."""

    def _answer(self, request: object) -> Reply | None:
        """What becomes of one request; None when the answer comes later."""
        match request:
            case ResetScenario() if self._reset is not None:
                return Reply(False, "a reset is under way; wait for its answer")
            case ResetScenario():
                self._reset = threading.Thread(target=self._prepare, args=(request,), daemon=True)
                self._reset.start()
                return None
            case InjectFault(name, target, value, delay, duration):
                fault = self.board.inject(name, target, value, delay, duration, self._t_ns())
                return Reply(True, f"{fault.name} of {fault.target} from {delay:g} s on")
            case ClearFaults():
                self.board.clear()
                return Reply(True, "no fault is in force")
            case Tare():
                return Reply(True, "tared", self.world.tare())
        return Reply(False, f"{type(request).__name__} is no request to this cell")

    # -- requests

    @property
    def serving(self) -> bool:
        """Whether anybody is connected to one of the sockets."""
        return any(server.owner is not None for server in self._servers.values())

    def _prepare(self, request: ResetScenario) -> None:
        """In a thread of its own: models take long to build, and the world goes on ticking meanwhile."""
        now = self.world.scenario
        try:
            drawn = scenario.draw(request.task or now.task, request.split or now.split, request.seed, now.board)
            self._fresh = self._build(drawn, 0)
        except KinemaError as error:
            self._fresh = error

    def _change_scene(self) -> None:
        """Put the prepared world in place of the present one."""
        fresh, self._fresh, self._reset = self._fresh, None, None
        if fresh is None or isinstance(fresh, KinemaError):
            answer = Reply(False, str(fresh or "the scene could not be built; see the cell's log"))
        else:
            if self.fault:
                fresh.origin_ns = self._t_ns()
                self._diverged_ns, self.fault = 0, ""
            else:
                self._adopt(fresh)
            self.world = fresh
            self.board.clear()
            self.episode += 1
            self._began = (self.k, time.monotonic_ns())
            answer = Reply(True, fresh.scenario.text)
        self._servers["cell"].send(REQUESTS.encode(answer))

    def _serve(self) -> None:
        """All that has arrived, at once: a controller may wait for its jaw before it answers the next tick."""
        for server in wire.ready(self._asked):
            while (packet := server.receive()) is not None:
                try:
                    answer = self._answer(REQUESTS.decode(packet))
                except KinemaError as error:
                    answer = Reply(False, str(error))
                if answer is not None:
                    server.send(REQUESTS.encode(answer))
        if self._reset is not None and not self._reset.is_alive():
            self._change_scene()

    # -- one tick

    def _t_ns(self) -> int:
        return self.world.t_ns + self._diverged_ns

    def _broken(self, name: str, target: str) -> bool:
        return bool(self.board.faults) and self.board.find(name, target, self._t_ns()) is not None

    def _advance(self, step: Callable[[], object]) -> None:
        """One period of physics. Once it has diverged it stands still, and says so, until the scene is changed."""
        self.k += 1
        if self._broken("diverge", "physics"):
            self.world.data.qvel[:] = 1e9
        if not self.fault:
            try:
                step()
                return
            except SimulationError as error:
                _log.error("%s", error)
                self.fault = str(error)
        self._diverged_ns += clock.to_ns(self.world.period)

    def tick(self) -> None:
        """One period: requests, physics, sensors."""
        self._serve()
        self._step()
        self._publish()

    def run(self, stopped: Callable[[], bool], factor: float = 1.0) -> None:
        """Tick at `factor` of real time until `stopped`. Time goes on from now: what came before was preparation."""
        self.pace, self._began = Pace(self.world.period, self._slip, factor), (self.k, time.monotonic_ns())
        self.world.origin_ns += clock.now_ns() - self.world.t_ns
        while not stopped():
            self.tick()
            self.pace.wait()

    # -- what others see

    def status(self) -> CellStatus:
        """The cell in words and numbers."""
        now, outcome = self.world.scenario, self.world.outcome()
        ticks, since_ns = self.k - self._began[0], time.monotonic_ns() - self._began[1]
        return CellStatus(
            self._t_ns(),
            now.task,
            now.split,
            now.seed,
            self.episode,
            now.text,
            outcome.success,
            outcome.text,
            ticks * self.world.period / max(clock.to_seconds(since_ns), 1e-9),
            self.pace.slipped,
            self.k,
            self.fault,
        )

    def _due(self, name: str) -> bool:
        return self.k % self._every[name] == 0

    def _record(self, layout: np.dtype, **values: Any) -> np.ndarray:
        record = np.zeros((), layout)
        record["t_ns"] = self._t_ns()
        for field, value in values.items():
            record[field] = value
        return record

    def _load_cell(self) -> np.ndarray | None:
        if not self._due("load_cell"):
            return None
        sample = self.world.load_cell()
        force, saturated = sample.force, sample.saturated
        if self._broken("nan", "load_cell"):
            force = np.nan
        if self._broken("saturated", "load_cell"):
            saturated = True
        return self._record(records.LOAD_CELL, force=force, saturated=saturated, tared=sample.tared)

    def _pass(self, name: str, record: np.ndarray | None) -> None:
        for passed in self._streams[name].offer(record, self._t_ns()):
            self._rings[name].write(passed)

    def _publish(self) -> None:
        """Sensors and state into their rings, each at its own rate; a diverged world shows nothing but its status."""
        if self._due("status"):
            self._rings["status"].write(self._record(records.STATUS, text=records.text(self.status(), records.STATUS)))
        if self.fault:
            return
        self._pass("load_cell", self._load_cell())
        self._sense()
        if self._due("world"):
            self._rings["world"].write(self._world())
        if self._due("truth"):
            truth = self.world.truth()
            self._rings["truth"].write(self._record(records.TRUTH, text=records.truth_text(truth)))

    def _world(self) -> np.ndarray:
        snapshot = self.world.snapshot()
        record = self._record(
            records.WORLD,
            episode=self.episode,
            size=len(snapshot),
            scenario=records.text(self._key(), records.WORLD, "scenario"),
            faults=records.text(
                [fault for fault in self.board.faults if fault.target in CAMERAS], records.WORLD, "faults"
            ),
        )
        record["snapshot"][: len(snapshot)] = snapshot
        return record

    def _key(self) -> dict[str, Any]:
        """What the renderer builds the same scene from."""
        now = self.world.scenario
        return {"robot": self.robot, "task": now.task, "split": now.split, "seed": now.seed, "board": now.board}

    def close(self) -> None:
        """Close sockets and remove rings."""
        for server in self._servers.values():
            server.close()
        for ring in self._rings.values():
            ring.close()
