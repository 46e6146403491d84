"""The scene as a model: complete, things held by friction, tags readable, the handheld gripper led by a hand."""

import dataclasses

import cv2
import mujoco
import numpy as np
import pytest

from kinema import robots
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.virtual import cameras, objects, scenario, scene

ROBOTS = pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])


def _cell(robot: str | None = "virtual_ur5e", task: str = "pick_and_place", split: str = "train", seed: int = 0):
    s = scenario.draw(task, split, seed)
    model = scene.build(s, robot, handheld=robot is None)
    return s, model, mujoco.MjData(model)


def _go_home(robot: str, data: mujoco.MjData, width: float = robots.GRIPPER.stroke) -> None:
    arm = robots.arm(robot)
    data.qpos[: arm.dof] = arm.home
    for finger in scene.FINGERS:
        data.joint(finger).qpos = width / 2


@ROBOTS
def test_the_arm_holds_things_by_friction_only(robot: str) -> None:
    _, model, _ = _cell(robot)
    assert model.neq == 1
    assert model.eq_type[0] == mujoco.mjtEq.mjEQ_JOINT  # the two fingers move alike; nothing else is tied
    assert model.nu == robots.arm(robot).dof + 1
    assert not (model.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY).any()  # adhesion would act on a body
    assert model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET


@ROBOTS
@pytest.mark.parametrize("task", ["pick_and_place", "open_drawer"])
@pytest.mark.parametrize("split", list(objects.SPLITS))
def test_names_that_others_rely_on_are_there(robot: str, task: str, split: str) -> None:
    s, model, _ = _cell(robot, task, split)
    for joint in robots.arm(robot).joints:
        assert model.joint(joint.name).range == pytest.approx((joint.lower, joint.upper))
        assert model.actuator(joint.name).ctrlrange == pytest.approx((-joint.torque, joint.torque))
    for body in ("base_link", "flange", *scene.FINGERS, *(p.name for p in s.movable)):
        assert model.body(body).id > 0
    assert model.site("tcp").id >= 0
    for name in cameras.CAMERAS:
        assert model.camera(name).id >= 0
    for tag in cameras.TAGS:
        assert model.geom(tag.name).id >= 0


@ROBOTS
def test_at_home_nothing_touches_the_arm(robot: str) -> None:
    for split in objects.SPLITS:
        for task in ("pick_and_place", "open_drawer"):
            for seed in range(2):
                _, model, data = _cell(robot, task, split, seed)
                _go_home(robot, data)
                mujoco.mj_forward(model, data)
                arm = {model.body(f"link{i + 1}").id for i in range(robots.arm(robot).dof)}
                arm |= {model.body(name).id for name in ("flange", *scene.FINGERS)}
                touching = set(model.geom_bodyid[data.contact.geom].ravel()) if data.ncon else set()
                assert not touching & arm


@ROBOTS
def test_the_arm_collides_with_table_and_itself_but_not_with_its_neighbours(robot: str) -> None:
    arm = robots.arm(robot)
    _, model, data = _cell(robot)
    rng = np.random.default_rng(3)
    with_table, with_itself = 0, 0
    for _ in range(300):
        data.qpos[: arm.dof] = rng.uniform(
            np.maximum(arm.limits("lower"), -np.pi), np.minimum(arm.limits("upper"), np.pi)
        )
        mujoco.mj_forward(model, data)
        for pair in model.geom_bodyid[data.contact.geom] if data.ncon else ():
            names = [model.body(int(body)).name for body in pair]
            links = [int(name[4:]) for name in names if name.startswith("link")]
            with_table += "world" in names and bool(links)
            with_itself += len(links) == 2
            assert len(links) < 2 or abs(links[0] - links[1]) > 2
    assert with_table > 20
    assert with_itself > 5


@pytest.mark.parametrize("split", list(objects.SPLITS))
def test_things_stand_where_they_were_put(split: str) -> None:
    for seed in range(5):
        s, model, data = _cell(None, "pick_and_place", split, seed)
        for _ in range(300):
            mujoco.mj_step(model, data)
        for placed in s.movable:
            body = data.body(placed.name)
            assert np.linalg.norm(body.xpos[:2] - placed.position) < 0.003, placed.name
            assert abs(body.xpos[2]) < 0.002, placed.name
            assert body.xmat[8] > 0.99, placed.name


def test_every_kind_weighs_what_the_catalogue_says_and_fits_the_jaw() -> None:
    for kind in objects.OBJECTS.values():
        s = scenario.draw("pick_and_place", "train", 0)
        placed = scenario.Placed("it", kind.name, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), (0.4, 0.0), 0.0)
        model = scene.build(dataclasses.replace(s, target=placed, container=None, distractors=()), None, handheld=True)
        assert model.body("it").mass[0] == pytest.approx(kind.mass, rel=1e-3)
        assert kind.grasps
        for grasp in kind.grasps:
            assert 0.010 < grasp.width < robots.GRIPPER.stroke - 0.012
            assert grasp.position[2] > robots.GRIPPER.tip + 0.002  # the finger tips stay above the table


@pytest.mark.parametrize("width", [0.0, 0.03, 0.085])
def test_the_gripper_camera_reads_both_tags_at_every_opening(width: float) -> None:
    _, model, data = _cell("virtual_ur5e", split="unseen_background", seed=1)
    _go_home("virtual_ur5e", data, width)
    model.cam_fovy[model.camera("gripper").id] = 100
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 480, 640) as renderer:
        renderer.update_scene(data, "gripper")
        image = renderer.render()
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, cameras.TAG_DICTIONARY))
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    assert ids is not None and sorted(ids.ravel()) == [0, 1]
    T_tcp_camera = cameras.CAMERAS["gripper"].T_mount_camera
    focal = 240 / np.tan(np.radians(50))
    for tag in cameras.TAGS:
        x, y, z = T_tcp_camera.inverse().apply(tag.T_tcp_tag(width).position)
        seen = corners[int(np.argmax(ids.ravel() == tag.id))][0].mean(axis=0)
        assert seen == pytest.approx((319.5 + focal * x / z, 239.5 + focal * y / z), abs=2.5)


def test_a_snapshot_puts_another_data_into_the_same_state() -> None:
    _, model, data = _cell(None, seed=2)
    scene.hand(data, Pose(np.array([0.4, 0.1, 0.2]), np.diag([1.0, -1.0, -1.0])))
    for _ in range(100):
        mujoco.mj_step(model, data)
    values = scene.snapshot(data)
    assert values.shape == (model.nq + 7,) and len(values) < 512
    other = mujoco.MjData(model)
    scene.apply_snapshot(model, other, values)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    assert np.array_equal(other.xpos, data.xpos) and np.array_equal(other.cam_xpos, data.cam_xpos)
    with pytest.raises(ConfigError, match="not of this scene"):
        scene.apply_snapshot(model, other, values[:-1])


def test_the_handheld_gripper_follows_the_hand_and_yields_like_one() -> None:
    _, model, data = _cell(None)
    goal = Pose(np.array([0.35, -0.1, 0.25]), np.diag([1.0, -1.0, -1.0]))
    scene.hand(data, goal)
    for _ in range(1000):
        mujoco.mj_step(model, data)
    assert data.site("tcp").xpos == pytest.approx(goal.position, abs=1e-3)
    before = data.body("flange").xipos[0]
    data.body("flange").xfrc_applied[0] = 10.0
    for _ in range(1000):
        mujoco.mj_step(model, data)
    assert data.body("flange").xipos[0] - before == pytest.approx(10.0 / 1300.0, rel=0.2)


def test_one_gripper_at_a_time() -> None:
    with pytest.raises(ConfigError, match="not both"):
        scene.mjcf(scenario.draw("open_drawer", "train", 0), "virtual_ur5e", handheld=True)
