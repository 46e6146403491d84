"""Where a tool may be, by the shape of what differs from the empty scene. Pure.

The tool is drawn from all sides. What is seen, and each of these shapes, is brought to one place, size and direction by
its moments (Hu 1962), so that two shapes are compared by how much they cover each other. Place and size then say where
the tool is, the direction how it is turned.
"""

import datetime
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import CameraInfo, Provenance
from kinema.geometry import Array, Pose, so3_exp
from kinema.perception.silhouette import Mask, Rasteriser
from kinema.perception.tool_mesh import ToolMesh

_SIDES = 240  # directions from which it is drawn: 13 degrees apart
_FAR = 6.0  # radii from which it is drawn
_PICTURE = 112  # [px] of a drawing's edge
_PATCH, _EXTENT = 32, 2.4  # [px] of a compared shape's edge; it shows so many root mean square radii each way
_ROUND = 1.25  # a shape no longer than this against its width has no direction: all are tried
_TURNS = 12  # of them
_SPINS, _SAME = 8, 0.96  # turns that are drawn to see whether one shows; drawings that cover each other so far don't
_DISTINCT = math.radians(20.0)  # between two poses that are both worth a fit


@dataclass(frozen=True, eq=False, slots=True)
class _Shape:
    """centre (2,) [px]; angle [rad] of its long side; size [px] root mean square radius; length against width."""

    centre: Array
    angle: float
    size: float
    long: float


def _shape(mask: Mask) -> _Shape:
    m = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    centre = np.array([m["m10"], m["m01"]]) / m["m00"]
    a, b, c = m["mu20"] / m["m00"], m["mu11"] / m["m00"], m["mu02"] / m["m00"]
    gap = math.hypot(a - c, 2 * b)
    long = math.sqrt((a + c + gap) / max(a + c - gap, 1e-9))
    return _Shape(centre, 0.5 * math.atan2(2 * b, a - c), math.sqrt(max(a + c, 1e-9)), long)


def _patch(mask: Mask, shape: _Shape, angle: float) -> NDArray[np.float32]:
    """(_PATCH**2,) float32, 0 or 1: the shape turned back by `angle`, in its own place and size."""
    scale = shape.size * 2 * _EXTENT / _PATCH
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (_PATCH - 1) / 2
    way = np.column_stack([turn, shape.centre - turn @ [middle, middle]])
    found = cv2.warpAffine(mask.astype(np.uint8), way, (_PATCH, _PATCH), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(found, np.float32).ravel()


def _from_side(direction: Array) -> Array:
    """A rotation (3, 3) that turns `direction` of the tool to the camera."""
    z = -direction
    helper = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _sides(count: int) -> Array:
    """(count, 3) directions, evenly over the sphere (Fibonacci's lattice)."""
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), math.pi * (1 + math.sqrt(5)) * k
    return np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], axis=1)


def _camera() -> CameraInfo:
    """What tools are drawn by: a tool that is `_FAR` radii away nearly fills the picture."""
    focal, middle = 0.42 * _PICTURE * _FAR, (_PICTURE - 1) / 2
    matrix = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    made = Provenance(serial="none", date=datetime.date.min, origin="simulator truth", software_version="none")
    return CameraInfo.of("drawing", (_PICTURE, _PICTURE), matrix, "plumb_bob", np.zeros(5), made)


def unseen_turn(tool: ToolMesh) -> Array | None:
    """An axis (3,) about which the tracked parts may be turned without a change of their outline, that the tool's
    symmetry doesn't tell of; None where every turn shows."""
    lone = replace(tool, triangles=tool.triangles[tool.seen], part_of=tool.part_of[tool.seen])
    rasteriser = Rasteriser(lone, _camera())
    points = lone.vertices[np.unique(lone.triangles)] - tool.centre
    for axis in np.linalg.svd(points, full_matrices=False)[2]:
        told = tool.symmetry.fold == 0 and abs(float(axis @ tool.symmetry.unit)) > 0.999
        aside = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
        rotation = _from_side(0.5 * axis + math.sqrt(0.75) * aside / np.linalg.norm(aside))
        masks = []
        for k in range(_SPINS):
            turned = rotation @ so3_exp(2.0 * math.pi * k / (_SPINS + 0.3) * axis)
            at = np.array([0.0, 0.0, _FAR * tool.radius])
            masks.append(rasteriser.draw(Pose(at - turned @ tool.centre, turned)).tracked)
        alike = min((masks[0] & mask).sum() / (masks[0] | mask).sum() for mask in masks[1:])
        if alike > _SAME and not told:
            return np.asarray(axis)
    return None


class Templates:
    """The drawings of one tool's tracked parts."""

    def __init__(self, tool: ToolMesh) -> None:
        self._tool = tool
        camera = _camera()
        self._focal, self._middle = float(camera.matrix[0, 0]), float(camera.matrix[0, 2])
        rasteriser = Rasteriser(tool, camera)
        patches, shapes, rotations = [], [], []
        for direction in _sides(_SIDES):
            rotation = _from_side(direction)
            at = np.array([0.0, 0.0, _FAR * tool.radius])
            mask = rasteriser.draw(Pose(at - rotation @ tool.centre, rotation)).tracked
            if mask.sum() < 20:
                continue  # hidden by other parts
            shape = _shape(mask)
            for angle in (shape.angle, *_more(shape)):
                patches.append(_patch(mask, shape, angle))
                shapes.append((shape, angle))
                rotations.append(rotation)
        self._patches, self._shapes, self._rotations = np.array(patches), shapes, rotations
        self._areas = self._patches.sum(axis=1)

    def candidates(self, mask: Mask, camera: CameraInfo, count: int) -> list[Pose]:
        """At most so many `T_camera_tool`, the likeliest first, each turned otherwise than those before."""
        shape = _shape(mask)
        angles = (shape.angle, shape.angle + math.pi)
        rows = np.array([_patch(mask, shape, angle) for angle in angles])
        both = self._patches @ rows.T
        share = both / (self._areas[:, None] + rows.sum(axis=1) - both)
        found: list[Pose] = []
        for index in np.argsort(-share, axis=None)[: 40 * count]:
            row, column = divmod(int(index), len(angles))
            pose = self._pose(row, shape, angles[column], camera)
            symmetry = self._tool.symmetry
            if all(symmetry.apart(pose.rotation, other.rotation) > _DISTINCT for other in found):
                found.append(pose)
                if len(found) == count:
                    break
        return found

    def _pose(self, row: int, seen: _Shape, seen_angle: float, camera: CameraInfo) -> Pose:
        drawn, drawn_angle = self._shapes[row]
        turn, scale = seen_angle - drawn_angle, seen.size / drawn.size
        depth = _FAR * self._tool.radius * camera.matrix[0, 0] / (self._focal * scale)
        c, s = math.cos(turn), math.sin(turn)
        aside = np.array([[c, -s], [s, c]]) @ (np.full(2, self._middle) - drawn.centre) * scale
        ray = camera.rays(seen.centre + aside)
        at = depth * ray
        axis = np.cross([0.0, 0.0, 1.0], ray)
        sine = float(np.linalg.norm(axis))
        lean = so3_exp(axis / sine * math.atan2(sine, 1.0)) if sine > 1e-9 else np.eye(3)
        rotation = lean @ so3_exp(np.array([0.0, 0.0, turn])) @ self._rotations[row]
        return Pose(at - rotation @ self._tool.centre, rotation)


def _more(shape: _Shape) -> list[float]:
    if shape.long > _ROUND:
        return []
    return [shape.angle + 2 * math.pi * k / _TURNS for k in range(1, _TURNS)]
