"""The drivers of a cell's arm and gripper, as its file names them. The control loop and the jaw drive open these."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema import cell_devices, paths, robots
from kinema.cell_file import Cell
from kinema.devices import ur, virtual
from kinema.devices.robotiq import Robotiq, RobotiqSettings
from kinema.devices.servo_gripper import ServoGripper, ServoGripperSettings
from kinema.devices.xarm import XArm, XArmSettings
from kinema.devices.xarm_box import Tool
from kinema.devices.xarm_gripper import XArmGripper, XArmGripperSettings
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.interfaces import Arm, Gripper
from kinema.robots import ArmModel


@dataclass(frozen=True, slots=True)
class ArmDriver:
    """How an arm is reached, as often as it has to be. Both raise DeviceError where it is not there.

    model    the arm as control has to have it; where its controller holds a calibration, with that
    connect  the arm itself
    """

    model: Callable[[], ArmModel]
    connect: Callable[[ArmModel], Arm]


def arm_driver(cell: Cell, robot: str, folder: Path | None = None) -> ArmDriver:
    """Raises ConfigError for a cell without an arm; `folder` is the run-time directory of a simulated one."""
    device, gripper = cell.arm, cell.devices.gripper.model
    match device:
        case cell_devices.UrArm():
            servo = ur.Servo(device.lookahead, device.gain, device.lead)
            return ArmDriver(
                lambda: ur.arm_model(robot, device.address),
                lambda model: ur.UrArm(
                    model, device.address, device.command_kind, gripper, servo, device.estimated_wrench
                ),
            )
        case cell_devices.XArm():
            settings = XArmSettings(
                device.address,
                device.port,
                device.rate,
                Tool(gripper.T_flange_tcp, gripper.mass, (0.0, 0.0, gripper.com)),
                Pose.from_quaternion(device.sensor.position, device.sensor.quaternion),
                device.force_sign,
            )
            return ArmDriver(lambda: robots.arm(robot), lambda model: XArm(robot, settings))
        case cell_devices.VirtualArm():
            return ArmDriver(lambda: robots.arm(robot), lambda model: virtual.VirtualArm(robot, folder))


def open_gripper(cell: Cell, folder: Path | None = None) -> Gripper:
    """Raises DeviceError where it is not there, ConfigError for one without a motor; `folder` as above."""
    device = cell.devices.gripper
    given = device.model_dump(exclude={"serial", "backend", "tcp", "mass", "com"})
    match device:
        case cell_devices.XArmGripper():
            return XArmGripper(XArmGripperSettings(**given))
        case cell_devices.RobotiqGripper():
            return Robotiq(RobotiqSettings(**given))
        case cell_devices.ServoGripper():
            return ServoGripper(ServoGripperSettings(**{**given, "port": (folder or paths.runtime()) / device.port}))
        case cell_devices.VirtualGripper():
            return virtual.VirtualGripper(folder)
        case cell_devices.HandheldGripper():
            raise ConfigError(
                f"cell {cell.name!r}: devices.gripper.backend is 'tags', the handheld one: nobody drives it"
            )
