"""The camera table: frames as REP-103 has them, stereo geometry as promised, sizes and names refused by name."""

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.topics import CAMERAS as NAMES
from kinema.virtual.cameras import CAMERAS, SIZES, TAGS, camera


def test_the_table_holds_the_cameras_of_the_topics_with_their_own_serials():
    assert tuple(CAMERAS) == NAMES
    assert len({row.serial for row in CAMERAS.values()}) == len(CAMERAS)
    assert [row.frame_id for row in CAMERAS.values()] == [f"{name}_optical_frame" for name in NAMES]


def test_optical_frames_are_rotations():
    for row in CAMERAS.values():
        rotation = row.T_mount_camera.rotation
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_side_cameras_stand_066_m_apart_at_45_degrees_and_look_down_at_the_table():
    left, right = (CAMERAS[name].T_mount_camera for name in ("left", "right"))
    assert np.linalg.norm(left.position - right.position) == pytest.approx(0.66)
    axes = left.rotation[:, 2], right.rotation[:, 2]
    assert np.degrees(np.arccos(axes[0] @ axes[1])) == pytest.approx(45.0)
    for T in (left, right):
        assert T.rotation[2, 2] < 0 and T.rotation[2, 1] < 0, "looks down, and down is down in the image"
    assert left.position[1] > 0 > right.position[1]


@pytest.mark.parametrize("name", ["left", "right"])
def test_the_work_space_is_in_the_side_views(name):
    row, info = CAMERAS[name], CAMERAS[name].info()
    corners = np.array([[x, y, 0.0] for x in (0.35, 0.65) for y in (-0.15, 0.15)])
    pixels = info.project(row.T_mount_camera.inverse().apply(corners))
    assert (pixels > 0).all() and (pixels < np.array(info.size) - 1).all()


@pytest.mark.parametrize("width", [0.0, 0.04, 0.085])
def test_tags_and_tips_are_in_the_gripper_view(width):
    row, info = CAMERAS["gripper"], CAMERAS["gripper"].info()
    points = [np.array([side * width / 2, 0.0, 0.0]) for side in (-1, 1)]
    for tag in TAGS:
        half = tag.plate / 2
        points += list(tag.T_tcp_tag(width).apply([[x, y, 0.0] for x in (-half, half) for y in (-half, half)]))
    pixels = info.project(row.T_mount_camera.inverse().apply(np.array(points)))
    assert (pixels > 0).all() and (pixels < np.array(info.size) - 1).all()


def test_every_size_is_the_same_lens():
    for row in CAMERAS.values():
        for size in SIZES:
            assert row.info(SIZES[-1]).scaled(size) == row.info(size)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(ConfigError, match="camera 'top' is not in the table; allowed: gripper, left, right"):
        camera("top")
    with pytest.raises(ConfigError, match=r"\(100, 100\) is not offered; allowed: \(256, 192\)"):
        camera("left").info((100, 100))
