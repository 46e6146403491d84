"""What the virtual cell's cameras see: pinhole views rendered off screen, warped into each camera's lens, made noisy.

The warp and the exported calibration come from the same table row, so an image is exactly as distorted as its
CameraInfo says. A renderer belongs to the thread that made it (EGL contexts do).
"""

import copy
import math
import zlib
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.geometry import Array
from kinema.virtual.cameras import CAMERAS, DEFAULT_SIZE, VirtualCamera, camera
from kinema.virtual.noise import CameraNoise
from kinema.virtual.scene import apply_snapshot

_MAX_GEOMS = 2000
_MARGIN = 1.02  # the rendered view is a little larger than the lens needs, for the interpolation at its rim
_OVERSAMPLING = {"plumb_bob": 1.0, "equidistant": 0.82}  # of the lens' pixels per radian on the axis; see _Lens
_ROUNDNESS = (16, 8)  # slices and stacks of round shapes: software rendering is bound by vertices
_TILE_MARGIN = 64  # [px] a frame's noise is cut out of a tile larger by this, at a place drawn for the frame


@dataclass(frozen=True, eq=False, slots=True)
class _Lens:
    """The pinhole view to render and where each pixel of the camera's image lies in it.

    A pinhole's pixels per radian grow as 1/cos^2 off the axis, a fisheye's do not: a source that is a little coarser
    than the fisheye on the axis is finer from 25 degrees on.
    """

    name: str
    source: tuple[int, int]  # width, height [px]
    fovy: float  # [deg]
    map_xy: NDArray[np.int16]
    map_fraction: NDArray[np.uint16]


def _angle(rays: Array) -> Array:
    return np.arctan(np.hypot(rays[..., 0], rays[..., 1]))


def _lens(row: VirtualCamera, size: tuple[int, int]) -> _Lens:
    info: CameraInfo = row.info(size)
    pixels = np.stack(np.meshgrid(np.arange(size[0], dtype=float), np.arange(size[1], dtype=float)), axis=-1)
    rays = info.rays(pixels)
    seen = _angle(rays) <= row.max_angle
    half = np.abs(rays[seen][:, :2]).max(axis=0) * _MARGIN  # tangents of the half angles
    focal = info.matrix[0, 0] * _OVERSAMPLING[row.model]
    width, height = (2 * math.ceil(focal * extent) for extent in half)
    map_x = focal * rays[..., 0] + (width - 1) / 2
    map_y = (height - 1) / 2 - focal * rays[..., 1]  # OpenGL's rows run upwards
    map_x[~seen] = map_y[~seen] = -2.0  # outside of the source: black
    map_xy, map_fraction = cv2.convertMaps(map_x.astype(np.float32), map_y.astype(np.float32), cv2.CV_16SC2)
    fovy = math.degrees(2 * math.atan(height / 2 / focal))
    return _Lens(row.name, (width, height), fovy, np.asarray(map_xy, np.int16), np.asarray(map_fraction, np.uint16))


class _SensorNoise:
    """Read and shot noise: variance `read^2 + shot * level` [grey levels^2], independent for each frame."""

    def __init__(self, noise: CameraNoise, size: tuple[int, int], seed: int) -> None:
        shape = (size[1] + _TILE_MARGIN, size[0] + _TILE_MARGIN, 3)
        self._seed = seed
        self._tile = np.random.default_rng([seed, 0]).standard_normal(shape, np.float32)
        levels = np.arange(256, dtype=np.float32)
        self._deviation = np.sqrt(noise.read**2 + noise.shot * levels).astype(np.float32).reshape(1, 256)

    def apply(self, image: Image, camera_key: int, frame: int) -> Image:
        height, width = image.shape[:2]
        rng = np.random.default_rng([self._seed, camera_key, frame])
        y, x = rng.integers(0, _TILE_MARGIN, 2)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        tile = self._tile[y : y + height, x : x + width]
        noisy = cv2.multiply(cv2.LUT(image, self._deviation), tile, scale=sign)
        return np.asarray(cv2.add(image, noisy, dtype=cv2.CV_8U), np.uint8)


class CellRenderer:
    """Renders the virtual cell's cameras at one size; the same seed, snapshot and frame give the same image."""

    def __init__(
        self,
        model: mujoco.MjModel,
        size: tuple[int, int] = DEFAULT_SIZE,
        noise: CameraNoise | None = None,
        seed: int = 0,
    ) -> None:
        """`noise` None renders clean images, for looking at; the cell's cameras always have it."""
        self.size = size
        there = {model.camera(i).name for i in range(model.ncam)}  # without a gripper there is no gripper camera
        self._lenses = {name: _lens(row, size) for name, row in CAMERAS.items() if name in there}
        self._noise = None if noise is None else _SensorNoise(noise, size, seed)
        self._model = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._snapshot: Array | None = None
        width, height = (max(lens.source[i] for lens in self._lenses.values()) for i in (0, 1))
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        quality = self._model.vis.quality
        quality.offsamples, quality.numslices, quality.numstacks = 0, *_ROUNDNESS
        for lens in self._lenses.values():
            self._model.cam_fovy[self._model.camera(lens.name).id] = lens.fovy
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self._model, _MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._pixels = {
            name: np.empty((lens.source[1], lens.source[0], 3), np.uint8) for name, lens in self._lenses.items()
        }

    def render(self, name: str, snapshot: Array, frame: int) -> Image:
        """Image (height, width, 3) RGB of a camera; `snapshot` as World gives it, `frame` counts the camera's images.

        The frame number draws the noise, so two frames of a still scene differ.
        """
        camera(name)
        lens, pixels = self._lenses[name], self._pixels[name]
        self._gl.make_current()
        self._show(snapshot)
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(name).id
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, view, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        viewport = mujoco.MjrRect(0, 0, *lens.source)
        mujoco.mjr_render(viewport, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, viewport, self._context)
        warped = cv2.remap(pixels, lens.map_xy, lens.map_fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        image: Image = np.asarray(warped, np.uint8)
        return image if self._noise is None else self._noise.apply(image, zlib.crc32(name.encode()), frame)

    def close(self) -> None:
        self._gl.make_current()  # else another renderer's textures would go
        self._context.free()
        self._gl.free()

    def _show(self, snapshot: Array) -> None:
        if self._snapshot is not None and np.array_equal(snapshot, self._snapshot):
            return  # the cameras of one moment share its kinematics
        self._snapshot = np.array(snapshot, float)
        apply_snapshot(self._model, self._data, self._snapshot)
