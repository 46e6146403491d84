"""The control loop process: one arm, one controller, no ROS, no images. `python -m kinema.apps.control_loop`.

Each cycle: the arm's record, the orders that wait, the stop byte, the controller, the answer, one telemetry record, the
events. Nothing in it waits but the arm's record. The loop survives the loss of its arm (FAULTS F16): it says so, and
connects again when a person orders a Reset; the end of the node's connection makes it hold, latched.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kinema import clock, paths, records, robots
from kinema.apps import process
from kinema.apps.drivers import ArmDriver, arm_driver
from kinema.apps.telemetry import LOOP, ORDERS, StopByte, fill
from kinema.cell_file import Cell
from kinema.control.core import Controller
from kinema.control.messages import Enable, Event, Hold, JawTarget, Order, Reset, State, Tick
from kinema.control.rate import set_up_real_time
from kinema.errors import DeviceError
from kinema.interfaces import Arm, ArmCommand, ArmMode, ArmState, CommandKind, ForceSample, GripperState
from kinema.ring import RingReader, RingWriter
from kinema.robots import ArmModel
from kinema.wire import Server

_PRIORITY = 50  # of SCHED_FIFO
_SILENCE = 1.0  # [s] by default
_IDLE_WAIT = 0.01  # [s] of one wait for orders while there is no arm
_RETRY = 0.5  # [s] between two attempts to find the arm at the start
_MOST_ORDERS = 32  # taken in one cycle; more wait for the next
_WARM_TICKS = 50
_KEPT = 2048  # telemetry records, four seconds


def _ready(arm: Arm, reset: bool) -> Arm:
    """A connected arm, its own stop cleared if so wished; DeviceError, and let go of, where it can't be used.

    An arm that takes positions and feels nothing is refused: it could not yield.
    """
    try:
        if arm.command_kind is CommandKind.POSITION and not arm.has_wrench:
            raise DeviceError(f"{arm.name} takes positions and measures no wrench: without one impedance is refused")
        if reset:
            arm.reset()
    except DeviceError:
        arm.close()
        raise
    return arm


class ControlLoop:
    """The loop around one `Controller`; `cycle` does one control cycle, or waits for the arm.

    driver    reaches the arm, anew for every attempt
    silence   [s] without a record after which the arm's link counts as lost
    """

    def __init__(self, cell: Cell, robot: str, folder: Path, driver: ArmDriver, silence: float = _SILENCE) -> None:
        self._cell, self._driver, self._silence = cell, driver, silence
        self._node = Server(folder / "loop.sock", {"robot": robot})
        self._losses = 0
        self._stop = StopByte(folder)
        self._ring = RingWriter(folder / "loop.ring", LOOP, _KEPT)
        self._jaw_targets = RingWriter(folder / "jaw_target.ring", records.JAW_TARGET, 64)
        self._jaw = RingReader(folder / "jaw_state.ring", records.JAW)
        self._force = RingReader(folder / cell.devices.load_cell.ring, records.LOAD_CELL)
        self._record = np.zeros((), LOOP)
        table = robots.arm(robot)
        self._record["dof"] = table.dof
        for unknown in ("jaw_goal", "jaw_width", "jaw_speed", "force"):
            self._record[unknown] = np.nan
        self._arm: Arm | None = None
        self._controller: Controller | None = None
        self._found = False  # the arm has been there once; from then on only a Reset connects it
        self._next_try_ns = 0
        self._first_orders: list[Order] = []  # of a new controller
        self._last: ArmState | None = None
        self._last_target: JawTarget | None = None
        self._arrival_ns = 0
        self._warm_up(table)

    def _controller_of(self, model: ArmModel) -> Controller:
        cell = self._cell
        return Controller(model, cell.control, cell.arm.command_kind, gripper=cell.devices.gripper.model)

    def _warm_up(self, model: ArmModel) -> None:
        """First calls of anything are slow: here a controller that nobody obeys makes them, before an arm waits."""
        controller, rest = self._controller_of(model), np.zeros(model.dof)
        for k in range(_WARM_TICKS):
            t_ns = clock.to_ns(k * model.period)
            state = ArmState(k, t_ns, np.array(model.home), rest, rest, np.zeros(6), ArmMode.RUNNING)
            tick = controller.tick(state, [Enable()] if k == _WARM_TICKS // 2 else [], None, None, stop=False)
            fill(self._record.copy(), state, tick, None, None)
            for event in tick.events:
                ORDERS.decode(ORDERS.encode(event))

    # -- the node's side

    def _orders(self, wait: float = 0.0) -> list[Order]:
        """What the node has sent since the last cycle; the end of its connection is an order to hold."""
        orders: list[Order] = []
        packet = self._node.receive(wait)
        while packet is not None:
            try:
                orders.append(ORDERS.decode(packet))
            except DeviceError as error:
                self._tell("order_refused", str(error))
            packet = self._node.receive() if len(orders) < _MOST_ORDERS else None
        if self._node.losses != self._losses:
            self._losses = self._node.losses
            orders.append(Hold("the node's connection has ended", latched=True))
        if any(isinstance(order, Reset) for order in orders):
            self._stop.release()
        return orders

    def _send(self, events: Sequence[Event]) -> None:
        """Events to the node, never waiting for it; what it does not take is counted."""
        for event in events:
            if not self._node.send(ORDERS.encode(event)):
                self._record["events_dropped"] += 1

    def _tell(self, kind: str, text: str, fault: str = "", **data: object) -> None:
        logging.info("%s%s", f"{fault}: " if fault else "", text)
        self._send([Event(clock.now_ns() if self._last is None else self._last.t_ns, kind, text, fault, data)])

    def _publish(self) -> None:
        owner = self._node.owner
        self._record["owner_pid"] = 0 if owner is None else owner.pid
        self._record["owner"] = b"" if owner is None else owner.name.encode()
        self._ring.write(self._record)

    # -- without an arm

    def _lose(self, error: DeviceError) -> None:
        if self._arm is not None:
            self._arm.close()
        self._arm = None
        text = f"the link to the arm is lost: {error}"
        self._record["state"], self._record["reason"], self._record["connected"] = State.FAULT, text.encode(), 0
        self._tell("state", f"FAULT: {text}", "F16", state=int(State.FAULT))

    def _find(self, reset: bool) -> None:
        """Connect, with a controller that remembers nothing; it is made first, so that the arm need not wait for it.

        Only a Reset clears what the arm has latched; the new controller gets it too, with the first record.
        """
        try:
            model = self._driver.model()
            self._controller = self._controller_of(model)
            arm = _ready(self._driver.connect(model), reset)
        except DeviceError as error:
            self._record["reason"] = f"no arm: {error}".encode()
            if reset:
                self._tell("order_refused", f"Reset: {error}", "F16")
            return
        self._arm, self._found, self._last, self._arrival_ns = arm, True, None, 0
        self._first_orders = [Reset()] if reset else []
        self._record["connected"], self._record["reason"] = 1, b""
        self._tell("state", f"the arm {arm.name} is connected, {1 / arm.period:.0f} Hz", state=int(State.IDLE))

    def _without_arm(self) -> None:
        orders = self._orders(_IDLE_WAIT)
        now_ns = time.monotonic_ns()
        wanted = any(isinstance(order, Reset) for order in orders)
        for order in orders:
            if not isinstance(order, Reset | Hold):
                self._tell("order_refused", f"{type(order).__name__}: there is no arm; order a Reset to connect it")
        if wanted or (not self._found and now_ns >= self._next_try_ns):
            self._next_try_ns = now_ns + clock.to_ns(_RETRY)
            self._find(wanted)
        self._publish()

    # -- with an arm

    def _command_jaw(self, target: JawTarget | None) -> None:
        if target is not None and target != self._last_target:
            self._last_target = target
            self._jaw_targets.write(np.array((target.width, target.speed, target.force), records.JAW_TARGET))

    def _sensors(self) -> tuple[GripperState | None, ForceSample | None]:
        jaw, force = self._jaw.latest(), self._force.latest()
        return (
            None if jaw is None else records.to_gripper_state(jaw[1]),
            None if force is None else records.to_force_sample(force[1]),
        )

    def _count(self, state: ArmState, arrival_ns: int) -> None:
        record = self._record
        record["ticks"] += 1
        if self._last is not None:
            record["missed"] += max(0, state.k - self._last.k - 1)
            record["period_ns"] = arrival_ns - self._arrival_ns
        self._last, self._arrival_ns = state, arrival_ns

    def _explain(self, tick: Tick) -> None:
        """Keep the reason of a latched state for those who come later."""
        for event in tick.events:
            if event.kind == "state":
                logging.info("%s", event.text)
                latched = tick.state in (State.FAULT, State.STOPPED)
                self._record["reason"] = event.text.partition(": ")[2].encode() if latched else b""

    def _clear(self, arm: Arm, orders: list[Order]) -> list[Order]:
        """Clear the arm's own stop, which may take seconds; where that fails, the controller is not reset either."""
        try:
            arm.reset()
        except DeviceError as error:
            self._tell("order_refused", f"Reset: {error}", order="Reset")
            return [order for order in orders if not isinstance(order, Reset)]
        return orders

    def _next(self, arm: Arm) -> ArmState:
        """The arm's next record; DeviceError when none comes."""
        state = arm.read(self._silence)
        if state is None:
            raise DeviceError(f"{arm.name} has sent nothing for {self._silence:g} s")
        return state

    def _with_arm(self, arm: Arm, controller: Controller) -> None:
        state = self._next(arm)
        orders, self._first_orders = [*self._first_orders, *self._orders()], []
        if state.mode != ArmMode.RUNNING and any(isinstance(order, Reset) for order in orders):
            orders = self._clear(arm, orders)
            state = self._next(arm)  # the time that it took is no gap in what follows
        arrival_ns = time.monotonic_ns()
        jaw, force = self._sensors()
        tick = controller.tick(state, orders, jaw, force, self._stop.pressed)
        arm.write(state.k, tick.command)
        answer_ns = time.monotonic_ns()
        self._count(state, arrival_ns)
        self._record["compute_ns"] = answer_ns - arrival_ns
        self._explain(tick)
        fill(self._record, state, tick, jaw, force)
        self._command_jaw(tick.jaw)
        self._publish()
        self._send(tick.events)

    def cycle(self) -> None:
        """One control cycle; without an arm, one short wait for orders."""
        if self._arm is None or self._controller is None:
            self._without_arm()
            return
        try:
            self._with_arm(self._arm, self._controller)
        except DeviceError as error:
            self._lose(error)

    def close(self) -> None:
        """Brake the arm and leave; the stop byte goes with the loop that obeyed it."""
        if self._arm is not None and self._last is not None:
            try:
                self._arm.write(self._last.k, ArmCommand(CommandKind.BRAKE, np.empty(0)))
            except DeviceError as error:
                logging.info("%s", error)
            self._arm.close()
        self._node.close()
        self._ring.close()
        self._jaw_targets.close()
        self._stop.path.unlink(missing_ok=True)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--silence", type=float, default=_SILENCE, help="[s] without a record after which the arm counts as lost"
    )


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder, robot = paths.runtime(), arguments.robot
    loop = ControlLoop(cell, robot, folder, arm_driver(cell, robot, folder), arguments.silence)
    logging.info(set_up_real_time(_PRIORITY))
    try:
        while not stopped():
            loop.cycle()
    finally:
        loop.close()


def main() -> int:
    return process.main("control_loop", _run, _arguments)


if __name__ == "__main__":
    sys.exit(main())
