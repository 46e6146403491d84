"""The built-in tracker before the virtual cell's cameras: right, or without a pose and with the reason."""

import math

import numpy as np
import pytest
import trimesh

from kinema.errors import ConfigError, TrackingError
from kinema.geometry import Pose
from kinema.perception.silhouette import Rasteriser
from kinema.perception.tool_mesh import assemble
from kinema.perception.tool_tracker import ModelTracker, Start


def errors(sighting, T_camera_tool, tool):
    """[m] of the tool's middle, [rad] as far as can be seen."""
    off = sighting.T_camera_tool.apply(tool.centre) - T_camera_tool.apply(tool.centre)
    return float(np.linalg.norm(off)), tool.symmetry.apart(sighting.T_camera_tool.rotation, T_camera_tool.rotation)


def check_right(found, filmed, tool, which=0, most=(0.003, 0.035)):
    """All that have a pose are right."""
    for i, sighting in enumerate(found):
        if sighting.T_camera_tool is not None:
            off, turned = errors(sighting, filmed.T_camera_tool(which, i), tool)
            assert off < most[0] and turned < most[1], (i, sighting.score, off, math.degrees(turned))


def far_turned(T: Pose) -> Pose:
    return T @ Pose.from_rotvec([0.01, -0.01, 0.02], [0.15, 0.1, -0.15])


def test_the_outline_lies_where_the_lens_shows_the_edges(brush, swept):
    view, T = swept.views[0], swept.T_camera_tool(0, 1)
    rasteriser = Rasteriser(brush, view.camera)
    drawn, edges = rasteriser.draw(T), rasteriser.edges(T, 3.0)
    assert drawn.inside == 1.0 and not drawn.others.any()
    corners = view.camera.project(T.apply(brush.vertices))
    rows, columns = np.nonzero(drawn.tracked)
    assert np.abs([columns.min(), rows.min()] - corners.min(axis=0)).max() < 1.1
    assert np.abs([columns.max(), rows.max()] - corners.max(axis=0)).max() < 1.1
    assert edges.pixels == pytest.approx(view.camera.project(T.apply(edges.points)), abs=1e-9)
    for step, expected in ((-2.0, True), (3.0, False)):
        x, y = np.rint(edges.pixels + step * edges.normals)[edges.outer].astype(int).T
        assert (drawn.tracked[y, x] == expected).mean() > 0.97
    assert 0 < (~edges.outer).sum() < edges.outer.sum()  # creases and the handle before the head


def test_from_a_known_start_every_frame_is_right(swept):
    start = Start(swept.backgrounds[1], T_camera_tool=far_turned(swept.T_camera_tool(1, 1)))
    found = ModelTracker().track(swept.clips[1][1:], swept.views[1].camera, swept.tool, start)
    assert min(sighting.score for sighting in found) > 0.9
    for sighting, i in zip(found, range(1, 5), strict=True):
        off, turned = errors(sighting, swept.T_camera_tool(1, i), swept.tool)
        assert off < 0.003 and turned < math.radians(1.0)


def test_without_a_start_nothing_wrong_is_said(swept):
    """One outline may fit two poses: then there is none, until one frame tells them apart."""
    found = ModelTracker().track(swept.clips[1], swept.views[1].camera, swept.tool, Start(swept.backgrounds[1]))
    assert found[0].T_camera_tool is None and "not in view" in found[0].reason
    check_right(found, swept, swept.tool, which=1)
    assert found[-1].T_camera_tool is not None
    assert all("fit alike" in one.reason for one in found[1:] if one.T_camera_tool is None)


def test_a_tool_that_never_comes_into_view_is_said_not_to(swept):
    empty = [swept.clips[0][0]] * 2
    found = ModelTracker().track(empty, swept.views[0].camera, swept.tool, Start(swept.backgrounds[0]))
    assert [(one.T_camera_tool, one.score) for one in found] == [(None, 0.0)] * 2
    assert all("not in view: nothing of a tool's size differs" in one.reason for one in found)


def test_a_tool_that_vanishes_and_comes_back_is_lost_in_between_and_found_again(swept):
    first, second = swept.clips[1][1], swept.clips[1][2]
    start = Start(swept.backgrounds[1], T_camera_tool=swept.T_camera_tool(1, 1))
    clip = [first, swept.clips[1][0], second]
    found = ModelTracker().track(clip, swept.views[1].camera, swept.tool, start)
    assert [one.T_camera_tool is None for one in found] == [False, True, False]
    assert found[1].score < 0.3 and found[1].reason
    off, turned = errors(found[2], swept.T_camera_tool(1, 2), swept.tool)
    assert off < 0.003 and turned < math.radians(1.0)


def test_something_else_that_comes_into_view_is_not_taken_for_the_tool(swept):
    """A ball of another colour and shape."""
    rows, columns = np.indices(swept.backgrounds[0].shape[:2])
    intruder = swept.clips[0][0].copy()
    intruder[np.hypot(columns - 300, rows - 250) < 45] = (40, 40, 200)
    found = ModelTracker().track([intruder], swept.views[0].camera, swept.tool, Start(swept.backgrounds[0]))
    assert found[0].T_camera_tool is None or found[0].score < 0.8
    assert found[0].reason or found[0].score < 0.8


def test_a_hand_over_the_handle_hides_nothing_of_the_head(swept):
    """Appendix D: the tool without its handle is tracked, since a hand is there."""
    tool, camera = swept.tool.tracking("head"), swept.views[1].camera
    clip = []
    for i in (1, 2):
        frame = swept.clips[1][i].copy()
        x, y = camera.project(swept.T_camera_tool(1, i).apply([0.0, 0.0, 0.11]))
        rows, columns = np.indices(frame.shape[:2])
        frame[np.hypot(columns - x, (rows - y)) < 28] = (205, 150, 125)
        clip.append(frame)
    start = Start(swept.backgrounds[1], T_camera_tool=far_turned(swept.T_camera_tool(1, 1)), bare_hand=True)
    found = ModelTracker().track(clip, camera, tool, start)
    assert min(one.score for one in found) > 0.8
    for one, i in zip(found, (1, 2), strict=True):
        off, turned = errors(one, swept.T_camera_tool(1, i), tool)
        assert off < 0.005 and turned < math.radians(3.0)
    whole = ModelTracker().track(clip, camera, swept.tool, start)
    assert max(one.score for one in whole) < min(one.score for one in found) + 0.05


@pytest.mark.slow
def test_a_tool_that_looks_the_same_all_round_is_tracked_but_for_its_own_turn(film, pin):
    poses = [Pose.from_rotvec([0.42 + 0.02 * i, 0.03 * i, 0.15], [0.5, 0.3 + 0.1 * i, 0.9 * i]) for i in range(3)]
    filmed = film(pin, poses)
    found = ModelTracker().track(filmed.clips[0], filmed.views[0].camera, pin, Start(filmed.backgrounds[0]))
    assert all(one.T_camera_tool is not None for one in found[1:])
    check_right(found, filmed, pin, most=(0.004, math.radians(3.0)))


def test_f22_parts_whose_turn_does_not_show_are_refused_with_what_is_needed(swept):
    for parts in (("handle",),):
        with pytest.raises(ConfigError, match=r"how handle is turned about .* doesn't show: track more of the tool"):
            ModelTracker().track(
                swept.clips[0], swept.views[0].camera, swept.tool.tracking(*parts), Start(swept.backgrounds[0])
            )
    ball = assemble({"ball": trimesh.creation.icosphere(subdivisions=3, radius=0.05)}, "m")
    with pytest.raises(ConfigError, match="doesn't show"):
        ModelTracker().candidates(swept.clips[0][0], swept.views[0].camera, ball, Start(swept.backgrounds[0]))


@pytest.mark.parametrize("which", ["size", "type", "background"])
def test_pictures_that_are_not_the_camera_s_are_refused(swept, which):
    camera, frame, background = swept.views[0].camera, swept.clips[0][0], swept.backgrounds[0]
    if which == "size":
        frame = frame[:100]
    elif which == "type":
        frame = frame.astype(np.float32)
    else:
        background = background[..., 0]
    says = "the background" if which == "background" else "frame 0"
    with pytest.raises(TrackingError, match=rf"{says} is .*allowed is uint8 of \(480, 640, 3\)"):
        ModelTracker().track([frame], camera, swept.tool, Start(background))
