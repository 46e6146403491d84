"""The lower bound: a policy that sees nothing and goes somewhere, as far and as fast as demonstrations do.

Each chunk leads in a straight line to one target that is drawn from the statistics of the data set that another policy
was trained on. Whoever does no better than this has learned nothing.
"""

from pathlib import Path

import numpy as np

from kinema.chunk import Observation, ObservationSpec, Prediction
from kinema.policies import checkpoint
from kinema.policies.actions import ActionSpace

_HERE = np.array(
    [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
)  # no way from the tool, no turn, no change of width


class Chance:
    """Draws from an action space; what it does follows from the seed and the number of chunks since `reset`."""

    name = "random"

    def __init__(self, space: ActionSpace, seed: int = 0) -> None:
        self.spec = ObservationSpec(cameras=("gripper",), images=False, force=False, text=False)
        self._space, self._seed = space, seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self._seed = self._seed if seed is None else seed
        self._chunks = 0

    def predict(self, observation: Observation) -> Prediction:
        self._chunks += 1
        space, rng = self._space, np.random.default_rng([self._seed, self._chunks])
        target = space.denormalise(rng.standard_normal(len(space.mean)))
        rows = np.tile(target, (space.horizon, 1))
        fraction = np.linspace(0.0, 1.0, space.horizon + 1)[1:, None]
        rows[:, :10] = _HERE + fraction * (target[:10] - _HERE)
        return Prediction(space.chunk(space.normalise(rows), observation, self._chunks, self.name))


def load(like: str, seed: int = 0) -> Chance:
    """As far and as fast as what the checkpoint in the folder `like` was trained on; raises CheckpointError."""
    return Chance(checkpoint.read(Path(like)).action, seed)
