"""One episode by the expert, as it is recorded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kinema.chunk import Image
from kinema.geometry import Array
from kinema.pusht.client import PLAIN, Look, Moment, PushT
from kinema.pusht.expert import targets

SOLVED = 0.95  # [-] of the goal that has to be covered; the score is the largest coverage over this, at most 1


def score(coverage: float) -> float:
    """Of the largest coverage of an episode (Chi et al. 2023, section V)."""
    return min(coverage / SOLVED, 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class Demonstration:
    """Moments 0 to n of an episode of n steps.

    images    (n + 1, 96, 96, 3) uint8 RGB
    targets   (n + 1, 2) [px] in force at each moment: the agent's own place, then what was asked for a step before
    coverage  the largest; still: that at first
    """

    seed: int
    images: Image
    targets: Array
    coverage: float
    still: float


def episode(env: PushT, seed: int, look: Look = PLAIN) -> Iterator[tuple[Moment, Array]]:
    """Each moment of the expert's episode of a seed, with the target in force, until it is over or the expert knows no
    better."""
    moment = env.reset(seed, look)
    yield moment, moment.agent
    expert = targets(moment, env.pushed)
    target = next(expert, None)
    while target is not None and not moment.over:
        moment = env.step(target)
        yield moment, target
        try:
            target = expert.send(moment)
        except StopIteration:
            return


def demonstrate(env: PushT, seed: int, look: Look = PLAIN) -> Demonstration:
    """The expert's episode of a seed."""
    moments, asked = zip(*episode(env, seed, look), strict=True)
    images, coverage = [moment.image for moment in moments], max(moment.coverage for moment in moments)
    return Demonstration(seed, np.stack(images), np.stack(asked), coverage, moments[0].coverage)
