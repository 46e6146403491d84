"""The virtual cell as a process serves it: one tick of the arm after the other, sensors into rings, requests by socket.

The tick protocol of the virtual arm: every tick sends state k and waits up to 10 ms for the answer with that k, unless
the tick before went unanswered; an unanswered tick holds the last torque, 15 in a row brake, latched until a reset by
request. The arm sleeps to absolute deadlines, catches up at most 20 ms, and beyond that lets its clock slip.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kinema import clock, records
from kinema.errors import ConfigError, KinemaError, SimulationError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind
from kinema.ring import RingWriter
from kinema.topics import CAMERAS
from kinema.virtual import scenario
from kinema.virtual.faults import FaultBoard, FaultyStream
from kinema.virtual.requests import REQUESTS, CellStatus, ClearFaults, InjectFault, MoveJaw, Reply, ResetScenario, Tare
from kinema.virtual.world import World
from kinema.wire import Link, Server

ANSWER_WAIT = 0.010  # [s]
BRAKE_AFTER = 15  # unanswered ticks in a row
CATCH_UP_NS = 20_000_000

_log = logging.getLogger(__name__)

_BRAKE = ArmCommand(CommandKind.BRAKE, np.empty(0))
_KINDS = tuple(int(kind) for kind in CommandKind)
_RATES = {"world": 250.0, "load_cell": 100.0, "jaw": 125.0, "truth": 30.0, "status": 10.0}  # [Hz]

# ---- parts


class Pace:
    """Absolute deadlines that forgive 20 ms of lateness; what is later than that slips, and is counted."""

    def __init__(self, period: float) -> None:
        self._period_ns = clock.to_ns(period)
        self._deadline_ns = time.monotonic_ns()
        self._slipped_ns = 0

    @property
    def slipped(self) -> float:
        """[s] by which the clock has fallen behind in all."""
        return clock.to_seconds(self._slipped_ns)

    def wait(self) -> None:
        """Sleep to the next deadline."""
        self._deadline_ns += self._period_ns
        ahead_ns = self._deadline_ns - time.monotonic_ns()
        if ahead_ns > 0:
            time.sleep(ahead_ns * 1e-9)
        elif -ahead_ns > CATCH_UP_NS:
            slip_ns = -ahead_ns - CATCH_UP_NS
            self._deadline_ns += slip_ns
            self._slipped_ns += slip_ns


class ArmLink:
    """The arm's side of the tick protocol: who answers, in time or not, and what the watchdog makes of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.unanswered = 0  # ticks in all, from the first answer on
        self.silent = 0  # ticks in a row
        self.begun = False  # until the first answer the arm holds by its own means and misses nobody
        self.reset_wanted = False
        self._owner: Link | None = None
        self._patient = True  # False after an unanswered tick, until something arrives again, or somebody new

    def _receive(self, k: int, wait: float) -> tuple[ArmCommand | None, bool]:
        """The newest command that has arrived, and whether it answers record k."""
        newest = None
        until = time.monotonic() + wait
        while (packet := self.server.receive(max(0.0, until - time.monotonic()) if wait else 0.0)) is not None:
            if len(packet) != records.ARM_ANSWER.itemsize:
                continue
            answer = np.frombuffer(packet, records.ARM_ANSWER)[0]
            if answer["kind"] == records.RESET:
                self.reset_wanted, self.silent = True, 0
            elif answer["kind"] in _KINDS:
                newest = ArmCommand(CommandKind(int(answer["kind"])), answer["values"][: answer["dof"]])
                if answer["k"] == k:
                    return newest, True
        return newest, False

    def exchange(self, record: np.ndarray | None, k: int) -> ArmCommand | None:
        """Send the record of tick k, unless it got lost, and wait for the answer; None holds the last command.

        A command that comes too late for its tick is still newer than the last one, so it is taken; the tick counts as
        unanswered all the same.
        """
        if self.server.owner is not self._owner:
            self._owner, self._patient = self.server.owner, True
        sent = record is not None and self.server.send(record)
        command, answered = self._receive(k, ANSWER_WAIT if sent and self._patient else 0.0)
        self._patient = command is not None
        if answered:
            self.silent, self.begun = 0, True
        elif self.begun:
            self.silent += 1
            self.unanswered += 1
        return _BRAKE if self.silent >= BRAKE_AFTER else command


# ---- the cell


class CellServer:
    """World, arm, jaw and load cell of one cell behind their sockets and rings in `folder`.

    `tick` does one control period; `run` paces the ticks.
    """

    def __init__(self, folder: Path, robot: str, task: str, split: str, seed: int, command_kind: CommandKind) -> None:
        self.robot, self._command_kind = robot, command_kind
        self.world = self._build(task, split, seed, clock.now_ns())
        self.board = FaultBoard()
        self.k = self.episode = 0
        self.fault = ""
        self.pace = Pace(self.world.period)
        self._diverged_ns = 0
        self._began = (self.k, time.monotonic_ns())
        self._reset: threading.Thread | None = None
        self._fresh: World | KinemaError | None = None

        dof = self.world.arm.dof
        facts = {"robot": robot, "dof": dof, "period": self.world.period, "command_kind": int(command_kind)}
        self._servers = {name: Server(folder / f"{name}.sock", facts) for name in ("arm", "jaw", "load_cell", "cell")}
        self.arm = ArmLink(self._servers["arm"])
        self._state = np.zeros((), records.ARM_STATE)
        self._state["dof"] = dof
        self._rings = {
            name: RingWriter(folder / f"{name}.ring", layout, capacity)
            for name, layout, capacity in (
                ("world", records.WORLD, 64),
                ("load_cell", records.LOAD_CELL, 256),
                ("jaw", records.JAW, 256),
                ("truth", records.TRUTH, 32),
                ("status", records.STATUS, 32),
            )
        }
        self._streams = {target: FaultyStream(self.board, target, seed) for target in ("arm", "jaw", "load_cell")}
        self._every = {name: max(1, round(1 / (rate * self.world.period))) for name, rate in _RATES.items()}

    def _build(self, task: str, split: str, seed: int, origin_ns: int) -> World:
        drawn = scenario.draw(task, split, seed)
        return World(drawn, self.robot, command_kind=self._command_kind, seed=seed, origin_ns=origin_ns)

    # -- requests

    def _prepare(self, request: ResetScenario) -> None:
        """In a thread of its own: models take long to build, and the arm goes on ticking meanwhile."""
        now = self.world.scenario
        try:
            self._fresh = self._build(request.task or now.task, request.split or now.split, request.seed, 0)
        except KinemaError as error:
            self._fresh = error

    def _change_scene(self) -> None:
        """Put the prepared world in place of the present one; arm, jaw and time go on."""
        fresh, self._fresh, self._reset = self._fresh, None, None
        if isinstance(fresh, World):
            if self.fault:
                fresh.origin_ns = self._t_ns()
                self._diverged_ns, self.fault = 0, ""
            else:
                fresh.adopt(self.world)
            self.world = fresh
            self.board.clear()
            self.episode += 1
            self._began = (self.k, time.monotonic_ns())
            answer = Reply(True, fresh.scenario.text)
        else:
            answer = Reply(False, str(fresh))
        self._servers["cell"].send(REQUESTS.encode(answer))

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
            case MoveJaw(width, speed, force):
                return Reply(True, "", self.world.command_jaw(width, speed, force))
        return Reply(False, f"a {type(request).__name__} is not a request")

    def _serve(self) -> None:
        for name in ("jaw", "load_cell", "cell"):
            server = self._servers[name]
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

    def _measure(self) -> np.ndarray | None:
        """The arm's record of this tick, as the faults let it through."""
        record, n = self._state, self.world.arm.dof
        record["k"], record["t_ns"] = self.k, self._t_ns()
        if self.fault:
            record["mode"], record["dq"] = ArmMode.DIVERGED, 0.0
            return record
        state = self.world.arm_state()
        record["q"][:n], record["dq"][:n], record["tau"][:n] = state.q, state.dq, state.tau
        record["wrench"] = state.wrench
        record["mode"] = state.mode
        if not self.board.faults:
            return record
        if self._broken("nan", "arm"):
            record = record.copy()
            record["q"][:n] = np.nan
        if self._broken("disconnect", "arm"):
            self._servers["arm"].drop()
        if self._broken("disconnect", "jaw"):
            self._servers["jaw"].drop()
        passed = self._streams["arm"].offer(record, self._t_ns())
        if not passed:
            return None
        passed[-1]["k"] = self.k
        return passed[-1]

    def _advance(self, command: ArmCommand | None) -> None:
        """One period of physics. Once it has diverged it stands still, and says so, until the scene is changed."""
        self.k += 1
        if self._broken("diverge", "physics"):
            self.world.data.qvel[:] = 1e9
        if not self.fault:
            try:
                self.world.step(command)
                return
            except ConfigError as error:
                _log.error("the arm brakes: %s", error)
                self.world.step(_BRAKE)
                return
            except SimulationError as error:
                _log.error("%s", error)
                self.fault = str(error)
        self._diverged_ns += clock.to_ns(self.world.period)

    def tick(self) -> None:
        """One control period: requests, measurement, answer, physics, sensors."""
        self._serve()
        command = self.arm.exchange(self._measure(), self.k)
        if self.arm.reset_wanted:
            self.arm.reset_wanted = False
            if not self.fault:
                self.world.reset_arm()
        self._advance(command)
        self._publish()

    def run(self, stopped: Callable[[], bool]) -> None:
        """Tick in real time until `stopped`. Time goes on from now: what came before was preparation."""
        self.world.origin_ns += clock.now_ns() - self.world.t_ns
        self.pace, self._began = Pace(self.world.period), (self.k, time.monotonic_ns())
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
            self.arm.unanswered,
            self.world.arm_state().mode is ArmMode.BRAKED,
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

    def _load_cell(self) -> np.ndarray:
        sample = self.world.load_cell()
        force, saturated = sample.force, sample.saturated
        if self._broken("nan", "load_cell"):
            force = np.nan
        if self._broken("saturated", "load_cell"):
            saturated = True
        return self._record(records.LOAD_CELL, force=force, saturated=saturated, tared=sample.tared)

    def _jaw(self) -> np.ndarray:
        jaw = self.world.jaw_state()
        width = np.nan if self._broken("nan", "jaw") else jaw.width
        return self._record(records.JAW, width=width, speed=jaw.speed, force=jaw.force)

    def _pass(self, name: str, record: np.ndarray | None) -> None:
        for passed in self._streams[name].offer(record, self._t_ns()):
            self._rings[name].write(passed)

    def _publish(self) -> None:
        """Sensors and state into their rings, each at its own rate; a diverged world shows nothing but its status."""
        if self._due("status"):
            self._rings["status"].write(self._record(records.STATUS, text=records.text(self.status(), records.STATUS)))
        if self.fault:
            return
        self._pass("load_cell", self._load_cell() if self._due("load_cell") else None)
        self._pass("jaw", self._jaw() if self._due("jaw") else None)
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
        return {"robot": self.robot, "task": now.task, "split": now.split, "seed": now.seed}

    def close(self) -> None:
        """Close sockets and remove rings."""
        for server in self._servers.values():
            server.close()
        for ring in self._rings.values():
            ring.close()
