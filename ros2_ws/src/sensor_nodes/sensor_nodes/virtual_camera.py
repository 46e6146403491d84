"""One camera of the virtual cell: image_raw and camera_info in its own namespace; says so when silent or frozen."""

from kinema import cell_file
from kinema.calibration.bundle import GRIPPER_CAMERA, load_bundle
from kinema.clock import now_ns
from kinema.devices.virtual import VirtualCamera
from kinema.streams import FrozenImages, Health, Level
from kinema.topics import CAMERAS, Qos
from kinema_ros.convert import ImageBuffer, camera_info_msg, transforms_msg
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.topics import QOS

_TIMEOUT = 0.1  # [s] of one wait for a frame: three frames (FAULTS F09)
_RELIABILITY = {"sensor_data": QOS[Qos.SENSOR], "reliable": QOS[Qos.STATE]}


class VirtualCameraNode(Node):
    """Publishes what the renderer draws; a frozen picture is withheld, so that it goes stale downstream (F10)."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        Parameter("camera", "left", "which camera of the cell", choices=CAMERAS),
        Parameter("qos", "sensor_data", "quality of service of the images", choices=tuple(_RELIABILITY)),
    )

    def configure(self) -> None:
        name = self.value("camera")
        cell = cell_file.load(self.value("cell"))
        serial = getattr(cell.devices.cameras, name).serial
        bundle = load_bundle(cell.calibration_folder, {name: serial})
        info = bundle.camera(name).scaled(cell.image_size)
        self._mount = (
            ("tcp", info.frame_id, bundle.T_tcp_camera())
            if name == GRIPPER_CAMERA
            else ("base_link", info.frame_id, bundle.T_base_camera(name))
        )
        self._camera = VirtualCamera(name, serial, cell.image_size)
        self._info_msg = camera_info_msg(info)
        self._buffer = ImageBuffer(info.frame_id)
        self._pictures = FrozenImages()
        self._frozen = False
        qos = _RELIABILITY[self.value("qos")]
        self._image = self.outlet(f"{name}/image_raw", qos)
        self._info = self.outlet(f"{name}/camera_info", qos, watched=False)
        self._tf_static = self.outlet("/tf_static")
        self.watch("picture", self._picture_health)

    def activate(self) -> None:
        self._tf_static.publish(transforms_msg(now_ns(), self._mount))
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

    def _picture_health(self, monotonic_ns: int) -> Health:
        if self._frozen:
            return Health(Level.ERROR, "frozen: identical frames with fresh stamps; images are withheld")
        return Health(Level.OK, "changes")


def main() -> None:
    spin(lambda: VirtualCameraNode("camera"))
