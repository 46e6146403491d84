"""Fixed layouts of what the processes of one cell exchange at high rate: the arm protocol and the rings.

Little-endian, natural alignment left to numpy; SI units; every `t_ns` is Kinema time of acquisition. Texts are UTF-8
JSON padded with zeros.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from kinema.chunk import Truth
from kinema.errors import DeviceError
from kinema.geometry import Pose
from kinema.interfaces import ArmMode, ArmState, ForceSample, GripperState, TrackedPose

MAX_DOF = 7
MAX_SNAPSHOT = 512  # numbers that describe everything visible

_joints = ("f8", (MAX_DOF,))

# ---- the arm protocol: one ARM_STATE a tick from the cell, one ARM_ANSWER with the same k back

ARM_STATE = np.dtype(
    [
        *(("k", "u8"), ("t_ns", "i8"), ("mode", "u4"), ("dof", "u4")),
        *(("q", *_joints), ("dq", *_joints), ("tau", *_joints), ("wrench", "f8", (6,))),
    ]
)
ARM_ANSWER = np.dtype([("k", "u8"), ("kind", "u4"), ("dof", "u4"), ("values", *_joints)])
RESET = 255  # in place of a CommandKind: clear a latched brake

# ---- rings

WORLD = np.dtype(
    [
        *(("t_ns", "i8"), ("episode", "u4"), ("size", "u4"), ("scenario", "S512"), ("faults", "S2048")),
        ("snapshot", "f8", (MAX_SNAPSHOT,)),
    ]
)
LOAD_CELL = np.dtype([("t_ns", "i8"), ("force", "f8"), ("saturated", "?"), ("tared", "?")])
JAW = np.dtype([("t_ns", "i8"), ("width", "f8"), ("speed", "f8"), ("force", "f8")])
JAW_TARGET = np.dtype([("width", "f8"), ("speed", "f8"), ("force", "f8")])
TRACKER = np.dtype(
    [("t_ns", "i8"), ("position", "f8", (3,)), ("rotation", "f8", (3, 3)), ("confidence", "i4"), ("jumped", "?")]
)
TRUTH = np.dtype([("t_ns", "i8"), ("text", "S16384")])
RENDERED = np.dtype([("t_ns", "i8")])  # the newest moment that every camera has been drawn at
STATUS = np.dtype([("t_ns", "i8"), ("text", "S4096")])


def frame(size: tuple[int, int]) -> np.dtype:
    """The layout of a frame ring; `size` is width, height [px]."""
    return np.dtype([("t_ns", "i8"), ("sequence", "i8"), ("image", "u1", (size[1], size[0], 3))])


def text(value: Any, layout: np.dtype, field: str = "text") -> bytes:
    """A value as JSON for one text field of a layout; raises DeviceError when it does not fit."""
    encoded = msgspec.json.encode(value)
    space = layout[field].itemsize
    if len(encoded) > space:
        raise DeviceError(f"a text of {len(encoded)} bytes does not fit into field {field!r} of {space} bytes")
    return encoded


def to_arm_state(record: np.void) -> ArmState:
    n = int(record["dof"])
    return ArmState(
        int(record["k"]),
        int(record["t_ns"]),
        record["q"][:n],
        record["dq"][:n],
        record["tau"][:n],
        record["wrench"],
        ArmMode(int(record["mode"])),
    )


def to_force_sample(record: np.void) -> ForceSample:
    return ForceSample(int(record["t_ns"]), float(record["force"]), bool(record["saturated"]), bool(record["tared"]))


def to_gripper_state(record: np.void) -> GripperState:
    return GripperState(int(record["t_ns"]), float(record["width"]), float(record["speed"]), float(record["force"]))


def to_tracked_pose(record: np.void) -> TrackedPose:
    pose = Pose(record["position"], record["rotation"])
    return TrackedPose(int(record["t_ns"]), pose, int(record["confidence"]), bool(record["jumped"]))


def truth_text(truth: Truth) -> bytes:
    """The variable part of a TRUTH record."""
    poses = {name: [*pose.position.tolist(), *pose.quaternion.tolist()] for name, pose in truth.poses.items()}
    joints = {name: float(position) for name, position in truth.joints.items()}
    return text({"poses": poses, "joints": joints, "facts": dict(truth.facts)}, TRUTH)


def to_truth(record: np.void) -> Truth:
    content: Mapping[str, Any] = msgspec.json.decode(bytes(record["text"]))
    poses = {name: Pose.from_quaternion(row[:3], row[3:]) for name, row in content["poses"].items()}
    return Truth(int(record["t_ns"]), poses, content["joints"], content["facts"])
