"""The virtual cell with an arm as a process serves it: one tick of the arm after the other.

The tick protocol of the virtual arm: every tick sends state k and waits up to 10 ms for the answer with that k, unless
the tick before went unanswered; an unanswered tick holds the last torque, 15 in a row brake, latched until a reset by
request. The arm sleeps to absolute deadlines, catches up at most 20 ms, and beyond that lets its clock slip.
"""

import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema import records
from kinema.errors import ConfigError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind
from kinema.virtual.requests import CellStatus, MoveJaw, Reply
from kinema.virtual.scenario import Scenario
from kinema.virtual.world import World
from kinema.virtual.world_server import WorldServer
from kinema.wire import Link, Server

ANSWER_WAIT = 0.010  # [s]
BRAKE_AFTER = 15  # unanswered ticks in a row

_log = logging.getLogger(__name__)

_BRAKE = ArmCommand(CommandKind.BRAKE, np.empty(0))
_KINDS = tuple(int(kind) for kind in CommandKind)


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


class CellServer(WorldServer[World]):
    """World, arm, jaw and load cell of one cell behind their sockets and rings in `folder`."""

    def __init__(self, folder: Path, robot: str, drawn: Scenario, command_kind: CommandKind) -> None:
        self._robot, self._command_kind = robot, command_kind
        super().__init__(folder, robot, drawn, ("arm", "jaw", "load_cell"))
        dof = self.world.arm.dof
        facts = {"robot": robot, "dof": dof, "period": self.world.period, "command_kind": int(command_kind)}
        self._open(folder, facts, "arm", "jaw", "load_cell", "cell")
        self.arm = ArmLink(self._servers["arm"])
        self._state = np.zeros((), records.ARM_STATE)
        self._state["dof"] = dof

    def _build(self, drawn: Scenario, origin_ns: int) -> World:
        return World(drawn, self._robot, command_kind=self._command_kind, seed=drawn.seed, origin_ns=origin_ns)

    def _adopt(self, fresh: World) -> None:
        fresh.adopt(self.world)

    def _answer(self, request: object) -> Reply | None:
        if isinstance(request, MoveJaw):
            return Reply(True, "", self.world.command_jaw(request.width, request.speed, request.force))
        return super()._answer(request)

    # -- one tick

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

    def _step(self) -> None:
        command = self.arm.exchange(self._measure(), self.k)
        if self.arm.reset_wanted:
            self.arm.reset_wanted = False
            if not self.fault:
                self.world.reset_arm()
        self._advance(lambda: self._apply(command))

    def _apply(self, command: ArmCommand | None) -> None:
        try:
            self.world.step(command)
        except ConfigError as error:
            _log.error("the arm brakes: %s", error)
            self.world.step(_BRAKE)

    # -- what others see

    def status(self) -> CellStatus:
        braked = self.world.arm_state().mode is ArmMode.BRAKED
        return replace(super().status(), unanswered=self.arm.unanswered, braked=braked)

    def _jaw(self) -> np.ndarray | None:
        if not self._due("jaw"):
            return None
        jaw = self.world.jaw_state()
        width = np.nan if self._broken("nan", "jaw") else jaw.width
        return self._record(records.JAW, width=width, speed=jaw.speed, force=jaw.force)

    def _sense(self) -> None:
        self._pass("jaw", self._jaw())
