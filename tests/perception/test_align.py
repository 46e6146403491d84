"""Time alignment: nearest images within the budget, interpolated poses, nothing invented, every refusal counted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from kinema.chunk import ActionChunk, ObservationSpec, Truth, check_chunk
from kinema.geometry import Pose, distance, interpolate, so3_exp
from kinema.perception.align import MAX_GAP_NS, AlignmentError, Buffers, Cause, StampedBuffer, assemble, newest_moment

MS = 1_000_000
FRAME = 33_333_333
CAMERAS = ("gripper", "left", "right")
SPEC = ObservationSpec(image_size=(32, 24))


def _pose(t_ns: int) -> Pose:
    """A screw motion at constant speed, which interpolation reproduces exactly."""
    t = t_ns * 1e-9
    return Pose(np.array([0.4 + 0.2 * t, -0.1 * t, 0.3]), so3_exp(np.array([0.3, -0.2, 0.9]) * t))


def _image(camera: str, index: int, size: tuple[int, int] = (32, 24)) -> np.ndarray:
    return np.full((size[1], size[0], 3), 10 * CAMERAS.index(camera) + index, np.uint8)


def _stream(
    buffers: Buffers, frames: int = 10, offsets: dict[str, int] | None = None, until_ns: int = 400 * MS
) -> None:
    for camera in CAMERAS:
        for i in range(frames):
            buffers.images[camera].push(i * FRAME + (offsets or {}).get(camera, 0), _image(camera, i))
    for t in range(0, until_ns + 1, 10 * MS):
        buffers.poses.push(t, _pose(t))
    for t in range(0, until_ns + 1, 20 * MS):
        buffers.width.push(t, 0.08 - 0.1 * t * 1e-9)
        buffers.force.push(t, 5.0 * t * 1e-9)


@pytest.fixture
def buffers() -> Buffers:
    buffers = Buffers(CAMERAS)
    _stream(buffers)
    return buffers


def test_the_observation_is_the_reference_images_moment(buffers):
    stamp = 9 * FRAME
    observation = assemble(SPEC, buffers, stamp, text="put the cup into the bowl")
    assert observation.stamp_ns == stamp
    assert observation.text == "put the cup into the bowl"
    for camera in CAMERAS:
        assert observation.images[camera].shape == (1, 24, 32, 3)
        assert (observation.images[camera] == _image(camera, 9)).all()
    assert max(distance(observation.T_base_tcp[0], _pose(stamp))) < 1e-12
    np.testing.assert_allclose(observation.width, [0.08 - 0.1 * stamp * 1e-9], atol=1e-12)
    np.testing.assert_allclose(observation.force, [5.0 * stamp * 1e-9], atol=1e-12)


def test_history_runs_oldest_to_newest(buffers):
    spec = ObservationSpec(image_size=(32, 24), history=4, history_dt=2 / 30)
    observation = assemble(spec, buffers, 9 * FRAME)
    assert [int(image[0, 0, 0]) for image in observation.images["gripper"]] == [3, 5, 7, 9]
    for pose, index in zip(observation.T_base_tcp, (3, 5, 7, 9), strict=True):
        assert max(distance(pose, _pose(index * FRAME))) < 1e-12
    assert observation.width.shape == observation.force.shape == (4,)


def test_history_that_is_not_there_yet_is_refused(buffers):
    spec = ObservationSpec(image_size=(32, 24), history=20)
    with pytest.raises(AlignmentError, match=r"gripper: there are 0\.30 s of it, the policy needs the last 0\.63 s"):
        assemble(spec, buffers, 9 * FRAME)


@given(st.integers(-16 * MS, 16 * MS), st.integers(-16 * MS, 16 * MS))
def test_f11_skew_beyond_the_budget_drops_the_set_and_counts_it(left, right):
    buffers = Buffers(CAMERAS)
    _stream(buffers, offsets={"left": left, "right": right})
    spec = ObservationSpec(image_size=(32, 24), max_skew=0.008)
    if max(abs(left), abs(right)) <= 8 * MS:
        observation = assemble(spec, buffers, 5 * FRAME)
        assert int(observation.images["left"][0, 0, 0, 0]) == 15
        assert not buffers.dropped
    else:
        with pytest.raises(
            AlignmentError, match=r"(left|right): the nearest image is .* allowed are 8\.0 ms"
        ) as refusal:
            assemble(spec, buffers, 5 * FRAME)
        assert refusal.value.cause is Cause.SKEW
        assert buffers.dropped == {Cause.SKEW: 1}


@given(st.integers(0, 300 * MS))
def test_f12_never_further_than_100_ms_from_a_measurement(beyond):
    buffers = Buffers(CAMERAS)
    _stream(buffers, until_ns=400 * MS)
    last = 400 * MS
    stamp = last + beyond
    for camera in CAMERAS:
        buffers.images[camera].push(stamp, _image(camera, 9))
    for t in range(last, stamp + 1, 20 * MS):
        buffers.width.push(t, 0.08)
    if beyond <= MAX_GAP_NS:
        pose = assemble(SPEC, buffers, stamp).T_base_tcp[0]
        assert max(distance(pose, _pose(stamp))) < 1e-9
    else:
        with pytest.raises(AlignmentError, match="tool pose: the nearest measurement") as refusal:
            assemble(SPEC, buffers, stamp)
        assert refusal.value.cause is Cause.GAP
        assert buffers.dropped == {Cause.GAP: 1}


def test_f12_a_long_gap_in_the_middle_is_not_bridged():
    poses: StampedBuffer[Pose] = StampedBuffer("tool pose")
    for t in (0, 10 * MS, 400 * MS, 410 * MS):
        poses.push(t, _pose(t))
    assert max(distance(poses.at(110 * MS, interpolate), _pose(110 * MS))) < 1e-12
    with pytest.raises(AlignmentError, match="allowed are 100 ms"):
        poses.at(200 * MS, interpolate)


def test_extrapolation_does_not_multiply_noise():
    """Two samples 5 ms apart with 0.5 mm of noise would put the pose centimetres off after 100 ms."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(100):
        poses: StampedBuffer[Pose] = StampedBuffer("tool pose")
        for t in range(0, 205 * MS, 5 * MS):
            poses.push(t, Pose(np.array([0.1 * t * 1e-9, 0.0, 0.0]) + rng.normal(0, 0.0005, 3), np.eye(3)))
        errors.append(poses.at(250 * MS, interpolate).position - [0.025, 0.0, 0.0])
    assert np.sqrt(np.mean(np.square(errors))) < 0.0015


def test_stale_force_is_none_and_no_reason_to_refuse():
    buffers = Buffers(CAMERAS)
    _stream(buffers)
    buffers.force.clear()
    assert assemble(SPEC, buffers, 9 * FRAME).force is None
    buffers.force.push(0, 1.0)
    assert assemble(SPEC, buffers, 9 * FRAME).force is None


def test_missing_streams_are_named():
    buffers = Buffers(CAMERAS)
    with pytest.raises(AlignmentError, match="gripper: nothing has arrived") as refusal:
        assemble(SPEC, buffers, 0)
    assert refusal.value.cause is Cause.MISSING
    with pytest.raises(AlignmentError, match="camera 'top' is not received; there are: gripper, left, right"):
        assemble(ObservationSpec(cameras=("top",)), buffers, 0)
    assert buffers.dropped == {Cause.MISSING: 2}


def test_images_of_another_size_are_scaled_but_never_squeezed():
    buffers = Buffers(CAMERAS)
    _stream(buffers)
    observation = assemble(ObservationSpec(image_size=(16, 12)), buffers, 9 * FRAME)
    assert observation.images["left"].shape == (1, 12, 16, 3)
    assert (observation.images["left"] == 19).all()
    with pytest.raises(AlignmentError, match="images are 32 x 24 px, 30 x 30 px has another aspect ratio"):
        assemble(ObservationSpec(image_size=(30, 30)), buffers, 9 * FRAME)


def test_only_who_asks_gets_the_truth(buffers):
    truth = Truth(stamp_ns=0, poses={}, joints={}, facts={})
    assert assemble(SPEC, buffers, 9 * FRAME, truth=truth).truth is None
    asking = ObservationSpec(image_size=(32, 24), simulator_truth=True)
    assert assemble(asking, buffers, 9 * FRAME, truth=truth).truth is truth
    with pytest.raises(AlignmentError, match="simulator truth"):
        assemble(asking, buffers, 9 * FRAME)


def test_executed_actions_lead_to_the_present_as_measured(buffers):
    spec = ObservationSpec(image_size=(32, 24), executed_actions=5, history_dt=0.3)
    observation = assemble(spec, buffers, 9 * FRAME)
    executed = observation.executed_actions
    assert isinstance(executed, ActionChunk) and len(executed) == 5
    check_chunk(executed)
    np.testing.assert_allclose(executed.T_rel[-1], np.eye(4), atol=1e-12)
    with pytest.raises(AlignmentError, match=r"tool pose: there are 0\.30 s of it, the policy needs the last 0\.80 s"):
        assemble(replace(spec, executed_dt=0.2), buffers, 9 * FRAME)
    for i in range(5):
        due = executed.due_ns(i)
        assert abs(due - (9 * FRAME - (4 - i) * FRAME)) < 10
        assert max(distance(executed.target(i), _pose(due))) < 1e-7
        assert executed.width_t0 + executed.width_change[i] == pytest.approx(0.08 - 0.1 * due * 1e-9, abs=1e-9)


def test_newest_moment_waits_for_the_slowest_stream():
    buffers = Buffers(CAMERAS)
    with pytest.raises(AlignmentError, match="not every stream has arrived"):
        newest_moment(SPEC, buffers)
    _stream(buffers)
    assert newest_moment(SPEC, buffers) == 9 * FRAME
    for camera in ("gripper", "left"):
        buffers.images[camera].push(10 * FRAME, _image(camera, 10))
    assert newest_moment(SPEC, buffers) == 9 * FRAME
    buffers.images["right"].push(10 * FRAME, _image("right", 10))
    assert newest_moment(SPEC, buffers) == 10 * FRAME
    with pytest.raises(AlignmentError, match="no new image"):
        newest_moment(SPEC, buffers, after_ns=10 * FRAME)
    assert not buffers.dropped


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=60), st.integers(-(10**9), 11 * 10**9))
def test_nearest_is_nearest_and_the_order_is_kept(stamps, moment):
    buffer: StampedBuffer[int] = StampedBuffer("any", horizon=100.0)
    taken = [stamp for stamp in stamps if buffer.push(stamp, stamp)]
    assert taken == sorted(set(taken)) == [stamp for stamp, _ in buffer]
    assert buffer.disorder == len(stamps) - len(taken)
    found, value = buffer.nearest(moment)
    assert value == found
    assert abs(found - moment) == min(abs(stamp - moment) for stamp in taken)


@given(st.floats(0.05, 2.0), st.integers(1, 400))
def test_buffers_forget_what_is_older_than_the_horizon_and_nothing_else(horizon, count):
    buffer: StampedBuffer[int] = StampedBuffer("any", horizon)
    for i in range(count):
        buffer.push(i * 10 * MS, i)
    assert [i for _, i in buffer] == [i for i in range(count) if (count - 1 - i) * 10 * MS <= round(horizon * 1e9)]


@given(st.lists(st.integers(1, 99), min_size=2, max_size=30), st.floats(0.0, 1.0))
def test_linear_signals_are_reproduced(gaps, where):
    buffer: StampedBuffer[float] = StampedBuffer("width")
    stamps = np.cumsum(gaps) * MS
    assume(stamps[-1] - stamps[0] < 2000 * MS)
    for stamp in stamps:
        buffer.push(int(stamp), 3.0 - 0.25 * stamp * 1e-9)
    moment = int(stamps[0] + where * (stamps[-1] - stamps[0]))
    value = buffer.at(moment, lambda a, b, fraction: a + fraction * (b - a))
    assert value == pytest.approx(3.0 - 0.25 * moment * 1e-9, abs=1e-9)
