"""Tools in the hand: the files say what the physics has, and the truth says where they are."""

import itertools

import mujoco
import numpy as np
import pytest

from kinema import paths, robots
from kinema.errors import ConfigError
from kinema.perception.tool_mesh import ToolMesh, load_tool
from kinema.perception.tool_templates import unseen_turn
from kinema.virtual import catalogue, goal, held, scenario, scene, tool_files
from kinema.virtual.handheld import HandheldWorld
from kinema.virtual.world import World

HELD = {"rotate_object": "fork", "sweep": "brush", "push_shape": "pusher", "scoop": "scoop"}


def _tool(name: str) -> ToolMesh:
    return load_tool(paths.root() / tool_files.FOLDER / name / "tool.yaml")


@pytest.mark.parametrize("name", list(held.TOOLS))
def test_the_files_are_those_that_the_shapes_make(name: str) -> None:
    folder = paths.root() / tool_files.FOLDER / name
    assert {file.name: file.read_text() for file in folder.iterdir()} == tool_files.files(held.tool(name))


@pytest.mark.parametrize("name", list(held.TOOLS))
def test_a_tracker_reads_closed_meshes_and_the_mount(name: str) -> None:
    tool, row = _tool(name), held.tool(name)
    assert set(tool.parts) == {*row.parts, "hand", "fingers"} and set(tool.tracked) == {*row.tracked, "hand"}
    of_tool = np.isin(tool.part_of, [tool.parts.index(part) for part in row.parts])
    corners = tool.vertices[tool.triangles[of_tool]]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(sum(s.volume for part in row.parts.values() for s in part), rel=0.03)  # facets
    assert tool.T_flange_tool is not None
    assert np.allclose(tool.T_flange_tool.matrix, robots.GRIPPER.T_flange_tcp.matrix)
    assert tool.vertices[:, 2].max() == pytest.approx(row.depth, abs=1e-3)


@pytest.mark.parametrize("task", list(HELD))
@pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7", None])
def test_the_hand_holds_what_the_file_describes(task: str, robot: str | None) -> None:
    drawn, tool = scenario.draw(task, "train", 0), _tool(HELD[task])
    assert drawn.tool == HELD[task]
    world = HandheldWorld(drawn) if robot is None else World(drawn, robot)
    model, data = world.model, world.data
    body = model.body("tool").id
    assert model.body_parentid[body] == model.body("flange").id and model.body_mass[body] > 0.0
    T_base_tool = world.truth().poses["tool"]
    assert np.allclose(T_base_tool.matrix, world.T_base_tcp().matrix, atol=1e-9)
    lowest = T_base_tool.apply(tool.vertices)[:, 2].min()
    mujoco.mj_forward(model, data)
    bottoms = []
    for geom in np.flatnonzero(model.geom_bodyid == body):
        extent = np.abs(data.geom_xmat[geom].reshape(3, 3)[2]) @ model.geom_aabb[geom, 3:]
        bottoms.append(data.geom_xpos[geom, 2] - extent)
    assert min(bottoms) == pytest.approx(lowest, abs=1e-3)


def test_a_tool_does_not_push_the_fingers_that_close_on_it() -> None:
    world = HandheldWorld(scenario.draw("sweep", "train", 0))
    for _ in range(500):
        world.step(world.T_base_tcp(), 0.02)

    assert world.width() == pytest.approx(0.02, abs=0.002)


def test_the_fork_comes_down_around_all_that_is_turned() -> None:
    fork = held.tool("fork")
    between = fork.width - 2 * fork.thick
    length = fork.depth - max(shape.position[2] + shape.size[2] for shape in fork.parts["bridge"][:1])
    for name in itertools.chain(*catalogue.TO_TURN):
        thing = catalogue.THINGS[name]
        assert min(grasp.width for grasp in thing.grasps) + 0.01 < between, name
        assert thing.size[2] < length, name


def test_half_a_turn_of_the_fork_shows() -> None:
    """The prongs look the same after it; what is tracked beside them must not."""
    (first, second), flag = held.tool("fork").parts["prongs"], held.tool("fork").parts["bridge"][-1]
    assert first.position[0] == -second.position[0] and first.size == second.size
    assert abs(flag.position[0]) - flag.size[0] >= second.position[0] and "bridge" in _tool("fork").tracked
    assert _tool("fork").symmetry.fold == 1 and unseen_turn(_tool("fork").tracking("bridge")) is None


def test_an_unknown_tool_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'spatula' is not known; allowed: brush, pusher, scoop, fork"):
        held.tool("spatula")


def test_the_goal_is_seen_where_the_shape_comes_to_lie() -> None:
    """The mask against a picture of the scene with the shape at its goal."""
    from kinema.virtual.renderer import CellRenderer

    drawn = scenario.draw("push_shape", "train", 2)
    assert drawn.goal is not None and drawn.target is not None
    model = scene.build(drawn, None)
    data = mujoco.MjData(model)
    size = (320, 240)
    eyes = CellRenderer(model, size)
    try:
        joint = int(model.joint(drawn.target.name).qposadr[0])
        pictures = []
        for x in (drawn.goal.position[0], 5.0):
            data.qpos[joint : joint + 3] = x, drawn.goal.position[1], 0.0
            half = drawn.goal.yaw / 2
            data.qpos[joint + 3 : joint + 7] = np.cos(half), 0.0, 0.0, np.sin(half)
            pictures.append(eyes.render("left", scene.snapshot(data), 0).astype(int))
    finally:
        eyes.close()
    changed = np.abs(pictures[0] - pictures[1]).max(axis=2) > 60
    mask = goal.mask(drawn, "left", size)
    assert (mask & changed).sum() / (mask | changed).sum() > 0.85
    both = goal.image(drawn, size, ("left", "right")) > 0
    assert (both[..., 0] == mask).all() and (both[..., 1] == goal.mask(drawn, "right", size)).all()
    assert (both[..., 1] != mask).any() and not both[..., 2].any()
    veiled = goal.blended(pictures[1].astype(np.uint8), mask)
    assert (veiled[~mask] == pictures[1][~mask]).all() and (veiled[mask] != pictures[1][mask]).any()


def test_a_goal_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="task 'sweep' has no goal pose"):
        goal.mask(scenario.draw("sweep", "train", 0), "left", (320, 240))
    with pytest.raises(ConfigError, match="'gripper' moves with the tool; a goal is seen by left or right"):
        goal.mask(scenario.draw("push_shape", "train", 0), "gripper", (320, 240))
