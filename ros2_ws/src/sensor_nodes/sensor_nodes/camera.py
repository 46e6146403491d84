"""What every camera's node does: images and camera_info in its own namespace, where it is mounted, silent or frozen."""

from kinema import cell_file
from kinema.calibration.bundle import GRIPPER_CAMERA, load_bundle
from kinema.calibration.files import CameraInfo
from kinema.cell_file import Cell
from kinema.clock import now_ns
from kinema.devices.cameras import DrivenCamera, SteadyCamera
from kinema.interfaces import Camera, Frame
from kinema.streams import FrozenImages, Health, Level
from kinema.topics import CAMERAS, Qos, topic
from kinema_ros.convert import ImageBuffer, camera_info_msg, transforms_msg
from kinema_ros.node import Node, Outlet, Parameter
from kinema_ros.parameters import CALIBRATION_OVERRIDE
from kinema_ros.topics import QOS

_TIMEOUT = 0.1  # [s] of one wait for a frame: three frames (FAULTS F09)
_RELIABILITY = {"sensor_data": QOS[Qos.SENSOR], "reliable": QOS[Qos.STATE]}


class CameraNode(Node):
    """Publishes what `open` returns; a frozen picture is withheld, so that it goes stale downstream (F10)."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        CALIBRATION_OVERRIDE,
        Parameter("camera", "left", "which camera of the cell", choices=CAMERAS),
        Parameter("qos", "sensor_data", "quality of service of the images", choices=tuple(_RELIABILITY)),
    )

    def open(self, name: str, serial: str, cell: Cell, latency: float) -> Camera:
        """The camera; `latency` [s] is to be taken off its stamps."""
        raise NotImplementedError

    def publish(self, frame: Frame) -> None:
        """Whatever a camera takes beside its colour image."""

    def configure(self) -> None:
        name = self.value("camera")
        cell = cell_file.load(self.value("cell"))
        serial = getattr(cell.devices.cameras, name).serial
        info, latency = self._calibrated(name, serial, cell)
        self._camera = self.open(name, serial, cell, latency)
        self._info_msg = camera_info_msg(info)
        self._buffer = ImageBuffer(info.frame_id)
        self._pictures = FrozenImages()
        self._frozen = False
        self._image, self._info = self.image_outlet("image_raw"), self.image_outlet("camera_info", watched=False)
        self._tf_static = self.outlet("/tf_static")
        self.watch("picture", self._picture_health)

    def _calibrated(self, name: str, serial: str, cell: Cell) -> tuple[CameraInfo, float]:
        """Its intrinsics and its latency [s]; its mount is kept for /tf_static."""
        override = bool(self.value("calibration_override"))
        bundle = load_bundle(cell.calibration_folder, {name: serial}, override=override)
        if f"{name}.yaml" in bundle.missing:
            info = CameraInfo.uncalibrated(name, cell.image_size, serial)
        else:
            info = bundle.camera(name).scaled(cell.image_size)
        parent = "tcp" if name == GRIPPER_CAMERA else "base"
        if f"T_{parent}_{name}.yaml" in bundle.missing:
            self._mount = ()
        elif name == GRIPPER_CAMERA:
            self._mount = (("tcp", info.frame_id, bundle.T_tcp_camera()),)
        else:
            self._mount = (("base_link", info.frame_id, bundle.T_base_camera(name)),)
        return info, bundle.latency(name)

    def image_outlet(self, name: str, watched: bool = True) -> Outlet:
        """A publisher in the camera's namespace, of the quality that the parameter says."""
        return self.outlet(f"{self.value('camera')}/{name}", _RELIABILITY[self.value("qos")], watched=watched)

    def activate(self) -> None:
        self._tf_static.publish(transforms_msg(now_ns(), *self._mount))
        self.loop(self._read)

    def cleanup(self) -> None:
        if camera := self.__dict__.pop("_camera", None):
            camera.close()

    def _read(self) -> None:
        frame = self._camera.read(_TIMEOUT)
        if frame is None:
            return
        was, self._frozen = self._frozen, self._pictures.frozen(frame.image)
        if self._frozen:
            if not was:
                self.get_logger().error(f"camera {frame.camera} is frozen: identical frames; images are withheld (F10)")
            return
        message = self._buffer.fill(frame.image, frame.stamp_ns)
        self._info_msg.header.stamp = message.header.stamp
        self._image.publish(message)
        self._info.publish(self._info_msg)
        self.publish(frame)

    def _picture_health(self, monotonic_ns: int) -> Health:
        if self._frozen:
            return Health(Level.ERROR, "frozen: identical frames with fresh stamps; images are withheld")
        return Health(Level.OK, "changes")


class DrivenCameraNode(CameraNode):
    """A camera with a vendor's SDK behind it: opened anew, unattended, when it is lost or silent (F09)."""

    PARAMETERS = (
        *CameraNode.PARAMETERS,
        Parameter("calibrated", True, "false: camera_info has K[0] = 0, and /tf_static nothing; to calibrate with"),
        Parameter("reconnect_after", 1.0, "[s] without an image until the camera is opened anew", 0.2, 60.0),
    )
    rate = topic("left/image_raw").rate

    def drive(self, name: str, serial: str, cell: Cell, latency: float) -> DrivenCamera:
        """Open the driver with the parameters' settings; may be called again and again."""
        raise NotImplementedError

    def open(self, name: str, serial: str, cell: Cell, latency: float) -> Camera:
        camera = SteadyCamera(name, lambda: self.drive(name, serial, cell, latency), self.value("reconnect_after"))
        self.watch("device", lambda monotonic_ns: camera.health())
        return camera

    def _calibrated(self, name: str, serial: str, cell: Cell) -> tuple[CameraInfo, float]:
        if self.value("calibrated"):
            return super()._calibrated(name, serial, cell)
        self._mount = ()
        return CameraInfo.uncalibrated(name, cell.image_size, serial), 0.0

    def given(self, name: str) -> float | None:
        """A parameter whose negative values mean the camera's automatic."""
        value = self.value(name)
        return None if value < 0 else value
