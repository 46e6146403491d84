"""What the cameras see is where their calibration says, as distorted as it says, noisy, and the same for a seed."""

import xml.etree.ElementTree as ET

import cv2
import mujoco
import numpy as np
import pytest

from kinema import robots
from kinema.apps.export_virtual_calibration import OTHER_SERIALS
from kinema.calibration.bundle import load_bundle
from kinema.geometry import Pose
from kinema.paths import root
from kinema.virtual import noise, scenario, scene
from kinema.virtual.cameras import CAMERAS, SIZES, TAG_DICTIONARY
from kinema.virtual.renderer import CellRenderer

ROBOT = "virtual_ur5e"
ARM = robots.arm(ROBOT)
NOISE = noise.load().camera
BUNDLE = load_bundle(
    root() / "calibration" / "virtual", {row.name: row.serial for row in CAMERAS.values()} | OTHER_SERIALS
)
SCENARIO = scenario.draw("pick_and_place", "train", 0)

# Markers [m] in base_link, seen at the arm's home: around the work space, low and high.
SIDE_POINTS = [(x, y, z) for x in (0.32, 0.5, 0.68) for y in (-0.2, 0.0, 0.2) for z in (0.02, 0.12)]
# In tcp, below the fingers and towards the rim of the fisheye's image.
TCP_POINTS = [(x, y, 0.05) for x in (-0.18, -0.06, 0.05, 0.17) for y in (-0.16, -0.10, -0.04)]
TCP_POINTS += [(-0.18, 0.03, 0.05), (0.17, 0.03, 0.05)]


def _model(markers: list[np.ndarray] = (), radius: float = 0.004) -> mujoco.MjModel:
    """The cell, with glowing magenta balls at points of base_link."""
    tree = ET.fromstring(scene.mjcf(SCENARIO, ROBOT))
    if len(markers):
        glow = {"name": "glow", "rgba": "1 0 1 1", "emission": "1", "specular": "0"}
        ET.SubElement(tree.find("asset"), "material", glow)
    for position in markers:
        ball = {"type": "sphere", "size": str(radius), "material": "glow", "contype": "0", "conaffinity": "0"}
        ET.SubElement(tree.find("worldbody"), "geom", ball | {"pos": " ".join(map(str, position))})
    return mujoco.MjModel.from_xml_string(ET.tostring(tree, encoding="unicode"), scene.assets(SCENARIO))


def _snapshot(model: mujoco.MjModel, width: float) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qpos[: ARM.dof] = ARM.home
    for name in scene.FINGERS:
        data.joint(name).qpos = width / 2
    return scene.snapshot(data)


def _T_base_tcp() -> Pose:
    return robots.forward_kinematics(ARM, np.array(ARM.home)) @ robots.GRIPPER.T_flange_tcp


def _blobs(image: np.ndarray) -> np.ndarray:
    """Centres (n, 2) [px] of the magenta spots, weighted by how magenta they are."""
    r, g, b = (image[..., i].astype(float) for i in range(3))
    weight = np.clip(np.minimum(r, b) - g - 60, 0, None)
    count, labels = cv2.connectedComponents((weight > 0).astype(np.uint8), connectivity=8)
    v, u = np.indices(weight.shape)
    centres = []
    for label in range(1, count):
        w = weight * (labels == label)
        centres.append([(w * u).sum() / w.sum(), (w * v).sum() / w.sum()])
    return np.array(centres).reshape(-1, 2)


def _T_base_camera(name: str) -> Pose:
    return _T_base_tcp() @ BUNDLE.T_tcp_camera() if name == "gripper" else BUNDLE.T_base_camera(name)


@pytest.mark.parametrize("size", [(320, 240), (640, 480)])
@pytest.mark.parametrize("name", list(CAMERAS))
def test_known_points_are_found_where_the_calibration_files_project_them(name, size):
    points = _T_base_tcp().apply(TCP_POINTS) if name == "gripper" else np.array(SIDE_POINTS)
    in_camera = _T_base_camera(name).inverse().apply(points)
    expected = BUNDLE.camera(name).scaled(size).project(in_camera)
    wide = np.arctan2(np.hypot(*in_camera[:, :2].T), in_camera[:, 2])
    inside = ((expected > 3) & (expected < np.array(size) - 4)).all(axis=1) & (wide < CAMERAS[name].max_angle - 0.02)
    assert inside.sum() >= 12
    if name == "gripper":
        assert np.degrees(wide[inside].max()) > 50, "the test must reach towards the rim"
    model = _model(points[inside])
    renderer = CellRenderer(model, size)
    found = _blobs(renderer.render(name, _snapshot(model, 0.085), 0))
    renderer.close()
    assert len(found) >= 12, "too many of the markers are hidden"
    errors = np.linalg.norm(found[:, None] - expected[inside][None], axis=2).min(axis=1)
    assert errors.max() < 1.0


def _jaw_width(image: np.ndarray, size: tuple[int, int]) -> float:
    """Opening [m] from the tags' corners: undistorted, posed by PnP, compared with where a closed jaw has them."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, TAG_DICTIONARY))
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.cornerRefinementWinSize = 2
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    )
    assert ids is not None and sorted(ids.ravel()) == [0, 1], "both tags must be seen"
    info, T_tcp_camera = BUNDLE.camera("gripper").scaled(size), BUNDLE.T_tcp_camera()
    width = 0.0
    for quad, tag_id in zip(corners, ids.ravel(), strict=True):
        tag = BUNDLE.jaw.left if tag_id == BUNDLE.jaw.left.id else BUNDLE.jaw.right
        half = tag.size / 2
        square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
        rays = np.ascontiguousarray(info.rays(quad.reshape(4, 2).astype(float))[:, :2])
        _, _, translation = cv2.solvePnP(square, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE_SQUARE)
        x = T_tcp_camera.apply(translation.ravel())[0]
        width += tag.direction * (x - tag.position[0])
    return width


@pytest.mark.parametrize("size", SIZES)
def test_both_tags_are_read_in_the_noisy_fisheye_at_every_opening(size):
    model = _model()
    renderer = CellRenderer(model, size, NOISE)
    errors = []
    for k, width in enumerate(np.linspace(0.0, robots.GRIPPER.stroke, 8)):
        errors.append(_jaw_width(renderer.render("gripper", _snapshot(model, width), k), size) - width)
    renderer.close()
    assert np.abs(errors).max() < 0.004 * 320 / size[0]


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return _model()


@pytest.mark.parametrize("name", list(CAMERAS))
def test_two_frames_of_a_still_scene_differ_by_the_sensors_noise(model, name):
    clean_renderer, renderer = CellRenderer(model), CellRenderer(model, noise=NOISE)
    snapshot = _snapshot(model, 0.05)
    clean = clean_renderer.render(name, snapshot, 0).astype(float)
    first, second = (renderer.render(name, snapshot, frame) for frame in (0, 1))
    clean_renderer.close()
    renderer.close()
    assert not np.array_equal(first, second)
    lit = (clean > 20) & (clean < 235)
    variance = NOISE.read**2 + NOISE.shot * clean[lit] + 1 / 12  # and that of rounding
    for image in (first, second):
        error = (image - clean)[lit]
        assert abs(error.mean()) < 0.05
        assert error.var() == pytest.approx(variance.mean(), rel=0.1)
    pair = np.corrcoef((first - clean)[lit], (second - clean)[lit])[0, 1]
    assert abs(pair) < 0.05, "each frame's noise is its own"


def test_the_same_seed_gives_the_same_bits_whatever_was_rendered_before(model):
    snapshot, other = _snapshot(model, 0.05), _snapshot(model, 0.02)
    one, two, three = (CellRenderer(model, noise=NOISE, seed=seed) for seed in (5, 5, 6))
    for renderer in (two, three):
        renderer.render("left", other, 0)
    for name in CAMERAS:
        images = [renderer.render(name, snapshot, 17) for renderer in (one, two, three)]
        assert np.array_equal(images[0], images[1])
        assert not np.array_equal(images[0], images[2])
    for renderer in (one, two, three):
        renderer.close()


def test_the_models_owner_keeps_his_model(model):
    before = model.cam_fovy.copy(), model.vis.global_.offwidth
    CellRenderer(model).close()
    assert np.array_equal(model.cam_fovy, before[0]) and model.vis.global_.offwidth == before[1]


def test_the_fisheye_is_black_outside_of_its_image_circle(model):
    renderer = CellRenderer(model)
    image = renderer.render("gripper", _snapshot(model, 0.05), 0)
    renderer.close()
    assert (image[0, 0] == 0).all() and (image[-1, -1] == 0).all()
    assert (image[120, [5, 160, 314]] > 0).any(axis=1).all()


def test_closing_one_renderer_leaves_another_as_it_was(model):
    snapshot = _snapshot(model, 0.05)
    kept, closed = CellRenderer(model), CellRenderer(model)
    before = kept.render("gripper", snapshot, 0)
    closed.close()
    after = kept.render("gripper", snapshot, 1)
    kept.close()
    assert np.array_equal(before, after)
