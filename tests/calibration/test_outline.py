"""The gripper's outline lies where the virtual cell's cameras show the gripper, unless calibration is wrong."""

import cv2
import mujoco
import numpy as np
import pytest

from kinema import robots
from kinema.calibration.outline import Sight
from kinema.geometry import Pose
from kinema.robots import GRIPPER
from kinema.virtual import scenario, scene
from kinema.virtual.cameras import camera
from kinema.virtual.renderer import CellRenderer

ARM, SIZE, WIDTH = robots.arm("virtual_ur5e"), (640, 480), 0.05
T_BASE_TCP = robots.forward_kinematics(ARM, np.array(ARM.home)) @ GRIPPER.T_flange_tcp


def sight(name: str, off: Pose | None = None) -> Sight:
    row = camera(name)
    return Sight(row.info(), (off or Pose.identity()) @ row.T_mount_camera, row.mount == "tcp")


def mask(found: Sight) -> np.ndarray:
    picture = np.zeros(SIZE[::-1], np.uint8)
    for line in found.gripper(GRIPPER, T_BASE_TCP, WIDTH, SIZE):
        cv2.fillPoly(picture, [np.rint(line).astype(np.int32)], 1)
    return picture > 0


@pytest.fixture(scope="module")
def rendered() -> dict[str, np.ndarray]:
    """By camera, the pixels in which hand and fingers are seen: those that change when they become invisible."""
    drawn = scenario.draw("pick_and_place", "train", 0)
    model = mujoco.MjModel.from_xml_string(scene.mjcf(drawn, "virtual_ur5e"), scene.assets(drawn))
    data = mujoco.MjData(model)
    data.qpos[: ARM.dof] = ARM.home
    for name in scene.FINGERS:
        data.joint(name).qpos = WIDTH / 2
    snapshot, pictures = scene.snapshot(data), []
    sizes = np.array([box.half for box in robots.boxes(GRIPPER, 0.0)])
    for visible in (1.0, 0.0):
        for geom in range(model.ngeom):
            if np.abs(sizes - model.geom_size[geom]).max(axis=1).min() < 1e-6:
                model.geom_rgba[geom] = (1.0, 0.0, 1.0, visible)
        renderer = CellRenderer(model, SIZE)
        pictures.append({name: renderer.render(name, snapshot, 0).astype(int) for name in ("left", "gripper")})
        renderer.close()
    seen, hidden = pictures
    return {name: np.abs(seen[name] - hidden[name]).max(axis=2) > 40 for name in seen}


def grown(pixels: np.ndarray, by: int) -> np.ndarray:
    return cv2.dilate(pixels.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


@pytest.mark.parametrize("name", ["left", "gripper"])
def test_the_outline_covers_the_gripper_that_is_seen(rendered, name):
    seen, told = rendered[name], mask(sight(name))
    assert seen.sum() > 1000
    assert (seen & ~grown(told, 3)).sum() < 0.002 * seen.sum()


def test_a_side_camera_s_outline_holds_little_else(rendered):
    seen, told = rendered["left"], mask(sight("left"))
    # the camera's housing and the tags stand before the hand
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8)) > 0
    assert (told & ~grown(closed, 3)).sum() < 0.15 * told.sum()


@pytest.mark.parametrize(
    "off", [Pose.from_rotvec([0.0, 0.015, 0.0], np.zeros(3)), Pose.from_rotvec(np.zeros(3), [0.0, 0.0, 0.03])]
)
def test_with_a_wrong_calibration_it_visibly_does_not(rendered, off):
    seen = rendered["left"]
    assert (seen & ~grown(mask(sight("left", off)), 3)).sum() > 0.03 * seen.sum()


def test_without_a_width_there_is_the_hand_alone_and_behind_the_camera_nothing():
    assert len(sight("left").gripper(GRIPPER, T_BASE_TCP, None, SIZE)) == 1
    turned = Sight(camera("left").info(), Pose.from_rotvec([0.5, 0.0, 2.0], np.zeros(3)), False)
    assert turned.gripper(GRIPPER, T_BASE_TCP, WIDTH, SIZE) == []
