"""The monitor page on the ROS graph: topics in, three services out. `kinema.apps.monitor_page` says what it looks like.

Images are subscribed to only while somebody has the page open.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from kinema_interfaces.msg import ActionChunk, CellStatus, ExecutorState, Task
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from kinema import cell_file
from kinema.apps.monitor_page import Actions, Cell, Executor, Page, Snapshot
from kinema.chunk import Image as ImageArray
from kinema.clock import to_seconds
from kinema.control.messages import State
from kinema.errors import ConfigError, DeviceError
from kinema.geometry import Array
from kinema.policies.registry import SIMULATOR_ONLY
from kinema.streams import Level, Stream
from kinema.topics import CAMERAS, topic
from kinema.urdf import urdf
from kinema_ros import convert
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.topics import QOS, message_type

_PERIOD = 0.1  # [s] between two moments on the page
_ANSWER_TIMEOUT = 2.0  # [s] for the executor to answer a button
_VIDEO = 32  # predicted frames kept per camera
_FIELDS = (
    "reason",
    "owner",
    "chunk",
    "step",
    "steps_left",
    "position_error",
    "rotation_error",
    "jaw_width",
    "jaw_goal",
)
_FIELDS += ("force", "correction", "period_p50", "period_p99", "period_max", "missed")
_CELL_FIELDS = ("split", "seed", "episode", "success", "outcome", "real_time_factor", "slipped", "unanswered", "fault")


class _Cameras:
    """The newest live image of every camera and the predicted frames, while subscribed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: list[Any] = []
        self.live: dict[str, tuple[int, ImageArray]] = {}
        self._video: dict[str, deque[tuple[int, ImageArray]]] = {}

    def subscribe(self, wanted: bool) -> None:
        if wanted == bool(self._subscriptions):
            return
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self.live, self._video = {}, {name: deque(maxlen=_VIDEO) for name in CAMERAS}
        if not wanted:
            return
        for name in CAMERAS:
            for stream, take in (("image_raw", self._take_live), ("predicted", self._take_predicted)):
                row = topic(f"{name}/{stream}")
                subscription = self._node.create_subscription(
                    message_type(row), row.name, lambda m, name=name, take=take: take(name, m), QOS[row.qos]
                )
                self._subscriptions.append(subscription)

    def _take_live(self, name: str, message: Image) -> None:
        self.live[name] = (convert.time_ns(message.header.stamp), convert.image(message))

    def _take_predicted(self, name: str, message: Image) -> None:
        self._video[name].append((convert.time_ns(message.header.stamp), convert.image(message)))

    def predicted(self) -> dict[str, ImageArray]:
        """For every camera that has a prediction the frame whose moment is nearest to the live image's."""
        chosen = {}
        for name, frames in self._video.items():
            if frames:
                now = self.live[name][0] if name in self.live else frames[-1][0]
                chosen[name] = min(frames, key=lambda frame: abs(frame[0] - now))[1]
        return chosen


class MonitorNode(Node):
    """Serves the page; `token_file` holds the token that is needed beyond loopback."""

    PARAMETERS = (
        Parameter("robot", "virtual_ur5e", "which robot is drawn"),
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file; its workspace is drawn"),
        Parameter("host", "127.0.0.1", "address that the page is bound to"),
        Parameter("port", 8080, "0: any free one", 0, 65535),
        Parameter("token_file", "", "file with the token (16 or more letters and digits); needed beyond loopback"),
    )

    def configure(self) -> None:
        robot = self.value("robot")
        cell = cell_file.load(self.value("cell"))
        cell.check_robot(robot)
        lower, upper = (np.array(corner) for corner in cell.control.limits.workspace)
        self._callers = {name: self.create_client(Trigger, f"executor/{name}") for name in ("hold", "stop", "reset")}
        actions = Actions(*(self._button(name) for name in ("hold", "stop", "reset")))
        self._page = Page(
            urdf(robot),
            (lower, upper),
            actions,
            title=f"Kinema - {robot} in cell {cell.name}",
            host=self.value("host"),
            port=self.value("port"),
            token=self._token(),
        )
        self.get_logger().info(f"the monitor page is on {self._page.url}")
        self._cameras = _Cameras(self)
        self._heard: dict[str, Any] = {}
        self._planned: Array | None = None
        self._streams: dict[str, Stream] = {
            name: self.listen(name, lambda message, name=name: self._heard.update({name: message}))
            for name in ("executor/state", "cell/status", "task", "joint_states", "tcp_pose", "policy/chunk")
        }
        self.listen("executor/planned_path", self._take_path)
        self.every(_PERIOD, self._show)

    def cleanup(self) -> None:
        if cameras := self.__dict__.pop("_cameras", None):
            cameras.subscribe(False)
        if page := self.__dict__.pop("_page", None):
            page.close()
        for client in self.__dict__.pop("_callers", {}).values():
            self.destroy_client(client)

    def _token(self) -> str | None:
        file = self.value("token_file")
        if not file:
            return None
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"token_file {file}: cannot be read as text: {error}") from error

    # ---- topics

    def _take_path(self, message: MarkerArray) -> None:
        for marker in message.markers:
            if marker.type == Marker.LINE_STRIP:
                points = [(point.x, point.y, point.z) for point in marker.points]
                self._planned = np.array(points) if marker.action == Marker.ADD and points else None

    def _executor(self) -> Executor | None:
        message: ExecutorState | None = self._heard.get("executor/state")
        if message is None or self._streams["executor/state"].stale(time.monotonic_ns()):
            return None
        fields = {name: getattr(message, name) for name in _FIELDS}
        return Executor(state=State(message.state), goal=convert.pose(message.goal), **fields)

    def _snapshot(self, now_ns: int) -> Snapshot:
        heard = self._heard
        cell: CellStatus | None = heard.get("cell/status")
        task: Task | None = heard.get("task")
        joints: JointState | None = heard.get("joint_states")
        pose: PoseStamped | None = heard.get("tcp_pose")
        chunk: ActionChunk | None = heard.get("policy/chunk")
        policy = chunk.policy if chunk else ""
        return Snapshot(
            t=to_seconds(now_ns),
            executor=self._executor(),
            cell=Cell(**{name: getattr(cell, name) for name in _CELL_FIELDS}) if cell else None,
            task=task.text if task else "",
            policy=f"{policy} (reads the simulator's truth)" if policy in SIMULATOR_ONLY else policy,
            joints=dict(zip(joints.name, joints.position, strict=True)) if joints else {},
            T_base_tcp=convert.pose(pose.pose) if pose else None,
            images={name: image for name, (_, image) in self._cameras.live.items()},
            predicted=self._cameras.predicted(),
            planned=self._planned,
            stale=tuple(n for n, stream in self._streams.items() if stream.health(now_ns).level == Level.STALE),
        )

    def _show(self) -> None:
        self._cameras.subscribe(self._page.watched)
        self._page.show(self._snapshot(time.monotonic_ns()))

    # ---- buttons; they are pressed in the page's own threads

    def _button(self, name: str) -> Callable[[], str]:
        client = self._callers[name]

        def press() -> str:
            if not client.service_is_ready():
                raise DeviceError(f"the executor offers no service {client.srv_name}; is it running?")
            answered = threading.Event()
            future = client.call_async(Trigger.Request())
            future.add_done_callback(lambda _: answered.set())
            if not answered.wait(_ANSWER_TIMEOUT):
                raise DeviceError(f"{client.srv_name} did not answer within {_ANSWER_TIMEOUT} s")
            response = future.result()
            if not response.success:
                raise DeviceError(response.message)
            self.get_logger().info(f"{name}: {response.message}")
            return response.message

        return press


def main() -> None:
    spin(lambda: MonitorNode("monitor"))
