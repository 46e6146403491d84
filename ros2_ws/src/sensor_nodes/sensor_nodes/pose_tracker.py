"""The handheld gripper's tracker: raw odometry, the tool's pose where it may be believed, and where its world stands.

`tracker/odometry` is whatever the device says. `tracker/pose` and the frame `tcp` are silent while the pose is invalid
(FAULTS F12). `base_link` to `world` comes from the dock (`~/anchor`, with the gripper at rest in it) or from the
calibration file; a map of tags stands where it was calibrated to stand.
"""

import threading
import time
from collections import deque

from sensor_msgs.msg import Image as ImageMsg
from std_srvs.srv import Trigger

from kinema import cell_devices, cell_file, paths
from kinema.calibration.bundle import GRIPPER_CAMERA, load_bundle
from kinema.calibration.files import TagMap, load
from kinema.cell_file import Cell
from kinema.clock import now_ns, to_seconds
from kinema.devices.t265 import T265
from kinema.devices.virtual import VirtualPoseTracker
from kinema.errors import ConfigError, DeviceError
from kinema.geometry import Pose
from kinema.interfaces import PoseTracker, TrackedPose
from kinema.perception.tag_map import TagMapTracker
from kinema.perception.tool_pose import ToolPose, anchor
from kinema.streams import Health, Level
from kinema_ros.convert import image, pose_stamped_msg, time_ns, tracked_msg, transforms_msg
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.parameters import CALIBRATION_OVERRIDE

_TIMEOUT = 0.1  # [s] of one wait for a sample
_REST = 100  # samples that an anchor is made of: half a second
_GAP_NS = 100_000_000  # between two samples, beyond which they do not belong to one rest
_SILENCE = 1.0  # [s] after which there is nothing to anchor by
_TF_EVERY = 4  # samples: 50 Hz of a T265
_MAP = "make it of the print, with kinema.perception.tag_map.charuco_map, or of a survey: docs/calibration.md"


class PoseTrackerNode(Node):
    """Publishes every sample at the tracker's own rate."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        CALIBRATION_OVERRIDE,
        Parameter(
            "anchor", "dock", "where T_base_world comes from: each visit of the dock, or the calibration file",
            choices=("dock", "file"),
        ),
    )  # fmt: skip

    def configure(self) -> None:
        cell = cell_file.load(self.value("cell"))
        if cell.devices.tracker is None:
            raise ConfigError(f"{self.value('cell')}: devices.tracker is missing; the handheld gripper needs one")
        folder, serials = cell.calibration_folder, {"tracker": cell.devices.tracker.serial}
        self._override = bool(self.value("calibration_override"))
        self._calibration = load_bundle(folder, serials, override=self._override)
        self._tool = ToolPose(self._calibration.T_tracker_tcp)
        self._lock = threading.Lock()
        self._recent: deque[TrackedPose] = deque(maxlen=_REST)
        self._arrived_ns = 0
        self._samples = 0
        self._anchored: int | None = None  # the segment in which T_base_world was found
        self._device = self._open(cell)
        self._odometry = self.outlet("tracker/odometry")
        self._pose = self.outlet("tracker/pose")
        self._tf = self.outlet("/tf", watched=False)
        self._tf_static = self.outlet("/tf_static")
        self.serve(Trigger, "~/anchor", self._anchor)
        self.watch("tool pose", self._health)

    def _open(self, cell: Cell) -> PoseTracker | None:
        """By the cell file's backend; None: the gripper camera's images tell."""
        described, latency = cell.devices.tracker, self._calibration.latency("tracker")
        if isinstance(described, cell_devices.Virtual):
            return VirtualPoseTracker(described.serial)
        if isinstance(described, cell_devices.T265):
            world = paths.runtime() if cell.simulated else None
            return T265(described.serial, latency=latency, world=world)
        folder, serials = cell.calibration_folder, {GRIPPER_CAMERA: described.serial}
        camera = load_bundle(folder, serials, override=self._override).camera(GRIPPER_CAMERA)
        tag_map = load(folder / described.map, TagMap, remedy=_MAP, override=self._override)
        self._tags = TagMapTracker(tag_map, camera.scaled(cell.image_size))
        self.listen(f"{GRIPPER_CAMERA}/image_raw", self._look)
        return None

    def activate(self) -> None:
        if self.value("anchor") == "file" or self._device is None:
            self._stand(self._calibration.T_base_world)
        if self._device is not None:
            self.loop(self._read)

    def cleanup(self) -> None:
        if device := self.__dict__.pop("_device", None):
            device.close()

    def _read(self) -> None:
        tracked = self._device.read(_TIMEOUT)
        if tracked is not None:
            self._take(tracked)

    def _look(self, message: ImageMsg) -> None:
        self._take(self._tags.track(time_ns(message.header.stamp), image(message)))

    def _take(self, tracked: TrackedPose) -> None:
        with self._lock:
            if self._recent and tracked.stamp_ns - self._recent[-1].stamp_ns > _GAP_NS:
                self._recent.clear()  # what was before says nothing of now
            self._recent.append(tracked)
            self._arrived_ns = time.monotonic_ns()
            segment = self._tool.segment
            T_world_tcp = self._tool.take(tracked)
        if self._tool.segment != segment:
            self.get_logger().warning(f"{self._tool.reason}: a new segment begins (F12)")
        self._odometry.publish(tracked_msg(tracked))
        self._samples += 1
        if T_world_tcp is None:
            return
        self._pose.publish(pose_stamped_msg(tracked.stamp_ns, "world", T_world_tcp))
        if self._samples % _TF_EVERY == 0:
            self._tf.publish(transforms_msg(tracked.stamp_ns, ("world", "tcp", T_world_tcp)))

    def _anchor(self, request: Trigger.Request, response: Trigger.Response) -> str:
        with self._lock:
            silent = to_seconds(time.monotonic_ns() - self._arrived_ns)
            if silent > _SILENCE:
                raise DeviceError(f"the tracker has been silent for {silent:.1f} s; look after its cable")
            samples = tuple(self._recent)
            T_base_world = anchor(self._calibration.T_base_dock, samples, self._calibration.T_tracker_tcp)
            self._stand(T_base_world)
        x, y, z = T_base_world.position
        return f"the tracker's world stands at {x:.3f}, {y:.3f}, {z:.3f} m in base_link"

    def _stand(self, T_base_world: Pose) -> None:
        self._anchored = self._tool.segment
        self._tf_static.publish(transforms_msg(now_ns(), ("base_link", "world", T_base_world)))

    def _health(self, monotonic_ns: int) -> Health:
        tool, last = self._tool, self._recent[-1] if self._recent else None
        values = {"segment": str(tool.segment), "confidence": str(last.confidence) if last else "none"}
        if tool.reason:
            return Health(Level.ERROR, f"invalid: {tool.reason}", values)
        if self._anchored is None:
            return Health(Level.WARN, "not anchored; lay the gripper into its dock and call ~/anchor", values)
        if self._anchored != tool.segment:
            text = "the tracker has jumped since it was anchored; lay the gripper into its dock and call ~/anchor"
            return Health(Level.WARN, text, values)
        return Health(Level.OK, "valid", values)


def main() -> None:
    spin(lambda: PoseTrackerNode("pose_tracker"))
