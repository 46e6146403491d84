"""Chunks as normalised rows: there and back, relative to the observation, and continued from what is committed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.chunk import ActionChunk, Observation, check_chunk
from kinema.clock import to_ns
from kinema.episodes.state import absolute, relative
from kinema.errors import ChunkError, EpisodeError, NonFiniteChunkError
from kinema.geometry import Pose, distance, interpolate, rotation_6d
from kinema.policies.actions import DONE, WIDTH, ActionSpace
from kinema.policies.assembly import committed_steps
from kinema.robots import GRIPPER

T0_NS = 5_000_000_000
SPACE = ActionSpace(
    horizon=32,
    dt=0.1,
    offset=0.1,
    executable=24,
    mean=(0.01, 0.0, 0.1, 0.9, 0.0, 0.0, 0.0, 0.9, 0.0, -0.01, 2.0),
    std=(0.05, 0.06, 0.1, 0.1, 0.2, 0.1, 0.2, 0.1, 0.1, 0.02, 3.0),
)


def journey(n: int, pace: float = 1.0) -> tuple[np.ndarray, list[Pose]]:
    """States (n, 11) of a tool that moves, turns, closes and presses, 0.1 s apart at pace 1, and its poses."""
    start = Pose.from_rotvec([0.4, 0.1, 0.2], [3.0, 0.3, 0.1])
    end = Pose.from_rotvec([0.5, -0.2, 0.05], [2.8, -0.5, 0.4])
    fractions = pace * np.arange(n) / 40
    poses = [interpolate(start, end, u) for u in fractions]
    rows = [
        [*p.position, *rotation_6d(p.rotation), 0.08 - 0.05 * u, 12 * u] for p, u in zip(poses, fractions, strict=True)
    ]
    return np.array(rows), poses


def observed(pose: Pose, width: float, stamp_ns: int = T0_NS, committed: ActionChunk | None = None) -> Observation:
    return Observation(stamp_ns, {}, (pose,), np.array([width]), None, "", committed=committed)


@given(st.integers(0, 38))
def test_a_demonstration_comes_back_as_the_targets_it_went_through(t):
    states, poses = journey(40)
    chunk = SPACE.chunk(SPACE.normalise(SPACE.relative(states, t)), observed(poses[t], states[t, 9]), 3, "me")
    check_chunk(chunk)
    assert (chunk.id, chunk.policy, chunk.t0_ns, chunk.dt, chunk.executable) == (3, "me", T0_NS, 0.1, 24)
    for i in range(32):
        step = min(t + 1 + i, 39)
        assert chunk.due_ns(i) == T0_NS + to_ns(0.1 * (i + 1))
        assert max(distance(chunk.target(i), poses[step])) < 1e-5
        assert chunk.force[i] == pytest.approx(states[step, 10], abs=1e-5)
        pressed = states[step, 9] - states[step, 10] / GRIPPER.stiffness
        assert chunk.width_t0 + chunk.width_change[i] == pytest.approx(pressed, abs=1e-6)


def test_another_policys_chunk_is_the_rows_that_it_means_at_this_spaces_times():
    states, poses = journey(45)
    rows = SPACE.normalise(SPACE.relative(states, 3))
    seen = observed(poses[3], states[3, 9])
    np.testing.assert_allclose(SPACE.rows(SPACE.chunk(rows, seen, 3, "me"), seen)[:, :9], rows[:, :9], atol=1e-4)
    slower = SPACE.model_copy(update={"horizon": 16, "dt": 0.2, "offset": 0.2, "executable": 16})
    sparse = slower.chunk(rows[1::2], seen, 4, "me")
    np.testing.assert_allclose(SPACE.rows(sparse, seen)[:, :9], rows[:, :9], atol=0.02)
    with pytest.raises(ChunkError, match=r"chunk 5 of me: is 20 steps of 0\.100 s long, needed are 32"):
        short = SPACE.model_copy(update={"horizon": 20, "executable": 20})
        SPACE.rows(short.chunk(rows[:20], seen, 5, "me"), seen)


def test_what_was_done_is_as_recorded_and_as_measured_the_same():
    states, poses = journey(40)
    now, count = 20, 8
    recorded = SPACE.done(states, now, count)
    assert recorded.shape == (count, DONE) and recorded.dtype == np.float32
    T_rel = np.stack([(poses[now].inverse() @ poses[now + 1 - count + i]).matrix for i in range(count)])
    executed = ActionChunk(
        id=0,
        policy="executed",
        t0_ns=T0_NS,
        T_base_tcp_t0=poses[now],
        width_t0=states[now, 9],
        dt=0.1,
        offset=-(count - 1) * 0.1,
        T_rel=T_rel,
        width_change=states[now + 1 - count : now + 1, 9] - states[now, 9],
        force=None,
        executable=count,
    )
    seen = dataclasses.replace(observed(poses[now], states[now, 9]), executed_actions=executed)
    np.testing.assert_allclose(SPACE.executed(seen, count), recorded, atol=1e-5)
    early = SPACE.done(states, [0, 2], 4)
    assert (early[0] == early[0, 0]).all(), "before the beginning all was as it was then"
    np.testing.assert_array_equal(early[1, 0], early[1, 1])


def test_a_horizon_beyond_the_data_sets_statistics_is_refused():
    index = {"horizon": 32, "rate": 10, "statistics": {"action": {"mean": [0.0] * WIDTH, "std": [1.0] * WIDTH}}}
    assert ActionSpace.of(index, 8, 16).horizon == 16 and ActionSpace.of(index, 8).horizon == 32
    with pytest.raises(EpisodeError, match="chunks of 40 steps: the data set's statistics are of 32"):
        ActionSpace.of(index, 8, 40)


@given(st.integers(0, 30), st.integers(1, 9))
def test_what_is_relative_leads_back_to_where_it_was(t, ahead):
    states, _ = journey(40)
    rows = relative(states[t : t + 1], states[t : t + ahead])
    np.testing.assert_allclose(absolute(states[t : t + 1], rows), states[t : t + ahead], atol=1e-12)


def test_after_an_episodes_end_its_last_state_goes_on():
    states, poses = journey(10)
    rows = SPACE.relative(states, 6)
    np.testing.assert_array_equal(rows[2:], np.tile(rows[2], (30, 1)))
    np.testing.assert_allclose(rows[2, :3], (poses[6].inverse() @ poses[9]).position, atol=1e-12)
    np.testing.assert_array_equal(SPACE.relative(states, np.array([[2], [6]]))[1, 0], rows)
    np.testing.assert_allclose(SPACE.relative(states, 9)[0, :9], [0, 0, 0, 1, 0, 0, 0, 1, 0], atol=1e-12)


def test_statistics_are_the_data_sets_and_a_column_that_hardly_moves_is_not_blown_up():
    statistics = {"mean": list(SPACE.mean), "std": [*SPACE.std[:2], 1e-9, *SPACE.std[3:10], 0.0]}
    space = ActionSpace.of({"rate": 10, "horizon": 32, "statistics": {"action": statistics}}, executable=8)
    assert (space.horizon, space.dt, space.offset, space.executable) == (32, 0.1, 0.1, 8)
    assert space.mean == SPACE.mean and space.std == (*SPACE.std[:2], 0.005, *SPACE.std[3:10], 0.2)
    rows = np.random.default_rng(0).normal(SPACE.mean, SPACE.std, (5, 32, WIDTH))
    values = SPACE.normalise(rows)
    assert values.dtype == np.float32 and abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05
    np.testing.assert_allclose(SPACE.denormalise(values), rows, atol=1e-5)


@pytest.mark.parametrize("late", [0.0, 0.04])
def test_a_prefix_is_the_committed_way_as_seen_from_the_new_observation(late):
    """The arm is `late` [s] past step 8 of a chunk that takes it along the journey; four more steps are committed."""
    states, poses = journey(40)
    playing = SPACE.chunk(SPACE.normalise(SPACE.relative(states, 0)), observed(poses[0], states[0, 9]), 1, "me")
    between, _ = journey(40 * 50, pace=0.02)  # every 2 ms
    tick = round((0.9 + late) / 0.002)
    now = between[tick]
    observation = observed(
        journey(tick + 1, pace=0.02)[1][-1], now[9], T0_NS + to_ns(0.9 + late), committed_steps(playing, 8, 4)
    )
    prefix = SPACE.denormalise(SPACE.prefix(observation))
    steps = range(50, 201 if late == 0 else 151, 50)
    expected = np.array([relative(now, between[tick + ahead]) for ahead in steps])
    assert len(prefix) == len(expected) == (4 if late == 0 else 3)
    np.testing.assert_allclose(prefix, expected, atol=2e-4)


def test_a_stretched_chunk_is_continued_from_its_next_step_not_from_its_clock():
    states, poses = journey(40)
    playing = SPACE.chunk(SPACE.normalise(SPACE.relative(states, 0)), observed(poses[0], states[0, 9]), 1, "me")
    observation = observed(poses[4], states[4, 9], T0_NS + to_ns(1.5), committed_steps(playing, 3, 3))
    prefix = SPACE.denormalise(SPACE.prefix(observation))
    assert len(prefix) == 2
    T_rel = poses[4].inverse()
    for row, (before, after) in zip(prefix, ((4, 5), (5, 6)), strict=True):
        halfway = interpolate(poses[before + 1], poses[after + 1], 0.5)
        np.testing.assert_allclose(row[:3], (T_rel @ halfway).position, atol=1e-4)


@pytest.mark.parametrize("latency, steps", [(0.0, 0), (0.05, 1), (0.1, 1), (0.3, 3), (0.31, 4)])
def test_what_falls_due_before_the_chunk_is_there_is_committed(latency, steps):
    assert SPACE.committed(latency) == steps


def test_nothing_committed_is_no_prefix():
    assert SPACE.prefix(observed(Pose.identity(), 0.05)).shape == (0, WIDTH)
    states, poses = journey(40)
    playing = SPACE.chunk(SPACE.normalise(SPACE.relative(states, 0)), observed(poses[0], 0.08), 1, "me")
    held = dataclasses.replace(playing, width_change=None, force=None)
    rows = SPACE.denormalise(SPACE.prefix(observed(poses[0], 0.08, committed=held)))
    np.testing.assert_allclose(rows[:, 9:], 0.0, atol=1e-6)


def test_f02_values_of_another_shape_are_refused_naming_both():
    with pytest.raises(ChunkError, match=r"chunk 7 of me: values have shape \(31, 11\), not \(32, 11\)"):
        SPACE.chunk(np.zeros((31, 11)), observed(Pose.identity(), 0.05), 7, "me")


@pytest.mark.parametrize("column", [0, 4, 9, 10])
def test_f01_what_is_not_finite_is_still_seen_in_the_chunk(column):
    values = np.zeros((32, WIDTH))
    values[5, column] = np.nan
    chunk = SPACE.chunk(values, observed(Pose.identity(), 0.05), 7, "me")
    with pytest.raises(NonFiniteChunkError):
        check_chunk(chunk)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"executable": 33}, "executable is 33, the horizon is 32"),
        ({"std": (0.0,) * 11}, "every std must be above 0"),
        ({"mean": (0.0,) * 10}, "at least 11 items"),
        ({"mean": (float("nan"),) * 11}, "finite number"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ActionSpace(**SPACE.model_dump() | change)
