"""A tool's pose refined: its drawn outline is drawn to where the picture has one. Pure.

From each point of the outline a line leads across it. On it the boundary between likely and unlikely pixels is looked
for, at last the strongest edge close by; Gauss-Newton moves the tool so that its outline comes to lie there. Sources:
search along normals, Harris and Stennett 1990 ("RAPID"); boundaries of regions on such lines, Stoiber et al. 2022
("SRT3D"). OpenCV's `rapid` is not used: it knows no lens, and of a picture nothing but its edges.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.calibration.files import CameraInfo
from kinema.geometry import Array, Pose, so3_exp
from kinema.perception.silhouette import Drawn, Edges, Mask, Renderer
from kinema.perception.tool_mesh import ToolMesh

_POINTS = 160  # about, of an outline
_DAMPING = 2e-3  # of least squares, in units of the mean square of a pixel's derivatives
_FINE = 3.0  # [px] either way, where the strongest edge is looked for
_STRONG = 6.0  # [levels/px] an edge of this strength counts fully
_INNER = 0.3  # weight of an edge within the outline
_TOLERANCE = 0.02  # [px] a step this small ends a fit
_WINDOW = 0.3  # of the tool's size in the picture: so far around it other things count against it


@dataclass(frozen=True, slots=True)
class Level:
    """Steps with lines that reach so far either way: `share` of the tool's radius in the picture; 0: edges alone."""

    share: float
    steps: int


COARSE = (Level(0.5, 3), Level(0.25, 3))
FULL = (Level(0.3, 3), Level(0.12, 3), Level(0.06, 2), Level(0.0, 4))


def _move(T: Pose, centre: Array, u: Array) -> Pose:
    """A pose shifted by u[:3] [m] and turned by u[3:] [rad] about the tool's own centre, all in the camera's axes."""
    turn, at = so3_exp(u[3:]), T.apply(centre)
    rotation = turn @ T.rotation
    return Pose(at + u[:3] - rotation @ centre, rotation)


def _units(T: Pose, tool: ToolMesh, camera: CameraInfo) -> tuple[Array, float]:
    """(6,) what moves an outline by about a pixel, and the tool's radius in the picture [px]."""
    depth, focal = max(float(T.apply(tool.centre)[2]), 1e-3), float(camera.matrix[0, 0])
    size = max(focal * tool.radius / depth, 2.0)
    return np.array([depth / focal, depth / focal, depth / size, 1 / size, 1 / size, 1 / size]), size


def _boundary(evidence: Array, edges: Edges, reach: float) -> tuple[Array, Array]:
    """[px] from each outer point outwards to the boundary of what is likely, and how clear it is there (0 to 1)."""
    offsets = np.linspace(-reach, reach, 2 * min(math.ceil(reach), 12) + 1)
    lines = _sample(evidence, edges, offsets)
    inside, outside = np.cumsum(1.0 - lines, axis=1), np.cumsum(lines[:, ::-1], axis=1)[:, ::-1]
    cost = np.zeros((len(lines), lines.shape[1] + 1))  # of a boundary before sample k
    cost[:, 1:] += inside
    cost[:, :-1] += outside
    step = offsets[1] - offsets[0]
    places = np.append(offsets - step / 2, offsets[-1] + step / 2)
    cost += 0.02 * np.abs(places) / step
    best = cost.argmin(axis=1)
    clear = (cost.max(axis=1) - cost.min(axis=1)) / lines.shape[1]
    return places[best], np.clip(clear * 2.0, 0.0, 1.0)


def _edge(lab: Array, edges: Edges) -> tuple[Array, Array]:
    """[px] from each point along its normal to the strongest edge nearby, and how strong it is (0 to 1)."""
    step = 0.5
    offsets = np.arange(-_FINE - step, _FINE + step + 1e-9, step)
    colours = np.stack([_sample(lab[..., k], edges, offsets) for k in range(3)], axis=-1)
    strength = np.linalg.norm(colours[:, 2:] - colours[:, :-2], axis=-1) / (2 * step)
    near = strength * np.exp(-0.5 * (offsets[1:-1] / (_FINE / 2)) ** 2)
    best = np.clip(near.argmax(axis=1), 1, near.shape[1] - 2)
    rows = np.arange(len(best))
    a, b, c = (strength[rows, best + k] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    peak = np.where(bend < -1e-6, 0.5 * (a - c) / np.where(bend < -1e-6, bend, -1.0), 0.0)
    return offsets[1:-1][best] + step * np.clip(peak, -1.0, 1.0), np.clip(b / _STRONG, 0.0, 1.0)


def _sample(values: Array, edges: Edges, offsets: Array) -> Array:
    """(n, k) of an image (height, width) at `offsets` (k,) [px] along the points' normals."""
    places = edges.pixels[:, None] + offsets[:, None] * edges.normals[:, None]
    x, y = places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)
    return np.asarray(
        cv2.remap(values.astype(np.float32, copy=False), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), float
    )


def _step(T: Pose, tool: ToolMesh, camera: CameraInfo, edges: Edges, off: Array, weights: Array, reach: float) -> Array:
    """(6,) in `_units`, of damped Gauss-Newton."""
    units, _ = _units(T, tool, camera)
    rows = np.empty((len(off), 6))
    for k in range(6):
        u = np.zeros(6)
        u[k] = 0.5 * units[k]
        moved = camera.project(_move(T, tool.centre, u).apply(edges.points))
        rows[:, k] = ((moved - edges.pixels) * edges.normals).sum(axis=1) / 0.5
    weights = weights / (1.0 + (off / max(0.4 * reach, 1.0)) ** 2)
    weighted = weights[:, None] * rows
    normal = rows.T @ weighted
    damping = _DAMPING * max(float(weights.sum()), 1e-9)
    step = np.linalg.solve(normal + damping * np.eye(6), weighted.T @ off)
    return np.asarray(step * min(1.0, reach / max(float(np.abs(step).max()), 1e-12)))


def fit(
    T_camera_tool: Pose,
    tool: ToolMesh,
    camera: CameraInfo,
    renderer: Renderer,
    evidence: Array,
    lab: Array,
    levels: tuple[Level, ...] = FULL,
) -> Pose:
    """The pose near to `T_camera_tool` whose outline fits; where there is no outline to be seen, the pose as it is.

    evidence  (height, width): how likely a pixel shows a tracked part; lab (height, width, 3) the picture for its edges
    """
    T = T_camera_tool
    for level in levels:
        for _ in range(level.steps):
            units, size = _units(T, tool, camera)
            edges = renderer.edges(T, max(2.0 * math.pi * size / _POINTS, 1.0))
            if int(edges.outer.sum()) < 6:
                return T
            if level.share == 0.0:
                reach = _FINE
                off, weights = _edge(lab, edges)
                weights = weights * np.where(edges.outer, 1.0, _INNER)
            else:
                reach = max(level.share * size, _FINE)
                outer = edges.outer
                edges = Edges(edges.points[outer], edges.pixels[outer], edges.normals[outer], outer[outer])
                off, weights = _boundary(evidence, edges, reach)
            if float(weights.sum()) < 1e-6:
                return T
            step = _step(T, tool, camera, edges, off, weights, reach)
            T = _move(T, tool.centre, step * units)
            if np.abs(step).max() < _TOLERANCE:
                break
    return T


def overlap(drawn: Drawn, evidence: Array, unknown: Mask, size: float) -> float:
    """Intersection over union of the drawn tracked parts and what is likely there, 0 to 1; `size` [px] the tool's.

    What is unknown or hidden by other parts counts neither way; what lies farther around is something else.
    """
    aside = drawn.others | unknown
    if aside.any():
        aside = cv2.dilate(aside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    margin = 2 * max(round(_WINDOW * size), 2) + 1
    rows, columns = np.flatnonzero(drawn.tracked.any(axis=1)), np.flatnonzero(drawn.tracked.any(axis=0))
    if len(rows) == 0:
        return 0.0
    box = tuple(slice(max(int(k[0]) - margin, 0), int(k[-1]) + margin + 1) for k in (rows, columns))
    mine, seen, free = drawn.tracked[box], evidence[box] > 0.5, ~aside[box]
    window = cv2.boxFilter(mine.astype(np.float32), -1, (margin, margin), normalize=False) > 0.5
    both, either = (mine & seen & free).sum(), ((mine | (seen & window)) & free).sum()
    return float(both / either) if either else 0.0
