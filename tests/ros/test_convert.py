"""Messages and values: what goes over the graph comes back as it was, and what is broken is not repaired."""

import array

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.chunk import ActionChunk, Truth, check_chunk
from kinema.errors import ChunkError, DeviceError
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, GripperState

pytestmark = pytest.mark.ros

finite = st.floats(-10.0, 10.0)
vectors = st.tuples(finite, finite, finite)
stamps = st.integers(0, 2**31 * 10**9 - 1)
poses = st.builds(Pose.from_rotvec, vectors, vectors)


@pytest.fixture(scope="module")
def convert():
    return pytest.importorskip("kinema_ros.convert")


@st.composite
def chunks(draw):
    n = draw(st.integers(1, 32))
    T = np.stack([draw(poses).matrix for _ in range(n)])
    values = arrays.arrays(float, n, elements=finite)
    return ActionChunk(
        id=draw(st.integers(0, 2**32 - 1)),
        policy=draw(st.text(st.characters(min_codepoint=1, exclude_categories=("Cs",)), max_size=20)),
        t0_ns=draw(stamps),
        T_base_tcp_t0=draw(poses),
        width_t0=draw(finite),
        dt=draw(st.floats(1e-3, 10.0)),
        offset=draw(finite),
        T_rel=T,
        width_change=draw(st.none() | values),
        force=draw(st.none() | values),
        executable=draw(st.integers(1, n)),
    )


def same_pose(a: Pose, b: Pose) -> bool:
    return np.allclose(a.matrix, b.matrix, atol=1e-9)


@given(stamps)
def test_a_stamp_keeps_every_nanosecond(convert, stamp_ns):
    assert convert.time_ns(convert.time_msg(stamp_ns)) == stamp_ns


@given(poses)
def test_a_pose_comes_back(convert, T):
    assert same_pose(convert.pose(convert.pose_msg(T)), T)


@given(chunks(), st.integers(0, 2**32 - 1))
def test_a_chunk_comes_back(convert, chunk, request):
    back, answered = convert.chunk(convert.chunk_msg(chunk, request))
    assert answered == request
    check_chunk(back)
    for name in ("id", "policy", "t0_ns", "width_t0", "dt", "offset", "executable"):
        assert getattr(back, name) == getattr(chunk, name)
    assert same_pose(back.T_base_tcp_t0, chunk.T_base_tcp_t0)
    np.testing.assert_allclose(back.T_rel, chunk.T_rel, atol=1e-9)
    for name in ("width_change", "force"):
        before, after = getattr(chunk, name), getattr(back, name)
        assert (before is None) == (after is None)
        assert before is None or np.array_equal(before, after)


def small_chunk(n: int = 3) -> ActionChunk:
    zeros = np.zeros(n)
    return ActionChunk(7, "p", 1, Pose.identity(), 0.05, 0.1, 0.1, np.tile(np.eye(4), (n, 1, 1)), zeros, zeros, n)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["position", "quaternion", "width_change", "force", "anchor"])
def test_f01_what_is_not_finite_reaches_the_core_as_such(convert, bad, place):
    message = convert.chunk_msg(small_chunk(), 1)
    if place == "position":
        message.relative_poses[1].position.y = bad
    elif place == "quaternion":
        message.relative_poses[2].orientation.w = bad
    elif place == "anchor":
        message.anchor.orientation.x = bad
    else:
        getattr(message, place)[1] = bad
    with pytest.raises(ChunkError, match="finite"):
        check_chunk(convert.chunk(message)[0])


def test_f01_a_quaternion_without_length_is_not_taken_for_a_rotation(convert):
    message = convert.chunk_msg(small_chunk(), 1)
    message.relative_poses[0].orientation.w = 0.0
    with pytest.raises(ChunkError, match="not finite"):
        check_chunk(convert.chunk(message)[0])


@pytest.mark.parametrize("field", ["relative_poses", "width_change", "force"])
def test_f02_a_wrong_step_count_is_refused_naming_both(convert, field):
    message = convert.chunk_msg(small_chunk(5), 1)
    setattr(message, field, getattr(message, field)[:4])
    with pytest.raises(ChunkError, match=rf"{field} has 4 entries, `steps` says 5"):
        convert.chunk(message)


@given(st.dictionaries(st.sampled_from(["mug", "bowl", "drawer"]), poses), st.dictionaries(st.just("slide"), finite))
def test_the_truth_comes_back(convert, bodies, joints):
    truth = Truth(5, bodies, joints, {"target": "mug", "size": [0.1, 0.2]})
    back = convert.truth(convert.truth_msg(truth))
    assert back.stamp_ns == 5 and dict(back.joints) == joints and back.facts == truth.facts
    assert list(back.poses) == list(bodies)
    assert all(same_pose(back.poses[name], bodies[name]) for name in bodies)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3))), stamps)
def test_an_image_comes_back(convert, image, stamp_ns):
    message = convert.ImageBuffer("left_optical_frame").fill(image, stamp_ns)
    assert np.array_equal(convert.image(message), image)
    assert convert.time_ns(message.header.stamp) == stamp_ns and message.header.frame_id == "left_optical_frame"


def test_an_image_buffer_is_used_again_and_again(convert):
    buffer = convert.ImageBuffer("f")
    first = buffer.fill(np.zeros((4, 6, 3), np.uint8), 1).data
    second = buffer.fill(np.ones((4, 6, 3), np.uint8), 2).data
    assert first is second and isinstance(second, array.array) and set(second) == {1}
    assert len(buffer.fill(np.ones((2, 2, 3), np.uint8), 3).data) == 12


@pytest.mark.parametrize(("encoding", "kind"), [("mono8", np.uint8), ("16UC1", np.uint16)])
def test_grey_and_depth_have_one_channel_and_the_machines_byte_order(convert, encoding, kind):
    image = np.arange(24, dtype=kind).reshape(4, 6) * np.iinfo(kind).max // 24
    message = convert.ImageBuffer("f", encoding).fill(image, 1)
    assert (message.encoding, message.step, message.is_bigendian) == (encoding, 6 * image.itemsize, 0)
    assert np.array_equal(np.frombuffer(message.data, kind).reshape(4, 6), image)
    with pytest.raises(DeviceError, match=rf"allowed for {encoding} is \(height, width\)"):
        convert.ImageBuffer("f", encoding).fill(np.zeros((4, 6, 3), kind), 1)


def test_an_image_of_another_encoding_is_refused(convert):
    message = convert.ImageBuffer("f").fill(np.zeros((4, 6, 3), np.uint8), 1)
    message.encoding = "bgr8"
    with pytest.raises(DeviceError, match=r"bgr8.*rgb8"):
        convert.image(message)
    with pytest.raises(DeviceError, match="uint8"):
        convert.ImageBuffer("f").fill(np.zeros((4, 6, 3)), 1)


@given(stamps, finite, st.booleans(), st.booleans())
def test_a_force_sample_comes_back(convert, stamp_ns, force, saturated, tared):
    sample = ForceSample(stamp_ns, force, saturated, tared)
    assert convert.force(convert.force_msg(sample)) == sample


def test_a_jaw_state_and_a_wrench_keep_units_and_frames(convert):
    message = convert.jaw_msg(GripperState(3, 0.04, -0.1, 2.0))
    assert (message.width, message.speed, message.force, message.valid) == (0.04, -0.1, 2.0, True)
    wrench = convert.wrench_msg(4, "tcp", np.arange(6.0)).wrench
    assert [wrench.force.x, wrench.force.y, wrench.force.z] == [0, 1, 2]
    assert [wrench.torque.x, wrench.torque.y, wrench.torque.z] == [3, 4, 5]
