"""Recorded messages <-> Kinema's values, without ROS: what nodes publish and what is recorded are the same bytes.

One table has a row for each message type with a value of its own. `decode` hands any other message out as rosbags
reads it. Images are RGB; compressed ones follow image_transport's convention (BGR inside of the JPEG or PNG).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from kinema import paths
from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.clock import NS
from kinema.errors import EpisodeError
from kinema.geometry import Array, Pose
from kinema.interfaces import ForceSample, TrackedPose

WORLD, TCP = "world", "tcp"
Compression = Literal["none", "jpeg", "png"]

_CHANNELS = 3
_PNG_LEVEL = 1  # the fastest; higher ones gain little on noisy pictures


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One camera's image (height, width, 3) uint8 RGB."""

    stamp_ns: int
    frame_id: str
    image: Image


@dataclass(frozen=True, eq=False, slots=True)
class CompressedPicture:
    """One camera's image as a JPEG or PNG file; `format` as image_transport writes it."""

    stamp_ns: int
    frame_id: str
    format: str
    data: bytes | memoryview

    @property
    def image(self) -> Image:
        """(height, width, 3) uint8 RGB; raises EpisodeError when the data is no image."""
        pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise EpisodeError(f"{self.frame_id} at {self.stamp_ns}: {len(self.data)} bytes are no {self.format!r}")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels), np.uint8)


@dataclass(frozen=True, slots=True)
class LensSample:
    """One camera_info: the lens that took the image with the same stamp."""

    stamp_ns: int
    info: CameraInfo


@dataclass(frozen=True, slots=True)
class StampedPose:
    """`T_frame_tool`: tcp_pose in base_link, tracker/pose in world."""

    stamp_ns: int
    frame_id: str
    pose: Pose


@dataclass(frozen=True, slots=True)
class JawSample:
    """Jaw opening [m], its speed [m/s] and the motor's force [N]; `tags` it was measured by (0: by the gripper)."""

    stamp_ns: int
    width: float
    valid: bool
    tags: int = 0
    speed: float = 0.0
    force: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class WrenchSample:
    """(6,) force [N] and torque [N m] in the axes of `frame_id`."""

    stamp_ns: int
    frame_id: str
    wrench: Array


@dataclass(frozen=True, slots=True)
class TaskText:
    stamp_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class Transforms:
    """Rows of parent, child, `T_parent_child`."""

    stamp_ns: int
    rows: tuple[tuple[str, str, Pose], ...]


# ---- the types


@functools.cache
def typestore() -> Typestore:
    """The messages of ROS 2 Jazzy and Kinema's own, the latter from the text of their .msg files in the checkout."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for file in sorted((paths.root() / "ros2_ws/src/kinema_interfaces/msg").glob("*.msg")):
        types |= get_types_from_msg(file.read_text(encoding="utf-8"), f"kinema_interfaces/msg/{file.stem}")
    store.register(types)
    return store


# ---- parts of messages


def _header(t: Any, stamp_ns: int, frame_id: str) -> Any:
    time = t["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return t["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * NS + stamp.nanosec)


def _pose_message(t: Any, T: Pose) -> Any:
    x, y, z = T.position.tolist()
    qx, qy, qz, qw = T.quaternion.tolist()
    return t["geometry_msgs/msg/Pose"](
        position=t["geometry_msgs/msg/Point"](x=x, y=y, z=z),
        orientation=t["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw),
    )


def _pose(position: Any, orientation: Any) -> Pose:
    """A quaternion without a length becomes a rotation of NaN: nothing is repaired."""
    quaternion = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    place = np.array([position.x, position.y, position.z])
    if not np.linalg.norm(quaternion) > 0.0:
        return Pose(place, np.full((3, 3), np.nan))
    return Pose.from_quaternion(place, quaternion)


# ---- one pair of functions a message


def _picture_message(t: Any, value: Picture) -> Any:
    height, width, channels = value.image.shape
    if channels != _CHANNELS or value.image.dtype != np.uint8:
        raise EpisodeError(
            f"{value.frame_id}: image is {value.image.shape} {value.image.dtype}, allowed is (height, width, 3) uint8"
        )
    return t["sensor_msgs/msg/Image"](
        header=_header(t, value.stamp_ns, value.frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * channels,
        data=np.ascontiguousarray(value.image).reshape(-1),
    )


def _picture(message: Any) -> Picture:
    if message.encoding != "rgb8" or message.step != message.width * _CHANNELS:
        raise EpisodeError(
            f"image of {message.header.frame_id!r} has encoding {message.encoding!r} and step {message.step}; "
            f"allowed is rgb8 with step {message.width * _CHANNELS}"
        )
    image = message.data.reshape(message.height, message.width, _CHANNELS)
    return Picture(_stamp_ns(message), message.header.frame_id, image)


def _compressed_message(t: Any, value: CompressedPicture) -> Any:
    return t["sensor_msgs/msg/CompressedImage"](
        header=_header(t, value.stamp_ns, value.frame_id),
        format=value.format,
        data=np.frombuffer(value.data, np.uint8),
    )


def _compressed(message: Any) -> CompressedPicture:
    return CompressedPicture(_stamp_ns(message), message.header.frame_id, message.format, message.data.data)


def _lens_message(t: Any, value: LensSample) -> Any:
    info = value.info
    return t["sensor_msgs/msg/CameraInfo"](
        header=_header(t, value.stamp_ns, info.frame_id),
        height=info.image_height,
        width=info.image_width,
        distortion_model=info.distortion_model,
        d=info.distortion,
        k=info.matrix.ravel(),
        r=info.rectification_matrix.array.ravel(),
        p=info.projection_matrix.array.ravel(),
        binning_x=0,
        binning_y=0,
        roi=t["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _tracked_message(t: Any, value: TrackedPose) -> Any:
    return t["kinema_interfaces/msg/TrackedPose"](
        header=_header(t, value.stamp_ns, WORLD),
        pose=_pose_message(t, value.T_world_tracker),
        confidence=value.confidence,
        jumped=value.jumped,
    )


def _tracked(message: Any) -> TrackedPose:
    T = _pose(message.pose.position, message.pose.orientation)
    return TrackedPose(_stamp_ns(message), T, int(message.confidence), bool(message.jumped))


def _stamped_pose_message(t: Any, value: StampedPose) -> Any:
    return t["geometry_msgs/msg/PoseStamped"](
        header=_header(t, value.stamp_ns, value.frame_id), pose=_pose_message(t, value.pose)
    )


def _stamped_pose(message: Any) -> StampedPose:
    T = _pose(message.pose.position, message.pose.orientation)
    return StampedPose(_stamp_ns(message), message.header.frame_id, T)


def _jaw_message(t: Any, value: JawSample) -> Any:
    return t["kinema_interfaces/msg/JawState"](
        header=_header(t, value.stamp_ns, TCP),
        width=value.width,
        speed=value.speed,
        force=value.force,
        valid=value.valid,
        tags=value.tags,
    )


def _jaw(message: Any) -> JawSample:
    return JawSample(
        _stamp_ns(message), message.width, bool(message.valid), int(message.tags), message.speed, message.force
    )


def _force_message(t: Any, value: ForceSample) -> Any:
    return t["kinema_interfaces/msg/GraspForce"](
        header=_header(t, value.stamp_ns, TCP), force=value.force, saturated=value.saturated, tared=value.tared
    )


def _force(message: Any) -> ForceSample:
    return ForceSample(_stamp_ns(message), message.force, bool(message.saturated), bool(message.tared))


def _wrench_message(t: Any, value: WrenchSample) -> Any:
    fx, fy, fz, tx, ty, tz = value.wrench.tolist()
    vector = t["geometry_msgs/msg/Vector3"]
    return t["geometry_msgs/msg/WrenchStamped"](
        header=_header(t, value.stamp_ns, value.frame_id),
        wrench=t["geometry_msgs/msg/Wrench"](force=vector(x=fx, y=fy, z=fz), torque=vector(x=tx, y=ty, z=tz)),
    )


def _wrench(message: Any) -> WrenchSample:
    f, t = message.wrench.force, message.wrench.torque
    return WrenchSample(_stamp_ns(message), message.header.frame_id, np.array([f.x, f.y, f.z, t.x, t.y, t.z]))


def _task_message(t: Any, value: TaskText) -> Any:
    return t["kinema_interfaces/msg/Task"](header=_header(t, value.stamp_ns, ""), text=value.text)


def _task(message: Any) -> TaskText:
    return TaskText(_stamp_ns(message), message.text)


def _transforms_message(t: Any, value: Transforms) -> Any:
    rows = []
    for parent, child, T in value.rows:
        x, y, z = T.position.tolist()
        qx, qy, qz, qw = T.quaternion.tolist()
        transform = t["geometry_msgs/msg/Transform"](
            translation=t["geometry_msgs/msg/Vector3"](x=x, y=y, z=z),
            rotation=t["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw),
        )
        stamped = t["geometry_msgs/msg/TransformStamped"]
        rows.append(stamped(_header(t, value.stamp_ns, parent), child_frame_id=child, transform=transform))
    return t["tf2_msgs/msg/TFMessage"](transforms=rows)


def _transforms(message: Any) -> Transforms:
    rows = tuple(
        (row.header.frame_id, row.child_frame_id, _pose(row.transform.translation, row.transform.rotation))
        for row in message.transforms
    )
    return Transforms(max((_stamp_ns(row) for row in message.transforms), default=0), rows)


# ---- the table


class _Codec(NamedTuple):
    message: str
    value: type
    encode: Callable[[Any, Any], Any]
    decode: Callable[[Any], Any] | None  # None: read as rosbags has it


_CODECS = (
    _Codec("sensor_msgs/msg/Image", Picture, _picture_message, _picture),
    _Codec("sensor_msgs/msg/CompressedImage", CompressedPicture, _compressed_message, _compressed),
    _Codec("sensor_msgs/msg/CameraInfo", LensSample, _lens_message, None),
    _Codec("kinema_interfaces/msg/TrackedPose", TrackedPose, _tracked_message, _tracked),
    _Codec("geometry_msgs/msg/PoseStamped", StampedPose, _stamped_pose_message, _stamped_pose),
    _Codec("kinema_interfaces/msg/JawState", JawSample, _jaw_message, _jaw),
    _Codec("kinema_interfaces/msg/GraspForce", ForceSample, _force_message, _force),
    _Codec("geometry_msgs/msg/WrenchStamped", WrenchSample, _wrench_message, _wrench),
    _Codec("kinema_interfaces/msg/Task", TaskText, _task_message, _task),
    _Codec("tf2_msgs/msg/TFMessage", Transforms, _transforms_message, _transforms),
)
_BY_VALUE = {codec.value: codec for codec in _CODECS}
_BY_MESSAGE = {codec.message: codec for codec in _CODECS}


def encode(store: Typestore, value: Any) -> bytes | memoryview:
    """The serialised message (CDR) of one of the table's values; `Topic.type` says which a topic carries."""
    codec = _BY_VALUE.get(type(value))
    if codec is None:
        allowed = ", ".join(kind.__name__ for kind in _BY_VALUE)
        raise EpisodeError(f"{type(value).__name__} is no recorded value; allowed are {allowed}")
    return store.serialize_cdr(codec.encode(store.types, value), codec.message)


def decode(store: Typestore, message_type: str, message: bytes | memoryview) -> Any:
    """The value of a serialised message; without a row in the table (executor/state, …) the message as rosbags has it.

    Images are views into `message`.
    """
    read = store.deserialize_cdr(message, message_type)
    codec = _BY_MESSAGE.get(message_type)
    return codec.decode(read) if codec and codec.decode else read


def compress(picture: Picture, compression: Literal["jpeg", "png"], quality: int = 90) -> CompressedPicture:
    """The same picture as a JPEG of that quality (1-100) or as a PNG; takes milliseconds, without the GIL."""
    parameters = {
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "png": [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL],
    }[compression]
    suffix = ".jpg" if compression == "jpeg" else ".png"
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise EpisodeError(f"{picture.frame_id}: a picture {picture.image.shape} can't be written as {compression}")
    return CompressedPicture(picture.stamp_ns, picture.frame_id, f"rgb8; {compression} compressed bgr8", data.data)
