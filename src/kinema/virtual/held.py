"""Tools that the hand holds in the tasks of "Dreamitate": their shapes, and their files for those who track them.

A tool's frame is the TCP's: z out of the gripper, its shaft between the fingers, bolted to the gripper. `write` makes
the folder that `kinema.perception.tool_mesh` reads: models/tools/NAME/tool.yaml with a mesh a part, in millimetres.

    python -m kinema.virtual.held
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from kinema import paths, robots
from kinema.errors import ConfigError
from kinema.geometry import Array
from kinema.virtual.objects import Rgb, Shape

FOLDER = "models/tools"
WIDTH = 0.022  # [m] between the fingers that hold a shaft

_SECTIONS = 20
_WOOD: Rgb = (0.78, 0.58, 0.34)
_BLACK: Rgb = (0.12, 0.12, 0.13)
_STEEL: Rgb = (0.70, 0.71, 0.74)


@dataclass(frozen=True, slots=True)
class Held:
    """parts    boxes and cylinders by the part's name, in the TCP's frame
    tracked  of these ("Dreamitate", appendix D: what neither a hand nor particles hide)
    mass     [kg]
    width    [m] of the part that works, across (x); depth: [m] how far it reaches beyond the TCP; thick: [m] along y
    """

    name: str
    parts: Mapping[str, tuple[Shape, ...]]
    tracked: tuple[str, ...]
    mass: float
    width: float
    depth: float
    thick: float


def _shaft(length: float, colour: Rgb) -> Shape:
    """From the palm to `length` [m] beyond the TCP."""
    start = -0.065
    return Shape("cylinder", (0.008, (length - start) / 2), (0.0, 0.0, (length + start) / 2), colour=colour)


def _brush() -> Held:
    head = Shape("box", (0.050, 0.010, 0.014), (0.0, 0.0, 0.064), colour=_WOOD)
    bristles = Shape("box", (0.048, 0.007, 0.013), (0.0, 0.0, 0.087), colour=_BLACK)
    return Held(
        "brush", {"handle": (_shaft(0.052, _WOOD),), "head": (head, bristles)}, ("head",), 0.05, 0.096, 0.1, 0.014
    )


def _pusher() -> Held:
    plate = Shape("box", (0.050, 0.005, 0.024), (0.0, 0.0, 0.076), colour=(0.20, 0.45, 0.75))
    rib = Shape("box", (0.010, 0.012, 0.006), (0.0, 0.0, 0.054), colour=(0.20, 0.45, 0.75))
    return Held(
        "pusher", {"handle": (_shaft(0.050, _STEEL),), "plate": (plate, rib)}, ("plate",), 0.05, 0.1, 0.1, 0.010
    )


def _scoop() -> Held:
    """A pocket that is open at the top and at the front (y)."""
    wide, deep, high, low, thin = 0.027, 0.024, 0.014, 0.112, 0.001
    floor = Shape("box", (wide, deep, thin), (0.0, 0.0, low - thin), colour=_STEEL)
    back = Shape("box", (wide, thin, high), (0.0, -deep + thin, low - high), colour=_STEEL)
    sides = tuple(
        Shape("box", (thin, deep, 0.7 * high), (s * (wide - thin), 0.0, low - 0.7 * high), colour=_STEEL)
        for s in (-1, 1)
    )
    arm = Shape("box", (0.004, 0.010, 0.010), (0.0, -deep + 0.010, low - 2 * high), colour=_STEEL)
    pocket = (floor, back, *sides)
    return Held("scoop", {"handle": (_shaft(low - 2 * high - 0.006, _BLACK), arm), "pocket": pocket}, ("handle",), 0.04,
                2 * wide, low, 2 * deep)  # fmt: skip


def _gripper() -> Held:
    """The gripper itself, its jaw half open: what turns objects."""
    gripper = robots.GRIPPER
    hand, *fingers = (
        Shape("box", box.half, (box.centre[0], box.centre[1], box.centre[2] - gripper.tcp), colour=_BLACK)
        for box in robots.boxes(gripper, gripper.stroke / 2)
    )
    parts = {"hand": (hand,), "fingers": tuple(fingers)}
    return Held("gripper", parts, ("hand",), 0.0, gripper.stroke, gripper.tip, 2 * gripper.pad[1])


TOOLS: dict[str, Held] = {row.name: row for row in (_gripper(), _brush(), _pusher(), _scoop())}


def tool(name: str) -> Held:
    """One row; raises ConfigError naming the tools there are."""
    row = TOOLS.get(name)
    if row is None:
        raise ConfigError(f"tool {name!r} is not known; allowed: {', '.join(TOOLS)}")
    return row


# ---- meshes


def _box(half: tuple[float, ...]) -> tuple[Array, Array]:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))])


def _cylinder(radius: float, half: float) -> tuple[Array, Array]:
    angles = 2 * math.pi * np.arange(_SECTIONS) / _SECTIONS
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    vertices = np.vstack([np.c_[ring, np.full(_SECTIONS, -half)], np.c_[ring, np.full(_SECTIONS, half)],
                          [[0.0, 0.0, -half], [0.0, 0.0, half]]])  # fmt: skip
    triangles = []
    for i in range(_SECTIONS):
        j = (i + 1) % _SECTIONS
        k, m = i + _SECTIONS, j + _SECTIONS
        triangles += [(i, j, m), (i, m, k), (2 * _SECTIONS, j, i), (2 * _SECTIONS + 1, k, m)]
    return vertices, np.array(triangles)


def obj(shapes: tuple[Shape, ...]) -> str:
    """Wavefront OBJ [mm] of closed bodies, wound outwards."""
    rows, faces, count = [], [], 1
    for shape in shapes:
        vertices, triangles = _box(shape.size) if shape.type == "box" else _cylinder(*shape.size)
        placed = 1e3 * (vertices @ Rotation.from_rotvec(shape.rotvec).as_matrix().T + shape.position)
        rows += [f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in placed]
        faces += [f"f {a} {b} {c}" for a, b, c in triangles + count]
        count += len(vertices)
    return "\n".join([*rows, *faces, ""])


def files(held: Held) -> dict[str, str]:
    """What a tool's folder holds, by the file's name."""
    names = ", ".join(f"{part}: {part}.obj" for part in held.parts)
    text = (
        "# Made by python -m kinema.virtual.held\n"
        f"unit: mm\nparts: {{{names}}}\ntracked: [{', '.join(held.tracked)}]\n"
        f"mount: {{position: [0.0, 0.0, {robots.GRIPPER.tcp}], quaternion: [0.0, 0.0, 0.0, 1.0]}}\n"
    )
    return {"tool.yaml": text} | {f"{part}.obj": obj(shapes) for part, shapes in held.parts.items()}


def write(folder: Path) -> None:
    """Every tool's folder."""
    for held in TOOLS.values():
        place = folder / held.name
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files(held).items():
            (place / name).write_text(text)


if __name__ == "__main__":
    write(paths.root() / FOLDER)
