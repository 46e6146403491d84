"""PushT's plane and Kinema's tool: the same place whichever way, and in training the same as in acting."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.chunk import ObservationSpec
from kinema.episodes import shards
from kinema.episodes.shards import Played, ShardDataset
from kinema.errors import BenchmarkError, EpisodeError
from kinema.policies import tool_state
from kinema.policies.actions import ActionSpace
from kinema.pusht import plane
from kinema.pusht.memory import Memory

pixels = st.tuples(st.floats(0, 512), st.floats(0, 512))
ways = st.lists(pixels, min_size=2, max_size=40).map(np.array)

SPEC = ObservationSpec(
    cameras=(plane.CAMERA,),
    image_size=(96, 96),
    history=4,
    history_dt=0.4,
    executed_actions=16,
    executed_dt=0.1,
    force=False,
)
SPACE = ActionSpace(horizon=16, dt=0.1, offset=0.1, executable=8, mean=(0.001,) * 11, std=(0.05,) * 11)


def remembered(way: np.ndarray, spec: ObservationSpec = SPEC) -> Memory:
    """Of moments whose images are as bright as their number."""
    image = np.zeros((96, 96, 3), np.uint8)
    memory = Memory(spec, image, way[0])
    for k, target in enumerate(way[1:], 1):
        memory.add(image + np.uint8(k), target)
    return memory


@given(pixels)
def test_a_target_becomes_a_pose_and_back(target):
    np.testing.assert_allclose(plane.target(plane.pose(target)), target, atol=1e-9)


def test_targets_stay_within_the_action_space():
    np.testing.assert_array_equal(plane.target(plane.pose((-40.0, 700.0))), [0.0, 512.0])


@given(ways)
def test_a_recorded_state_is_the_pose_that_a_policy_is_shown(way):
    shown = remembered(way).observation()
    np.testing.assert_allclose(tool_state.of(shown), tool_state.recorded(plane.state(way))[-1], atol=1e-6)


@given(ways, st.integers(0, 38))
def test_the_chunk_that_was_right_means_the_targets_that_were_taken(way, t):
    t = min(t, len(way) - 2)
    values = SPACE.normalise(SPACE.relative(plane.state(way), t))
    chunk = SPACE.chunk(values, remembered(way[: t + 1]).observation(), 1, "test")
    meant = np.array([plane.target(chunk.target(i)) for i in range(16)])
    taken = way[np.minimum(t + 1 + np.arange(16), len(way) - 1)]
    np.testing.assert_allclose(meant, taken, atol=0.01)


@given(ways)
def test_what_was_done_is_told_in_acting_as_in_training(way):
    told = SPACE.executed(remembered(way).observation(), 16)
    np.testing.assert_allclose(told, SPACE.done(plane.state(way), len(way) - 1, 16), atol=2e-4)


@given(st.integers(1, 40))
def test_the_past_is_as_far_apart_as_asked_and_begins_with_the_first_image(count):
    shown = remembered(np.full((count, 2), 100.0)).observation()
    seen = shown.images[plane.CAMERA][:, 0, 0, 0].tolist()
    assert seen == [max(count - 1 - 4 * k, 0) for k in (3, 2, 1, 0)]
    assert len(shown.T_base_tcp) == len(shown.width) == 4


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"cameras": ("left", "right")}, "cameras"),
        ({"force": True}, "force"),
        ({"goal_image": True}, "goal_image"),
        ({"history_dt": 0.25}, "history_dt"),
        ({"executed_dt": 0.2}, "executed_dt"),
    ],
)
def test_a_policy_that_asks_for_what_there_is_none_of_is_refused(told, named):
    spec = ObservationSpec(**{name: getattr(SPEC, name) for name in SPEC.__slots__} | told)
    with pytest.raises(BenchmarkError, match=named):
        remembered(np.zeros((2, 2)), spec)


def test_episodes_become_a_data_set_to_learn_from(tmp_path):
    rng = np.random.default_rng(0)
    ways = [rng.uniform(0, 512, (n, 2)) for n in (30, 12)]
    images = [np.full((len(way), 96, 96, 3), 40 + 3 * i, np.uint8) for i, way in enumerate(ways)]
    played = [
        Played(f"e{i}", plane.TEXT, plane.state(way), {plane.CAMERA: some})
        for i, (way, some) in enumerate(zip(ways, images, strict=True))
    ]
    shards.write(tmp_path / "data", played, plane.RATE, "somewhere", 16)
    data = ShardDataset(tmp_path / "data")
    data.verify()
    assert (len(data), data.rate, data.frames(1), data.text(0)) == (2, 10, 12, plane.TEXT)
    assert data.size(0, plane.CAMERA) == (96, 96)
    np.testing.assert_array_equal(data.state(1), plane.state(ways[1]))
    assert abs(int(data.images(1, plane.CAMERA, [3])[0, 48, 48, 0]) - 43) <= 1
    space = ActionSpace.of(data.index, 8)
    assert (space.horizon, space.dt) == (16, 0.1)
    shards.write(tmp_path / "again", played, plane.RATE, "somewhere", 16)
    assert ShardDataset(tmp_path / "again").fingerprint == data.fingerprint
    with pytest.raises(EpisodeError, match="is there already"):
        shards.write(tmp_path / "data", played, plane.RATE, "somewhere", 16)
    with pytest.raises(EpisodeError, match="there is not one episode to write"):
        shards.write(tmp_path / "none", [], plane.RATE, "somewhere", 16)
