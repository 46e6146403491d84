"""Files by which tools are tracked in demonstrations: the handheld gripper, and what it holds.

Whoever demonstrates holds a tool in the handheld gripper, so what is seen to move is both, bolted together; and both
are looked for, since the gripper's body is large and seldom hidden. The fingers move, and are only known to hide what
is behind them. Shapes are those of the cell's physics. `write` makes the folders that `kinema.perception.tool_mesh`
reads: models/tools/NAME/tool.yaml with a mesh a part, in millimetres, in the TCP's frame.

    python -m kinema.virtual.tool_files
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import trimesh

from kinema import paths, robots
from kinema.geometry import Pose
from kinema.virtual import held, scenario, scene
from kinema.virtual.held import Held

FOLDER = "models/tools"
HAND, FINGERS = "hand", "fingers"  # parts that every tool has

_SECTIONS, _ARCS = 20, (6, 10)  # of a cylinder, of a capsule's ends


def meshes(tool: Held) -> Mapping[str, trimesh.Trimesh]:
    """By the part's name, in the TCP's frame [m]; bodies that are closed, one beside the other."""
    drawn = replace(scenario.draw("pick_and_place", "train", 0), tool=tool.name)
    model = scene.build(drawn, None, handheld=True)
    data = mujoco.MjData(model)
    data.qpos[[model.joint(name).qposadr[0] for name in scene.FINGERS]] = held.WIDTH / 2
    mujoco.mj_forward(model, data)
    flange = data.body("flange")
    T_tcp_base = (Pose(flange.xpos, flange.xmat.reshape(3, 3)) @ robots.GRIPPER.T_flange_tcp).inverse()
    parts: dict[str, list[trimesh.Trimesh]] = {}
    for geom in range(model.ngeom):
        part = _part(model, geom, tool)
        if part:
            T = T_tcp_base @ Pose(data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3))
            solid = _solid(int(model.geom_type[geom]), model.geom_size[geom])
            parts.setdefault(part, []).append(solid.apply_transform(T.matrix))
    return {part: _beside(solids) for part, solids in parts.items()}


def _beside(solids: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    found = trimesh.util.concatenate(solids)
    assert isinstance(found, trimesh.Trimesh)
    return found


def _part(model: mujoco.MjModel, geom: int, tool: Held) -> str:
    """Which part a geom belongs to; '': none."""
    body = model.body(model.geom_bodyid[geom])
    if body.name == "tool":
        shapes = [part for part, some in tool.parts.items() for _ in some]
        return shapes[geom - int(body.geomadr[0])]
    return {"flange": HAND, **dict.fromkeys(scene.FINGERS, FINGERS)}.get(body.name, "")


def _solid(kind: int, size: np.ndarray) -> trimesh.Trimesh:
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return trimesh.creation.box(2 * size)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(size[0], 2 * size[1], sections=_SECTIONS)
    return trimesh.creation.capsule(2 * size[1], size[0], count=_ARCS)


def obj(mesh: trimesh.Trimesh) -> str:
    """Wavefront OBJ [mm]."""
    rows = [f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in 1e3 * mesh.vertices + 0.0]
    return "\n".join([*rows, *(f"f {a} {b} {c}" for a, b, c in mesh.faces + 1), ""])


def files(tool: Held) -> dict[str, str]:
    """What a tool's folder holds, by the file's name."""
    parts = meshes(tool)
    names = ", ".join(f"{part}: {part}.obj" for part in parts)
    text = (
        "# Made by python -m kinema.virtual.tool_files\n"
        f"unit: mm\nparts: {{{names}}}\ntracked: [{', '.join((HAND, *tool.tracked))}]\n"
        f"mount: {{position: [0.0, 0.0, {robots.GRIPPER.tcp}], quaternion: [0.0, 0.0, 0.0, 1.0]}}\n"
    )
    return {"tool.yaml": text} | {f"{part}.obj": obj(mesh) for part, mesh in parts.items()}


def write(folder: Path) -> None:
    """Every tool's folder."""
    for tool in held.TOOLS.values():
        place = folder / tool.name
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files(tool).items():
            (place / name).write_text(text)


if __name__ == "__main__":
    write(paths.root() / FOLDER)
