"""How far a chunk of actions lies from the one that was demonstrated, in units that mean something."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from kinema.geometry import rotation_from_6d
from kinema.policies.actions import ActionSpace


def action_errors(space: ActionSpace, found: ArrayLike, wanted: ArrayLike) -> Mapping[str, float]:
    """Means over the executable steps of normalised chunks (n, horizon, 11): how wrong `found` is.

    `position_mm` and, of the last such step alone, `reach_mm`; `rotation_deg`, `width_mm`, `force_N`.
    """
    kept = slice(0, space.executable)
    one, other = space.denormalise(found)[:, kept], space.denormalise(wanted)[:, kept]
    away = np.linalg.norm(one[..., :3] - other[..., :3], axis=-1)
    turned = rotation_from_6d(one[..., 3:9]).swapaxes(-1, -2) @ rotation_from_6d(other[..., 3:9])
    angles = Rotation.from_matrix(turned.reshape(-1, 3, 3)).magnitude()
    return {
        "position_mm": 1e3 * float(away.mean()),
        "reach_mm": 1e3 * float(away[:, -1].mean()),
        "rotation_deg": float(np.degrees(angles).mean()),
        "width_mm": 1e3 * float(np.abs(one[..., 9] - other[..., 9]).mean()),
        "force_N": float(np.abs(one[..., 10] - other[..., 10]).mean()),
    }


def path_errors(space: ActionSpace, found: ArrayLike, wanted: ArrayLike) -> Mapping[str, float]:
    """`action_errors` of the chunks that follow each other in an episode's states (n, 11), found and wanted."""
    begins = np.arange(0, len(np.asarray(found)) - 1, space.horizon)
    one, other = (space.normalise(space.relative(states, begins)) for states in (found, wanted))
    return action_errors(space, one, other)
