"""An Intel RealSense D435 through pyrealsense2: colour, if wanted depth aligned to it and the infrared pair.

Sources: librealsense 2.59, `rs_option.h` and `rs_frame.h` (units, time stamp domains), "Projection, Texture-Mapping and
Occlusion" (alignment); D400 Series Datasheet, section 4 (streams, inter-camera synchronisation).
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.clock import now_ns, to_ns
from kinema.device_clock import DeviceClock
from kinema.devices.cameras import CameraFacts
from kinema.devices.ownership import claim
from kinema.errors import DeviceError
from kinema.interfaces import Frame

_QUEUE = 4  # sets of frames that wait for a reader who is late
_OLDEST_NS = to_ns(0.5)  # a frame that claims to be older, or to come from the future, carries a stamp to distrust
_EXPOSURE_UNIT = 1e-4  # [s] of the colour sensor's option `exposure`
_DEPTH_UNIT = 0.001  # [m]; what a ROS depth image of 16 bits counts (REP 118)


@dataclass(frozen=True, slots=True)
class RealSenseSettings:
    """How a D435 shall run; None leaves it to the camera's automatic.

    size           width, height [px] of every stream; rate [Hz] likewise
    depth          aligned to the colour image; infrared: the left and the right image
    exposure       [s] of the colour sensor; its gain [-]; its white_balance [K]
    auto_exposure_priority  lets the rate sink in the dark, for longer exposures
    inter_cam_sync_mode     0 none, 1 master, 2 slave; what the cable between cameras needs
    emitter        the infrared dots that depth needs on bare walls
    usb_port       as librealsense calls it; '' any
    latency        [s] from acquisition to the stamp, as calibrated; taken off every stamp
    """

    serial: str
    size: tuple[int, int] = (640, 480)
    rate: int = 30
    depth: bool = False
    infrared: bool = False
    exposure: float | None = None
    gain: float | None = None
    white_balance: float | None = None
    auto_exposure_priority: bool = False
    inter_cam_sync_mode: int = 0
    emitter: bool = True
    usb_port: str = ""
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class RealSenseFrame(Frame):
    """A colour image, and what was taken with it.

    depth     (height, width) [mm] seen from the colour sensor, 0 where unknown; None: not asked for, or lost
    infrared  left and right (height, width) grey images, in their own frames; empty likewise
    """

    depth: NDArray[np.uint16] | None = None
    infrared: tuple[NDArray[np.uint8], ...] = ()


def sdk() -> Any:
    """pyrealsense2; raises DeviceError saying what its import lacks."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise DeviceError(
            f"pyrealsense2 can't be imported ({error}); it needs the Python package pyrealsense2 and Debian's "
            "libusb-1.0-0"
        ) from error
    return pyrealsense2


def _plugged_in(rs: Any, context: Any) -> dict[str, Any]:
    """librealsense's devices by serial number."""
    return {device.get_info(rs.camera_info.serial_number): device for device in context.query_devices()}


def _told(rs: Any, device: Any, key: str) -> str:
    """One of `rs.camera_info` of a device, '' where it does not say."""
    info = getattr(rs.camera_info, key)
    return device.get_info(info) if device.supports(info) else ""


def present(context: Any = None) -> dict[str, str]:
    """Serial numbers of the cameras that librealsense sees, each with its model, firmware and link."""
    rs = sdk()
    try:
        devices = _plugged_in(rs, context or rs.context())
        return {
            serial: f"{_told(rs, device, 'name')}, firmware {_told(rs, device, 'firmware_version')}, "
            f"USB {_told(rs, device, 'usb_type_descriptor') or 'unknown'}"
            for serial, device in devices.items()
        }
    except RuntimeError as error:
        raise DeviceError(f"librealsense can't list its cameras: {error}") from error


def _array(frame: Any) -> Any:
    """The frame's pixels in memory of our own: the SDK takes its own back."""
    return np.array(frame.get_data())


class RealSenseCamera:
    """One D435, running. `context` is librealsense's; where it is not given, the devices on this machine's USB."""

    def __init__(self, name: str, settings: RealSenseSettings, context: Any = None) -> None:
        """Raises DeviceError when it is absent or can't do what the settings ask, OwnershipError naming its owner."""
        self._rs = sdk()
        self.name, self.serial, self._settings = name, settings.serial, settings
        self._context = context or self._rs.context()
        self._clock, self._latency_ns = DeviceClock(), to_ns(settings.latency)
        self._numbers: dict[str, int] = {}  # of the last frame that was read, by stream
        self._align = self._rs.align(self._rs.stream.color) if settings.depth else None
        self._claim = claim(f"realsense-{settings.serial}")
        try:
            self._start()
        except RuntimeError as error:  # what librealsense raises
            self._claim.close()
            raise self._error(str(error)) from error
        except BaseException:
            self._claim.close()
            raise

    def _error(self, text: str) -> DeviceError:
        return DeviceError(f"camera {self.name} (RealSense {self.serial}): {text}")

    # ---- opening

    def _wanted(self) -> Iterator[tuple[Any, int, Any]]:
        """Stream, index and format of what shall be read."""
        rs = self._rs
        yield rs.stream.color, 0, rs.format.rgb8
        if self._settings.depth:
            yield rs.stream.depth, 0, rs.format.z16
        if self._settings.infrared:
            yield rs.stream.infrared, 1, rs.format.y8
            yield rs.stream.infrared, 2, rs.format.y8

    def _start(self) -> None:
        rs, settings = self._rs, self._settings
        self._device = self._find()
        self.facts = self._facts()
        config = rs.config()
        config.enable_device(self.serial)
        for stream, index, kind in self._wanted():
            self._check_offered(stream, index, kind)
            config.enable_stream(stream, index, *settings.size, kind, settings.rate)
        self._set_up()
        self._queue = rs.frame_queue(_QUEUE)
        self._pipeline = rs.pipeline(self._context)
        self._pipeline.start(config, self._queue)

    def _find(self) -> Any:
        """The device; asked for before the pipeline is, which would wait 15 s for one that is absent."""
        plugged_in = _plugged_in(self._rs, self._context)
        device = plugged_in.get(self.serial)
        if device is None:
            raise self._error(f"is not plugged in; present are: {', '.join(sorted(plugged_in)) or 'none'}")
        return device

    def _facts(self) -> CameraFacts:
        known = functools.partial(_told, self._rs, self._device)
        port, usb = known("physical_port"), known("usb_type_descriptor")
        if self._settings.usb_port not in ("", port):
            raise self._error(f"is on USB port {port!r}, the settings allow {self._settings.usb_port!r}")
        slow = f"is on USB {usb}; plug it into a USB 3 port, by a USB 3 cable" if usb and usb < "3" else ""
        return CameraFacts(known("name"), known("firmware_version"), port, f"USB {usb or 'unknown'}", slow)

    def _check_offered(self, stream: Any, index: int, kind: Any) -> None:
        width, height = self._settings.size
        wanted = (stream, index, kind, width, height, self._settings.rate)
        profiles = [
            profile.as_video_stream_profile()
            for sensor in self._device.query_sensors()
            for profile in sensor.get_stream_profiles()
            if profile.is_video_stream_profile()
        ]
        offered = {(p.stream_type(), p.stream_index(), p.format(), p.width(), p.height(), p.fps()) for p in profiles}
        if wanted in offered:
            return
        modes = sorted({row[3:] for row in offered if row[:3] == wanted[:3]})
        text = ", ".join(f"{w}x{h} at {rate} Hz" for w, h, rate in modes) or "nothing"
        which = f"{stream.name} {index}" if index else stream.name
        raise self._error(f"offers {text} as {which} ({kind.name}); asked for is {width}x{height} at {wanted[5]} Hz")

    def _sensor(self, stream: Any) -> Any:
        """The sensor that a stream comes from, None where the device has no such stream."""
        for sensor in self._device.query_sensors():
            if any(profile.stream_type() == stream for profile in sensor.get_stream_profiles()):
                return sensor
        return None

    def _set_up(self) -> None:
        """Every option in the order in which the camera takes them: an automatic goes off before its value is set."""
        option, settings = self._rs.option, self._settings
        colour, stereo = self._sensor(self._rs.stream.color), self._sensor(self._rs.stream.depth)
        for sensor in (colour, stereo):
            self._option(sensor, option.global_time_enabled, 1)
        for automatic, manual, value in (
            (option.enable_auto_exposure, option.exposure, settings.exposure and settings.exposure / _EXPOSURE_UNIT),
            (option.enable_auto_white_balance, option.white_balance, settings.white_balance),
        ):
            self._option(colour, automatic, value is None)
            if value is not None:
                self._option(colour, manual, value, needed=True)
        if settings.gain is not None:
            self._option(colour, option.gain, settings.gain, needed=True)
        self._option(colour, option.auto_exposure_priority, settings.auto_exposure_priority)
        mode = settings.inter_cam_sync_mode
        self._option(stereo, option.inter_cam_sync_mode, mode, needed=mode != 0)
        self._option(stereo, option.emitter_enabled, settings.emitter)
        if settings.depth:
            self._option(stereo, option.depth_units, _DEPTH_UNIT, needed=True)

    def _option(self, sensor: Any, option: Any, value: float, needed: bool = False) -> None:
        """Set an option that the sensor has; one that it lacks is an error only where it is `needed`."""
        if sensor is None or not sensor.supports(option):
            if needed:
                raise self._error(f"has no option {option.name}, which was to be {value:g}")
            return
        limits = sensor.get_option_range(option)
        if not limits.min <= np.float32(value) <= limits.max:  # the SDK's options are of single precision
            raise self._error(f"{option.name} was to be {value:g}, it allows {limits.min:g} to {limits.max:g}")
        if not sensor.is_option_read_only(option):
            sensor.set_option(option, value)

    # ---- reading

    def read(self, timeout: float) -> RealSenseFrame | None:
        """The next set with a new colour image; raises DeviceError when the camera has been pulled."""
        until = time.monotonic() + timeout
        try:
            while True:
                came, frames = self._queue.try_wait_for_frame(max(1, round((until - time.monotonic()) * 1e3)))
                arrival_ns = now_ns()
                if came:
                    if (frame := self._frame(frames.as_frameset(), arrival_ns)) is not None:
                        return frame
                elif not self._device.is_connected():
                    raise self._error("has been unplugged")
                if time.monotonic() >= until:
                    return None
        except RuntimeError as error:
            raise self._error(str(error)) from error

    def _frame(self, frames: Any, arrival_ns: int) -> RealSenseFrame | None:
        """What is new in a set; None without a new colour image. In place of a lost image a set has the last one."""
        colour = frames.get_color_frame()
        if not self._is_new("colour", colour):
            return None
        depth, infrared = None, ()
        if self._align is not None and self._is_new("depth", frames.get_depth_frame()):
            depth = _array(self._align.process(frames).get_depth_frame())
        if self._settings.infrared and self._is_new("infrared", frames.get_infrared_frame(1)):
            infrared = tuple(_array(frames.get_infrared_frame(index)) for index in (1, 2))
        stamp_ns = self._stamp_ns(colour, arrival_ns) - self._latency_ns
        return RealSenseFrame(self.name, self._numbers["colour"], stamp_ns, _array(colour), depth, infrared)

    def _is_new(self, stream: str, frame: Any) -> bool:
        """Whether the camera took it after the last one that was read."""
        number = frame.get_frame_number()
        newer = number > self._numbers.get(stream, -1)
        if newer:
            self._numbers[stream] = number
        return newer

    def _stamp_ns(self, frame: Any, arrival_ns: int) -> int:
        """The frame's stamp in Kinema time.

        Global time is the camera's clock in the host's wall time. Just after a step of that (FAULTS F20) it can't be
        believed; then, as for a camera without global time, the frame that came fastest tells the offset.
        """
        stamp_ns = round(frame.get_timestamp() * 1e6)
        if frame.get_frame_timestamp_domain() != self._rs.timestamp_domain.hardware_clock:
            known_ns = stamp_ns - (time.time_ns() - now_ns())
            if 0 <= arrival_ns - known_ns <= _OLDEST_NS:
                return known_ns
        return self._clock.to_kinema_ns(stamp_ns, arrival_ns)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # of a camera that has been pulled
            self._pipeline.stop()
        del self._pipeline, self._device  # the SDK gives the camera free with its last reference
        self._claim.close()


def opener(name: str, settings: RealSenseSettings, context: Any = None) -> Callable[[], RealSenseCamera]:
    """For SteadyCamera."""
    return lambda: RealSenseCamera(name, settings, context)
