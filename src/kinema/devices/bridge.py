"""What every load cell behind a bridge amplifier has in common: readings to force, taring, and doubt. Pure."""

import math
from collections import deque
from typing import Protocol

import numpy as np

from kinema.calibration.files import ForceScale
from kinema.clock import to_seconds
from kinema.errors import DeviceError
from kinema.interfaces import ForceSample, LoadCell

_SAMPLES = 40  # half a second, of which a tare is the mean
_FEWEST = 20
_RECENT = 1.0  # [s] that they may be old
_REST = 0.2  # [N] standard deviation of a jaw that nobody touches
_PRELOAD = 0.5  # [-] of the capacity that a tare may take for zero: what hangs on the cell, not what is grasped
_STUCK = 20  # readings that are the same to the last bit: a converter's noise never does that


class BridgeLoadCell(LoadCell, Protocol):
    """A load cell whose readings can be calibrated."""

    def readings(self) -> list[float]:
        """The amplifier's readings of the last half second; DeviceError saying why none can be trusted."""
        ...

    def use(self, scale: ForceScale, latency: float) -> None:
        """Take another calibration and latency [s] from now on; the cell is then untared."""
        ...


class Bridge:
    """Readings of one cell in the order of their stamps.

    ends  the least and the greatest reading that the amplifier has: there it is saturated
    """

    def __init__(self, scale: ForceScale, ends: tuple[float, float]) -> None:
        self.scale = scale
        self._ends = ends
        self._recent: deque[tuple[int, float]] = deque(maxlen=_SAMPLES)
        self._same: tuple[float, int] = (math.nan, 0)
        self._offset: float | None = None
        self._saturated = False

    def take(self, stamp_ns: int, reading: float) -> ForceSample:
        """The force of one reading; NaN where there was none, or where the amplifier is stuck (FAULTS F14)."""
        value, count = self._same
        self._same = (reading, count + 1 if reading == value else 1)
        if self._same[1] >= _STUCK:
            reading = math.nan
        low, high = self._ends
        force = self.scale.force(float(np.clip(reading, low, high)))
        self._saturated = reading <= low or reading >= high or abs(force) > self.scale.capacity
        self._recent.append((stamp_ns, force))
        return ForceSample(stamp_ns, force - (self._offset or 0.0), self._saturated, self._offset is not None)

    def tare(self, now_ns: int) -> float:
        """Take the mean of the last samples for zero; returns that offset [N]. Raises DeviceError saying why not."""
        try:
            forces = self._believed(now_ns)
        except DeviceError as error:
            raise DeviceError(f"not tared: {error}") from None
        offset, spread = float(np.mean(forces)), float(np.std(forces))
        if spread > _REST:
            raise DeviceError(f"not tared: the force moves by {spread:.2f} N (deviation); keep the jaw still")
        if abs(offset) > _PRELOAD * self.scale.capacity:
            raise DeviceError(
                f"not tared: {offset:.1f} N of {self.scale.capacity:.0f} N would be taken for zero; open the jaw"
            )
        self._offset = offset
        return offset

    def readings(self, now_ns: int) -> list[float]:
        """The last readings, to calibrate by; raises DeviceError saying why they can't be trusted."""
        return [self.scale.reading(force) for force in self._believed(now_ns)]

    def _believed(self, now_ns: int) -> list[float]:
        """The last forces [N], not tared, if they are recent, in range, and numbers."""
        forces = [force for stamp_ns, force in self._recent if to_seconds(now_ns - stamp_ns) < _RECENT]
        if len(forces) < _FEWEST:
            raise DeviceError(
                f"{len(forces)} samples came within the last {_RECENT:g} s, needed are {_FEWEST}; "
                "wait, or look after the load cell"
            )
        if self._saturated or not np.isfinite(forces).all():
            raise DeviceError("the load cell is saturated or reads no number; look after its wires")
        return forces

    def use(self, scale: ForceScale) -> None:
        """From now on by another calibration, and untared."""
        self.scale = scale
        self.forget()

    def forget(self) -> None:
        """After an interruption: who had the plug in their hand may have had the fingers in it, so tare again."""
        self._recent.clear()
        self._same = (math.nan, 0)
        self._offset, self._saturated = None, False
