"""A known tool: the surface that is looked for in images, its parts, and in which turns it looks the same.

A tool is a YAML file beside its meshes, one closed OBJ or STL a part, all in the tool's one frame:

    unit: mm                                      # of the numbers in the meshes: m or mm; neither format says it
    parts: {handle: handle.stl, head: head.stl}
    tracked: [head]                               # left out: all of them
    symmetry: {axis: [0.0, 0.0, 1.0], fold: 0}    # left out: none
    mount: {position: [0.0, 0.0, 0.05], quaternion: [0.0, 0.0, 0.0, 1.0]}    # T_flange_tool on the robot

"Dreamitate", appendix D: of a scoop only the handle is tracked, which no bean hides; of a brush only the head, because
a hand hides the handle. Parts that aren't tracked still hide what is behind them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
import trimesh
from numpy.typing import NDArray

from kinema import yaml_file
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, so3_exp, so3_log

FILE = "tool.yaml"  # in a tool's folder, beside its meshes
SIZES = (0.02, 1.0)  # [m] of a tool's longest side: what a hand holds and a camera above a table sees
MOST_TRIANGLES = 5000  # of all parts: each of them is drawn again for every step of a fit

_SUFFIXES = (".obj", ".stl")
_BESIDE = 0.03  # of the longest side that a tool's middle may lie beside its axis of symmetry
_MILLI = {"m": 1.0, "mm": 1e-3}

Unit = Literal["m", "mm"]


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Turns about an axis through the tool's origin after which it looks the same: `fold` of them; 0: any angle."""

    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    fold: int = 1

    @property
    def unit(self) -> Array:
        """The axis (3,) at length 1."""
        axis = np.array(self.axis)
        return axis / np.linalg.norm(axis)

    def nearest(self, R_a_tool: Array, R_a_other: Array) -> Array:
        """Of the rotations (3, 3) that look like the first, the one nearest to the other.

        The part of a rotation about an axis (its twist) is the turn about that axis that leaves least.
        """
        if self.fold == 1:
            return R_a_tool
        x, y, z, w = Pose(np.zeros(3), R_a_tool.T @ R_a_other).quaternion
        twist = 2.0 * math.atan2(float(self.unit @ (x, y, z)), w)
        if self.fold > 1:
            step = 2.0 * math.pi / self.fold
            twist = step * round(twist / step)
        return np.asarray(R_a_tool @ so3_exp(twist * self.unit))

    def apart(self, R_a_tool: Array, R_a_other: Array) -> float:
        """[rad] between two rotations, as far as can be seen."""
        return float(np.linalg.norm(so3_log(self.nearest(R_a_tool, R_a_other).T @ R_a_other)))


@dataclass(frozen=True, eq=False, slots=True)
class ToolMesh:
    """vertices  (n, 3) [m] in the tool's frame; triangles (m, 3) indices
    part_of   (m,) index into `parts` of each triangle
    parts     names; `tracked` those whose outline is looked for
    """

    vertices: Array
    triangles: NDArray[np.int64]
    part_of: NDArray[np.int64]
    parts: tuple[str, ...]
    tracked: tuple[str, ...]
    symmetry: Symmetry = Symmetry()
    T_flange_tool: Pose | None = None

    def tracking(self, *parts: str) -> "ToolMesh":
        """The same tool of which only these parts are tracked; raises ConfigError naming the parts there are."""
        unknown = [part for part in parts if part not in self.parts]
        if unknown or not parts:
            raise ConfigError(f"parts {', '.join(unknown) or '(none)'} can't be tracked; allowed: {list(self.parts)}")
        return replace(self, tracked=parts)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(m,) which triangles belong to a tracked part."""
        return np.isin(self.part_of, [self.parts.index(name) for name in self.tracked])

    @property
    def centre(self) -> Array:
        """(3,) [m] the middle of the box around the tracked parts: where they are said to be."""
        points = self.vertices[np.unique(self.triangles[self.seen])]
        return np.asarray((points.min(axis=0) + points.max(axis=0)) / 2)

    @property
    def radius(self) -> float:
        """[m] from that middle to the farthest tracked point."""
        points = self.vertices[np.unique(self.triangles[self.seen])]
        return float(np.linalg.norm(points - self.centre, axis=1).max())


def _whole(name: str, mesh: trimesh.Trimesh) -> str:
    """Why a part is no solid body, or ''."""
    if len(mesh.faces) == 0:
        return "holds no triangles"
    if not np.isfinite(mesh.vertices).all():
        return "holds vertices that are no finite numbers"
    uses = np.unique(mesh.edges_sorted, axis=0, return_counts=True)[1]
    if odd := int((uses % 2 == 1).sum()):
        return f"is not watertight: {odd} edges have a hole beside them; close it in the CAD program and export anew"
    if not mesh.is_winding_consistent:
        return "has triangles that face inwards beside others that face outwards; unify them and export anew"
    return ""


def assemble(
    bodies: Mapping[str, trimesh.Trimesh],
    unit: Unit,
    tracked: tuple[str, ...] = (),
    symmetry: Symmetry = Symmetry(),
    T_flange_tool: Pose | None = None,
    what: str = "tool",
) -> ToolMesh:
    """A tool of closed bodies by the parts' names.

    Raises ConfigError, beginning with `what`, for a body that isn't watertight, a tool of a size that no hand holds
    (its numbers then are in another unit), too many triangles, and a symmetry that it doesn't have.
    """
    for name, body in bodies.items():
        if reason := _whole(name, body):
            raise ConfigError(f"{what}: part {name!r} {reason}")
    vertices = np.concatenate([np.asarray(body.vertices, float) for body in bodies.values()]) * _MILLI[unit]
    _check_size(vertices, unit, what)
    starts = np.cumsum([0, *(len(body.vertices) for body in bodies.values())])
    triangles = [np.asarray(body.faces, np.int64) + start for body, start in zip(bodies.values(), starts, strict=False)]
    count = sum(map(len, triangles))
    if count > MOST_TRIANGLES:
        raise ConfigError(f"{what}: has {count} triangles, allowed are {MOST_TRIANGLES}; simplify it: {_SIMPLER}")
    _check_symmetry(vertices, bodies, symmetry, unit, what)
    tool = ToolMesh(
        vertices,
        np.concatenate(triangles),
        np.repeat(np.arange(len(triangles)), [len(part) for part in triangles]),
        tuple(bodies),
        tuple(bodies),
        symmetry,
        T_flange_tool,
    )
    return tool.tracking(*tracked) if tracked else tool


_SIMPLER = "an outline to a tenth of a millimetre needs a few hundred"


def _check_size(vertices: Array, unit: Unit, what: str) -> None:
    longest = float(np.ptp(vertices, axis=0).max())
    if SIZES[0] <= longest <= SIZES[1]:
        return
    other: Unit = "m" if unit == "mm" else "mm"
    right = longest * _MILLI[other] / _MILLI[unit]
    hint = f"; in {other} it would be {right:.3g} m: say unit: {other}" if SIZES[0] <= right <= SIZES[1] else ""
    raise ConfigError(
        f"{what}: its longest side is {longest:.3g} m with unit: {unit}, allowed are {SIZES[0]} to {SIZES[1]} m{hint}"
    )


def _check_symmetry(
    vertices: Array, bodies: Mapping[str, trimesh.Trimesh], symmetry: Symmetry, unit: Unit, what: str
) -> None:
    if symmetry.fold == 1:
        return
    volumes = np.array([abs(float(body.volume)) for body in bodies.values()])
    middles = np.array([body.center_mass for body in bodies.values()]) * _MILLI[unit]
    middle = volumes @ middles / volumes.sum()
    beside = float(np.linalg.norm(np.cross(symmetry.unit, middle)))
    if beside > _BESIDE * float(np.ptp(vertices, axis=0).max()):
        raise ConfigError(
            f"{what}: its middle lies {1e3 * beside:.1f} mm beside the axis of its symmetry, which leads through the "
            "origin: move the mesh's origin onto the axis, or leave symmetry out"
        )


# ---- files


class SymmetrySection(pydantic.BaseModel):
    model_config = yaml_file.STRICT

    axis: tuple[float, float, float]
    fold: int = pydantic.Field(default=0, ge=0, le=360)

    @pydantic.field_validator("axis")
    @classmethod
    def _points(cls, axis: tuple[float, ...]) -> tuple[float, ...]:
        if not any(axis):
            raise ValueError("an axis of length zero points nowhere; allowed is any other, as [0, 0, 1]")
        return axis


class MountSection(pydantic.BaseModel):
    """`T_flange_tool`: position [m] and quaternion x, y, z, w."""

    model_config = yaml_file.STRICT

    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    @pydantic.field_validator("quaternion")
    @classmethod
    def _turns(cls, quaternion: tuple[float, ...]) -> tuple[float, ...]:
        if not any(quaternion):
            raise ValueError("a quaternion of length zero is no rotation; allowed is any other, as [0, 0, 0, 1]")
        return quaternion


class ToolFile(pydantic.BaseModel):
    """See the module's text."""

    model_config = yaml_file.STRICT

    unit: Unit
    parts: dict[str, str] = pydantic.Field(min_length=1)
    tracked: tuple[str, ...] = ()
    symmetry: SymmetrySection | None = None
    mount: MountSection | None = None


def _read(path: Path) -> trimesh.Trimesh:
    """One mesh, equal vertices made one; raises ConfigError naming the file."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path}: is no mesh that is read here; allowed: {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    options = {"skip_materials": True} if path.suffix.lower() == ".obj" else {}
    try:
        mesh = trimesh.load_mesh(path, **options)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    except Exception as error:  # trimesh lets whatever its parsers meet pass
        raise ConfigError(f"{path}: can't be read as a mesh: {error}") from error
    return mesh


def load_tool(path: Path) -> ToolMesh:
    """The tool of a YAML file; its meshes lie beside it. Raises ConfigError naming file, key or part (F22)."""
    file = yaml_file.read(path, ToolFile, ConfigError)
    bodies = {name: _read(path.parent / mesh) for name, mesh in file.parts.items()}
    symmetry = Symmetry(file.symmetry.axis, file.symmetry.fold) if file.symmetry else Symmetry()
    mount = Pose.from_quaternion(file.mount.position, file.mount.quaternion) if file.mount else None
    return assemble(bodies, file.unit, file.tracked, symmetry, mount, str(path))
