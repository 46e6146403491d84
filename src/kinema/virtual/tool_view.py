"""What the side cameras of the virtual cell see while nothing but a tool moves: videos with a known truth.

Demonstrations of "Dreamitate" show a hand-held tool before two cameras. Here it flies by itself.
"""

import xml.etree.ElementTree as ET

import mujoco
import numpy as np
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.geometry import Array, Pose
from kinema.virtual import scene
from kinema.virtual.noise import CameraNoise
from kinema.virtual.objects import Rgb
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.scenario import Scenario

_AWAY = Pose(np.array([0.0, 0.0, -50.0]), np.eye(3))  # where no camera looks


class ToolView:
    """A scenario without a robot, and a tool of triangles in it. Belongs to the thread that made it."""

    def __init__(
        self,
        scenario: Scenario,
        vertices: Array,
        triangles: NDArray[np.int64],
        colours: NDArray[np.float64] | Rgb,
        size: tuple[int, int],
        noise: CameraNoise | None = None,
        seed: int = 0,
    ) -> None:
        """vertices (n, 3) [m], triangles (m, 3); `colours` one, or one a triangle (m, 3); size [px] of the images."""
        tree = ET.fromstring(scene.mjcf(scenario, None))
        asset, world = tree.find("asset"), tree.find("worldbody")
        assert asset is not None and world is not None
        body = ET.SubElement(world, "body", name="tool", mocap="true", pos="0 0 0")
        paint = np.broadcast_to(np.asarray(colours, float), (len(triangles), 3))
        for k, colour in enumerate(np.unique(paint, axis=0)):
            used = triangles[(paint == colour).all(axis=1)]
            kept, faces = np.unique(used, return_inverse=True)
            ET.SubElement(
                asset, "mesh", name=f"tool{k}", vertex=" ".join(f"{v:.9g}" for v in vertices[kept].ravel()),
                face=" ".join(map(str, faces.ravel().tolist())), inertia="shell",
            )  # fmt: skip
            ET.SubElement(
                body, "geom", type="mesh", mesh=f"tool{k}", rgba=" ".join(f"{c:.4g}" for c in (*colour, 1.0)),
                contype="0", conaffinity="0", mass="0",
            )  # fmt: skip
        self._model = mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"), scene.assets(scenario))
        self._data = mujoco.MjData(self._model)
        self._mocap = int(self._model.body("tool").mocapid[0])
        self._renderer = CellRenderer(self._model, size, noise, seed)

    def render(self, camera: str, T_base_tool: Pose | None, frame: int) -> Image:
        """(height, width, 3) RGB; None: the scene without the tool. `frame` draws the noise."""
        T = T_base_tool or _AWAY
        self._data.mocap_pos[self._mocap] = T.position
        self._data.mocap_quat[self._mocap] = np.roll(T.quaternion, 1)
        return self._renderer.render(camera, scene.snapshot(self._data), frame)

    def close(self) -> None:
        self._renderer.close()
