"""What a tool's outline is in a camera's image: drawn by OpenCV, through the camera's own lens.

Triangles are drawn from the farthest to the nearest (Newell, Newell and Sancha 1972), each with its own number; so a
pixel says which part is seen there. Outline points come from the mesh's edges themselves and not from the drawn mask:
they have a place on the tool, and are exact to a fraction of a pixel.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import CameraInfo
from kinema.geometry import Array, Pose
from kinema.perception.tool_mesh import ToolMesh

Mask = NDArray[np.bool_]

_SHIFT = 4  # bits of a pixel's fraction that OpenCV draws with
_NEAR = 0.02  # [m] before the lens
_INWARDS, _OUTWARDS = 1.7, 2.5  # [px] from an edge to where its two sides are looked at
_CREASE = math.cos(math.radians(35.0))  # neighbours that are turned by more have an edge that can be seen
_WIDEST = 1.4  # [-] tangent of the angle from the axis up to which a lens' polynomial is believed


@dataclass(frozen=True, eq=False, slots=True)
class Edges:
    """Points of visible edges: on the tool (n, 3) [m], in the image (n, 2) [px], and the unit normal there (n, 2).

    outer  (n,) whether what is outside is no part of the tool; the normal then points outwards
    """

    points: Array
    pixels: Array
    normals: Array
    outer: Mask


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """A tool as it is seen: masks (height, width) of the tracked parts and of the others; `inside` says how much of the
    tracked parts' box lies inside of the image, 0 to 1."""

    tracked: Mask
    others: Mask
    inside: float


class Renderer(Protocol):
    """Draws one tool through one camera."""

    def draw(self, T_camera_tool: Pose) -> Drawn: ...

    def edges(self, T_camera_tool: Pose, apart: float) -> Edges:
        """Points every `apart` [px] of the tracked parts' edges."""
        ...


class Rasteriser:
    """The built-in renderer."""

    def __init__(self, tool: ToolMesh, camera: CameraInfo) -> None:
        self._tool, self._camera, self._seen = tool, camera, tool.seen
        corners = tool.vertices[tool.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        self._normals = normals / np.maximum(length, 1e-15)
        self._first = corners[:, 0]
        self._edges, self._beside = _adjacent(tool.triangles)
        one, other = self._beside.T
        self._sharp = (self._normals[one] * self._normals[other]).sum(axis=1) < _CREASE
        self._tracked_edge = self._seen[one]

    def draw(self, T_camera_tool: Pose) -> Drawn:
        numbers, inside = self._numbers(T_camera_tool)
        tracked = np.concatenate([[False], self._seen])[numbers]
        return Drawn(tracked, (numbers > 0) & ~tracked, inside)

    def edges(self, T_camera_tool: Pose, apart: float) -> Edges:
        numbers, _ = self._numbers(T_camera_tool)
        facing = self._facing(T_camera_tool)
        one, other = self._beside.T
        rim, crease = facing[one] != facing[other], facing[one] & facing[other] & self._sharp
        chosen = np.flatnonzero((rim | crease) & self._tracked_edge)
        front = np.where(facing[one], one, other)[chosen]
        ends = self._edges[chosen]
        pixels = self._pixels(T_camera_tool)
        start, along = pixels[ends[:, 0]], pixels[ends[:, 1]] - pixels[ends[:, 0]]
        length = np.linalg.norm(along, axis=1)
        usable = np.isfinite(length) & (length > 1e-6)
        chosen, front, ends = chosen[usable], front[usable], ends[usable]
        start, along, length = start[usable], along[usable], length[usable]
        count = np.maximum(np.ceil(length / apart).astype(int), 1)
        which = np.repeat(np.arange(len(chosen)), count)
        share = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[which]
        a, b = self._tool.vertices[ends[which, 0]], self._tool.vertices[ends[which, 1]]
        points = a + share[:, None] * (b - a)
        normals = np.stack([along[:, 1], -along[:, 0]], axis=1)[which] / length[which, None]
        middle = pixels[self._tool.triangles[front]].mean(axis=1)[which]
        at = start[which] + share[:, None] * along[which]
        normals *= np.where(((middle - at) * normals).sum(axis=1) > 0.0, -1.0, 1.0)[:, None]
        at = self._camera.project(T_camera_tool.apply(points)) if len(points) else at
        return self._visible(
            numbers, points, at, normals, front[which], self._beside[chosen][which], rim[chosen[which]]
        )

    def _visible(
        self,
        numbers: NDArray[np.int32],
        points: Array,
        at: Array,
        normals: Array,
        front: Array,
        beside: Array,
        rim: Mask,
    ) -> Edges:
        """Those edges of the candidates that nothing hides."""
        within, outside = (_look_up(numbers, at + step * normals) for step in (-_INWARDS, _OUTWARDS))
        touched = (within[:, None] == beside + 1).any(axis=1) | (outside[:, None] == beside + 1).any(axis=1)
        seen = np.concatenate([[False], self._seen])
        outer = rim & (outside == 0) & seen[np.maximum(within, 0)]
        kept = outer | (touched & (within > 0) & (outside > 0) & seen[np.maximum(outside, 0)])
        return Edges(points[kept], at[kept], normals[kept], outer[kept])

    def _facing(self, T_camera_tool: Pose) -> Mask:
        """(m,) which triangles turn to the camera."""
        eye = T_camera_tool.inverse().position
        return np.asarray(((eye - self._first) * self._normals).sum(axis=1) > 0.0)

    def _pixels(self, T_camera_tool: Pose) -> Array:
        """(n, 2) of all vertices; nan for those that no lens shows."""
        seen = T_camera_tool.apply(self._tool.vertices)
        shown = (seen[:, 2] > _NEAR) & (np.hypot(seen[:, 0], seen[:, 1]) < _WIDEST * seen[:, 2])
        pixels = np.full((len(seen), 2), np.nan)
        if shown.any():
            pixels[shown] = self._camera.project(seen[shown])
        return pixels

    def _numbers(self, T_camera_tool: Pose) -> tuple[NDArray[np.int32], float]:
        """(height, width) number of the triangle seen, from 1; 0 where there is none. And how much is inside."""
        width, height = self._camera.size
        canvas = np.zeros((height, width), np.int32)
        pixels = self._pixels(T_camera_tool)
        if not np.isfinite(pixels).any():
            return canvas, 0.0
        triangles = self._tool.triangles
        facing = np.flatnonzero(self._facing(T_camera_tool) & np.isfinite(pixels[triangles]).all(axis=(1, 2)))
        far = T_camera_tool.apply(self._tool.vertices)[triangles[facing]].mean(axis=1)
        ordered = facing[np.argsort(-(far**2).sum(axis=1))]
        corners = np.rint(pixels[triangles[ordered]] * (1 << _SHIFT)).astype(np.int32)
        for number, polygon in zip((ordered + 1).tolist(), corners, strict=True):
            cv2.fillConvexPoly(canvas, polygon, number, cv2.LINE_8, _SHIFT)
        tracked = pixels[np.unique(triangles[self._seen])]
        return canvas, _share_inside(tracked, width, height)


def _share_inside(pixels: Array, width: int, height: int) -> float:
    """How much of the box around points (n, 2) lies in the image; points that no lens shows lie outside."""
    shown = pixels[np.isfinite(pixels).all(axis=1)]
    if len(shown) == 0:
        return 0.0
    low, high = shown.min(axis=0), shown.max(axis=0)
    clipped = np.minimum(high, [width - 1, height - 1]) - np.maximum(low, 0.0)
    share = float(np.prod(np.maximum(clipped, 0.0) / np.maximum(high - low, 1e-9)))
    return share * len(shown) / len(pixels)


def _look_up(numbers: NDArray[np.int32], places: Array) -> NDArray[np.int32]:
    """What stands at places (n, 2) [px]; -1 outside of the image."""
    height, width = numbers.shape
    x, y = np.rint(places).astype(int).T
    ok = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = np.full(len(places), -1, np.int32)
    found[ok] = numbers[y[ok], x[ok]]
    return found


def _adjacent(triangles: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (e, 2) of a closed surface by their vertices, and the two triangles (e, 2) beside each."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    owner = np.repeat(np.arange(len(triangles)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owner = edges[order], owner[order]
    return edges[::2], owner.reshape(-1, 2)
