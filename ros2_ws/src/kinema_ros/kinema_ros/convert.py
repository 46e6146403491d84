"""ROS messages <-> Kinema's values, both ways. Nothing is repaired: a NaN stays a NaN for the core to refuse.

Images travel through preallocated `array.array`s: 0.04 ms for 640x480, where a list takes 19 ms.
"""

import array
import json
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose as PoseMsg,
    PoseStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
    Wrench,
    WrenchStamped,
)
from kinema_interfaces.msg import (
    ActionChunk as ActionChunkMsg,
    GraspForce,
    JawState,
    TrackedPose as TrackedPoseMsg,
    WorldTruth,
)
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo as CameraInfoMsg, Image as ImageMsg
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kinema.chunk import ActionChunk, Image, Truth
from kinema.clock import NS
from kinema.errors import ChunkError, DeviceError
from kinema.geometry import Array, Pose
from kinema.interfaces import ForceSample, GripperState, TrackedPose

if TYPE_CHECKING:  # brings OpenCV, which costs every other node half a second at its start
    from kinema.calibration.files import CameraInfo
    from kinema.perception.jaw import JawReading

_CHANNELS = 3
_ENCODINGS = {  # what follows height and width, and of what type
    "rgb8": ((_CHANNELS,), np.uint8),
    "mono8": ((), np.uint8),
    "16UC1": ((), np.uint16),
}


def time_msg(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NS, nanosec=stamp_ns % NS)


def time_ns(message: Time) -> int:
    return message.sec * NS + message.nanosec


def header(stamp_ns: int, frame_id: str = "") -> Header:
    return Header(stamp=time_msg(stamp_ns), frame_id=frame_id)


# ---- poses


def _pose_msg(position: Array, quaternion: Array) -> PoseMsg:
    x, y, z = position.tolist()
    qx, qy, qz, qw = quaternion.tolist()
    return PoseMsg(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def pose_msg(T: Pose) -> PoseMsg:
    return _pose_msg(T.position, T.quaternion)


def _matrices(messages: list[PoseMsg]) -> Array:
    """(n, 4, 4); a quaternion that is not finite or has no length becomes a matrix of NaN."""
    rows = np.array(
        [
            (p.x, p.y, p.z, o.x, o.y, o.z, o.w)
            for p, o in ((message.position, message.orientation) for message in messages)
        ],
        float,
    ).reshape(-1, 7)
    quaternions = rows[:, 3:]
    usable = np.isfinite(quaternions).all(axis=1) & (np.abs(quaternions).max(axis=1, initial=0.0) > 1e-6)
    T = np.tile(np.eye(4), (len(rows), 1, 1))
    T[:, :3, 3] = rows[:, :3]
    T[~usable, :3, :3] = np.nan
    if usable.any():
        T[usable, :3, :3] = Rotation.from_quat(quaternions[usable]).as_matrix()
    return T


def pose(message: PoseMsg) -> Pose:
    return Pose.from_matrix(_matrices([message])[0])


def pose_stamped_msg(stamp_ns: int, frame_id: str, T: Pose) -> PoseStamped:
    return PoseStamped(header=header(stamp_ns, frame_id), pose=pose_msg(T))


def transform_msg(stamp_ns: int, parent: str, child: str, position: Array, quaternion: Array) -> TransformStamped:
    """`T_parent_child` from its position (3,) [m] and quaternion (4,) x, y, z, w."""
    x, y, z = position.tolist()
    qx, qy, qz, qw = quaternion.tolist()
    return TransformStamped(
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)),
    )


def transforms_msg(stamp_ns: int, *rows: tuple[str, str, Pose]) -> TFMessage:
    """Rows of parent, child, `T_parent_child` for /tf_static."""
    return TFMessage(
        transforms=[transform_msg(stamp_ns, parent, child, T.position, T.quaternion) for parent, child, T in rows]
    )


def wrench_msg(stamp_ns: int, frame_id: str, wrench: Array) -> WrenchStamped:
    """From (6,) force [N], torque [N m]."""
    fx, fy, fz, tx, ty, tz = (float(value) for value in wrench)
    return WrenchStamped(
        header=header(stamp_ns, frame_id),
        wrench=Wrench(force=Vector3(x=fx, y=fy, z=fz), torque=Vector3(x=tx, y=ty, z=tz)),
    )


def tracked_msg(tracked: TrackedPose) -> TrackedPoseMsg:
    return TrackedPoseMsg(
        header=header(tracked.stamp_ns, "world"),
        pose=pose_msg(tracked.T_world_tracker),
        confidence=tracked.confidence,
        jumped=tracked.jumped,
    )


def tracked(message: TrackedPoseMsg) -> TrackedPose:
    return TrackedPose(time_ns(message.header.stamp), pose(message.pose), message.confidence, message.jumped)


# ---- jaw and grasp force


def jaw_msg(state: GripperState) -> JawState:
    return JawState(
        header=header(state.stamp_ns, "tcp"), width=state.width, speed=state.speed, force=state.force, valid=True
    )


def jaw_reading_msg(reading: "JawReading") -> JawState:
    return JawState(
        header=header(reading.stamp_ns, "tcp"),
        width=reading.width,
        speed=reading.speed,
        valid=reading.valid,
        tags=reading.tags,
    )


def force_msg(sample: ForceSample) -> GraspForce:
    return GraspForce(
        header=header(sample.stamp_ns, "tcp"), force=sample.force, saturated=sample.saturated, tared=sample.tared
    )


def force(message: GraspForce) -> ForceSample:
    return ForceSample(time_ns(message.header.stamp), message.force, message.saturated, message.tared)


# ---- chunks


def chunk_msg(chunk: ActionChunk, request: int) -> ActionChunkMsg:
    quaternions = Rotation.from_matrix(chunk.T_rel[:, :3, :3]).as_quat(canonical=True)
    return ActionChunkMsg(
        header=header(chunk.t0_ns, "base_link"),
        id=chunk.id,
        policy=chunk.policy,
        request=request,
        anchor=pose_msg(chunk.T_base_tcp_t0),
        width_t0=chunk.width_t0,
        dt=chunk.dt,
        offset=chunk.offset,
        steps=len(chunk),
        executable=chunk.executable,
        relative_poses=[
            _pose_msg(T[:3, 3], quaternion) for T, quaternion in zip(chunk.T_rel, quaternions, strict=True)
        ],
        width_change=[] if chunk.width_change is None else array.array("d", chunk.width_change.tolist()),
        force=[] if chunk.force is None else array.array("d", chunk.force.tolist()),
    )


def chunk(message: ActionChunkMsg) -> tuple[ActionChunk, int]:
    """The chunk and the id of the request that it answers; raises ChunkError where an array's length is not `steps`."""
    for name in ("relative_poses", "width_change", "force"):
        length = len(getattr(message, name))
        if length != message.steps and not (length == 0 and name != "relative_poses"):
            raise ChunkError(
                f"chunk {message.id} of {message.policy}: {name} has {length} entries, `steps` says {message.steps}"
            )
    value = ActionChunk(
        id=message.id,
        policy=message.policy,
        t0_ns=time_ns(message.header.stamp),
        T_base_tcp_t0=pose(message.anchor),
        width_t0=message.width_t0,
        dt=message.dt,
        offset=message.offset,
        T_rel=_matrices(message.relative_poses),
        width_change=np.array(message.width_change) if len(message.width_change) else None,
        force=np.array(message.force) if len(message.force) else None,
        executable=message.executable,
    )
    return value, message.request


# ---- the simulator's truth


def truth_msg(truth: Truth) -> WorldTruth:
    return WorldTruth(
        header=header(truth.stamp_ns, "base_link"),
        bodies=list(truth.poses),
        poses=[pose_msg(T) for T in truth.poses.values()],
        joints=list(truth.joints),
        positions=array.array("d", truth.joints.values()),
        facts=json.dumps(dict(truth.facts)),
    )


def truth(message: WorldTruth) -> Truth:
    return Truth(
        stamp_ns=time_ns(message.header.stamp),
        poses={name: Pose.from_matrix(T) for name, T in zip(message.bodies, _matrices(message.poses), strict=True)},
        joints=dict(zip(message.joints, message.positions, strict=True)),
        facts=json.loads(message.facts),
    )


# ---- images


class ImageBuffer:
    """One message that is filled again and again; publishing serialises it, so it may be reused at once."""

    def __init__(self, frame_id: str, encoding: str = "rgb8") -> None:
        self._message = ImageMsg(encoding=encoding, is_bigendian=0)
        self._message.header.frame_id = frame_id
        self._pixel, self._dtype = _ENCODINGS[encoding]

    def fill(self, image: np.ndarray, stamp_ns: int) -> ImageMsg:
        """`image` as the encoding has it: (height, width, 3) uint8 RGB, (height, width) uint8 or uint16."""
        message = self._message
        height, width, *pixel = image.shape
        if tuple(pixel) != self._pixel or image.dtype != self._dtype:
            allowed = ", ".join(map(str, ("height", "width", *self._pixel)))
            raise DeviceError(
                f"image is {image.shape} {image.dtype}, allowed for {message.encoding} is ({allowed}) "
                f"{np.dtype(self._dtype)}"
            )
        if (message.height, message.width) != (height, width):
            message.height, message.width, message.step = height, width, image.nbytes // height
            message.data = array.array("B", bytes(image.nbytes))
        np.frombuffer(message.data, self._dtype).reshape(image.shape)[:] = image
        message.header.stamp = time_msg(stamp_ns)
        return message


def image(message: ImageMsg) -> Image:
    """A view (height, width, 3) uint8 RGB into the message's own data."""
    if message.encoding != "rgb8" or message.step != message.width * _CHANNELS:
        raise DeviceError(
            f"image of {message.header.frame_id!r} has encoding {message.encoding!r} and step {message.step}; "
            f"allowed is rgb8 with step {message.width * _CHANNELS}"
        )
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, _CHANNELS)


def camera_info_msg(info: "CameraInfo") -> CameraInfoMsg:
    message = CameraInfoMsg(width=info.image_width, height=info.image_height, distortion_model=info.distortion_model)
    message.header.frame_id = info.frame_id
    message.d = info.distortion.tolist()
    message.k = info.matrix.ravel().tolist()
    message.r = info.rectification_matrix.array.ravel().tolist()
    message.p = info.projection_matrix.array.ravel().tolist()
    return message
