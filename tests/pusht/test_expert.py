"""The expert's choices, without its environment: where pushes begin, which is taken, how the agent gets there."""

import numpy as np
from hypothesis import assume, given, settings, strategies as st

from kinema.pusht import block, expert

poses = st.tuples(st.floats(120, 390), st.floats(120, 390), st.floats(-3.2, 3.2)).map(np.array)
places = st.tuples(st.floats(30, 480), st.floats(30, 480)).map(np.array)


def stays(pose, pushes, looks, between):
    return np.tile(pose, (len(pushes), looks, 1))


def goes_along(pose, pushes, looks, between):
    """A block that every push takes with it from the beginning, without a turn."""
    ways = pushes[:, None, 2:] * between * np.arange(1, looks + 1)[:, None]
    poses = stays(pose, pushes, looks, between)
    poses[..., :2] += ways
    return poses


@given(poses)
def test_pushes_begin_beside_the_block_and_lead_towards_it(pose):
    starts, ways = expert.candidates(pose)
    assert len(starts) > 20
    assert (block.distance(pose, starts) > block.RADIUS).all()
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1.0)
    assert (block.distance(pose, starts + 10.0 * ways) < block.RADIUS).all()


@given(poses, places)
def test_a_push_that_changes_nothing_is_not_made(pose, agent):
    assert expert.best(pose, agent, stays) is None


@given(poses, places)
def test_the_push_made_brings_the_block_nearer_by_what_it_says(pose, agent):
    assume(block.off(pose) > 5.0)
    push = expert.best(pose, agent, goes_along)
    assert push is not None
    moved = pose + np.array([*(push.end - push.start), 0.0])
    np.testing.assert_allclose(block.off(moved), push.left, atol=1e-9)
    assert push.left < block.off(pose)


@settings(max_examples=50)
@given(poses, places, places)
def test_the_way_around_ends_where_it_should_and_does_not_touch(pose, begin, end):
    gaps = block.distance(pose, np.stack([begin, end]))
    assume((gaps > block.RADIUS + 5.0).all())
    way = expert.around(pose, begin, end)
    np.testing.assert_array_equal(way[-1], end)
    legs = zip(np.concatenate([[begin], way[:-1]]), way, strict=True)
    line = np.concatenate([a + np.linspace(0, 1, 200)[:, None] * (b - a) for a, b in legs])
    assert block.distance(pose, line).min() > block.RADIUS


@given(poses, st.floats(0.1, 19.0), st.integers(0, 10_000))
def test_the_agent_leaves_the_block_straight(pose, gap, which):
    spots, normals = block.contacts(12.0)
    i = which % len(spots)
    agent = block.to_world(pose, (spots[i] + (block.RADIUS + gap) * normals[i])[None])[0]
    left = expert.off_block(pose, agent)
    before, after = block.distance(pose, np.stack([agent, left]))
    assert after >= before - 1e-9


@given(places, st.lists(places, min_size=1, max_size=4).map(np.array), st.floats(1, 40))
def test_targets_go_along_the_way_at_its_speed(begin, way, speed):
    at = np.array([begin, *expert.along(begin, way, speed)])
    legs = np.linalg.norm(np.diff([begin, *way], axis=0), axis=1)
    assert len(at) - 1 <= legs.sum() / speed + 1
    if len(way) == 1:
        assert np.linalg.norm(np.diff(at, axis=0), axis=1).max() <= speed + 1e-9
    np.testing.assert_array_equal(at[-1], way[-1])
