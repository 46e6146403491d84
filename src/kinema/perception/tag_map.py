"""The gripper camera's pose by a map of tags: a pose source for those who have no T265 any more. Pure.

The tags of a ChArUco board, or ArUco and AprilTag tags anywhere in the scene, are found in one picture; the camera is
where their corners' rays meet the map. The map does not move, so this world neither drifts nor jumps; where too little
of it is seen there is no pose, and nothing is carried on.

The tracker's frame is the camera's optical frame: `T_tracker_tcp` is then the hand-eye transform inverted, and
`T_base_world` is where the map stands.

Sources: SQPnP, Terzakis and Lourakis 2020, by OpenCV; ChArUco, OpenCV's aruco module.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import CameraInfo, MapTag, Provenance, TagMap
from kinema.chunk import Image
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose
from kinema.interfaces import TrackedPose
from kinema.perception.jaw import TagFinder

_LOST, _LOW, _MEDIUM, _HIGH = range(4)  # confidence, as the T265 counts it
_ENOUGH = 3  # tags for a high confidence; with one, a pose and its mirror image look alike
_OFF = 1.5  # [px] RMS of a tag's corners beyond which it is not where the map has it
_SPREAD = 0.02  # [m] that a pose's scatter may reach for more than low confidence; by its covariance
_PIXEL = 0.3  # [px] of a corner's noise that the covariance is made of
_STEPS = 4  # of Gauss-Newton; it starts within its own tolerance


@dataclass(frozen=True, eq=False, slots=True)
class _Sighting:
    """Tags that are seen and in the map: their corners in the world (n, 4, 3) [m], where they are seen on the plane
    z = 1 (n, 4, 2), and how many pixels a unit of that plane has there (n, 4)."""

    world: Array
    seen: Array
    pixels: Array

    def some(self, which: NDArray[np.bool_]) -> "_Sighting":
        return _Sighting(self.world[which], self.seen[which], self.pixels[which])


@dataclass(frozen=True, eq=False, slots=True)
class _Fit:
    """A camera's pose; `off` (n,) [px] RMS of each tag's corners; `spread` [m] that noise scatters the pose by."""

    T_camera_world: Pose
    off: Array
    spread: float


def charuco_map(
    squares: tuple[int, int], square: float, marker: float, dictionary: str, provenance: Provenance
) -> TagMap:
    """The map of a printed ChArUco board of `squares` (columns, rows) of `square` [m] with tags of `marker` [m].

    The world's origin is the board's top left corner, x right, y down, z into the board, as OpenCV has it.
    """
    which = getattr(cv2.aruco, dictionary, None)
    if which is None or not dictionary.startswith("DICT_"):
        raise ConfigError(f"dictionary {dictionary!r} is unknown; allowed are OpenCV's, such as DICT_4X4_50")
    board = cv2.aruco.CharucoBoard(squares, square, marker, cv2.aruco.getPredefinedDictionary(which))
    tags = []
    for number, corners in zip(np.ravel(board.getIds()).tolist(), board.getObjPoints(), strict=True):
        x, y, z = np.asarray(corners, float).mean(axis=0).round(9).tolist()
        tags.append(MapTag(id=number, size=marker, position=(x, y, z), quaternion=(1.0, 0.0, 0.0, 0.0)))
    return TagMap(dictionary=dictionary, tags=tuple(tags), provenance=provenance)


class TagMapTracker:
    """Finds a camera in a map. `seen` counts the tags that the last pose stands on, `rms` [px] is what they leave."""

    def __init__(self, tag_map: TagMap, camera: CameraInfo) -> None:
        """`camera` for the images' size. Raises ConfigError for a dictionary that OpenCV does not have."""
        self.seen, self.rms = 0, 0.0
        self._camera = camera
        self._finder = TagFinder(tag_map.dictionary, camera)
        self._corners = {tag.id: tag.corners for tag in tag_map.tags}

    def track(self, stamp_ns: int, image: Image) -> TrackedPose:
        """`T_world_camera` by an image (height, width, 3) RGB; CalibrationError for an image of another size."""
        return self.locate(stamp_ns, self._finder.find(image))

    def locate(self, stamp_ns: int, found: Mapping[int, Array]) -> TrackedPose:
        """By the tags' corners (4, 2) [px] by id, as `TagFinder` finds them; not finite where there is no pose."""
        known = sorted(found.keys() & self._corners.keys())
        self.seen, self.rms = 0, 0.0
        if known:
            sighting = self._sighting(known, found)
            fit = _fit(sighting)
            if (fit.off > _OFF).any() and len(known) > 2:  # of many, those that most agree on
                fit = _fit(sighting.some(fit.off <= max(_OFF, float(np.median(fit.off)))))
            self.rms = float(np.sqrt((fit.off**2).mean()))
            if self.rms <= _OFF:
                self.seen = len(fit.off)
                return TrackedPose(stamp_ns, fit.T_camera_world.inverse(), _confidence(fit), False)
        nowhere = Pose(np.full(3, np.nan), np.full((3, 3), np.nan))
        return TrackedPose(stamp_ns, nowhere, _LOST, False)

    def _sighting(self, known: list[int], found: Mapping[int, Array]) -> _Sighting:
        """Far from the axis a fisheye's pixels lie less densely on the plane z = 1: so much less they weigh."""
        seen = self._camera.rays(np.array([found[number] for number in known]))[..., :2]
        pixels = self._camera.matrix[0, 0] / (1.0 + (seen**2).sum(axis=-1))
        return _Sighting(np.array([self._corners[number] for number in known]), seen, pixels)


def _fit(sighting: _Sighting) -> _Fit:
    """Least squares over all corners [px]: SQPnP, then Gauss-Newton."""
    world = np.ascontiguousarray(sighting.world.reshape(-1, 3))
    seen = np.ascontiguousarray(sighting.seen.reshape(-1, 2))
    pixels = np.repeat(sighting.pixels.ravel(), 2)
    _, rotvec, position = cv2.solvePnP(world, seen, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    parameters = np.concatenate([np.ravel(rotvec), np.ravel(position)])
    for _ in range(_STEPS):
        away, rows = _residuals(world, seen, pixels, parameters)
        parameters -= np.linalg.lstsq(rows, away, rcond=None)[0]
    away, rows = _residuals(world, seen, pixels, parameters)
    covariance = _PIXEL**2 * np.linalg.pinv(rows.T @ rows)
    spread = float(np.sqrt(np.trace(covariance[3:, 3:])))
    off = np.sqrt((away.reshape(-1, 4, 2) ** 2).sum(axis=-1).mean(axis=-1))
    return _Fit(Pose.from_rotvec(parameters[3:], parameters[:3]), off, spread)


def _residuals(world: Array, seen: Array, pixels: Array, parameters: Array) -> tuple[Array, Array]:
    """(2n,) [px] and their derivatives (2n, 6) by rotation vector and translation of `T_camera_world`."""
    points, jacobian = cv2.projectPoints(world, parameters[:3], parameters[3:], np.eye(3), None)
    return (points.reshape(-1, 2) - seen).ravel() * pixels, jacobian[:, :6] * pixels[:, None]


def _confidence(fit: _Fit) -> int:
    tags = len(fit.off)
    if tags < 2 or fit.spread > _SPREAD:
        return _LOW
    return _HIGH if tags >= _ENOUGH else _MEDIUM
