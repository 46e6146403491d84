"""A device's own clock, mapped to Kinema time by the packet that travelled fastest. Pure.

Arrivals jitter by what buses and schedulers do; a device's stamps do not. Of the last seconds, the packet with the
smallest difference of arrival and stamp was delayed least: that difference is the clocks' offset, but for a constant
delay that the latency file holds. (The clock filter of NTP, RFC 5905 section 10, one way.)
"""

from collections import deque

from kinema.clock import to_ns

_WINDOW_NS = to_ns(2.0)  # two crystals drift apart by 0.1 ms meanwhile


class DeviceClock:
    """Takes the stamps of one stream in the order of their arrival. A clock that goes back begins anew."""

    def __init__(self) -> None:
        self._offsets: deque[tuple[int, int]] = deque()  # arrival and offset, both increasing: the front is the least
        self._last_ns: int | None = None

    def to_kinema_ns(self, device_ns: int, arrival_ns: int) -> int:
        """The moment [ns, Kinema time] that the device calls `device_ns`; never later than its packet's arrival."""
        if self._last_ns is not None and device_ns < self._last_ns:
            self._offsets.clear()
        self._last_ns = device_ns
        offset = arrival_ns - device_ns
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((arrival_ns, offset))
        while arrival_ns - self._offsets[0][0] > _WINDOW_NS:
            self._offsets.popleft()
        return device_ns + self._offsets[0][1]


class Counter:
    """A counter of `bits` bits that wraps around, as the integer that it stands for, from its first reading on."""

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._value: int | None = None

    def extend(self, value: int) -> int:
        """The next reading, taken to lie within half a turn of the last."""
        if self._value is None:
            self._value = value
        else:
            ahead = (value - self._value) % self._modulus
            self._value += ahead - (self._modulus if ahead > self._modulus // 2 else 0)
        return self._value
