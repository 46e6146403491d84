"""Two quick squeezes of the jaw begin and end a recording, so that the hand that holds the gripper is enough. Pure.

A grasp closes once and holds; an attempt that failed takes seconds. A jaw that was open, closed, open, closed and open
again within LASTS was squeezed on purpose.
"""

from collections import deque
from dataclasses import dataclass

from kinema.clock import to_ns, to_seconds

LASTS = 1.6  # [s] from the first closing until the jaw is open for the second time
DEPTH = 0.015  # [m] below the opening it ends at, a jaw counts as closed
REOPENS = 0.008  # [m] below that opening, it still counts as open

_STILL = 0.001  # [m] below the last sample, within which the jaw has not begun to close
_CLOSED = 2  # samples in a row that make a closing
_AT_REST = 0.03  # [m/s] of opening, below which the second squeeze is over
_BLIND_NS = to_ns(0.3)  # between two samples, beyond which nobody can tell what the jaw did


@dataclass(frozen=True, slots=True)
class Gesture:
    """The last moment before the first squeeze, and the first one after the second."""

    begin_ns: int
    end_ns: int


class DoubleSqueeze:
    """Looks for the gesture in the jaw's opening; give it every valid sample in the order of the stamps."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, float]] = deque()

    def take(self, stamp_ns: int, width: float) -> Gesture | None:
        """One more sample [m]; the gesture, at the sample that completes it."""
        samples = self._samples
        if samples and not 0 < stamp_ns - samples[-1][0] <= _BLIND_NS:
            samples.clear()
        while samples and stamp_ns - samples[0][0] > to_ns(LASTS):
            samples.popleft()
        still = bool(samples) and (width - samples[-1][1]) < _AT_REST * to_seconds(stamp_ns - samples[-1][0])
        samples.append((stamp_ns, width))
        begin_ns = self._first_closing(width) if still else None
        if begin_ns is None:
            return None
        samples.clear()
        return Gesture(begin_ns, stamp_ns)

    def _first_closing(self, level: float) -> int | None:
        """The last moment before the first of two squeezes from and to an opening of `level`; None without two."""
        left: list[int] = []  # when the jaw began each closing
        begun: int | None = None  # the last moment at which the open jaw did not close
        last = level
        closed = 0  # samples in a row
        for stamp_ns, width in self._samples:
            if width >= level - REOPENS:
                if begun is None or width > last - _STILL:
                    begun = stamp_ns
                closed = 0
            elif width <= level - DEPTH and begun is not None:
                closed += 1
                if closed == _CLOSED:
                    left.append(begun)
                    begun = None
            last = width
        return left[-2] if len(left) >= 2 and begun is not None else None
