"""Scenarios of the virtual cell, drawn from a seed: the same (task, split, seed) always gives the same one."""

import hashlib

import numpy as np

from kinema.errors import ConfigError
from kinema.virtual import layout, objects, tasks
from kinema.virtual.layout import BoardPlace, Placed, Scenario

__all__ = ["Placed", "Scenario", "draw"]


def draw(task: str, split: str, seed: int, board: BoardPlace = "") -> Scenario:
    """The scenario of a seed, with a calibration board where one is asked for.

    Raises ConfigError naming the tasks and splits there are.
    """
    row = tasks.task(task)
    if split not in objects.SPLITS:
        raise ConfigError(f"split {split!r} is not known; allowed: {', '.join(objects.SPLITS)}")
    if seed < 0:
        raise ConfigError(f"seed {seed} is negative; allowed: 0 and above")
    digest = hashlib.sha256(f"{task}/{split}/{seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    pool = objects.SPLITS[split]
    drawn = Scenario(task=task, split=split, seed=seed, background=layout.background(rng, pool), **row.draw(rng, pool))
    return layout.cleared(drawn, board) if board else drawn
