"""The block's geometry: its frame and the window's, its outline, how far off it is."""

import numpy as np
from hypothesis import given, strategies as st

from kinema.pusht import block

poses = st.tuples(st.floats(60, 450), st.floats(60, 450), st.floats(-7, 7)).map(np.array)
points = st.lists(st.tuples(st.floats(0, 512), st.floats(0, 512)), min_size=1, max_size=5).map(np.array)


@given(poses, points)
def test_to_the_blocks_frame_and_back(pose, some):
    np.testing.assert_allclose(block.to_world(pose, block.to_block(pose, some)), some, atol=1e-9)


@given(poses, st.floats(0, 30), st.floats(5, 40))
def test_contacts_lie_on_the_outline_and_their_normals_lead_away(pose, gap, spacing):
    places, normals = block.contacts(spacing)
    away = block.distance(pose, block.to_world(pose, places + gap * normals))
    inner = np.any(places == 30.0, axis=1) & (places[:, 1] == 30.0) | (np.abs(places[:, 0]) == 15.0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    np.testing.assert_allclose(away[~inner], gap, atol=1e-9)
    assert (away[inner] <= gap + 1e-9).all()  # in the corners between bar and stem the other is near, too
    assert (away >= -1e-9).all()


@given(poses, st.floats(1, 14))
def test_inside_distances_are_negative(pose, depth):
    places, normals = block.contacts(12.0)
    assert (block.distance(pose, block.to_world(pose, places - depth * normals)) <= 1e-9).all()


@given(st.floats(-60, 60), st.floats(-60, 60))
def test_a_block_that_is_shifted_is_off_by_just_that(x, y):
    assert block.off(block.GOAL) == 0.0
    np.testing.assert_allclose(block.off(block.GOAL + np.array([x, y, 0.0])), np.hypot(x, y), atol=1e-9)
    several = np.stack([block.GOAL, block.GOAL + np.array([x, y, 0.0])])
    np.testing.assert_allclose(block.off(several[None])[0], [0.0, np.hypot(x, y)], atol=1e-9)
