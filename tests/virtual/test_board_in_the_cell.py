"""A calibration board that stands in the cell is seen by its cameras where it is, as a printed one would be."""

import numpy as np
import pytest

from kinema import robots
from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.virtual import noise, scenario
from kinema.virtual.board_samples import joints
from kinema.virtual.board_view import T_TCP_BOARD, board_on_the_table
from kinema.virtual.cameras import camera
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.world import World

ROBOT = "virtual_ur5e"
SIZE = (640, 480)
STRAIGHT = Pose(np.array([*(-np.array(DEFAULT.size) / 2), 0.8]), np.eye(3))  # before a camera


def _seen(place: str, name: str, T_base_tcp: Pose | None):
    """The corners in what a camera sees, and the world it sees them in."""
    q = None if T_base_tcp is None else joints(robots.arm(ROBOT), T_base_tcp)
    assert T_base_tcp is None or q is not None, "the arm gets there"
    world = World(scenario.draw("pick_and_place", "train", 0, place), ROBOT, q=q)
    eyes = CellRenderer(world.model, SIZE, noise.load().camera, 0)
    try:
        return detect(eyes.render(name, world.snapshot(), 0), DEFAULT), world
    finally:
        eyes.close()


def _missed(name: str, found, T_camera_board: Pose) -> np.ndarray:
    """[px] by which corners lie beside where the board is."""
    return found.pixels - camera(name).info(SIZE).project(T_camera_board.apply(DEFAULT.points[found.ids]))


def test_the_gripper_camera_finds_the_board_on_the_table_where_it_lies():
    found, world = _seen("table", "gripper", None)
    T_base_camera = world.T_base_tcp() @ camera("gripper").T_mount_camera
    missed = _missed("gripper", found, T_base_camera.inverse() @ board_on_the_table(DEFAULT))
    assert len(found.ids) > 25
    assert np.sqrt((missed**2).sum(axis=1).mean()) < 0.3 and np.abs(missed.mean(axis=0)).max() < 0.1


@pytest.mark.parametrize("name", ["left", "right"])
def test_a_side_camera_finds_the_board_in_the_gripper_where_it_is_held(name):
    T_base_camera = camera(name).T_mount_camera
    found, world = _seen("gripper", name, T_base_camera @ STRAIGHT @ T_TCP_BOARD.inverse())
    missed = _missed(name, found, T_base_camera.inverse() @ world.T_base_tcp() @ T_TCP_BOARD)
    assert len(found.ids) > 25
    assert np.sqrt((missed**2).sum(axis=1).mean()) < 0.3 and np.abs(missed.mean(axis=0)).max() < 0.1


def test_what_stands_free_is_put_aside_and_nothing_else_changes():
    drawn, cleared = (scenario.draw("pick_and_place", "train", 3, place) for place in ("", "table"))
    assert [p.name for p in cleared.movable] == [p.name for p in drawn.movable]
    assert all(p.position[1] > 0.6 for p in cleared.movable) and cleared.text == drawn.text
    assert len({p.position for p in cleared.movable}) == len(cleared.movable)
    assert (drawn.board, cleared.board) == ("", "table")
    with pytest.raises(ConfigError, match="too many things to put aside"):
        scenario.draw("sweep", "train", 0, "table")
