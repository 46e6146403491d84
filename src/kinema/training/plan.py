"""How to train: how long, how fast, how often to save and to look."""

import math
from dataclasses import dataclass

from kinema.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    stage    what is learned, as the model knows it
    steps    how many; batch: of how many moments each, over all processes
    pieces   that a process takes its part of a batch in, one after the other
    seed     of everything that is drawn
    rate     of learning at its highest, after `warm_up` steps; from there on it falls as a cosine to 0
    minutes  a time limit: the rate falls by the clock where that is ahead of the steps; 0: none
    decay    of weights, but for biases and norms; clip: the longest a gradient may be
    average  how much of the moving average of the weights stays at a step, at most; it is what is evaluated and saved
    save, measure  steps between two states on the disk, and between two looks at how well it does
    """

    stage: str
    steps: int
    batch: int
    pieces: int = 1
    seed: int = 0
    rate: float = 3e-4
    warm_up: int = 200
    minutes: float = 0.0
    decay: float = 1e-3
    clip: float = 1.0
    average: float = 0.999
    save: int = 500
    measure: int = 500

    def __post_init__(self) -> None:
        """Raises TrainingError naming what is out of its range."""
        least = {"steps": 1, "batch": 1, "pieces": 1, "warm_up": 1, "save": 1, "measure": 1, "rate": 0, "average": 0}
        for name, allowed in least.items():
            if getattr(self, name) < allowed:
                raise TrainingError(f"{name} is {getattr(self, name)}; at least {allowed} is allowed")
        if self.average >= 1.0:
            raise TrainingError(f"average is {self.average}; less than 1 is allowed")

    def rate_at(self, step: int, progress: float) -> float:
        """The rate of a step, with `progress` [-] of the whole run behind it."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
