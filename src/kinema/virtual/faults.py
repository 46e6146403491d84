"""What can be broken in the virtual cell: one table, by name and target, from a moment on and for a while.

The cell process breaks the arm's link, jaw, load cell, tracker and the physics; the renderer breaks frames. Both pass
every record of a stream through a `FaultyStream`.
"""

import zlib
from collections import deque
from dataclasses import dataclass

import numpy as np

from kinema.errors import ConfigError
from kinema.topics import CAMERAS

FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FaultKind:
    """`value` says what the number that goes with it means, in which unit."""

    name: str
    targets: tuple[str, ...]
    value: str
    description: str


_STREAMS = ("arm", "jaw", "load_cell", "tracker", *CAMERAS)

FAULTS: dict[str, FaultKind] = {
    row.name: row
    for row in (
        FaultKind("latency", _STREAMS, "[s] of delay", "records come late, their stamps stay true"),
        FaultKind("jitter", _STREAMS, "[s] at most", "records come late by a random time, in order"),
        FaultKind("dropout", _STREAMS, "[-] probability", "records are lost at random"),
        FaultKind("frozen", _STREAMS, "unused", "the last content again and again, with fresh stamps"),
        FaultKind("disconnect", _STREAMS, "unused", "nothing comes; arm and jaw close their connections"),
        FaultKind("nan", ("arm", "jaw", "load_cell", "tracker"), "unused", "measurements are not a number"),
        FaultKind("saturated", ("load_cell",), "unused", "the load cell is at the end of its range"),
        FaultKind("diverge", ("physics",), "unused", "the physics leaves the numbers it can be trusted in"),
    )
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the board: in force while `start_ns <= t_ns < end_ns` [Kinema time]."""

    name: str
    target: str
    value: float
    start_ns: int
    end_ns: int


def check_fault(name: str, target: str, value: float) -> None:
    """Raise ConfigError naming what is allowed unless the table knows this fault for this target."""
    kind = FAULTS.get(name)
    if kind is None:
        known = "; ".join(f"{row.name} ({', '.join(row.targets)}): {row.description}" for row in FAULTS.values())
        raise ConfigError(f"fault {name!r} is not in the table; allowed: {known}")
    if target not in kind.targets:
        raise ConfigError(f"fault {name!r} has no target {target!r}; allowed: {', '.join(kind.targets)}")
    limit = 1.0 if name == "dropout" else 10.0
    if not 0.0 <= value <= limit:
        raise ConfigError(f"fault {name!r}: value is {value}, allowed is 0..{limit:g} {kind.value}")


class FaultBoard:
    """The faults in force and to come."""

    def __init__(self, faults: tuple[Fault, ...] = ()) -> None:
        self.faults = faults

    def inject(self, name: str, target: str, value: float, delay: float, duration: float, now_ns: int) -> Fault:
        """Add a fault that starts `delay` [s] from now and lasts `duration` [s], 0: until cleared."""
        check_fault(name, target, value)
        if not (0.0 <= delay <= 3600.0 and 0.0 <= duration <= 3600.0):
            raise ConfigError(f"fault {name!r}: delay {delay} s, duration {duration} s; allowed is 0..3600 s for both")
        start_ns = now_ns + round(delay * 1e9)
        fault = Fault(name, target, value, start_ns, start_ns + round(duration * 1e9) if duration else FOREVER)
        self.faults = (*(f for f in self.faults if f.end_ns > now_ns), fault)
        return fault

    def clear(self) -> None:
        self.faults = ()

    def find(self, name: str, target: str, t_ns: int) -> Fault | None:
        """The fault of this name that is in force for a target, if there is one."""
        for fault in self.faults:
            if fault.name == name and fault.target == target and fault.start_ns <= t_ns < fault.end_ns:
                return fault
        return None


class FaultyStream:
    """One stream of records with a field `t_ns`, on its way through the faults that the board holds for its target.

    `fresh` names the fields that stay true while the content is frozen.
    """

    def __init__(self, board: FaultBoard, target: str, seed: int = 0, fresh: tuple[str, ...] = ("t_ns",)) -> None:
        self._board, self._target, self._fresh = board, target, fresh
        self._random = np.random.default_rng((seed, zlib.crc32(target.encode())))
        self._waiting: deque[tuple[int, np.ndarray]] = deque()
        self._frozen: np.ndarray | None = None

    def _find(self, name: str, now_ns: int) -> Fault | None:
        return self._board.find(name, self._target, now_ns)

    def _freeze(self, record: np.ndarray) -> np.ndarray:
        if self._frozen is None:
            self._frozen = record.copy()
        frozen = self._frozen.copy()
        for field in self._fresh:
            frozen[field] = record[field]
        return frozen

    def offer(self, record: np.ndarray | None, now_ns: int) -> list[np.ndarray]:
        """Put a new record in, if there is one; returns what comes out at this moment, oldest first."""
        if not self._board.faults and not self._waiting:
            self._frozen = None
            return [] if record is None else [record]
        if self._find("disconnect", now_ns):
            self._waiting.clear()
            return []
        dropout, late, jitter = (self._find(name, now_ns) for name in ("dropout", "latency", "jitter"))
        if record is not None and not (dropout and self._random.random() < dropout.value):
            if self._find("frozen", now_ns):
                record = self._freeze(record)
            else:
                self._frozen = None
            delay = (late.value if late else 0.0) + (self._random.uniform(0.0, jitter.value) if jitter else 0.0)
            due_ns = now_ns + round(delay * 1e9)
            last_ns = self._waiting[-1][0] if self._waiting else due_ns
            self._waiting.append((max(due_ns, last_ns), record.copy()))
        out = []
        while self._waiting and (self._waiting[0][0] <= now_ns or not (late or jitter)):
            out.append(self._waiting.popleft()[1])
        return out
