"""How nodes and tools speak to the cell and to the control loop. No ROS, no threads, nothing blocks unless it says so.

Constructors raise DeviceError while the process is not there, OwnershipError naming whoever is connected already.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kinema import paths, records, wire
from kinema.apps.telemetry import LOOP, ORDERS, StopByte, Telemetry, to_telemetry
from kinema.chunk import Truth
from kinema.control.messages import Event, Order
from kinema.errors import DeviceError
from kinema.geometry import Array
from kinema.ring import RingReader
from kinema.virtual.requests import (
    REQUESTS,
    CellStatus,
    ClearFaults,
    Demonstrate,
    InjectFault,
    Reply,
    ResetScenario,
    Tare,
)
from kinema.wire import LinkLostError

_REPLY = 5.0  # [s]
_REPLY_RESET = 60.0  # [s] to build a scene on a busy machine


class CellClient:
    """The virtual cell: scenes and faults in, status and truth out."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or paths.runtime()
        self._link = wire.connect(folder / "cell.sock")
        self._status = RingReader(folder / "status.ring", records.STATUS)
        self._truth = RingReader(folder / "truth.ring", records.TRUTH)

    def _ask(self, request: Any, timeout: float = _REPLY) -> Reply:
        self._link.send(REQUESTS.encode(request))
        packet = self._link.receive(timeout)
        if packet is None:
            raise DeviceError(f"the cell did not answer {type(request).__name__} within {timeout} s")
        reply: Reply = REQUESTS.decode(packet)
        if not reply.success:
            raise DeviceError(reply.message)
        return reply

    def reset(self, task: str = "", split: str = "", seed: int = 0) -> str:
        """A fresh scene, waiting for it; the task in words. The arm stays where it is."""
        return self._ask(ResetScenario(task, split, seed), _REPLY_RESET).message

    def inject(self, name: str, target: str, value: float = 0.0, delay: float = 0.0, duration: float = 0.0) -> str:
        """Break something; a duration of 0 lasts until the next reset. A wrong name is answered by the table."""
        return self._ask(InjectFault(name, target, float(value), float(delay), float(duration))).message

    def clear(self) -> None:
        """End every injected fault."""
        self._ask(ClearFaults())

    def tare(self) -> float:
        """Tare the load cell; returns the offset [N] that was taken."""
        return self._ask(Tare()).value

    def demonstrate(self) -> str:
        """Let the person with the handheld gripper begin; the task in words. Their progress stands in the status."""
        return self._ask(Demonstrate()).message

    def status(self) -> CellStatus | None:
        """The newest status; None before the first."""
        found = self._status.latest()
        return None if found is None else msgspec.json.decode(bytes(found[1]["text"]), type=CellStatus)

    def truth(self) -> Truth | None:
        """The newest truth; None before the first."""
        found = self._truth.latest()
        return None if found is None else records.to_truth(found[1])

    def close(self) -> None:
        self._link.close()


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """The loop's period and the time from record to answer [s] over some ticks."""

    ticks: int
    period_p50: float
    period_p99: float
    period_max: float
    compute_p50: float
    compute_p99: float
    compute_max: float


def _spread(values: Array) -> tuple[float, float, float]:
    return float(np.percentile(values, 50)), float(np.percentile(values, 99)), float(values.max())


class LoopObserver:
    """Watches the control loop, and may stop it; any number of them."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or paths.runtime()
        self._ring, self._stop = RingReader(folder / "loop.ring", LOOP), StopByte(folder)

    def telemetry(self) -> Telemetry | None:
        """The newest record; None before the first."""
        found = self._ring.latest()
        return None if found is None else to_telemetry(*found)

    def since(self, sequence: int, limit: int = 1_000_000) -> list[Telemetry]:
        """The records after a sequence that are still there: about the last four seconds, oldest first."""
        return [to_telemetry(*found) for found in self._ring.since(sequence, limit)]

    def statistics(self, ticks: int = 500) -> LoopStatistics | None:
        """Over the newest ticks; None before the first."""
        found = self._ring.since(0, ticks)
        if not found:
            return None
        period, compute = (
            np.array([record[name] for _, record in found]) * 1e-9 for name in ("period_ns", "compute_ns")
        )
        return LoopStatistics(len(found), *_spread(period), *_spread(compute))

    def request_stop(self) -> None:
        """Press the software stop: from any process, whoever owns the loop, without waiting for anybody."""
        self._stop.press()


class LoopClient(LoopObserver):
    """The one that may give orders to the control loop. When it goes, however it goes, the loop holds, latched."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or paths.runtime()
        self._link = wire.connect(folder / "loop.sock")
        super().__init__(folder)
        self._events: deque[Event] = deque()
        self.connected = True

    def _lost(self, error: LinkLostError) -> DeviceError:
        self.connected = False
        return DeviceError(f"the control loop has gone: {error}")

    def send(self, order: Order) -> None:
        """Hand an order over; what becomes of it comes back as events.

        Raises DeviceError when the loop has gone, or does not read.
        """
        try:
            if not self._link.send(ORDERS.encode(order)):
                raise DeviceError(f"the control loop does not read its orders; {type(order).__name__} was not sent")
        except LinkLostError as error:
            raise self._lost(error) from error

    def events(self, timeout: float = 0.0) -> list[Event]:
        """The events since the last call, waiting at most `timeout` [s] for the first.

        Raises DeviceError when the loop has gone, after its last events have been handed out.
        """
        try:
            packet = self._link.receive(timeout)
            while packet is not None:
                self._events.append(ORDERS.decode(packet))
                packet = self._link.receive()
        except LinkLostError as error:
            lost = self._lost(error)
            if not self._events:
                raise lost from error
        found = list(self._events)
        self._events.clear()
        return found

    def close(self) -> None:
        self._link.close()
        self.connected = False
