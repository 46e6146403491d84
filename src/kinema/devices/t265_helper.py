"""The T265 in a process of its own: librealsense's poses as fixed-size records on a socket.

The last librealsense that knows the T265, 2.53.1, has no package beyond Python 3.10, so this file is run by an
interpreter of its own: it imports nothing of Kinema (but for a virtual T265) and nothing that Python 3.9 lacks.

    python t265_helper.py SOCKET SERIAL PATIENCE [FOLDER]

SOCKET is an inherited SOCK_SEQPACKET file descriptor, PATIENCE [s] how long the tracker may take to appear (it boots
anew whenever it is opened), FOLDER the run-time directory of a virtual cell, whose tracker is then taken.

Ends when the socket's other end closes; when the tracker is lost, after a record that says why.
"""

import contextlib
import os
import select
import socket
import struct
import sys
import time
from typing import Any

READY, POSE, RELOCALISED, FAILED = range(4)  # the first byte of a record

# kind, tracker's and mapper's confidence, frame number, the frame's own time [ns], CLOCK_MONOTONIC at its arrival [ns],
# position [m] x y z, rotation quaternion x y z w: T_world_tracker. RELOCALISED: all but the kind and arrival is 0.
RECORD = struct.Struct("<BBBxIQqq7d")
WORDS = struct.Struct("<Bx254s")  # READY: firmware and SDK; FAILED: why

_LOOK = 0.25  # [s] between two looks for the tracker


class LostError(Exception):
    """The tracker is not there, or has gone."""


def words(kind: int, text: str) -> bytes:
    return WORDS.pack(kind, text.encode("utf-8")[:254])


def find(rs: Any, context: Any, serial: str, patience: float) -> Any:
    """The tracker of a serial number; raises LostError naming the ones that are there."""
    until = time.monotonic() + patience
    while True:
        found = {}
        for device in context.query_devices():
            if device.supports(rs.camera_info.product_line) and device.get_info(rs.camera_info.product_line) == "T200":
                found[device.get_info(rs.camera_info.serial_number)] = device
        if serial in found:
            return found[serial]
        if time.monotonic() > until:
            there = ", ".join(sorted(found)) or "none"
            raise LostError(f"no T265 with serial number {serial}; connected: {there}; look after its cable")
        time.sleep(_LOOK)


class Tracker:
    """One T265's pose stream, sent as it comes. librealsense calls back from threads of its own."""

    def __init__(self, rs: Any, device: Any, channel: socket.socket) -> None:
        self._rs, self._channel = rs, channel
        for self._sensor in device.query_sensors():
            profiles = [p for p in self._sensor.get_stream_profiles() if p.stream_type() == rs.stream.pose]
            if profiles:
                break
        else:
            raise LostError("the device has no pose stream; it is no T265")
        if self._sensor.supports(rs.option.enable_pose_jumping):
            self._sensor.set_option(rs.option.enable_pose_jumping, 0)  # a loop closed must not move the world
        self._sensor.set_notifications_callback(self._notified)
        self._sensor.open(profiles[0])
        self._sensor.start(self._framed)

    def _framed(self, frame: Any) -> None:
        arrival = time.monotonic_ns()
        pose = frame.as_pose_frame()
        data = pose.get_pose_data()
        at, turn = data.translation, data.rotation
        self.send(
            RECORD.pack(
                POSE,
                data.tracker_confidence,
                data.mapper_confidence,
                0,
                pose.get_frame_number(),
                round(frame.get_timestamp() * 1e6),
                arrival,
                *(at.x, at.y, at.z, turn.x, turn.y, turn.z, turn.w),
            )
        )

    def _notified(self, notification: Any) -> None:
        if notification.get_category() == self._rs.notification_category.pose_relocalization:
            self.send(RECORD.pack(RELOCALISED, 0, 0, 0, 0, 0, time.monotonic_ns(), *[0.0] * 7))

    def send(self, record: bytes) -> None:
        """Never waits: what the driver does not read is lost, and shows as a gap of frame numbers."""
        with contextlib.suppress(OSError):  # its end is noticed by `main`
            self._channel.send(record, socket.MSG_DONTWAIT)

    def stop(self) -> None:
        self._sensor.stop()
        self._sensor.close()


def main(arguments: list[str]) -> int:
    channel = socket.socket(fileno=int(arguments[0]))
    serial, patience = arguments[1], float(arguments[2])
    tracker = None
    try:
        import pyrealsense2 as rs

        if len(arguments) > 3:
            from kinema.virtual.t265 import VirtualT265

            virtual = VirtualT265(serial, arguments[3])  # alive as long as this function
            context = virtual.context
        else:
            context = rs.context()
        device = find(rs, context, serial, patience)
        tracker = Tracker(rs, device, channel)

        def changed(change: Any) -> None:
            if change.was_removed(device):
                tracker.send(words(FAILED, "the T265 was unplugged"))

        if len(arguments) == 3:
            context.set_devices_changed_callback(changed)
        firmware = rs.camera_info.firmware_version
        tracker.send(words(READY, device.get_info(firmware) if device.supports(firmware) else "unknown"))
        select.select([channel], [], [])  # the driver sends nothing: this is its end
    except (LostError, RuntimeError, ImportError) as error:  # librealsense raises RuntimeError for everything
        channel.send(words(FAILED, str(error)))
        return 1
    finally:
        if tracker is not None:
            tracker.stop()
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # librealsense's threads don't survive the end of their interpreter
