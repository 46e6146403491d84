"""The recording's monitor page on the ROS graph: topics in, three services of the recorder out.

`kinema.apps.monitor_recording_page` says what it looks like. Images are subscribed to only while somebody looks.
"""

import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from kinema_interfaces.msg import CellStatus, GraspForce, JawState
from tf2_msgs.msg import TFMessage

from kinema import cell_file
from kinema.apps.monitor_recording_page import Actions, Page, Snapshot
from kinema.clock import to_seconds
from kinema.geometry import Pose
from kinema.streams import Level, Stream
from kinema_ros import convert
from kinema_ros.node import Node, spin
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

_HEARD = ("tracker/pose", "jaw/state", "load_cell/force")
_BASE, _WORLD = "base_link", "world"


def _outcome(cell: CellStatus) -> str:
    done = f"success: {cell.outcome}" if cell.success else cell.outcome
    return f"{done} (scenario {cell.task}, {cell.split}, seed {cell.seed})"


class RecordingMonitor(Node):
    """Serves the page; `token_file` holds the token that is needed beyond loopback."""

    PARAMETERS = PARAMETERS

    def configure(self) -> None:
        cell = cell_file.load(self.value("cell"))
        lower, upper = (np.array(corner) for corner in cell.control.limits.workspace)
        self._buttons = buttons = Buttons(self, "recorder", ("start", "stop", "discard"))
        self._page = Page(
            (lower, upper),
            Actions(buttons["start"], buttons["stop"], buttons["discard"]),
            title=f"Kinema - recording in cell {cell.name}",
            host=self.value("host"),
            port=self.value("port"),
            token=token(self),
            ghosts=ghosts(self),
        )
        self.get_logger().info(f"the monitor page is on {self._page.url}")
        self._cameras = Cameras(self, predicted=False)
        self._recorder = Newest(self, "recorder/state")
        self._cell = Newest(self, "cell/status")
        self._heard: dict[str, Any] = {}
        self._T_base_world: Pose | None = None
        self._streams: dict[str, Stream] = {
            name: self.listen(name, lambda message, name=name: self._heard.update({name: message})) for name in _HEARD
        }
        self.listen("/tf_static", self._take_transforms)
        self.every(PERIOD, self._show)

    def cleanup(self) -> None:
        for name in ("_cameras", "_recorder", "_cell", "_page", "_buttons"):
            if part := self.__dict__.pop(name, None):
                part.close()

    def _take_transforms(self, message: TFMessage) -> None:
        for row in message.transforms:
            if (row.header.frame_id, row.child_frame_id) == (_BASE, _WORLD):
                p, q = row.transform.translation, row.transform.rotation
                self._T_base_world = Pose.from_quaternion((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))

    def _fresh(self, name: str, now_ns: int) -> Any:
        """The newest message, None while the stream is stale."""
        return None if self._streams[name].stale(now_ns) else self._heard.get(name)

    def _snapshot(self, now_ns: int) -> Snapshot:
        pose: PoseStamped | None = self._fresh("tracker/pose", now_ns)
        jaw: JawState | None = self._fresh("jaw/state", now_ns)
        force: GraspForce | None = self._fresh("load_cell/force", now_ns)
        cell: CellStatus | None = self._cell.fresh(now_ns)
        T = self._T_base_world
        return Snapshot(
            t=to_seconds(now_ns),
            recorder=recorder(self._recorder.fresh(now_ns)),
            T_base_tcp=T @ convert.pose(pose.pose) if pose and T else None,
            width=jaw.width if jaw and jaw.valid else float("nan"),
            force=force.force if force else float("nan"),
            images=self._cameras.images,
            outcome=_outcome(cell) if cell else "",
            calibration=self._cameras.calibration,
            stale=tuple(n for n, stream in self._streams.items() if stream.health(now_ns).level == Level.STALE),
        )

    def _show(self) -> None:
        now_ns = time.monotonic_ns()
        self._cameras.subscribe(self._page.watched)
        self._page.show(self._snapshot(now_ns))


def main() -> None:
    spin(lambda: RecordingMonitor("monitor"))
