"""Device clocks against jitter, drift, restarts and counters that wrap."""

import numpy as np

from kinema.device_clock import Counter, DeviceClock

PERIOD_NS = 12_500_000


def test_jitter_of_arrival_does_not_reach_the_stamps():
    rng = np.random.default_rng(0)
    clock, errors = DeviceClock(), []
    for k in range(800):
        true_ns = 7_000_000_000 + k * PERIOD_NS
        late_ns = 1_000_000 + int(rng.exponential(5e6))
        stamp_ns = clock.to_kinema_ns(k * PERIOD_NS, true_ns + late_ns)
        assert stamp_ns <= true_ns + late_ns
        errors.append(stamp_ns - true_ns)
    settled = np.array(errors[100:])
    assert settled.min() >= 1_000_000  # the constant delay stays: the latency file's part
    assert settled.max() < 1_400_000


def test_a_drifting_crystal_is_followed():
    clock, drift = DeviceClock(), 100e-6
    for k in range(8000):  # 100 s, in which it falls behind by 10 ms
        true_ns = k * PERIOD_NS
        stamp_ns = clock.to_kinema_ns(round(true_ns * (1 - drift)), true_ns)
    assert 0 <= true_ns - stamp_ns < 300_000


def test_f20_a_clock_that_is_set_back_or_forth_is_taken_as_it_is_from_then_on():
    clock = DeviceClock()
    hour_ns = 3600 * 10**9
    for step_ns in (0, hour_ns, -hour_ns):
        for k in range(10):
            arrival_ns = 10**12 + k * PERIOD_NS
            assert clock.to_kinema_ns(arrival_ns + step_ns, arrival_ns) == arrival_ns


def test_a_counter_goes_on_where_it_wraps():
    counter = Counter(32)
    assert [counter.extend(value) for value in (2**32 - 2, 2**32 - 1, 0, 5)] == [2**32 - 2, 2**32 - 1, 2**32, 2**32 + 5]
    assert counter.extend(4) == 2**32 + 4  # a step back is a step back
