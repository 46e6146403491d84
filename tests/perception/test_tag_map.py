"""A camera in a map of tags: exact on pictures, and no pose where there is none."""

import cv2
import numpy as np
import pytest

from kinema import records
from kinema.calibration.bundle import load_bundle
from kinema.calibration.files import MapTag, TagMap, load, save
from kinema.devices.tag_pose_tracker import TagPoseTracker
from kinema.devices.virtual import VirtualCamera
from kinema.errors import CalibrationError, ConfigError
from kinema.geometry import Pose, distance, so3_exp
from kinema.paths import root
from kinema.perception.tag_map import TagMapTracker, charuco_map
from kinema.perception.tool_pose import ToolPose
from kinema.ring import RingWriter
from kinema.virtual.cameras import simulator_truth

CAMERA = load_bundle(root() / "calibration" / "virtual", {"gripper": "VIRTUAL-GRIPPER"}).camera("gripper")
SQUARES, SQUARE, MARKER = (9, 6), 0.040, 0.030
BOARD = charuco_map(SQUARES, SQUARE, MARKER, "DICT_5X5_100", simulator_truth("board-1"))
MIDDLE = np.array([0.18, 0.12, 0.0])
VIEWS = [
    Pose(MIDDLE + np.array(place), so3_exp(np.array(turn)))
    for place, turn in (
        ((0.0, 0.0, -0.30), (0.0, 0.0, 0.0)),
        ((0.08, -0.05, -0.25), (0.2, 0.25, 0.4)),
        ((-0.10, 0.04, -0.35), (-0.1, -0.3, -1.3)),
        ((0.02, 0.10, -0.20), (-0.35, 0.05, 2.5)),
    )
]


def _picture(T_world_camera, seed=0):
    """The printed board as the fisheye sees it, with a camera's noise."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    scale = 2000.0  # px/m
    board = cv2.aruco.CharucoBoard(SQUARES, SQUARE, MARKER, dictionary)
    width, height = (round(n * SQUARE * scale) for n in SQUARES)
    print_ = cv2.copyMakeBorder(board.generateImage((width, height)), 80, 80, 80, 80, cv2.BORDER_CONSTANT, value=255)
    size = CAMERA.image_height, CAMERA.image_width
    pixels = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(float)
    rays = CAMERA.rays(pixels) @ T_world_camera.rotation.T
    reach = -T_world_camera.position[2] / rays[..., 2]
    at = (T_world_camera.position[:2] + reach[..., None] * rays[..., :2]) * scale - 0.5 + 80
    at = np.where((reach > 0)[..., None], at, -1e4).astype(np.float32)
    seen = cv2.remap(print_, at[..., 0], at[..., 1], cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT, borderValue=128)
    seen = cv2.GaussianBlur(seen, (0, 0), 0.6) + np.random.default_rng(seed).normal(0.0, 1.5, size)
    return np.repeat(np.clip(seen, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def _corners(T_world_camera, tags, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    into = T_world_camera.inverse()
    return {tag.id: CAMERA.project(into.apply(tag.corners)) + noise * rng.standard_normal((4, 2)) for tag in tags}


@pytest.mark.parametrize("k", range(len(VIEWS)))
def test_the_camera_is_found_on_pictures_of_a_charuco_board(k):
    tracker = TagMapTracker(BOARD, CAMERA)
    tracked = tracker.track(5, _picture(VIEWS[k]))
    moved, turned = distance(tracked.T_world_tracker, VIEWS[k])
    assert moved < 0.003 and turned < 0.008
    assert (tracked.stamp_ns, tracked.confidence, tracked.jumped) == (5, 3, False)
    assert tracker.seen >= 6 and tracker.rms < 1.0


def test_apriltags_anywhere_make_a_map_too(tmp_path):
    rng = np.random.default_rng(3)
    tags = []
    for number in (3, 11, 40, 41):
        quaternion = Pose(np.zeros(3), so3_exp(np.array([np.pi, 0, 0]) + rng.normal(0, 0.3, 3))).quaternion.tolist()
        position = (MIDDLE + rng.uniform(-0.12, 0.12, 3)).tolist()
        tags.append(MapTag(id=number, size=0.05, position=tuple(position), quaternion=tuple(quaternion)))
    scene = TagMap(dictionary="DICT_APRILTAG_36h11", tags=tuple(tags), provenance=simulator_truth("scene"))
    save(tmp_path / "tag_map.yaml", scene)
    assert load(tmp_path / "tag_map.yaml", TagMap, serial="scene", remedy="") == scene
    tracked = TagMapTracker(scene, CAMERA).locate(0, _corners(VIEWS[0], scene.tags))
    moved, turned = distance(tracked.T_world_tracker, VIEWS[0])
    assert moved < 0.003 and turned < 0.01 and tracked.confidence == 3


def test_f12_the_fewer_tags_the_less_confidence_and_none_is_no_pose():
    tracker, tool = TagMapTracker(BOARD, CAMERA), ToolPose(Pose.identity())
    corners = _corners(VIEWS[0], BOARD.tags)
    levels = []
    for count in (8, 2, 1, 0):
        tracked = tracker.locate(count, dict(list(corners.items())[:count]))
        levels.append(tracked.confidence)
    assert levels == [3, 2, 1, 0] and not tracked.T_world_tracker.isfinite() and tracker.seen == 0
    assert tool.take(tracked) is None
    assert tracker.locate(9, {99: corners[0]}).confidence == 0  # a tag that is not in the map


def test_f12_out_of_sight_and_back_is_no_jump():
    tracker, tool = TagMapTracker(BOARD, CAMERA), ToolPose(Pose.identity())
    corners = _corners(VIEWS[0], BOARD.tags)
    assert tool.take(tracker.locate(10**9, corners)) is not None
    assert tool.take(tracker.locate(10**9 + 33_000_000, {})) is None
    assert tool.take(tracker.locate(10**9 + 66_000_000, corners)) is not None
    assert tool.segment == 0


def test_a_tag_that_was_moved_is_left_out_of_many_and_refused_of_two():
    tracker = TagMapTracker(BOARD, CAMERA)
    corners = _corners(VIEWS[1], BOARD.tags[:8])
    corners[BOARD.tags[3].id] += 25.0
    tracked = tracker.locate(0, corners)
    moved, turned = distance(tracked.T_world_tracker, VIEWS[1])
    assert tracker.seen < 8 and moved < 0.004 and turned < 0.015
    two = {number: corners[number] for number in (BOARD.tags[3].id, BOARD.tags[0].id)}
    assert tracker.locate(1, two).confidence == 0


def test_what_is_no_map_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="dictionary 'DICT_9X9' is unknown"):
        charuco_map(SQUARES, SQUARE, MARKER, "DICT_9X9", simulator_truth("board-1"))
    save(tmp_path / "tag_map.yaml", BOARD)
    text = (tmp_path / "tag_map.yaml").read_text()
    (tmp_path / "tag_map.yaml").write_text(text.replace("id: 1\n", "id: 0\n"))
    with pytest.raises(CalibrationError, match=r"tag_map\.yaml: key 'tags'.*an id stands twice"):
        load(tmp_path / "tag_map.yaml", TagMap, remedy="print it")


def test_any_camera_makes_a_pose_tracker(tmp_path):
    size = CAMERA.size
    ring = RingWriter(tmp_path / "frames_gripper.ring", records.frame(size), 4)
    source = TagPoseTracker(VirtualCamera("gripper", "G-1", size, tmp_path), TagMapTracker(BOARD, CAMERA))
    assert source.read(0.0) is None and source.serial == "G-1"
    frame = np.zeros((), records.frame(size))
    frame["t_ns"], frame["image"] = 77, _picture(VIEWS[0])
    ring.write(frame)
    tracked = source.read(5.0)
    assert tracked.stamp_ns == 77 and distance(tracked.T_world_tracker, VIEWS[0])[0] < 0.002
    source.close()
    ring.close()
