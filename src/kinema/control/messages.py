"""What enters and leaves the control core: orders from the node, one Tick for every arm record.

Orders are values; the core decides what becomes of them. `Tick` is everything that one cycle decided.
"""

import enum
from dataclasses import dataclass, field
from typing import Any

from kinema.chunk import ActionChunk
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand


class State(enum.IntEnum):
    """The executor's states; `control/core.py` holds the table of what leads where."""

    IDLE = 0  # not enabled: the arm is held by its brakes or by a stiff hold, nothing may move it
    READY = 1  # enabled, holding compliantly, waiting for orders
    EXECUTING = 2  # playing chunks, jogging, homing or free-driving
    HOLDING = 3  # in the midst of a policy run, at rest, waiting for a usable chunk
    FAULT = 4  # something broke; latched until reset
    STOPPED = 5  # somebody or the safety chain stopped it; latched until reset


class Mode(enum.StrEnum):
    STOP_AND_GO = "stop_and_go"
    OVERLAP = "overlap"


# ---- orders: node -> core


@dataclass(frozen=True, slots=True)
class Enable:
    pass


@dataclass(frozen=True, slots=True)
class Hold:
    """Brake and hold where the arm comes to rest; ends a policy run. Latched only when the node's link is lost."""

    reason: str
    latched: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Leave FAULT or STOPPED, for IDLE; the equilibrium becomes the measured pose, queue and correction are empty."""


@dataclass(frozen=True, slots=True)
class Home:
    """Move to the home joint positions, slowly, through the safety chain."""


@dataclass(frozen=True, eq=False, slots=True)
class Jog:
    """Move the TCP by a twist (6,) [m/s, rad/s] in base_link axes for `duration` [s], then hold."""

    twist: Array
    duration: float


@dataclass(frozen=True, slots=True)
class Freedrive:
    """Let the arm be guided by hand: no stiffness, damping only."""

    on: bool


@dataclass(frozen=True, slots=True)
class MoveJaw:
    """Open or close the jaw to a width [m]; refused while a policy runs."""

    width: float


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """Begin a run. It ends after `chunks` chunks or `duration` [s] (0: no such limit), or by Hold or StopPolicy.

    uses_force    the policy needs the load cell: hold when it is stale (F13)
    replan_steps, executable  as in `pacing.Pace`
    approval      [s] that a person gets to look at each chunk, beyond `max_age`; 0: nobody is asked. Else only chunks
                  that somebody approved are played, in stop and go
    """

    mode: Mode
    speed_scale: float
    chunks: int = 0
    duration: float = 0.0
    uses_force: bool = True
    replan_steps: int = 0
    executable: int = 0
    approval: float = 0.0


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """End a policy run in order: brake, hold, keep the grip."""

    reason: str


@dataclass(frozen=True, slots=True)
class PlayChunk:
    """A new chunk. `request` is the id of the ObservationRequest it answers; 0 for a chunk nobody asked for.

    `approved`: a person has looked at it and let it go.
    """

    chunk: ActionChunk
    request: int
    approved: bool = False


@dataclass(frozen=True, slots=True)
class RejectObservation:
    """The node could not answer a request; `reason` says why. The core holds once its time-out has passed (F05)."""

    request: int
    reason: str


@dataclass(frozen=True, slots=True)
class Replan:
    """What chunk `chunk` imagined for `seen_ns` is not what was seen then: ask for another observation at once.

    Unless what is being played was thought from an observation as new. In overlap it plays on until the next chunk
    joins; in stop and go the rest of it is dropped.
    """

    chunk: int
    seen_ns: int
    reason: str


Order = (
    Enable
    | Hold
    | Reset
    | Home
    | Jog
    | Freedrive
    | MoveJaw
    | StartPolicy
    | StopPolicy
    | PlayChunk
    | RejectObservation
    | Replan
)

# ---- decisions: core -> loop and node


@dataclass(frozen=True, slots=True)
class ObservationRequest:
    """The core wants a chunk whose observation was acquired not before `not_before_ns` [Kinema time]."""

    id: int
    not_before_ns: int


@dataclass(frozen=True, slots=True)
class JawTarget:
    """What the gripper should be told: width [m], speed [m/s], force [N]."""

    width: float
    speed: float
    force: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log.

    kind    'state' | 'chunk_accepted' | 'chunk_rejected' | 'step' | 'step_dropped' | 'order_refused' | 'safety' |
            'clamped' | 'correction' | 'policy_started' | 'policy_ended' | 'replanned' | 'held' | 'stopped' |
            'warning' | 'error'; from the node that gives the orders: 'chunk_proposed' | 'chunk_approved' |
            'chunk_declined' | 'diverged' | 'outcome'
    fault   id of the FAULTS row it belongs to, or ''
    """

    t_ns: int
    kind: str
    text: str
    fault: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Tick:
    """Everything one control cycle decided.

    command         for the arm
    jaw             for the gripper, or None: leave it alone
    T_base_tcp      measured pose of the tool
    T_base_goal     commanded equilibrium
    correction      [m] by which the force correction closes the jaw
    chunk, step     what is being played (-1: nothing)
    steps_left      usable steps left in the queue
    request         the open observation request, or None
    events          what happened in this cycle
    """

    command: ArmCommand
    jaw: JawTarget | None
    state: State
    T_base_tcp: Pose
    T_base_goal: Pose
    correction: float
    chunk: int
    step: int
    steps_left: int
    request: ObservationRequest | None
    events: tuple[Event, ...]
