"""One camera of the virtual cell, straight from the renderer's frames."""

from kinema.cell_file import Cell
from kinema.devices.virtual import VirtualCamera
from kinema.interfaces import Camera
from kinema_ros.node import spin
from sensor_nodes.camera import CameraNode


class VirtualCameraNode(CameraNode):
    """Its stamps are exact: there is no latency to take off."""

    def open(self, name: str, serial: str, cell: Cell, latency: float) -> Camera:
        return VirtualCamera(name, serial, cell.image_size)


def main() -> None:
    spin(lambda: VirtualCameraNode("camera"))
