"""Success rates and their differences, with intervals. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from kinema.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rate:
    """`successes` of `episodes`, with the ends of Wilson's score interval [-] (Wilson 1927)."""

    successes: int
    episodes: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        return self.successes / self.episodes


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two success rates over the same `pairs` scenarios: `value` = first minus second [-], and its interval."""

    pairs: int
    value: float
    low: float
    high: float


def _wilson(successes: int, episodes: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, shrink = successes / episodes, 1 + z * z / episodes
    middle = (p + z * z / (2 * episodes)) / shrink
    half = z * math.sqrt(p * (1 - p) / episodes + z * z / (4 * episodes**2)) / shrink
    return max(middle - half, 0.0), min(middle + half, 1.0)


def success_rate(successes: int, episodes: int, confidence: float = 0.95) -> Rate:
    """The rate of independent episodes; raises ConfigError where there are none."""
    if not 0 <= successes <= episodes or episodes == 0:
        raise ConfigError(
            f"{successes} successes of {episodes} episodes; allowed: 0 to as many as there are, at least 1"
        )
    return Rate(successes, episodes, *_wilson(successes, episodes, confidence))


def paired_difference(first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95) -> Difference:
    """How much more often the first succeeded, scenario by scenario.

    Newcombe (1998), "Improved confidence intervals for the difference between binomial proportions based on paired
    data", method 10: Wilson's limits of both rates, combined with the correlation phi of the pairs. Raises ConfigError
    where the two are not of the same scenarios.
    """
    n = len(first)
    if n != len(second) or n == 0:
        raise ConfigError(f"{n} and {len(second)} episodes cannot be paired; they must be of the same scenarios")
    both = sum(a and b for a, b in zip(first, second, strict=True))
    only_first, only_second = sum(first) - both, sum(second) - both
    neither = n - both - only_first - only_second
    p, q = sum(first) / n, sum(second) / n
    (p_low, p_high), (q_low, q_high) = (_wilson(sum(row), n, confidence) for row in (first, second))
    phi = _phi(both, only_first, only_second, neither)
    below, above = (p - p_low, q_high - q), (p_high - p, q - q_low)
    low, high = (math.sqrt(a * a - 2 * phi * a * b + b * b) for a, b in (below, above))
    return Difference(n, p - q, p - q - low, p - q + high)


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Correlation of the pairs, corrected for continuity where it is positive; 0 where a margin is empty."""
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    n = both + only_first + only_second + neither
    surplus = both * neither - only_first * only_second
    return (max(surplus - n / 2, 0.0) if surplus > 0 else surplus) / math.sqrt(margins)
