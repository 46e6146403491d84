"""What is written without ROS is what nodes would have published."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from kinema import paths
from kinema.calibration.files import CameraInfo, load
from kinema.episodes.messages import (
    CompressedPicture,
    JawSample,
    LensSample,
    Picture,
    StampedPose,
    TaskText,
    Transforms,
    WrenchSample,
    compress,
    decode,
    encode,
    typestore,
)
from kinema.errors import EpisodeError
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import TOPICS

T = Pose.from_rotvec([0.1, -0.2, 0.3], [0.4, -0.5, 0.6])
LENS = load(paths.root() / "calibration/virtual/gripper.yaml", CameraInfo, remedy="")
STAMP = 1_789_000_000_123_456_789
IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

VALUES = {
    "left/image_raw": Picture(STAMP, "left_optical_frame", IMAGE),
    "gripper/camera_info": LensSample(STAMP, LENS),
    "tracker/odometry": TrackedPose(STAMP, T, 2, True),
    "tracker/pose": StampedPose(STAMP, "world", T),
    "jaw/state": JawSample(STAMP, 0.031, True, 1, -0.2, 3.5),
    "load_cell/force": ForceSample(STAMP, -1.25, True, False),
    "load_cell/wrench": WrenchSample(STAMP, "tcp", np.arange(6.0)),
    "task": TaskText(STAMP, "Öffne die Schublade"),
    "/tf_static": Transforms(STAMP, (("base_link", "world", T), ("tcp", "gripper_optical_frame", T.inverse()))),
}


def same(a: object, b: object) -> bool:
    if isinstance(a, Pose) and isinstance(b, Pose):
        return bool(np.allclose(a.matrix, b.matrix, atol=1e-14))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__slots__"):
        return type(a) is type(b) and all(same(getattr(a, name), getattr(b, name)) for name in a.__slots__)
    return a == b


@pytest.mark.parametrize("topic", VALUES)
def test_a_value_comes_back_from_its_message(topic):
    value = VALUES[topic]
    raw = encode(typestore(), value)
    back = decode(typestore(), TOPICS[topic].type, raw)
    if isinstance(value, LensSample):  # a camera_info does not say where it comes from
        assert (back.width, back.height, back.distortion_model) == (640, 480, "equidistant")
        np.testing.assert_array_equal(back.k.reshape(3, 3), LENS.matrix)
        np.testing.assert_array_equal(back.d, LENS.distortion)
    else:
        assert same(back, value)


def _ros(topic: str) -> object:
    """The same message as the nodes make it."""
    from kinema_interfaces.msg import JawState, Task, TrackedPose as TrackedPoseMsg

    from kinema_ros import convert

    value = VALUES[topic]
    return {
        "left/image_raw": lambda: convert.ImageBuffer("left_optical_frame").fill(value.image, STAMP),
        "gripper/camera_info": lambda: _stamped(convert.camera_info_msg(LENS), convert.time_msg(STAMP)),
        "tracker/odometry": lambda: TrackedPoseMsg(
            header=convert.header(STAMP, "world"), pose=convert.pose_msg(T), confidence=2, jumped=True
        ),
        "tracker/pose": lambda: convert.pose_stamped_msg(STAMP, "world", T),
        "jaw/state": lambda: JawState(
            header=convert.header(STAMP, "tcp"), width=0.031, speed=-0.2, force=3.5, valid=True, tags=1
        ),
        "load_cell/force": lambda: convert.force_msg(value),
        "load_cell/wrench": lambda: convert.wrench_msg(STAMP, "tcp", value.wrench),
        "task": lambda: Task(header=convert.header(STAMP), text=value.text),
        "/tf_static": lambda: convert.transforms_msg(STAMP, *value.rows),
    }[topic]()


def _stamped(message, stamp):
    message.header.stamp = stamp
    return message


@pytest.mark.ros
@pytest.mark.parametrize("topic", VALUES)
def test_the_message_is_the_one_that_the_nodes_publish(topic):
    from rclpy.serialization import deserialize_message, serialize_message

    raw, published = bytes(encode(typestore(), VALUES[topic])), _ros(topic)
    assert deserialize_message(raw, type(published)) == published
    assert len(raw) == len(serialize_message(published))  # the bytes themselves differ where padding is garbage


@pytest.mark.ros
def test_the_type_hashes_are_those_of_the_built_messages():
    from ament_index_python.packages import get_package_share_directory

    for kind in {row.type for row in TOPICS.values()}:
        package, _, name = kind.split("/")
        description = json.loads((Path(get_package_share_directory(package)) / f"msg/{name}.json").read_text())
        hashes = {row["type_name"]: row["hash_string"] for row in description["type_hashes"]}
        assert typestore().hash_rihs01(kind) == hashes[kind], kind


@settings(max_examples=30)
@given(image=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_png_keeps_every_bit(image):
    picture = compress(Picture(STAMP, "left_optical_frame", image), "png")
    raw = encode(typestore(), picture)
    back = decode(typestore(), "sensor_msgs/msg/CompressedImage", raw)
    assert (back.stamp_ns, back.frame_id, back.format) == (STAMP, "left_optical_frame", "rgb8; png compressed bgr8")
    np.testing.assert_array_equal(back.image, image)


def test_jpeg_keeps_what_is_seen_and_its_colours():
    y, x = np.mgrid[0:120, 0:160]
    image = np.stack([x, y, np.full_like(x, 30)], axis=-1).astype(np.uint8)
    small, large = (compress(Picture(STAMP, "f", image), "jpeg", quality) for quality in (50, 95))
    assert len(small.data) < len(large.data) < image.nbytes
    assert large.format == "rgb8; jpeg compressed bgr8"
    assert np.abs(large.image.astype(int) - image).mean() < 2.0


def test_what_is_no_image_or_no_row_of_the_table_is_refused():
    with pytest.raises(EpisodeError, match="no 'jpeg'"):
        _ = CompressedPicture(STAMP, "f", "jpeg", b"something else").image
    with pytest.raises(EpisodeError, match=r"\(height, width, 3\)"):
        encode(typestore(), Picture(STAMP, "f", np.zeros((4, 4), np.uint8)[..., None]))
    with pytest.raises(EpisodeError, match="dict is no recorded value; allowed are Picture"):
        encode(typestore(), {})


def test_other_messages_come_as_they_are():
    store = typestore()
    kind = "std_msgs/msg/String"
    assert decode(store, kind, store.serialize_cdr(store.types[kind](data="urdf"), kind)).data == "urdf"
