"""A Basler camera through pypylon: Bayer to RGB by the SDK, the newest images in a ring, skipped ones counted.

Sources: Basler Product Documentation (docs.baslerweb.com), "Pixel Format", "Image ROI", "Free Run Image Acquisition",
"Triggered Image Acquisition", "Timestamp"; pylon C++ API, InstantCamera and its grab strategies. Cameras of before
SFNC 2.0 (GigE ace) name some features otherwise: both names stand in the tables below.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.clock import NS, now_ns, to_ns
from kinema.device_clock import DeviceClock
from kinema.devices import genicam_lock
from kinema.devices.cameras import CameraFacts
from kinema.devices.ownership import claim
from kinema.errors import DeviceError
from kinema.interfaces import Frame

_WAITING = 4  # images that wait for a reader who is late; older ones are skipped
_MICROSECOND = 1e-6  # [s]; the unit of exposure features
LINKS = {"usb": "BaslerUsb", "gige": "BaslerGigE", "emulation": "BaslerCamEmu"}  # pylon's device classes
_LAST_BLOCK = 65535  # GigE Vision counts images from 1 to here, and goes on with 1


@dataclass(frozen=True, slots=True)
class BaslerSettings:
    """How a Basler camera shall run; None leaves it to the camera's automatic.

    link          usb, gige or emulation (pylon's own, with PYLON_CAMEMU=1 in the environment): where it is looked for
    user_id       the name that a lab gave the camera (DeviceUserID); '' any
    pixel_format  as the camera calls it: BayerRG8, RGB8, Mono8; what is read is RGB
    binning       pixels of the sensor that make one, each way
    size, offset  width, height and left, top [px] of the region of interest, after binning; None: centred
    rate          [Hz], when nothing triggers
    exposure      [s]; gain [dB]
    trigger       the line whose rising edge takes an image, as the camera calls it: Line1; '' free running
    packet_size   [bytes] of a GigE packet; 0 as it is
    buffers       how many images may be under way in the driver
    latency       [s] from acquisition to the stamp, as calibrated; taken off every stamp
    """

    serial: str
    link: str = "usb"
    user_id: str = ""
    pixel_format: str = "BayerRG8"
    binning: int = 1
    size: tuple[int, int] = (640, 480)
    offset: tuple[int | None, int | None] = (None, None)
    rate: float = 30.0
    exposure: float | None = None
    gain: float | None = None
    trigger: str = ""
    packet_size: int = 0
    buffers: int = 10
    latency: float = 0.0


def sdk() -> Any:
    """pypylon's `pylon`; raises DeviceError saying what its import lacks."""
    try:
        from pypylon import pylon
    except ImportError as error:
        raise DeviceError(f"pypylon can't be imported ({error}); it is the Python package pypylon") from error
    return pylon


def _plugged_in(pylon: Any, link: str) -> dict[str, Any]:
    """pylon's device infos by serial number."""
    kind = pylon.DeviceInfo()
    kind.SetDeviceClass(LINKS[link])
    return {info.GetSerialNumber(): info for info in pylon.TlFactory.GetInstance().EnumerateDevices([kind])}


def present(link: str) -> dict[str, str]:
    """Serial numbers of the cameras that pylon sees by a link, each with its model."""
    return {serial: f"{info.GetModelName()} by {link}" for serial, info in _plugged_in(sdk(), link).items()}


class BaslerCamera:
    """One camera, grabbing. Colours are the sensor's own: pylon's converter interpolates, nothing else."""

    def __init__(self, name: str, settings: BaslerSettings) -> None:
        """Raises DeviceError when it is absent or can't do what the settings ask, OwnershipError naming its owner."""
        self._pylon = sdk()
        from pypylon import genicam

        self._genicam = genicam
        self.name, self.serial, self._settings = name, settings.serial, settings
        self._clock, self._latency_ns = DeviceClock(), to_ns(settings.latency)
        self._block, self._sequence = -1, -1
        self._claim = claim(f"basler-{settings.serial}")
        self._camera: Any = None
        try:
            self._open()
            self._set_up()
            self._grab()
        except genicam.GenericException as error:
            self.close()
            raise self._error(str(error)) from error
        except BaseException:
            self.close()
            raise

    def _error(self, text: str) -> DeviceError:
        return DeviceError(f"camera {self.name} (Basler {self.serial}): {text}")

    # ---- opening

    def _open(self) -> None:
        link = self._settings.link
        if link not in LINKS:
            raise self._error(f"link is {link!r}, allowed are {', '.join(LINKS)}")
        plugged_in = _plugged_in(self._pylon, link)
        info = plugged_in.get(self.serial)
        if info is None:
            raise self._error(f"is not plugged in; present by {link} are: {', '.join(sorted(plugged_in)) or 'none'}")
        with genicam_lock.turn():
            self._camera = self._pylon.InstantCamera(self._pylon.TlFactory.GetInstance().CreateDevice(info))
            self._camera.Open()
        self._nodes = self._camera.GetNodeMap()
        user_id, wanted = self._known("DeviceUserID"), self._settings.user_id
        if wanted not in ("", user_id):
            raise self._error(f"calls itself {user_id!r}, the settings want {wanted!r}; set its DeviceUserID, or them")
        speed = self._known("BslUSBSpeedMode")
        slow = speed and speed != "SuperSpeed"
        self.facts = CameraFacts(
            info.GetModelName(),
            self._known("DeviceFirmwareVersion"),
            info.GetFullName(),
            f"{link} {speed}".strip(),
            f"runs at USB {speed}; plug it into a USB 3 port, by a USB 3 cable" if slow else "",
        )

    def _node(self, *names: str, writable: bool = True) -> Any:
        """The first feature of these names that the camera has at present, or None."""
        usable = self._genicam.IsWritable if writable else self._genicam.IsReadable
        return next((node for node in map(self._nodes.GetNode, names) if node is not None and usable(node)), None)

    def _known(self, *names: str) -> str:
        node = self._node(*names, writable=False)
        return "" if node is None else str(node.Value)

    def _set(self, value: bool | float | str, *names: str) -> None:
        """Set a feature by one of its names; raises DeviceError naming what the camera allows. (A step: pylon does.)"""
        node = self._node(*names)
        if node is None:
            raise self._error(f"has no {names[0]}, which was to be {value}")
        if isinstance(value, str):
            allowed, fits = ", ".join(node.Symbolics), value in node.Symbolics
        elif isinstance(value, bool):
            allowed, fits = "", True
        else:
            allowed, fits = f"{node.Min:g} to {node.Max:g}", node.Min <= value <= node.Max
        if not fits:
            raise self._error(f"{node.GetNode().GetName()} was to be {value}, it allows {allowed}")
        node.Value = value

    def _set_up(self) -> None:
        """Every feature in the order in which the camera takes them."""
        settings = self._settings
        self._set(settings.pixel_format, "PixelFormat")
        for way in ("Horizontal", "Vertical"):
            if settings.binning > 1 or self._node(f"Binning{way}") is not None:
                self._set(settings.binning, f"Binning{way}")
        for axis in ("X", "Y"):
            self._set(0, f"Offset{axis}")  # else a large region does not fit
        for length, side in zip(settings.size, ("Width", "Height"), strict=True):
            self._set(length, side)
        for offset, axis in zip(settings.offset, ("X", "Y"), strict=True):
            self._set(self._middle(axis) if offset is None else offset, f"Offset{axis}")
        for automatic, names, value in (
            (
                "ExposureAuto",
                ("ExposureTime", "ExposureTimeAbs"),
                settings.exposure and settings.exposure / _MICROSECOND,
            ),
            ("GainAuto", ("Gain",), settings.gain),
        ):
            if value is None or self._node(automatic) is not None:  # a camera without automatic needs none to be off
                self._set("Continuous" if value is None else "Off", automatic)
            if value is not None:
                self._set(value, *names)
        if settings.packet_size:
            self._set(settings.packet_size, "GevSCPSPacketSize")
        self._set("FrameStart", "TriggerSelector")
        if settings.trigger:
            self._set(settings.trigger, "TriggerSource")
            self._set("RisingEdge", "TriggerActivation")
        self._set("On" if settings.trigger else "Off", "TriggerMode")
        if not settings.trigger:
            self._set(True, "AcquisitionFrameRateEnable")
            self._set(settings.rate, "AcquisitionFrameRate", "AcquisitionFrameRateAbs")

    def _middle(self, axis: str) -> int:
        """The offset that centres the region of interest."""
        node = self._node(f"Offset{axis}")
        return node.Max // 2 // node.Inc * node.Inc

    def _grab(self) -> None:
        pylon, camera = self._pylon, self._camera
        self._converter = pylon.ImageFormatConverter()
        self._converter.OutputPixelFormat = pylon.PixelType_RGB8packed
        self._converter.OutputBitAlignment.Value = "MsbAligned"
        frequency = self._node("GevTimestampTickFrequency", writable=False)
        self._tick_ns = NS / frequency.Value if frequency is not None else 1.0
        camera.MaxNumBuffer.Value = self._settings.buffers
        camera.OutputQueueSize.Value = min(_WAITING, self._settings.buffers)
        camera.StartGrabbing(pylon.GrabStrategy_LatestImages)

    # ---- reading

    def read(self, timeout: float) -> Frame | None:
        """The next whole image; raises DeviceError when the camera has been pulled."""
        try:
            result = self._camera.RetrieveResult(round(timeout * 1e3), self._pylon.TimeoutHandling_Return)
            arrival_ns = now_ns()
            if self._camera.IsCameraDeviceRemoved():
                raise self._error("has been unplugged")
            if not result.IsValid():
                return None
            with result:
                return self._frame(result, arrival_ns) if result.GrabSucceeded() else None
        except self._genicam.GenericException as error:
            raise self._error(str(error)) from error

    def _frame(self, result: Any, arrival_ns: int) -> Frame:
        image = np.asarray(self._converter.Convert(result).GetArray(), np.uint8)
        stamp_ns = self._stamp_ns(result.TimeStamp, arrival_ns) - self._latency_ns
        return Frame(self.name, self._count(result.BlockID), stamp_ns, image)

    def _stamp_ns(self, ticks: int, arrival_ns: int) -> int:
        """The camera's stamp, the begin of the exposure, in Kinema time; the arrival where it has no clock."""
        return self._clock.to_kinema_ns(round(ticks * self._tick_ns), arrival_ns) if ticks else arrival_ns

    def _count(self, block: int) -> int:
        """What the sensor has taken so far, damaged and skipped images too, by the number of an image's block."""
        ahead = block - self._block
        self._sequence += ahead % _LAST_BLOCK if self._camera.IsGigE() and ahead < 0 else ahead
        self._block = block
        return self._sequence

    def close(self) -> None:
        if self._camera is not None:
            with contextlib.suppress(self._genicam.GenericException):  # of a camera that has been pulled
                self._camera.StopGrabbing()
            with contextlib.suppress(self._genicam.GenericException):
                self._camera.Close()
            self._camera.DestroyDevice()
            self._camera = None
        self._claim.close()


def opener(name: str, settings: BaslerSettings) -> Callable[[], BaslerCamera]:
    """For SteadyCamera."""
    return lambda: BaslerCamera(name, settings)
