"""A T265 that is not there: librealsense's software device, fed with what the cell's tracker says.

What lies between it and a driver is the vendor's code (context, sensor, callbacks, notifications); USB, firmware and
tracking are what it leaves out. librealsense 2.59, `rs_internal.h`: the pose API outlived the T265's own support.
"""

import threading
from pathlib import Path
from typing import Any

from kinema import records
from kinema.interfaces import TrackedPose
from kinema.ring import RingReader

_LOOK = 0.001  # [s] between two looks at the ring
_RATE = 200


class VirtualT265:
    """A software device in a `context` of its own, for as long as this object is alive."""

    def __init__(self, serial: str, folder: str | Path) -> None:
        import pyrealsense2

        self._rs = rs = pyrealsense2
        self._kept: list[Any] = []  # a device stays in a context as long as a list of new devices with it is alive
        self.context = rs.context()
        self.context.set_devices_changed_callback(lambda change: self._kept.append(change.get_new_devices()))
        self._device = rs.software_device()
        for key, value in (
            (rs.camera_info.name, "Intel RealSense T265"),
            (rs.camera_info.serial_number, serial),
            (rs.camera_info.firmware_version, "software device"),
            (rs.camera_info.product_line, "T200"),
        ):
            if self._device.supports(key):
                self._device.update_info(key, value)
            else:
                self._device.register_info(key, value)
        self._sensor = self._device.add_sensor("Tracking Module")
        limits = rs.option_range()
        limits.min, limits.max, limits.step, limits.default = 0, 1, 1, 1
        self._sensor.add_option(rs.option.enable_pose_jumping, limits)
        stream = rs.pose_stream()
        stream.type, stream.fmt, stream.fps, stream.index, stream.uid = rs.stream.pose, rs.format.six_dof, _RATE, 0, 0
        self._profile = self._sensor.add_pose_stream(stream, True).as_pose_stream_profile()
        self._device.create_matcher(rs.matchers.default)
        self._device.add_to(self.context)
        self._ring, self._pushed = RingReader(Path(folder) / "tracker.ring", records.TRACKER), 0
        threading.Thread(target=self._track, name="virtual-t265", daemon=True).start()

    def _track(self) -> None:
        last, pause = self._ring.head, threading.Event()
        while not pause.wait(_LOOK):
            for number, record in self._ring.since(last):
                last = number
                self.push(records.to_tracked_pose(record))

    def push(self, tracked: TrackedPose) -> None:
        """Deliver one pose; after a notification where the tracker has jumped."""
        rs = self._rs
        if tracked.jumped:
            notification = rs.software_notification()
            notification.category = rs.notification_category.pose_relocalization
            notification.severity = rs.log_severity.info
            notification.description = "T2xx: relocalization occurred"
            notification.serialized_data = ""  # unset it is a null pointer, which librealsense reads
            notification.type = 0
            self._sensor.on_notification(notification)
        self._pushed += 1
        at, turn, data, frame = rs.vector(), rs.quaternion(), rs.pose(), rs.software_pose_frame()
        at.x, at.y, at.z = tracked.T_world_tracker.position.tolist()
        turn.x, turn.y, turn.z, turn.w = self._quaternion(tracked)
        data.translation, data.rotation = at, turn
        data.tracker_confidence = data.mapper_confidence = tracked.confidence
        frame.data, frame.profile, frame.frame_number = data, self._profile, self._pushed
        frame.timestamp, frame.domain = tracked.stamp_ns * 1e-6, rs.timestamp_domain.hardware_clock
        self._sensor.on_pose_frame(frame)

    @staticmethod
    def _quaternion(tracked: TrackedPose) -> list[float]:
        if not tracked.T_world_tracker.isfinite():
            return [float("nan")] * 4
        return tracked.T_world_tracker.quaternion.tolist()
