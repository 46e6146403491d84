"""Two views of a tool: rays that meet, rotations that agree, cameras whose calibration may be believed."""

import datetime
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.transform import Rotation

from kinema.calibration.bundle import load_bundle
from kinema.calibration.files import CameraInfo
from kinema.errors import CalibrationError, TrackingError
from kinema.geometry import Pose
from kinema.paths import root
from kinema.perception.stereo_tool import GATES, View, fuse, midpoint, stereo_views, track_stereo, triangulate
from kinema.perception.tool_mesh import Symmetry
from kinema.perception.tool_tracker import ModelTracker, Sighting, Start
from kinema.virtual.cameras import CAMERAS, TABLE_DATE, simulator_truth

SERIALS = {name: CAMERAS[name].serial for name in ("left", "right")}
LATER = TABLE_DATE + datetime.timedelta(days=3)
TRUTH = Pose.from_rotvec([0.45, 0.05, 0.12], [0.4, -0.3, 0.8])


def views(size=(640, 480)):
    return tuple(View(CAMERAS[name].info(size), CAMERAS[name].T_mount_camera) for name in SERIALS)


def seen(tool, T_base_tool=TRUTH, cameras=None, score=0.95):
    """What two faultless trackers say."""
    return tuple(Sighting(view.T_base_camera.inverse() @ T_base_tool, score) for view in cameras or views())


def changed(sighting, position=(0.0, 0.0, 0.0), rotvec=(0.0, 0.0, 0.0)):
    """Moved in the camera's axes, turned in the tool's."""
    T = sighting.T_camera_tool
    turn = Rotation.from_rotvec(rotvec).as_matrix()
    return replace(sighting, T_camera_tool=Pose(T.position + position, T.rotation @ turn))


vectors = st.tuples(*[st.floats(-1.0, 1.0)] * 3).map(np.array)


# ---- rays


@settings(max_examples=40)
@given(vectors, vectors, vectors, st.floats(0.0, 0.05))
def test_the_midpoint_lies_between_rays_that_pass_each_other_by_a_known_gap(point, one, other, gap):
    one, other = point + one + [3.0, 0.0, 0.0], point + other + [0.0, 3.0, 0.0]
    across = np.cross(point - one, point - other)
    across *= gap / 2 / np.linalg.norm(across)
    directions = point - one, point - other
    found = midpoint((one + across, other - across), directions)
    assert found.point == pytest.approx(point, abs=1e-9) and found.gap == pytest.approx(gap, abs=1e-9)
    assert found.along == pytest.approx([np.linalg.norm(direction) for direction in directions])
    swapped = midpoint((other - across, one + across), (directions[1], 2.0 * directions[0]))
    assert swapped.point == pytest.approx(found.point, abs=1e-9) and swapped.along == pytest.approx(found.along[::-1])
    assert swapped.angle == pytest.approx(found.angle)


@settings(max_examples=20)
@given(vectors, vectors)
def test_parallel_rays_meet_nowhere(origin, direction):
    direction = np.add(direction, [0.0, 0.0, 2.0])
    found = midpoint((np.zeros(3), origin), (direction, 3.0 * direction))
    assert found.angle == pytest.approx(0.0, abs=1e-7)
    assert not np.isfinite(found.point).any() or found.angle > 0.0


@settings(max_examples=15)
@given(st.floats(0.25, 0.7), st.floats(-0.25, 0.25), st.floats(0.0, 0.3))
def test_a_point_is_found_again_through_both_lenses(x, y, z):
    pair = views()
    pixels = [view.camera.project(view.T_base_camera.inverse().apply([x, y, z])) for view in pair]
    found = triangulate(tuple(pixels), pair)
    assert found.point == pytest.approx([x, y, z], abs=1e-6) and found.gap < 1e-6


def test_without_their_distortion_the_same_pixels_lead_elsewhere():
    point, pair = [0.30, 0.24, 0.02], views()
    plain = [
        View(CameraInfo.of(v.camera.camera_name, v.camera.size, v.camera.matrix, "plumb_bob", np.zeros(5),
                           simulator_truth("none")), v.T_base_camera)
        for v in pair
    ]  # fmt: skip
    pixels = tuple(view.camera.project(view.T_base_camera.inverse().apply(point)) for view in pair)
    assert np.linalg.norm(triangulate(pixels, plain).point - point) > 1e-3


# ---- two sightings


def test_views_that_agree_give_the_pose_itself(brush):
    found = fuse(seen(brush), views(), brush)
    assert found.T_base_tool.position == pytest.approx(TRUTH.position, abs=1e-6)
    assert found.T_base_tool.rotation == pytest.approx(TRUTH.rotation, abs=1e-9)
    assert found.reason == "" and found.score == 0.95 and found.gap < 1e-6 and found.apart < 1e-6


def test_what_each_view_sees_badly_is_what_the_other_sees_well(brush):
    """30 mm too near or far along each view's own ray: their midpoint does not move."""
    pair = seen(brush)
    moved = []
    for sighting, by in zip(pair, (0.030, -0.030), strict=True):
        at = sighting.T_camera_tool.apply(brush.centre)
        moved.append(changed(sighting, by * at / np.linalg.norm(at)))
    found = fuse(tuple(moved), views(), brush)
    assert found.T_base_tool.position == pytest.approx(TRUTH.position, abs=1e-6)


@settings(max_examples=20)
@given(vectors.filter(lambda v: np.linalg.norm(v) > 0.2), st.floats(0.01, 0.24))
def test_the_rotation_is_the_middle_of_both(brush, axis, angle):
    half = angle / 2 * axis / np.linalg.norm(axis)
    one, other = seen(brush)
    found = fuse((changed(one, rotvec=half), changed(other, rotvec=-half)), views(), brush, replace(GATES, gap=1.0))
    assert found.apart == pytest.approx(angle, abs=1e-9)
    assert found.T_base_tool.rotation == pytest.approx(TRUTH.rotation, abs=1e-7)


@settings(max_examples=20)
@given(st.integers(0, 4), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_turns_that_look_alike_are_no_disagreement(pin, fold, one_turn, other_turn):
    symmetry = Symmetry((0.0, 0.0, 1.0), fold)
    tool = replace(pin, symmetry=symmetry)
    step = 2 * math.pi / fold if fold else 0.0
    turns = [step * round(t) if fold else t for t in (one_turn, other_turn)]
    pair = [changed(s, rotvec=(0.0, 0.0, turn)) for s, turn in zip(seen(pin), turns, strict=True)]
    if fold == 1:
        pair = seen(pin)
    found = fuse(tuple(pair), views(), tool, before=TRUTH)
    assert found.apart < 1e-6 and symmetry.apart(found.T_base_tool.rotation, TRUTH.rotation) < 1e-6
    assert found.T_base_tool.rotation == pytest.approx(TRUTH.rotation, abs=1e-6)  # the one nearest to the last


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (lambda s, at: replace(s, score=0.79), r"left: score 0\.79, needed is 0\.8"),
        (lambda s, at: Sighting(None, 0.3, "lost: it covers 30 %"), r"left: lost: it covers 30 %"),
        (lambda s, at: changed(s, (0.0, 0.013, 0.0)), r"the rays pass each other at 1\d\.\d mm, allowed are 10"),
        (lambda s, at: changed(s, rotvec=(0.0, 0.0, 0.28)), r"rotations are 16 degrees apart, allowed are 15"),
        (lambda s, at: changed(s, 0.25 * at), r"left alone has the tool at .*as large as the tool\?"),
        (lambda s, at: changed(s, -0.25 * at), r"left alone has the tool at "),
    ],
)  # fmt: skip
def test_views_that_do_not_agree_give_no_pose(brush, one, says):
    left, right = seen(brush)
    found = fuse((one(left, left.T_camera_tool.apply(brush.centre)), right), views(), brush)
    assert found.T_base_tool is None
    assert re.search(says, found.reason), found.reason


def test_nearly_parallel_rays_give_no_pose(brush):
    left = views()[0]
    beside = View(left.camera, left.T_base_camera @ Pose(np.array([0.05, 0.0, 0.0]), np.eye(3)))
    found = fuse(seen(brush, cameras=(left, beside)), (left, beside), brush)
    assert found.T_base_tool is None and "rays are nearly parallel: 3." in found.reason


# ---- calibration


def bundle(*names):
    return load_bundle(root() / "calibration/virtual", {name: SERIALS[name] for name in names}, override=True)


def test_the_views_are_those_of_the_files_at_the_images_size():
    left, right = stereo_views(bundle("left", "right"), LATER, (320, 240))
    assert left.camera.size == (320, 240) and right.camera.camera_name == "right"
    assert left.T_base_camera.position == pytest.approx(CAMERAS["left"].T_mount_camera.position, abs=1e-9)
    assert stereo_views(bundle("left", "right"), LATER)[0].camera.size == (640, 480)


@pytest.mark.parametrize(("names", "there"), [(("left",), "left"), ((), "none")])
def test_f23_fewer_than_two_calibrated_cameras_are_refused_with_what_is_needed(names, there):
    with pytest.raises(
        CalibrationError, match=rf"two calibrated cameras are needed, there are: {there}\..*right\.yaml"
    ):
        stereo_views(bundle(*names), LATER)


def test_f23_a_camera_placed_after_the_demonstrations_is_refused_with_what_is_needed():
    stereo_views(bundle("left", "right"), TABLE_DATE)
    with pytest.raises(CalibrationError, match=r"T_base_left\.yaml.*later than the demonstrations of 2026-11-19.*anew"):
        stereo_views(bundle("left", "right"), TABLE_DATE - datetime.timedelta(days=1))


# ---- clips


def test_a_brush_is_tracked_in_stereo_to_a_millimetre_and_a_degree(swept):
    starts = tuple(Start(background) for background in swept.backgrounds)
    found = track_stereo(ModelTracker(), swept.clips, swept.views, swept.tool, starts)
    assert found[0].T_base_tool is None and found[0].reason == "not in view of both cameras"
    for one, truth in zip(found[1:], swept.poses[1:], strict=True):
        off = one.T_base_tool.apply(swept.tool.centre) - truth.apply(swept.tool.centre)
        assert np.linalg.norm(off) < 1e-3, one
        assert swept.tool.symmetry.apart(one.T_base_tool.rotation, truth.rotation) < math.radians(1.0)
        assert one.score > 0.9 and one.gap < 1e-3


class OneEyed:
    """Sees the tool in the left view; in the right one something else, unless it is shown where to look."""

    def __init__(self, eyes, score=0.95):
        self.eyes, self.score, self.asked = eyes, score, []

    def track(self, frames, camera, tool, start):
        left = camera.camera_name == self.eyes[0].camera.camera_name
        true = self.eyes[0 if left else 1].T_base_camera.inverse() @ TRUTH
        shown = start.T_camera_tool is not None
        self.asked.append((camera.camera_name, len(frames), shown))
        if shown:
            assert np.allclose(start.T_camera_tool.matrix, true.matrix)
        there = Sighting(true, self.score)
        return [there if left or shown else replace(changed(there, (0.05, 0.0, 0.0)), score=0.65)] * len(frames)


def test_the_view_that_sees_the_tool_well_shows_the_other_where_to_look(brush):
    eyes = views()
    frames = [np.zeros((480, 640, 3), np.uint8)] * 2
    start = (Start(frames[0]), Start(frames[0]))
    tracker = OneEyed(eyes)
    found = track_stereo(tracker, (frames, frames), eyes, brush, start)
    assert all(np.allclose(one.T_base_tool.matrix, TRUTH.matrix, atol=1e-6) for one in found)
    assert tracker.asked == [("left", 2, False), ("right", 2, False), *[("right", 1, True)] * 2]
    doubtful = track_stereo(OneEyed(eyes, score=0.7), (frames, frames), eyes, brush, start)
    assert all(one.T_base_tool is None and "score 0.7" in one.reason for one in doubtful)


def test_clips_that_do_not_belong_together_are_refused(swept):
    starts = tuple(Start(background) for background in swept.backgrounds)
    with pytest.raises(TrackingError, match="the clips have 5 and 4 frames"):
        track_stereo(ModelTracker(), (swept.clips[0], swept.clips[1][1:]), swept.views, swept.tool, starts)
