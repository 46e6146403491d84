"""How the chunks of a policy are played: in overlap or in stop and go, and how many steps lie between observations.

Decided beforehand, from what is known of the policy, by the same rule in a deployment and in an evaluation.
"""

import math
from dataclasses import dataclass

from kinema.control.messages import Mode
from kinema.control.settings import Execution
from kinema.errors import ConfigError

_FRAME = 0.06  # [s] until a camera's image is there that is newer than the request for it


@dataclass(frozen=True, slots=True)
class Tempo:
    """What is known of a policy before it acts.

    latency     [s] from an observation to its chunk; dt [s] between the steps of a chunk
    executable  how many steps of a chunk may be executed
    """

    latency: float
    dt: float
    executable: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How a run plays its chunks.

    replan_steps  a new observation is asked for after so many steps of a chunk (overlap); 0: as the cell file says
    executable    so many steps of a chunk may be played; 0: as the chunk says
    """

    mode: Mode
    replan_steps: int = 0
    executable: int = 0


def pace(tempo: Tempo, execution: Execution, executed: int = 0, mode: Mode | None = None) -> Pace:
    """The pace that observes anew after `executed` steps (0: as chunk and cell file have it), in `mode` if given.

    Overlap where the policy thinks faster than its chunk is played, else stop and go. Stop and go plays exactly
    `executed` steps. In overlap the next observation is taken while its predecessor's chunk is played; that chunk goes
    on until the next one joins, as long as it may, and longer where so many steps lie between observations that the
    next can't be there before: an arm that slows down whenever a chunk is late makes a motion that nobody planned.
    Raises ConfigError for more steps than may be executed.
    """
    if not 0 <= executed <= tempo.executable:
        raise ConfigError(f"{executed} executed steps; allowed: up to {tempo.executable}, 0: the policy's own number")
    played = ((executed or tempo.executable) - execution.min_steps) * tempo.dt
    mode = mode or (Mode.OVERLAP if tempo.latency < played else Mode.STOP_AND_GO)
    if not executed:
        return Pace(mode)
    if mode is Mode.STOP_AND_GO:
        return Pace(mode, executable=executed)
    thinking = _steps(tempo.latency, tempo.dt)  # that pass before the first of a chunk is played
    waiting = _steps(tempo.latency + _FRAME, tempo.dt)
    needed = executed + waiting + execution.min_steps
    return Pace(mode, max(executed - thinking, 1), max(needed, tempo.executable))


def _steps(seconds: float, dt: float) -> int:
    return math.ceil(seconds / dt - 1e-6)
