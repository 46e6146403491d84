"""The monitor page on the ROS graph: topics in, five services out. `kinema.apps.monitor_page` says what it looks like.

Images are subscribed to only while somebody has the page open.
"""

import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from kinema_interfaces.msg import (
    ActionChunk,
    CellStatus,
    Divergence as DivergenceMsg,
    ExecutorState,
    PolicyInfo,
    Proposal,
    Task,
)
from kinema_interfaces.srv import Decide
from sensor_msgs.msg import JointState
from visualization_msgs.msg import Marker, MarkerArray

from kinema import cell_file
from kinema.apps.monitor_page import Actions, Cell, Divergence, Executor, Page, Plan, Snapshot
from kinema.clock import to_seconds
from kinema.control.messages import State
from kinema.geometry import Array
from kinema.policies.registry import SIMULATOR_ONLY
from kinema.streams import Level, Stream
from kinema.urdf import urdf
from kinema_ros import convert
from kinema_ros.node import Node, Parameter, spin
from monitor.graph import (
    PARAMETERS,
    PERIOD,
    Buttons,
    Cameras,
    Newest,
    ghosts,
    recorder,
    token,
)

_LATELY = 1.5  # [s] for which a comparison of imagination and reality is shown
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


class MonitorNode(Node):
    """Serves the page; `token_file` holds the token that is needed beyond loopback."""

    PARAMETERS = (
        Parameter("robot", "virtual_ur5e", "which robot is drawn"),
        *PARAMETERS,
    )

    def configure(self) -> None:
        robot = self.value("robot")
        cell = cell_file.load(self.value("cell"))
        cell.check_robot(robot)
        lower, upper = (np.array(corner) for corner in cell.control.limits.workspace)
        self._buttons = buttons = Buttons(self, "executor", ("hold", "stop", "reset"))
        self._decisions = decisions = Buttons(self, "executor", ("approve", "reject"), Decide)
        self._page = Page(
            urdf(robot),
            (lower, upper),
            Actions(
                buttons["hold"],
                buttons["stop"],
                buttons["reset"],
                lambda chunk: decisions["approve"](chunk=chunk),
                lambda chunk: decisions["reject"](chunk=chunk),
            ),
            title=f"Kinema - {robot} in cell {cell.name}",
            host=self.value("host"),
            port=self.value("port"),
            token=token(self),
            ghosts=ghosts(self),
        )
        self.get_logger().info(f"the monitor page is on {self._page.url}")
        self._cameras = Cameras(self, predicted=True)
        self._recorder = Newest(self, "recorder/state")
        self._heard: dict[str, Any] = {}
        self._paths: dict[str, Array] = {}
        self._streams: dict[str, Stream] = {
            name: self.listen(name, lambda message, name=name: self._heard.update({name: message}))
            for name in (
                "executor/state",
                "cell/status",
                "task",
                "joint_states",
                "tcp_pose",
                "policy/chunk",
                "policy/info",
            )
        }
        self._parting = self.listen("policy/divergence", lambda message: self._heard.update(divergence=message))
        self._proposal = Newest(self, "executor/proposal")
        self.listen("executor/planned_path", self._take_path)
        self.every(PERIOD, self._show)

    def cleanup(self) -> None:
        for name in ("_cameras", "_recorder", "_proposal", "_page", "_buttons", "_decisions"):
            if part := self.__dict__.pop(name, None):
                part.close()

    def _take_path(self, message: MarkerArray) -> None:
        for marker in message.markers:
            if marker.action == Marker.DELETE:
                self._paths.pop(marker.ns, None)
            elif marker.type == Marker.LINE_STRIP and marker.points:
                self._paths[marker.ns] = np.array([(point.x, point.y, point.z) for point in marker.points])

    def _plan(self) -> Plan | None:
        """What waits for a person; until when, by the arm's time."""
        message: Proposal | None = self._proposal.fresh(time.monotonic_ns())
        state: ExecutorState | None = self._heard.get("executor/state")
        if message is None or not message.waiting or state is None:
            return None
        left = convert.time_ns(message.until) - convert.time_ns(state.header.stamp)
        path = self._paths.get("proposed_path", np.zeros((0, 3)))
        return Plan(message.chunk, convert.time_ns(message.header.stamp), to_seconds(max(left, 0)), path)

    def _divergence(self, now_ns: int) -> Divergence | None:
        message: DivergenceMsg | None = self._heard.get("divergence")
        if message is None or not message.values or self._parting.age(now_ns) > _LATELY:
            return None
        return Divergence(max(message.values), message.threshold, message.diverged, message.text)

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
        info: PolicyInfo | None = heard.get("policy/info")
        policy = chunk.policy if chunk else info.name if info else ""
        mode = f", {info.mode}" if info and info.mode and info.name == policy else ""
        plan = self._plan()
        return Snapshot(
            t=to_seconds(now_ns),
            executor=self._executor(),
            cell=Cell(**{name: getattr(cell, name) for name in _CELL_FIELDS}) if cell else None,
            task=task.text if task else "",
            recorder=recorder(self._recorder.fresh(now_ns)),
            policy=f"{policy} (reads the simulator's truth)" if policy in SIMULATOR_ONLY else f"{policy}{mode}",
            plan=plan,
            joints=dict(zip(joints.name, joints.position, strict=True)) if joints else {},
            T_base_tcp=convert.pose(pose.pose) if pose else None,
            images=self._cameras.images,
            predicted=self._cameras.predicted(plan.t0_ns if plan else 0),
            planned=self._paths.get("planned_path"),
            divergence=self._divergence(now_ns),
            calibration=self._cameras.calibration,
            stale=tuple(n for n, stream in self._streams.items() if stream.health(now_ns).level == Level.STALE),
        )

    def _show(self) -> None:
        now_ns = time.monotonic_ns()
        self._cameras.subscribe(self._page.watched)
        self._page.show(self._snapshot(now_ns))


def main() -> None:
    spin(lambda: MonitorNode("monitor"))
