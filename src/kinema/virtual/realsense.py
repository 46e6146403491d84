"""A D435 that is not there: librealsense's own software device, and one that shows what a camera of the cell sees.

What lies between it and a driver is the vendor's code (context, pipeline, syncer, alignment, options, queues), in the
driver's own process; USB and firmware are what it leaves out. librealsense 2.59, `rs_internal.h`.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema import paths, records
from kinema.calibration.files import CameraInfo
from kinema.clock import now_ns
from kinema.ring import RingReader
from kinema.virtual.cameras import camera

_COUNTED = 2**31  # frames that librealsense can number; the renderer numbers moments since 1970
_LOOK = 0.002  # [s] between two looks at the ring
_BASELINE = 0.050  # [m] between the infrared sensors; D400 Series Datasheet
_DEPTH_TO_COLOUR = (0.015, 0.0, 0.0)  # [m] where the depth (left infrared) sensor's origin lies for the colour sensor
_DEPTH_UNIT = 0.001  # [m]
_SWITCH = (0, 1, 1, 0)
_COLOUR_OPTIONS = {  # lowest, highest, step, at first
    "exposure": (1, 10000, 1, 156),
    "enable_auto_exposure": (0, 1, 1, 1),
    "auto_exposure_priority": (0, 1, 1, 1),
    "gain": (0, 128, 1, 64),
    "white_balance": (2800, 6500, 10, 4600),
    "enable_auto_white_balance": (0, 1, 1, 1),
    "global_time_enabled": _SWITCH,
}
_STEREO_OPTIONS = {
    "inter_cam_sync_mode": (0, 260, 1, 0),
    "emitter_enabled": (0, 2, 1, 1),
    "global_time_enabled": _SWITCH,
}


class VirtualD435:
    """A software device in a `context` of its own, which a driver takes in place of this machine's USB.

    info      the colour sensor's calibration, and the size of every stream
    stereo    whether it has depth and the infrared pair as well
    usb       what it says of its link; in librealsense's words
    """

    def __init__(self, serial: str, info: CameraInfo, rate: int = 30, stereo: bool = False, usb: str = "3.2") -> None:
        import pyrealsense2

        self._rs = pyrealsense2
        self.serial, self._info, self._rate, self._stereo, self._usb = serial, info, rate, stereo, usb
        self._kept: list[Any] = []  # a device stays in a context as long as a list of new devices with it is alive
        self.context = self._rs.context()
        self.context.set_devices_changed_callback(lambda change: self._kept.append(change.get_new_devices()))
        self.plug()

    # ---- what it is

    def plug(self) -> None:
        """Appear in the context."""
        rs = self._rs
        device = rs.software_device()
        for key, value in (
            (rs.camera_info.name, "Intel RealSense D435"),
            (rs.camera_info.serial_number, self.serial),
            (rs.camera_info.firmware_version, "software device"),
            (rs.camera_info.product_line, "D400"),
            (rs.camera_info.usb_type_descriptor, self._usb),
            (rs.camera_info.physical_port, f"software-{self.serial}"),
        ):
            if device.supports(key):
                device.update_info(key, value)
            else:
                device.register_info(key, value)
        self._streams: dict[str, tuple[Any, Any]] = {}  # sensor and profile by name
        colour = self._sensor(device, "RGB Camera", _COLOUR_OPTIONS)
        self._add(colour, "color", rs.stream.color, rs.format.rgb8)
        if self._stereo:
            stereo = self._sensor(device, "Stereo Module", _STEREO_OPTIONS)
            stereo.add_read_only_option(rs.option.depth_units, _DEPTH_UNIT)
            stereo.add_read_only_option(rs.option.stereo_baseline, _BASELINE * 1e3)
            self._add(stereo, "depth", rs.stream.depth, rs.format.z16)
            for index in (1, 2):
                self._add(stereo, f"infrared{index}", rs.stream.infrared, rs.format.y8, index)
            self._place(_DEPTH_TO_COLOUR)
        device.create_matcher(rs.matchers.default)
        device.add_to(self.context)
        self._device = device

    def _sensor(self, device: Any, name: str, options: dict[str, tuple[int, int, int, int]]) -> Any:
        sensor = device.add_sensor(name)
        for option, (low, high, step, first) in options.items():
            limits = self._rs.option_range()
            limits.min, limits.max, limits.step, limits.default = low, high, step, first
            sensor.add_option(getattr(self._rs.option, option), limits)
        return sensor

    def _add(self, sensor: Any, name: str, kind: Any, pixels: Any, index: int = 0) -> None:
        stream = self._rs.video_stream()
        stream.type, stream.fmt, stream.index, stream.uid = kind, pixels, index, len(self._streams)
        stream.bpp = {self._rs.format.rgb8: 3, self._rs.format.z16: 2, self._rs.format.y8: 1}[pixels]
        stream.width, stream.height = self._info.size
        stream.fps, stream.intrinsics = self._rate, self._intrinsics()
        self._streams[name] = sensor, sensor.add_video_stream(stream, True).as_video_stream_profile()

    def _intrinsics(self) -> Any:
        rs, matrix = self._rs, self._info.matrix
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = self._info.size
        intrinsics.fx, intrinsics.fy = matrix[0, 0], matrix[1, 1]
        intrinsics.ppx, intrinsics.ppy = matrix[0, 2], matrix[1, 2]
        intrinsics.model, intrinsics.coeffs = rs.distortion.brown_conrady, self._info.distortion.tolist()
        return intrinsics

    def _place(self, position: Sequence[float]) -> None:
        extrinsics = self._rs.extrinsics()
        extrinsics.rotation, extrinsics.translation = np.eye(3).ravel().tolist(), list(position)
        self._streams["depth"][1].register_extrinsics_to(self._streams["color"][1], extrinsics)

    # ---- what it does

    def push(self, sequence: int, stamp_ns: int, **images: NDArray) -> None:
        """Deliver what was taken at a moment [ns, Kinema time]: `color` (height, width, 3), `depth` [mm],
        `infrared1`, `infrared2`; what is left out was lost.

        Its stamps are wall time where the driver has switched global time on, else the camera's own time.
        """
        rs = self._rs
        for name, pixels in images.items():
            sensor, profile = self._streams[name]
            frame = rs.software_video_frame()
            frame.pixels, frame.bpp = pixels, pixels.itemsize * (pixels.shape[2] if pixels.ndim > 2 else 1)
            frame.stride, frame.profile, frame.frame_number = pixels.strides[0], profile, sequence
            if sensor.get_option(rs.option.global_time_enabled):
                frame.domain = rs.timestamp_domain.global_time
                frame.timestamp = (stamp_ns + time.time_ns() - now_ns()) * 1e-6
            else:
                frame.domain = rs.timestamp_domain.hardware_clock
                frame.timestamp = stamp_ns * 1e-6
            sensor.on_video_frame(frame)

    def option(self, stream: str, name: str) -> float:
        """The value of an option of the sensor that a stream comes from."""
        return self._streams[stream][0].get_option(getattr(self._rs.option, name))

    def unplug(self) -> None:
        """Fall silent, and leave the context as soon as no driver holds on to the device."""
        self._kept.clear()
        self._streams.clear()
        self._device = None


class CellD435(VirtualD435):
    """A D435 that shows what a camera of the virtual cell sees: colour, as the renderer draws it.

    Its global time is the moment that a picture shows, so the time for which the renderer draws is not taken for it.
    """

    def __init__(self, name: str, size: tuple[int, int], folder: Path | None = None) -> None:
        row = camera(name)
        super().__init__(row.serial, row.info(size), round(row.rate))
        folder = folder or paths.runtime()
        self._frames = RingReader(folder / f"frames_{name}.ring", records.frame(size))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._show, name=f"cell-d435-{name}", daemon=True)
        self._thread.start()

    def _show(self) -> None:
        last = self._frames.head
        while not self._closing.wait(_LOOK):
            for number, frame in self._frames.since(last):
                self.push(int(frame["sequence"]) % _COUNTED, int(frame["t_ns"]), color=frame["image"])
                last = number

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self.unplug()
