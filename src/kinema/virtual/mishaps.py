"""What a policy can't foresee: a thing that is moved, a hand before a camera, a camera that is knocked.

The first happens to the world, the others to what a camera sees of it. Unlike the faults of `faults.py` they break
nothing: every stream goes on, and only somebody who expected something else notices.
"""

import cv2
import mujoco
import numpy as np

from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.errors import ConfigError
from kinema.geometry import Array, so3_exp
from kinema.virtual.world import World

_SKIN = ((224, 172, 140), (141, 85, 56), (255, 219, 190), (92, 58, 40))  # RGB
_PALM = 0.17  # of the image's height, half of the palm's width
_ENTRY = 0.55  # of the image's height, from the palm's middle to where the arm leaves the picture, at least


def move(world: World, thing: str, offset: tuple[float, float]) -> None:
    """Put a thing that stands free somewhere else on the table, `offset` x, y [m] in base_link, at rest.

    Raises ConfigError naming what there is.
    """
    free = [placed.name for placed in world.scenario.movable]
    if thing not in free:
        raise ConfigError(f"nothing is named {thing!r} that stands free; allowed: {', '.join(free) or 'nothing'}")
    joint = world.model.joint(thing)
    place, speed = int(joint.qposadr[0]), int(joint.dofadr[0])
    world.data.qpos[place : place + 2] += offset
    world.data.qvel[speed : speed + 6] = 0.0
    mujoco.mj_forward(world.model, world.data)


def hand(image: Image, seed: int) -> Image:
    """The image with a hand that reaches into it: skin, place and direction are drawn from the seed."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    skin = np.array(_SKIN[rng.integers(len(_SKIN))], float)
    palm, towards = (
        rng.uniform((0.35 * width, 0.35 * height), (0.65 * width, 0.65 * height)),
        rng.uniform(-np.pi, np.pi),
    )
    size = _PALM * height * rng.uniform(0.85, 1.15)
    ahead, aside = (np.array([np.cos(a), np.sin(a)]) for a in (towards, towards + np.pi / 2))
    shade = np.zeros((height, width), np.float32)

    def limb(start: Array, end: Array, thick: float, light: float) -> None:
        points = [tuple(int(v) for v in np.rint(p)) for p in (start, end)]
        cv2.line(shade, points[0], points[1], light, max(round(thick), 1), cv2.LINE_8)

    limb(palm, palm - ahead * (_ENTRY * height + width), 1.5 * size, 0.80)
    limb(palm - 0.4 * size * ahead, palm + 0.4 * size * ahead, 2.0 * size, 0.92)
    for side, reach in ((-0.75, 1.6), (-0.25, 1.9), (0.25, 1.85), (0.75, 1.5)):
        knuckle = palm + 0.6 * size * ahead + side * size * aside
        limb(knuckle, knuckle + reach * size * (ahead + 0.12 * side * aside), 0.42 * size, 1.0)
    limb(palm - side * size * aside, palm + size * (0.9 * ahead - 1.5 * aside), 0.45 * size, 0.97)
    soft = cv2.GaussianBlur(shade, (0, 0), max(0.004 * height, 0.5))
    cover = np.clip(soft / 0.8, 0.0, 1.0)[..., None]
    return np.asarray(np.rint((1 - cover) * image + cover * np.clip(soft, 0.8, 1.0)[..., None] * skin), np.uint8)


class Knock:
    """What a camera sees after it was turned in its mount by `rotvec` (3,) [rad], in its optical frame.

    A turn about the camera's own centre shows the same rays at other pixels; what was out of view repeats the rim.
    """

    def __init__(self, info: CameraInfo, rotvec: tuple[float, float, float]) -> None:
        width, height = info.size
        pixels = np.stack(np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float)), axis=-1)
        rays = info.rays(pixels) @ so3_exp(np.array(rotvec)).T
        ahead = rays[..., 2:] > 1e-3
        self._map = np.where(ahead, info.project(np.where(ahead, rays, (0.0, 0.0, 1.0))), -1.0).astype(np.float32)

    def __call__(self, image: Image) -> Image:
        return np.asarray(
            cv2.remap(image, self._map, np.zeros(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
        )
