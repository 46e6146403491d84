"""The cell file: which robot stands where, through which backends, under which limits. One YAML file, one schema.

Unknown keys, wrong types and repeated keys are refused; the message names file, key and what is allowed (FAULTS F22).
Lengths are metres, angles radians, times seconds, as everywhere; one exception says so in its name.
"""

from pathlib import Path
from typing import Literal

import pydantic

from kinema import paths, yaml_file
from kinema.control.settings import ControlSettings
from kinema.errors import ConfigError
from kinema.interfaces import CommandKind
from kinema.robots import ARMS
from kinema.topics import CAMERAS

VIRTUAL = paths.root() / "launch/cells/virtual.yaml"  # what commands without a robot run in


class _Section(pydantic.BaseModel):
    model_config = yaml_file.STRICT


class Device(_Section):
    """One device: the backend that drives it, and the serial number that its calibration must carry."""

    backend: Literal["virtual"]
    serial: str


class ArmDevice(Device):
    """The arm; `command` says whether it takes torques or only positions."""

    command: Literal["torque", "position"] = "torque"

    @property
    def command_kind(self) -> CommandKind:
        return CommandKind.TORQUE if self.command == "torque" else CommandKind.POSITION


class CameraDevices(_Section):
    gripper: Device
    left: Device
    right: Device


class Devices(_Section):
    """Every device of the cell by its role; `tracker` is the handheld gripper's."""

    arm: ArmDevice
    gripper: Device
    load_cell: Device
    cameras: CameraDevices
    tracker: Device | None = None


class WorldStart(_Section):
    """What the virtual cell shows before anybody resets it."""

    task: str
    split: Literal["train", "unseen_objects", "unseen_background"] = "train"
    seed: int = pydantic.Field(default=0, ge=0)


class Cell(_Section):
    """One cell.

    robots       which rows of the robot table may stand in it
    calibration  folder of its calibration files, relative to the checkout's root
    speed_scale  [-] the default stretch of every chunk: 1 as the policy wants it, 0.25 a quarter of that speed
    image_size   width, height [px]
    world        only where the devices are virtual
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_-]+$")
    robots: tuple[str, ...] = pydantic.Field(min_length=1)
    calibration: str
    speed_scale: float = pydantic.Field(default=0.25, gt=0.0, le=1.0)
    image_size: tuple[int, int] = (320, 240)
    devices: Devices
    world: WorldStart | None = None
    control: ControlSettings = ControlSettings()

    @pydantic.field_validator("robots")
    @classmethod
    def _in_the_table(cls, robots: tuple[str, ...]) -> tuple[str, ...]:
        allowed = [*ARMS, *(f"virtual_{name}" for name in ARMS)]
        for robot in robots:
            if robot not in allowed:
                raise ValueError(f"robot {robot!r} is not in the table; allowed: {', '.join(allowed)}")
        return robots

    def check_robot(self, robot: str) -> str:
        """The robot's name again; raises ConfigError naming the allowed ones when it may not stand in this cell."""
        if robot not in self.robots:
            raise ConfigError(f"cell {self.name!r} has no robot {robot!r}; allowed: {', '.join(self.robots)}")
        return robot

    def serials(self, handheld: bool) -> dict[str, str]:
        """Serial numbers, by role, of the devices whose calibration an episode by hand, or by the arm, needs.

        Raises ConfigError for a cell that has no tracker to hold a gripper by.
        """
        devices = self.devices
        found = {name: getattr(devices.cameras, name).serial for name in CAMERAS}
        found |= {"jaw": devices.gripper.serial, "load_cell": devices.load_cell.serial}
        if not handheld:
            return {**found, "arm": devices.arm.serial}
        if devices.tracker is None:
            raise ConfigError(f"cell {self.name!r}: devices.tracker is missing; the handheld gripper needs one")
        return {**found, "tracker": devices.tracker.serial}

    @property
    def calibration_folder(self) -> Path:
        return paths.root() / self.calibration


def load(path: str | Path) -> Cell:
    """Read and check a cell file; a relative path that is not there is looked for below the checkout's root.

    Raises ConfigError naming file, key and what is allowed.
    """
    file = Path(path)
    if not file.is_absolute() and not file.exists():
        file = paths.root() / file
    return yaml_file.read(file, Cell, ConfigError)
