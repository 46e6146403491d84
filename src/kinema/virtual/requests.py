"""What one may ask of the cell process over its sockets, what it answers, and what it says of itself."""

from dataclasses import dataclass

from kinema.wire import Codec


@dataclass(frozen=True, slots=True)
class ResetScenario:
    """A fresh scene; the arm stays where it is. An empty task or split keeps the present one."""

    task: str
    split: str
    seed: int


@dataclass(frozen=True, slots=True)
class InjectFault:
    """See `virtual/faults.py`; `delay` and `duration` in [s] of the cell's time."""

    name: str
    target: str
    value: float
    delay: float
    duration: float


@dataclass(frozen=True, slots=True)
class ClearFaults:
    pass


@dataclass(frozen=True, slots=True)
class Tare:
    pass


@dataclass(frozen=True, slots=True)
class MoveJaw:
    """Width [m], speed [m/s], force [N]."""

    width: float
    speed: float
    force: float


@dataclass(frozen=True, slots=True)
class Demonstrate:
    """The simulated person shows, with the handheld gripper, what the scenario on the table asks for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request; `value` is its number, where it has one: the offset of a tare, the applied width."""

    success: bool
    message: str
    value: float = 0.0


REQUESTS = Codec(ResetScenario, InjectFault, ClearFaults, Tare, MoveJaw, Demonstrate, Reply)


@dataclass(frozen=True, slots=True)
class CellStatus:
    """What the cell says of itself, ten times a second; see kinema_interfaces/CellStatus for units."""

    t_ns: int
    task: str
    split: str
    seed: int
    episode: int
    text: str
    success: bool
    outcome: str
    real_time_factor: float
    slipped: float
    ticks: int
    fault: str
    unanswered: int = 0
    braked: bool = False
    hand: str = ""  # what the simulated person does; empty: there is none, or it rests
