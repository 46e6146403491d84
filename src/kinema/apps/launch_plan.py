"""What a launch file asks before it starts anything, as JSON. `python -m kinema.apps.launch_plan deploy --cell FILE`.

    {"simulated": true, "cell": "launch/cells/...", "policy": "models/...", "processes": ["cell", ...],
     "cameras": {"left": ["virtual_camera", {}], ...}, "note": ""}

`cell` is the file asked for, or where none was the one that a virtual robot has in `launch/cells/`, behind its vendor's
driver, or one without that on a machine too small for it, as `note` then says; `processes` by the table of processes;
`cameras` names each camera's node and its parameters; `policy` is the one asked for, or where none was the one that the
virtual cell has in `models/`. Launch files run under ROS's own interpreter, which does not have kinema. Ends with
status 2, and says why, where the launch is refused: a real arm whose cell file nobody named, a cell file that is wrong,
a robot that it does not allow, calibration that is missing, foreign, old or bad, and for a real arm episodes that begin
without a person, a policy that nobody named, or one that sees a simulator's truth. `--calibration-override WHY` lets
missing, old and bad calibration pass; every episode says so.
"""

import argparse
import json
import os
import sys

from kinema import cell_file, processes
from kinema.calibration.bundle import faults
from kinema.cell_file import Cell
from kinema.errors import CalibrationError, ConfigError, KinemaError
from kinema.policies.registry import SIMULATOR_ONLY
from kinema.robots import VIRTUAL_ROBOTS
from kinema.topics import CAMERAS

POLICY = "models/diffusion_policy"  # the better of the two learned ones: models/README.md
_CORES = 4  # with fewer, what keeps 500 Hz behind a vendor's driver leaves the policy too little on a slow day


def cell_of(robot: str) -> tuple[str, str]:
    """The cell file of a virtual robot, and what has to be said of the choice.

    Raises ConfigError for a real one: somebody has to name its cell.
    """
    if robot not in VIRTUAL_ROBOTS:
        raise ConfigError(
            f"no cell file was named; that can be left out for {', '.join(VIRTUAL_ROBOTS)} alone: for {robot!r} give "
            "cell:=my_cell.yaml, a copy of one in launch/cells"
        )
    own, straight, cores = f"launch/cells/{robot}.yaml", "launch/cells/virtual.yaml", os.cpu_count() or 1
    if cores >= _CORES:
        return own, ""
    return straight, (
        f"{cores} cores may be too little for {own}, so the arm is reached straight, in {straight}, and not by its "
        f"vendor's code; cell:={own} tries it all the same"
    )


def check_deployment(cell: Cell, robot: str, policy: str, episodes: int) -> None:
    """Raise ConfigError for what may not be deployed in this cell."""
    cell.check_robot(robot)
    if cell.simulated:
        return
    if episodes > 0:
        raise ConfigError(
            f"episodes is {episodes}, and cell {cell.name!r} is a real one: no arm starts by itself; allowed is 0, "
            "then enable the executor and run the policy by hand"
        )
    if not policy:
        raise ConfigError(
            f"no policy was named, and cell {cell.name!r} is a real one: {POLICY} knows the virtual cell alone; "
            "name the folder of a checkpoint, as policy:=models/MINE"
        )
    if policy in SIMULATOR_ONLY:
        raise ConfigError(f"policy {policy!r} sees a simulator's truth, and cell {cell.name!r} is a real one")


def check_calibration(cell: Cell, handheld: bool, override: str) -> None:
    """Raise CalibrationError for calibration that may not be used, all of it at once; `override` says why it may."""
    if override and not override.strip():
        raise CalibrationError("calibration_override is blank; allowed is a reason, which every episode then says")
    found = faults(cell.calibration_folder, cell.serials(handheld), bridge=cell.bridge, override=bool(override))
    if found:
        remedy = "" if override else "\nor say why it is taken nonetheless, with calibration_override:=WHY"
        raise CalibrationError("\n".join(found) + remedy)


def plan(launch: processes.Launch, file: str, cell: Cell, policy: str = "", note: str = "") -> dict[str, object]:
    """As in the module's text; `file` is what the cell was loaded from."""
    cameras = {name: getattr(cell.devices.cameras, name) for name in CAMERAS}
    return {
        "simulated": cell.simulated,
        "cell": file,
        "policy": policy or POLICY,
        "processes": processes.of_launch(launch, cell),
        "cameras": {
            name: (f"{device.backend}_camera", getattr(device, "parameters", {})) for name, device in cameras.items()
        },
        "note": note,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kinema.apps.launch_plan")
    parser.add_argument("launch", choices=("deploy", "handheld"))
    parser.add_argument("--cell", default="")
    parser.add_argument("--robot", default="")
    parser.add_argument("--policy", default="")
    parser.add_argument("--episodes", type=int, default=0)
    parser.add_argument("--calibration-override", default="")
    arguments = parser.parse_args()
    try:
        file, note = (arguments.cell, "") if arguments.cell else cell_of(arguments.robot)
        cell = cell_file.load(file)
        if arguments.launch == "deploy":
            check_deployment(cell, arguments.robot, arguments.policy, arguments.episodes)
        elif arguments.episodes > 0 and not cell.simulated:
            raise ConfigError(
                f"episodes is {arguments.episodes}, and cell {cell.name!r} has no simulated person to demonstrate; "
                "allowed is 0"
            )
        check_calibration(cell, arguments.launch == "handheld", arguments.calibration_override)
    except KinemaError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(plan(arguments.launch, file, cell, arguments.policy, note)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
