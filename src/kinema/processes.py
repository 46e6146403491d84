"""One table of the processes without ROS: which of them run in which cell. The launch files start what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kinema.cell_devices import RobotiqGripper, SerialLoadCell, ServoGripper, UrArm, XArm
from kinema.cell_file import Cell

Launch = Literal["deploy", "handheld"]


@dataclass(frozen=True, slots=True)
class Process:
    """`python -m kinema.apps.<name>`, started by the named launches in the cells where `runs` holds."""

    name: str
    launches: tuple[Launch, ...]
    runs: Callable[[Cell], bool]


def _with(role: str, *sections: type) -> Callable[[Cell], bool]:
    """Simulated cells whose device in a role is one of these: it needs somebody to talk to."""
    return lambda cell: cell.simulated and isinstance(getattr(cell.devices, role), sections)


PROCESSES = (
    Process("cell", ("deploy",), lambda cell: cell.simulated),
    Process("handheld", ("handheld",), lambda cell: cell.simulated),
    Process("renderer", ("deploy", "handheld"), lambda cell: cell.simulated),
    Process("ur_controller", ("deploy",), _with("arm", UrArm)),
    Process("xarm_controller", ("deploy",), _with("arm", XArm)),
    Process("gripper_controller", ("deploy",), _with("gripper", RobotiqGripper, ServoGripper)),
    Process("load_cell_board", ("deploy", "handheld"), _with("load_cell", SerialLoadCell)),
    Process("control_loop", ("deploy",), lambda cell: True),
    Process("jaw_drive", ("deploy",), lambda cell: True),
)


def of_launch(launch: Launch, cell: Cell) -> tuple[str, ...]:
    """Names of what a launch starts in a cell, in the table's order."""
    return tuple(row.name for row in PROCESSES if launch in row.launches and row.runs(cell))
