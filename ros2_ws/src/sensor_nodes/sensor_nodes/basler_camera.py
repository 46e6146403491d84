"""One Basler camera: the gripper's fisheye."""

from kinema.cell_file import Cell
from kinema.devices.basler import LINKS, BaslerCamera, BaslerSettings
from kinema.devices.cameras import DrivenCamera
from kinema_ros.node import Parameter, spin
from sensor_nodes.camera import DrivenCameraNode


class BaslerCameraNode(DrivenCameraNode):
    """The region of interest has the cell's image size, after binning."""

    PARAMETERS = (
        *DrivenCameraNode.PARAMETERS,
        Parameter("link", "usb", "how it is connected; emulation is pylon's own", choices=tuple(LINKS)),
        Parameter("user_id", "", "the name that the camera has to call itself; '' any"),
        Parameter("pixel_format", "BayerRG8", "as the camera calls it; what is published is rgb8"),
        Parameter("binning", 1, "pixels of the sensor that make one, each way", 1, 4),
        Parameter("offset_x", -1, "[px] left edge of the region of interest; -1: centred", -1, 16384),
        Parameter("offset_y", -1, "[px] its upper edge; -1: centred", -1, 16384),
        Parameter("exposure", -1.0, "[s]; -1: automatic", -1.0, 1.0),
        Parameter("gain", -1.0, "[dB]; -1: automatic", -1.0, 48.0),
        Parameter("trigger", "", "the line whose rising edge takes an image, such as Line1; '' free running"),
        Parameter("packet_size", 0, "[bytes] of a GigE packet; 0: as it is", 0, 16404),
        Parameter("buffers", 10, "images that may be under way in the driver", 2, 100),
    )

    def drive(self, name: str, serial: str, cell: Cell, latency: float) -> DrivenCamera:
        settings = BaslerSettings(
            serial=serial,
            link=self.value("link"),
            user_id=self.value("user_id"),
            pixel_format=self.value("pixel_format"),
            binning=self.value("binning"),
            size=cell.image_size,
            offset=(self.given("offset_x"), self.given("offset_y")),
            rate=self.rate,
            exposure=self.given("exposure"),
            gain=self.given("gain"),
            trigger=self.value("trigger"),
            packet_size=self.value("packet_size"),
            buffers=self.value("buffers"),
            latency=latency,
        )
        return BaslerCamera(name, settings)


def main() -> None:
    spin(lambda: BaslerCameraNode("camera"))
