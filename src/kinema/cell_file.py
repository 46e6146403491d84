"""The cell file: which robot stands where, through which backends, under which limits. One YAML file, one schema.

Unknown keys, wrong types and repeated keys are refused; the message names file, key and what is allowed (FAULTS F22).
Lengths are metres, angles radians, times seconds, as everywhere; one exception says so in its name.

A cell with a `world` is simulated, and all its devices with it. Each device's `backend` is then the driver by which it
is reached: `virtual` straight, another one through the vendor's code and a virtual controller. `cell_devices` has the
sections of the backends.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pydantic

from kinema import paths, yaml_file
from kinema.cell_devices import ArmDevice, Devices, Section, XArmGripper
from kinema.control.settings import ControlSettings
from kinema.errors import ConfigError
from kinema.robots import ARMS, GRIPPER, VIRTUAL_ROBOTS
from kinema.topics import CAMERAS

VIRTUAL = paths.root() / "launch/cells/virtual.yaml"  # what commands without a robot run in

_FASTEST = 0.25  # [-] speed scale with which a real arm may come up
_SIMULATED = {  # the drivers that have something virtual to talk to
    "arm": ("virtual", "ur", "xarm"),
    "gripper": ("virtual", "xarm", "robotiq", "servo"),
    "load_cell": ("virtual", "serial"),
    "cameras.gripper": ("virtual",),
    "cameras.left": ("virtual", "realsense"),
    "cameras.right": ("virtual", "realsense"),
    "tracker": ("virtual", "t265"),
}


class WorldStart(Section):
    """What the virtual cell shows before anybody resets it, and how fast its time goes.

    real_time_factor  [-] below 1 where a machine is too small: all of the cell then lives in the slower time
    board  where somebody has put the default calibration board, and things aside: on the table, into the gripper
    """

    task: str
    split: Literal["train", "unseen_objects", "unseen_background", "plain"] = "train"
    seed: int = pydantic.Field(default=0, ge=0)
    real_time_factor: float = pydantic.Field(default=1.0, gt=0.0, le=1.0)
    board: Literal["", "table", "gripper"] = ""


class Cell(Section):
    """One cell.

    robots       which rows of the robot table may stand in it; none where there is no arm
    calibration  folder of its calibration files, relative to the checkout's root
    speed_scale  [-] the default stretch of every chunk: 1 as the policy wants it, 0.25 a quarter of that speed
    image_size   width, height [px]
    world        what makes it a simulated one
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_-]+$")
    robots: tuple[str, ...]
    calibration: str
    speed_scale: float = pydantic.Field(default=0.25, gt=0.0, le=1.0)
    image_size: tuple[int, int] = (320, 240)
    devices: Devices
    world: WorldStart | None = None
    control: ControlSettings = ControlSettings()

    @pydantic.field_validator("robots")
    @classmethod
    def _in_the_table(cls, robots: tuple[str, ...]) -> tuple[str, ...]:
        allowed = [*ARMS, *VIRTUAL_ROBOTS]
        for robot in robots:
            if robot not in allowed:
                raise ValueError(f"robot {robot!r} is not in the table; allowed: {', '.join(allowed)}")
        return robots

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> "Cell":
        found = [*self._robot_misfits(), *(self._simulation_misfits() if self.simulated else self._real_misfits())]
        if found:
            raise ValueError("; ".join(found))
        return self

    def _by_role(self) -> dict[str, Any]:
        """The devices that there are."""
        devices, cameras = self.devices, {name: getattr(self.devices.cameras, name) for name in CAMERAS}
        found = {name: getattr(devices, name) for name in ("arm", "gripper", "load_cell", "tracker")}
        found |= {f"cameras.{name}": camera for name, camera in cameras.items()}
        return {role: device for role, device in found.items() if device is not None}

    def _robot_misfits(self) -> Iterator[str]:
        """Where the robots and the arm's backend don't agree."""
        arm = self.devices.arm
        if (arm is None) != (not self.robots):
            yield f"robots holds {len(self.robots)} and devices.arm is {'missing' if arm is None else 'given'}"
        if arm is None:
            return
        named = {name: ARMS[name.removeprefix("virtual_")] for name in (VIRTUAL_ROBOTS if self.simulated else ARMS)}
        drives = [name for name, row in named.items() if arm.backend in ("virtual", row.backend)]
        for robot in self.robots:
            if robot not in drives:
                kind = "simulated (it has a world)" if self.simulated else "real (it has no world)"
                yield (
                    f"robots holds {robot!r}, but the cell is {kind} and devices.arm.backend is {arm.backend!r}; "
                    f"allowed: {', '.join(drives)}"
                )

    def _simulation_misfits(self) -> Iterator[str]:
        """What a simulated cell has nothing for."""
        for role, device in self._by_role().items():
            if device.backend not in (allowed := _SIMULATED[role]):
                yield (
                    f"devices.{role}.backend is {device.backend!r}, for which a cell with a world has nothing virtual; "
                    f"allowed: {', '.join(allowed)}"
                )
            if not (address := getattr(device, "address", "127.")).startswith("127."):
                yield f"devices.{role}.address is {address!r}; a cell with a world serves it at 127.x.y.z, this machine"
            if isinstance(port := getattr(device, "port", None), Path) and len(port.parts) != 1:
                yield f"devices.{role}.port is {str(port)!r}; a cell with a world makes it: a name without a folder"
        arm, gripper = self.devices.arm, self.devices.gripper
        if gripper.model != GRIPPER:
            yield "devices.gripper: tcp, mass and com are the robot table's in a cell with a world; leave them out"
        if isinstance(gripper, XArmGripper) and (gripper.address, gripper.port) != (
            getattr(arm, "address", None),
            getattr(arm, "port", None),
        ):
            yield "devices.gripper.backend is 'xarm', on the arm's box: address and port have to be the arm's"

    def _real_misfits(self) -> Iterator[str]:
        """What a real cell has to be careful with."""
        if self.speed_scale > _FASTEST:
            yield f"speed_scale is {self.speed_scale}; a cell without a world starts at {_FASTEST} at most"
        for role, device in self._by_role().items():
            if device.backend == "virtual":
                yield f"devices.{role}.backend is 'virtual', which only a cell with a world has"
            if isinstance(port := getattr(device, "port", None), Path) and not port.is_absolute():
                yield f"devices.{role}.port is {str(port)!r}; allowed is a whole path, as /dev/kinema/..."

    @property
    def simulated(self) -> bool:
        return self.world is not None

    @property
    def arm(self) -> ArmDevice:
        """Raises ConfigError for a cell that has none."""
        if self.devices.arm is None:
            raise ConfigError(f"cell {self.name!r}: devices.arm is missing; there is no arm in this cell")
        return self.devices.arm

    def check_robot(self, robot: str) -> str:
        """The robot's name again; raises ConfigError naming the allowed ones when it may not stand in this cell."""
        if robot not in self.robots:
            allowed = ", ".join(self.robots) or "none, it has no arm"
            raise ConfigError(f"cell {self.name!r} has no robot {robot!r}; allowed: {allowed}")
        return robot

    def serials(self, handheld: bool) -> dict[str, str]:
        """Serial numbers, by role, of the devices whose calibration an episode by hand, or by the arm, needs.

        Raises ConfigError for a cell that has no tracker to hold a gripper by.
        """
        devices = self.devices
        found = {name: getattr(devices.cameras, name).serial for name in CAMERAS}
        found |= {"jaw": devices.gripper.serial, "load_cell": devices.load_cell.serial}
        if not handheld:
            return {**found, "arm": self.arm.serial}
        if devices.tracker is None:
            raise ConfigError(f"cell {self.name!r}: devices.tracker is missing; the handheld gripper needs one")
        return {**found, "tracker": devices.tracker.serial}

    @property
    def bridge(self) -> str:
        """The load cell's serial number where its amplifier has to be calibrated, else ''."""
        load_cell = self.devices.load_cell
        return "" if load_cell.backend == "virtual" else load_cell.serial

    @property
    def calibration_folder(self) -> Path:
        return paths.root() / self.calibration

    def calibrated_by(self, folder: Path | None) -> "Cell":
        """This cell with another folder of calibration files; None: its own."""
        return self if folder is None else self.model_copy(update={"calibration": str(folder.absolute())})


def load(path: str | Path) -> Cell:
    """Read and check a cell file; a relative path that is not there is looked for below the checkout's root.

    Raises ConfigError naming file, key and what is allowed.
    """
    return yaml_file.read(paths.find(path), Cell, ConfigError)
