"""Intervals of success rates, against published values and against what they promise."""

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.training.success import paired_difference, success_rate


def _pairs(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + first) + [False] * (second + neither)
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return a, b


def test_wilsons_interval() -> None:
    """10 of 10 and 1 of 2; Newcombe (1998), two-sided table I: 81 of 263."""
    for successes, episodes, low, high in ((10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055), (81, 263, 0.2553, 0.3662)):
        found = success_rate(successes, episodes)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert success_rate(3, 4).rate == 0.75
    with pytest.raises(ConfigError, match="at least 1"):
        success_rate(0, 0)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [  # Newcombe (1998); Bentur et al. 2009 in Fagerland et al. (2014); Altman et al. (2000), table 6.2
        ((36, 12, 2, 0), 0.057, 0.340),
        ((1, 1, 7, 12), -0.507, -0.026),
        ((14, 5, 0, 22), 0.011, 0.226),
    ],
)
def test_newcombes_interval_of_paired_differences(table: tuple[int, ...], low: float, high: float) -> None:
    found = paired_difference(*_pairs(*table))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)
    mirrored = paired_difference(*reversed(_pairs(*table)))
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits, runs = 0, 1500
    for _ in range(runs):
        skill = rng.random(60)  # scenarios differ in difficulty, so the pairs are correlated
        first, second = rng.random(60) < 0.3 + 0.6 * skill, rng.random(60) < 0.1 + 0.6 * skill
        found = paired_difference(first.tolist(), second.tolist())
        hits += found.low <= 0.2 <= found.high
    assert 0.93 <= hits / runs <= 0.98


def test_other_scenarios_are_no_pairs() -> None:
    with pytest.raises(ConfigError, match="same scenarios"):
        paired_difference([True], [True, False])
