"""Is a stream alive? Rate, spread and staleness of arrivals, and pictures that no longer change. Pure.

Staleness is judged by arrival: the caller brings the monotonic clock, and nothing here reads one.
"""

import enum
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from kinema.chunk import Image
from kinema.clock import to_seconds
from kinema.topics import Topic

FROZEN_AFTER = 10  # identical frames in a row; sensor noise never draws the same frame twice (FAULTS F10)
_WINDOW = 128  # arrivals that rate and spread are taken over
_SLOW = 0.8  # below this share of the nominal rate: WARN


class Level(enum.IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Health:
    """One line of /diagnostics: how bad it is, in words, and the numbers behind it."""

    level: Level
    text: str
    values: dict[str, str] = field(default_factory=dict)


class Stream:
    """Arrivals of a stream with a nominal `rate` [Hz] (0: events), stale after `stale_after` [s] (0: never)."""

    def __init__(self, rate: float, stale_after: float) -> None:
        self.rate = rate
        self.stale_after = stale_after
        self.count = 0
        self._arrivals: deque[int] = deque(maxlen=_WINDOW)

    @classmethod
    def of(cls, topic: Topic) -> "Stream":
        return cls(topic.rate, topic.stale_after)

    def arrived(self, now_ns: int) -> None:
        self.count += 1
        self._arrivals.append(now_ns)

    def age(self, now_ns: int) -> float:
        """[s] since the last arrival; infinite before the first."""
        return to_seconds(now_ns - self._arrivals[-1]) if self._arrivals else float("inf")

    def stale(self, now_ns: int) -> bool:
        return self.stale_after > 0 and self.age(now_ns) > self.stale_after

    def health(self, now_ns: int) -> Health:
        """Rate [Hz], spread of the intervals (standard deviation) [s] and age [s] of the stream."""
        if not self._arrivals:
            return Health(Level.STALE if self.stale_after > 0 else Level.OK, "nothing has arrived yet")
        intervals = np.diff(np.array(self._arrivals)) * 1e-9
        rate = 1.0 / intervals.mean() if len(intervals) and intervals.mean() > 0 else 0.0
        spread = float(intervals.std()) if len(intervals) else 0.0
        age = self.age(now_ns)
        values = {"rate": f"{rate:.2f}", "spread": f"{spread:.5f}", "age": f"{age:.3f}", "count": str(self.count)}
        if self.stale(now_ns):
            return Health(Level.STALE, f"silent for {age:.2f} s, allowed is {self.stale_after} s", values)
        if self.rate > 0 and len(intervals) > self.rate and rate < _SLOW * self.rate:
            return Health(Level.WARN, f"arrives at {rate:.1f} Hz, nominal is {self.rate:.0f} Hz", values)
        return Health(Level.OK, "alive", values)


class FrozenImages:
    """Counts how often the very same picture came in a row, whatever its stamps say (FAULTS F10)."""

    def __init__(self) -> None:
        self._last: Image | None = None
        self._in_a_row = 0

    def frozen(self, image: Image) -> bool:
        """Take one more frame; true from the FROZEN_AFTER-th identical one on."""
        if self._last is not None and np.array_equal(self._last, image):
            self._in_a_row += 1
        else:
            self._last, self._in_a_row = image.copy(), 1
        return self._in_a_row >= FROZEN_AFTER
