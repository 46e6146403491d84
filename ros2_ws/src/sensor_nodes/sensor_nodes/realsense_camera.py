"""One RealSense D435: colour, if wanted depth aligned to it and the infrared pair."""

from kinema.cell_file import Cell
from kinema.devices.cameras import DrivenCamera
from kinema.devices.realsense import RealSenseCamera, RealSenseFrame, RealSenseSettings
from kinema.interfaces import Camera
from kinema.virtual.realsense import CellD435
from kinema_ros.convert import ImageBuffer
from kinema_ros.node import Parameter, spin
from sensor_nodes.camera import DrivenCameraNode

_INFRARED = ("infra1", "infra2")


class RealSenseCameraNode(DrivenCameraNode):
    """In a simulated cell the same driver runs on a software device of librealsense, which shows what is rendered."""

    PARAMETERS = (
        *DrivenCameraNode.PARAMETERS,
        Parameter("depth", False, "publish depth, aligned to the colour image [mm]"),
        Parameter("infrared", False, "publish the infrared pair"),
        Parameter("exposure", -1.0, "[s] of the colour sensor; -1: automatic", -1.0, 1.0),
        Parameter("gain", -1.0, "[-] of the colour sensor; -1: as the camera has it", -1.0, 128.0),
        Parameter("white_balance", -1.0, "[K]; -1: automatic", -1.0, 6500.0),
        Parameter("auto_exposure_priority", False, "let the rate sink in the dark, for longer exposures"),
        Parameter("inter_cam_sync_mode", 0, "0 none, 1 master, 2 slave, as wired", 0, 260),
        Parameter("emitter", True, "the infrared dots that depth needs on bare walls"),
        Parameter("usb_port", "", "refuse to run elsewhere; as diagnostics call the port, '' any"),
    )

    def open(self, name: str, serial: str, cell: Cell, latency: float) -> Camera:
        self._shown = CellD435(name, cell.image_size) if cell.simulated else None
        camera = super().open(name, serial, cell, latency)
        if self.value("depth"):
            self._depth = self.image_outlet("aligned_depth/image_raw"), ImageBuffer(f"{name}_optical_frame", "16UC1")
        if self.value("infrared"):
            self._infrared = [
                (self.image_outlet(f"{which}/image_raw"), ImageBuffer(f"{name}_{which}_optical_frame", "mono8"))
                for which in _INFRARED
            ]
        return camera

    def drive(self, name: str, serial: str, cell: Cell, latency: float) -> DrivenCamera:
        settings = RealSenseSettings(
            serial=serial,
            size=cell.image_size,
            rate=round(self.rate),
            depth=self.value("depth"),
            infrared=self.value("infrared"),
            exposure=self.given("exposure"),
            gain=self.given("gain"),
            white_balance=self.given("white_balance"),
            auto_exposure_priority=self.value("auto_exposure_priority"),
            inter_cam_sync_mode=self.value("inter_cam_sync_mode"),
            emitter=self.value("emitter"),
            usb_port=self.value("usb_port"),
            latency=latency,
        )
        return RealSenseCamera(name, settings, self._shown.context if self._shown else None)

    def publish(self, frame: RealSenseFrame) -> None:
        if frame.depth is not None:
            outlet, buffer = self._depth
            outlet.publish(buffer.fill(frame.depth, frame.stamp_ns))
        for image, (outlet, buffer) in zip(frame.infrared, self._infrared if frame.infrared else (), strict=True):
            outlet.publish(buffer.fill(image, frame.stamp_ns))

    def cleanup(self) -> None:
        super().cleanup()
        if shown := self.__dict__.pop("_shown", None):
            shown.close()


def main() -> None:
    spin(lambda: RealSenseCameraNode("camera"))
