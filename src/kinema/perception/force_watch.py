"""May a load cell's force be believed: is it a number, in range, tared, and has its zero crept since? Pure.

Nobody tells the cell when nothing is between the jaws; but a jaw that works opens again and again, and then the cell
feels nothing: the lowest force of the last minute is its zero. A jaw can't pull: a force below zero is drift at once.
"""

import math
from collections import deque

from kinema.clock import to_ns
from kinema.interfaces import ForceSample
from kinema.streams import Health, Level

WINDOW = 60.0  # [s] in which a jaw opens
LIMIT = 0.5  # [N] of drift that needs a new tare: a sixth of the force gap that closes the jaw further

_BIN = 0.25  # [s] over which noise is averaged before the lowest counts


class ForceWatch:
    """Takes the samples of one cell in order. Untared ones, and those that are no number or saturated, tell nothing of
    its zero."""

    def __init__(self) -> None:
        self._last: ForceSample | None = None
        self._means: deque[tuple[int, float]] = deque()  # end of a bin, mean force
        self._bin: list[float] = []
        self._bin_ns = self._since_ns = 0

    def take(self, sample: ForceSample) -> None:
        self._last = sample
        if not sample.tared:
            self._means.clear()
            self._bin.clear()
            return
        if sample.saturated or not math.isfinite(sample.force):
            return
        if not self._bin:
            self._bin_ns = sample.stamp_ns
            if not self._means:
                self._since_ns = sample.stamp_ns
        self._bin.append(sample.force)
        if sample.stamp_ns - self._bin_ns >= to_ns(_BIN):
            self._means.append((sample.stamp_ns, sum(self._bin) / len(self._bin)))
            self._bin.clear()
            while sample.stamp_ns - self._means[0][0] > to_ns(WINDOW):
                self._means.popleft()

    @property
    def drift(self) -> float:
        """[N] by which the zero seems to have moved; 0 as long as nothing says so.

        A force that was there all the time counts only after a whole window: before, it may be a grasp.
        """
        means = tuple(self._means)  # at once: samples come in another thread
        if not means:
            return 0.0
        lowest = min(mean for _, mean in means)
        whole = means[-1][0] - self._since_ns >= to_ns(WINDOW)
        return lowest if whole else min(lowest, 0.0)

    def health(self) -> Health:
        """The worst of what there is to say, and the remedy (FAULTS F14)."""
        last, drift = self._last, self.drift
        if last is None:
            return Health(Level.STALE, "no sample has arrived")
        values = {"force": f"{last.force:.3f}", "drift": f"{drift:.3f}"}
        if not math.isfinite(last.force):
            return Health(Level.ERROR, "reads no number; look after the load cell's wires (F14)", values)
        if last.saturated:
            return Health(
                Level.ERROR, "saturated; take the load off, or look after the load cell's wires (F14)", values
            )
        if not last.tared:
            return Health(Level.WARN, "not tared; open the jaw and call ~/zero", values)
        if abs(drift) > LIMIT:
            how = f"the lowest force of the last {WINDOW:.0f} s is" if drift > 0 else "the force went down to"
            return Health(Level.WARN, f"{how} {drift:+.2f} N; open the jaw and call ~/zero", values)
        return Health(Level.OK, "tared, at zero where it is open", values)
