"""Tools made in code, and what the virtual cell's side cameras see of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import trimesh

from kinema.chunk import Image
from kinema.geometry import Pose
from kinema.perception.stereo_tool import View
from kinema.perception.tool_mesh import Symmetry, ToolMesh, assemble
from kinema.virtual import noise, scenario
from kinema.virtual.cameras import CAMERAS
from kinema.virtual.tool_view import ToolView

SIZE = (640, 480)


def brush_bodies() -> dict[str, trimesh.Trimesh]:
    """A round handle on a head that sticks out to one side."""
    handle = trimesh.creation.cylinder(radius=0.012, height=0.14, sections=20)
    handle.apply_translation([0.0, 0.0, 0.09])
    head = trimesh.creation.box([0.12, 0.02, 0.05])
    head.apply_translation([0.02, 0.0, -0.004])
    return {"handle": handle, "head": head}


@pytest.fixture(scope="session")
def brush() -> ToolMesh:
    return assemble(brush_bodies(), "m")


@pytest.fixture(scope="session")
def pin() -> ToolMesh:
    """A skittle: it looks the same however it is turned about its axis."""
    outline = [[0.0, -0.08], [0.03, -0.08], [0.036, -0.04], [0.012, 0.03], [0.016, 0.06], [0.0, 0.075]]
    body = trimesh.creation.revolve(np.array(outline), sections=32)
    return assemble({"body": body}, "m", symmetry=Symmetry((0.0, 0.0, 1.0), 0))


@dataclass(frozen=True, eq=False)
class Filmed:
    """What both cameras saw of a tool: the empty scene, and a frame for each pose; `views` are the true cameras."""

    tool: ToolMesh
    poses: tuple[Pose, ...]
    backgrounds: tuple[Image, Image]
    clips: tuple[list[Image], list[Image]]
    views: tuple[View, View]

    def T_camera_tool(self, which: int, frame: int) -> Pose:
        return self.views[which].T_base_camera.inverse() @ self.poses[frame]


Film = Callable[..., Filmed]


@pytest.fixture(scope="session")
def film() -> Iterator[Film]:
    """`film(tool, poses)`: flown through the virtual cell, with the cameras' noise; None: the tool is away."""
    opened: list[ToolView] = []

    def shoot(tool: ToolMesh, poses: list[Pose | None]) -> Filmed:
        paint = np.array([[0.10, 0.35, 0.20], [0.85, 0.30, 0.10]])[tool.part_of]
        view = ToolView(
            scenario.draw("pick_and_place", "train", 0), tool.vertices, tool.triangles, paint, SIZE, noise.load().camera
        )
        opened.append(view)
        cameras = [CAMERAS[name] for name in ("left", "right")]
        clips = [[view.render(row.name, T, i + 1) for i, T in enumerate(poses)] for row in cameras]
        backgrounds = [view.render(row.name, None, 0) for row in cameras]
        views = [View(row.info(SIZE), row.T_mount_camera) for row in cameras]
        return Filmed(tool, tuple(poses), tuple(backgrounds), tuple(clips), tuple(views))

    yield shoot
    for view in opened:
        view.close()


def _sweep(count: int) -> list[Pose]:
    """A brush's way over the table, turning as it goes: 43 mm and 8 degrees a frame."""
    start, step = np.array([0.42, -0.10, 0.16]), np.array([0.02, 0.035, -0.015])
    return [Pose.from_rotvec(start + i * step, [0.3 + 0.12 * i, 0.2, 0.5 - 0.1 * i]) for i in range(count)]


@pytest.fixture(scope="session")
def swept(film: Film, brush: ToolMesh) -> Filmed:
    """The first frame is empty, as in the paper's demonstrations."""
    return film(brush, [None, *_sweep(4)])
