"""Kinema time: what is due when."""

import numpy as np
import pytest

from kinema.clock import NS, Every


@pytest.mark.parametrize(("rate", "period_ns"), [(30.0, 2_000_000), (80.0, 2_000_000), (200.0, 5_000_000)])
def test_once_in_every_period_at_the_first_moment_not_before_it(rate, period_ns):
    every = Every(rate, origin_ns=7 * NS)
    due = np.array([t_ns for t_ns in range(7 * NS, 9 * NS, period_ns) if every.due(t_ns)])
    late_ns = due - 7 * NS - np.arange(len(due)) * NS / rate
    assert len(due) == 2 * rate and every.count == len(due) - 1
    assert late_ns.min() > -2 and late_ns.max() < period_ns


def test_periods_that_were_slept_through_are_not_made_up():
    every = Every(10.0, origin_ns=0)
    assert [every.due(t_ns) for t_ns in (0, NS // 2, NS // 2 + 1, NS)] == [True, True, False, True]
    assert every.count == 10
