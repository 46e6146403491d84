"""What a judgement of a task sees and says: one moment of the physics, and what is missing then.

Success is that nothing has been missing for `REST` seconds: so the thing is released, in its place, and at rest. What
has been reached is not lost by what happens afterwards in the world only if it lasts: the judgement is made anew at
every moment.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kinema.geometry import Array

REST = 1.0  # [s]
SPEED = 0.02  # [m/s] below which a thing is at rest
SPIN = 0.5  # [rad/s]
UPRIGHT = math.cos(math.radians(30))

HAND, TABLE = "flange", "world"  # bodies of every scene: the hand with fingers and tool, the table's top


class Moment(Protocol):
    """The physics as it is now; bodies and joints by their names in the scene."""

    def pose(self, body: str) -> tuple[Array, Array]:
        """Position (3,) [m] and rotation (3, 3) in base_link."""
        ...

    def speed(self, body: str) -> tuple[float, float]:
        """Linear [m/s] and angular [rad/s] of a free body."""
        ...

    def joint(self, name: str) -> tuple[float, float]:
        """Position [m, rad] and speed [m/s, rad/s]."""
        ...

    def touching(self, first: str, second: str) -> bool:
        """Whether anything of one body is in contact with anything of the other; each with all that hangs on it."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """One moment: `missing` says what stands between it and success, empty when nothing does."""

    missing: str
    detail: dict[str, Any] = field(default_factory=dict)


Judge = Callable[[Moment], Verdict]


def moving(moment: Moment, body: str) -> bool:
    """Whether a free body is not at rest."""
    linear, angular = moment.speed(body)
    return linear > SPEED or angular > SPIN


def not_let_go(moment: Moment, body: str, words: str) -> str:
    """What keeps a thing, in words for people, from being released in something else and at rest; '' for nothing."""
    if moment.touching(body, HAND):
        return f"the {words} still touches the gripper"
    if moment.touching(body, TABLE):
        return f"the {words} touches the table"
    return f"the {words} still moves" if moving(moment, body) else ""
