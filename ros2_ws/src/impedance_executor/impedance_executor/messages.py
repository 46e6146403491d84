"""What the executor publishes, made from one record of the control loop."""

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from kinema_interfaces.msg import ExecutorEvent
from std_msgs.msg import ColorRGBA
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from kinema.chunk import ActionChunk
from kinema.control.messages import Event
from kinema.episodes.audit import data_json
from kinema.frames import BASE, LinkFrames
from kinema.geometry import Array, Pose
from kinema_ros.convert import header, pose_msg, transform_msg

_PATH_WIDTH = 0.004  # [m]
_BLUE = ColorRGBA(r=0.1, g=0.45, b=0.9, a=1.0)
_VIOLET = ColorRGBA(r=0.44, g=0.28, b=0.91, a=1.0)
_CYAN = ColorRGBA(r=0.11, g=0.73, b=0.78, a=1.0)
_GREY = ColorRGBA(r=0.5, g=0.5, b=0.5, a=0.25)


def link_transforms(frames: LinkFrames, stamp_ns: int, q: Array) -> TFMessage:
    """/tf of every moving link."""
    rows = zip(frames.parents, frames.children, *frames.at(q), strict=True)
    return TFMessage(transforms=[transform_msg(stamp_ns, *row) for row in rows])


def event_msg(event: Event) -> ExecutorEvent:
    return ExecutorEvent(
        header=header(event.t_ns), kind=event.kind, fault=event.fault, text=event.text, data=data_json(event)
    )


def path(chunk: ActionChunk, ns: str) -> MarkerArray:
    """The targets that may be played, as a line in base_link: blue a `planned_path`, violet a `proposed_path`."""
    T = chunk.T_base_tcp_t0.matrix @ chunk.T_rel[: chunk.executable]
    colour = _BLUE if ns == "planned_path" else _VIOLET
    line = Marker(header=header(chunk.t0_ns, BASE), ns=ns, id=0, type=Marker.LINE_STRIP, color=colour)
    line.pose = pose_msg(Pose.identity())
    line.scale.x = _PATH_WIDTH
    line.points = [Point(x=x, y=y, z=z) for x, y, z in T[:, :3, 3].tolist()]
    return MarkerArray(markers=[line])


def executed_path(stamp_ns: int, positions: Sequence[Array]) -> MarkerArray:
    """Where the tool has been, positions (3,) [m] in base_link, as a line."""
    line = Marker(header=header(stamp_ns, BASE), ns="executed_path", id=0, type=Marker.LINE_STRIP, color=_CYAN)
    line.pose = pose_msg(Pose.identity())
    line.scale.x = _PATH_WIDTH
    line.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in positions]
    return MarkerArray(markers=[line])


def no_path(ns: str) -> MarkerArray:
    """Takes a path away."""
    return MarkerArray(markers=[Marker(header=header(0, BASE), ns=ns, id=0, action=Marker.DELETE)])


def workspace_box(stamp_ns: int, low: Array, high: Array) -> MarkerArray:
    """The box that the safety chain keeps the TCP in."""
    box = Marker(header=header(stamp_ns, BASE), ns="workspace", id=0, type=Marker.CUBE, color=_GREY)
    box.pose = pose_msg(Pose(np.add(low, high) / 2, np.eye(3)))
    box.scale.x, box.scale.y, box.scale.z = (float(size) for size in np.subtract(high, low))
    return MarkerArray(markers=[box])
