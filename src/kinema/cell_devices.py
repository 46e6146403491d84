"""The devices that a cell file may name: one section a backend, with what its driver has to be told.

What is left out stays as the driver has it; what the numbers mean is said where the driver declares them. `serial` is
the device's own number, which its calibration must carry.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from kinema import yaml_file
from kinema.interfaces import CommandKind
from kinema.robots import GRIPPER, GripperModel

Positive = Annotated[float, pydantic.Field(gt=0.0)]
Port = Annotated[int, pydantic.Field(ge=1, le=65535)]
Vector = tuple[float, float, float]


class Section(pydantic.BaseModel):
    model_config = yaml_file.STRICT


class Device(Section):
    serial: str = pydantic.Field(min_length=1)


class Virtual(Device):
    """Of the virtual cell, reached without a vendor's code."""

    backend: Literal["virtual"]


# -- arms


class _Arm(Device):
    """`command` says whether the arm is given torques or positions."""

    @property
    def command_kind(self) -> CommandKind:
        return CommandKind.TORQUE if getattr(self, "command", "position") == "torque" else CommandKind.POSITION


class VirtualArm(_Arm):
    backend: Literal["virtual"]
    command: Literal["torque", "position"] = "torque"


class UrArm(_Arm):
    """A UR by its network address; see `devices/ur.py`. Torque needs PolyScope 5.26.

    lookahead, gain   of its servo
    lead              [s] that its targets are sent ahead: see kinema.devices.ur.Servo
    estimated_wrench  whether a CB3's wrench, which comes from motor currents, may count as measured
    """

    backend: Literal["ur"]
    address: str
    command: Literal["torque", "position"] = "position"
    lookahead: float = pydantic.Field(default=0.05, ge=0.03, le=0.2)
    gain: float = pydantic.Field(default=300.0, ge=100.0, le=2000.0)
    lead: float = pydantic.Field(default=0.05, ge=0.0, le=0.2)
    estimated_wrench: bool = False


class Mount(Section):
    """A pose from the flange: position [m] and quaternion x, y, z, w."""

    position: Vector = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)

    @pydantic.field_validator("quaternion")
    @classmethod
    def _turns(cls, quaternion: tuple[float, ...]) -> tuple[float, ...]:
        if not any(quaternion):
            raise ValueError("a quaternion of length zero is no rotation; allowed is any other, as [0, 0, 0, 1]")
        return quaternion


class XArm(_Arm):
    """An xArm by its control box; see `devices/xarm.py`.

    rate        [Hz] of the control cycle
    sensor      the force-torque sensor's frame
    force_sign  -1 where it reports what the tool does to the world
    """

    backend: Literal["xarm"]
    address: str
    port: Port = 502
    rate: float = pydantic.Field(default=250.0, ge=50.0, le=250.0)
    sensor: Mount = Mount()
    force_sign: Literal[-1, 1] = 1


ArmDevice = Annotated[VirtualArm | UrArm | XArm, pydantic.Field(discriminator="backend")]


# -- grippers


class _Gripper(Device):
    """tcp   [m] from the flange to the point between the finger tips, along the flange's z
    mass  [kg] of the whole gripper; com [m] of it, along the flange's z
    """

    tcp: Positive = GRIPPER.tcp
    mass: Positive = GRIPPER.mass
    com: float = GRIPPER.com

    @property
    def model(self) -> GripperModel:
        """The robot table's gripper with what is this one's own."""
        return replace(GRIPPER, tcp=self.tcp, mass=self.mass, com=self.com)


class VirtualGripper(_Gripper):
    backend: Literal["virtual"]


class HandheldGripper(_Gripper):
    """The handheld one: no motor, its width is seen by the tags on its fingers."""

    backend: Literal["tags"]


class XArmGripper(_Gripper):
    """See `devices/xarm_gripper.py`; `address` is the control box's."""

    backend: Literal["xarm"]
    address: str
    port: Port = 502
    rate: Positive = 30.0
    pulses: int = pydantic.Field(default=850, gt=0)
    stroke: Positive = 0.085
    speed: Positive = 0.15
    force: Positive = 30.0


class RobotiqGripper(_Gripper):
    """A 2F-85; see `devices/robotiq.py`. `address` is that of the UR controller whose URCap drives it.

    activate  whether connecting may activate it, which opens and closes it fully
    """

    backend: Literal["robotiq"]
    address: str
    port: Port = 63352
    rate: Positive = 60.0
    activate: bool = False
    stroke: Positive = 0.085
    opened: int = pydantic.Field(default=3, ge=0, le=255)
    closed: int = pydantic.Field(default=230, ge=0, le=255)


class ServoGripper(_Gripper):
    """A serial servo; see `devices/servo_gripper.py`."""

    backend: Literal["servo"]
    port: Path
    baud: int = pydantic.Field(default=57600, gt=0)
    servo: int = pydantic.Field(default=1, ge=0, le=252)
    rate: Positive = 60.0
    opened: int = 1024
    closed: int = 3072
    stroke: Positive = 0.085
    newton_per_count: Positive = 0.1
    speed: Positive = 0.15
    force: Positive = 60.0


GripperDevice = Annotated[
    VirtualGripper | HandheldGripper | XArmGripper | RobotiqGripper | ServoGripper,
    pydantic.Field(discriminator="backend"),
]


# -- cameras


class _Driven(Device):
    """Its keys beside backend and serial are parameters of the camera's node, by the same names."""

    reconnect_after: float = pydantic.Field(default=1.0, ge=0.2, le=60.0)

    @property
    def parameters(self) -> dict[str, object]:
        """Those that the cell file gives."""
        return self.model_dump(mode="json", include=self.model_fields_set - {"backend", "serial"})


class RealSense(_Driven):
    """A D435; see `sensor_nodes/realsense_camera.py`."""

    backend: Literal["realsense"]
    usb_port: str = ""
    depth: bool = False
    infrared: bool = False
    exposure: float = -1.0
    gain: float = -1.0
    white_balance: float = -1.0
    auto_exposure_priority: bool = False
    inter_cam_sync_mode: int = 0
    emitter: bool = True


class Basler(_Driven):
    """See `sensor_nodes/basler_camera.py`."""

    backend: Literal["basler"]
    link: Literal["usb", "gige", "emulation"] = "usb"
    user_id: str = ""
    pixel_format: str = "BayerRG8"
    binning: int = 1
    offset_x: int = -1
    offset_y: int = -1
    exposure: float = -1.0
    gain: float = -1.0
    trigger: str = ""
    packet_size: int = 0
    buffers: int = 10


CameraDevice = Annotated[Virtual | RealSense | Basler, pydantic.Field(discriminator="backend")]


class CameraDevices(Section):
    gripper: CameraDevice
    left: CameraDevice
    right: CameraDevice


# -- force and pose


class _LoadCell(Device):
    @property
    def ring(self) -> str:
        """The ring whose samples the control loop obeys: the virtual cell's own, or what the node reads."""
        return "load_cell.ring" if getattr(self, "backend", "") == "virtual" else "force.ring"


class VirtualLoadCell(_LoadCell):
    backend: Literal["virtual"]


class SerialLoadCell(_LoadCell):
    """An amplifier board on a serial port; see `devices/serial_load_cell.py`."""

    backend: Literal["serial"]
    port: Path


class PhidgetLoadCell(_LoadCell):
    """A channel of a Phidget bridge; see `devices/phidget_load_cell.py`."""

    backend: Literal["phidget"]
    channel: int = pydantic.Field(default=0, ge=0)


LoadCellDevice = Annotated[VirtualLoadCell | SerialLoadCell | PhidgetLoadCell, pydantic.Field(discriminator="backend")]


class T265(Device):
    """See `devices/t265.py`."""

    backend: Literal["t265"]


class TagTracker(Device):
    """The gripper's own camera, whose serial number this is, in a map of tags: a file of the calibration folder."""

    backend: Literal["tags"]
    map: str = "tag_map.yaml"


TrackerDevice = Annotated[Virtual | T265 | TagTracker, pydantic.Field(discriminator="backend")]


class Devices(Section):
    """Every device of the cell by its role; `tracker` is the handheld gripper's. A cell may do without an arm."""

    arm: ArmDevice | None = None
    gripper: GripperDevice
    load_cell: LoadCellDevice
    cameras: CameraDevices
    tracker: TrackerDevice | None = None
