"""What cameras see while a person demonstrates in the virtual cell, with the truth that no recording has."""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.chunk import Image
from kinema.episodes.state import STATE
from kinema.geometry import Array, Pose, rotation_6d
from kinema.virtual import noise
from kinema.virtual.hand import Hand, Manner, Phase
from kinema.virtual.handheld import HandheldWorld
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.scenario import Scenario

_TARE = 250  # periods before the load cell is told what nothing weighs


@dataclass(frozen=True, eq=False, slots=True)
class Demonstrated:
    """One demonstration, every so many periods: what rendering takes, `T_base_tcp` and the opening (n,) [m].

    seed     of the cameras' noise, too
    dt       [s] from one to the next
    gave_up  what the person said where they saw it fail, else ''
    """

    model: mujoco.MjModel
    seed: int
    snapshots: tuple[Array, ...]
    T_base_tcp: tuple[Pose, ...]
    width: Array
    dt: float
    gave_up: str


def demonstrate(drawn: Scenario, every: int, out_of_view: bool = False, once: bool = False) -> Demonstrated:
    """A person with the handheld gripper, from the gesture that begins to the one that ends.

    `once`: to the end of the first attempt, whatever has come of it.
    """
    world = HandheldWorld(drawn, seed=drawn.seed)
    hand = Hand(world, drawn.seed, manner=Manner(out_of_view=out_of_view))
    snapshots, poses, widths, done = [], [], [], False
    while hand.phase not in (Phase.END, Phase.RETURN) and not (once and hand.rests):
        world.step(*hand.goal())
        if world.k == _TARE:
            world.tare()
        if hand.phase is Phase.DEMONSTRATE and world.k % every == 0:
            snapshots.append(world.snapshot())
            poses.append(world.T_base_tcp())
            widths.append(world.width())
        done = done or world.outcome().success
    failed = hand.gave_up or ("" if done or once else "not done")
    return Demonstrated(
        world.model, drawn.seed, tuple(snapshots), tuple(poses), np.array(widths), every * world.period, failed
    )


def truth(shown: Demonstrated) -> Array:
    """Where the tool truly was, as states (n, 11); no force."""
    states = np.zeros((len(shown.T_base_tcp), len(STATE)))
    for row, pose, width in zip(states, shown.T_base_tcp, shown.width, strict=True):
        row[:3], row[3:9], row[9] = pose.position, rotation_6d(pose.rotation), width
    return states


def pictures(shown: Demonstrated, at: Sequence[int], cameras: Sequence[str], size: tuple[int, int]) -> Image:
    """(cameras, len(at), height, width, 3) RGB of its moments `at`, with the cameras' noise; `size` [px]."""
    eyes = CellRenderer(shown.model, size, noise.load().camera, shown.seed)
    images = np.array([[eyes.render(name, shown.snapshots[k], int(k)) for k in at] for name in cameras])
    eyes.close()
    return images
