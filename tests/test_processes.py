"""Which processes run in which cell, and what a launch is refused."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from kinema import cell_file, paths, processes
from kinema.apps import launch_plan
from kinema.errors import ConfigError
from kinema.policies import checkpoint, registry

CELLS = paths.root() / "launch/cells"


@pytest.mark.parametrize("row", processes.PROCESSES, ids=lambda row: row.name)
def test_every_process_of_the_table_is_a_module_and_is_explained(row):
    assert find_spec(f"kinema.apps.{row.name}") is not None
    assert f"\n| `{row.name}` |" in (paths.root() / "docs/design.md").read_text()


@pytest.mark.parametrize(
    ("launch", "cell", "wanted"),
    [
        ("deploy", "virtual", ("cell", "renderer", "control_loop", "jaw_drive")),
        (
            "deploy",
            "virtual_ur5e",
            ("cell", "renderer", "ur_controller", "gripper_controller", "load_cell_board", "control_loop", "jaw_drive"),
        ),
        (
            "deploy",
            "virtual_xarm7",
            ("cell", "renderer", "xarm_controller", "load_cell_board", "control_loop", "jaw_drive"),
        ),
        ("deploy", "ur5e", ("control_loop", "jaw_drive")),
        ("handheld", "virtual", ("handheld", "renderer")),
        ("handheld", "virtual_ur5e", ("handheld", "renderer", "load_cell_board")),
        ("handheld", "handheld", ()),
    ],
)
def test_a_cell_starts_what_its_devices_need(launch, cell, wanted):
    assert processes.of_launch(launch, cell_file.load(CELLS / f"{cell}.yaml")) == wanted


def test_a_plan_names_each_cameras_node_with_what_the_cell_file_says_of_it():
    cameras = launch_plan.plan("deploy", "ur5e.yaml", cell_file.load(CELLS / "ur5e.yaml"))["cameras"]
    assert cameras["gripper"] == ("basler_camera", {"link": "usb", "exposure": 0.005})
    assert cameras["right"] == ("realsense_camera", {"exposure": 0.008, "inter_cam_sync_mode": 2})


def test_the_virtual_cell_has_a_learned_policy_where_none_is_named():
    cell = cell_file.load(cell_file.VIRTUAL)
    launch_plan.check_deployment(cell, "virtual_ur5e", "", 3)
    chosen = str(launch_plan.plan("deploy", "virtual.yaml", cell)["policy"])
    assert checkpoint.read(paths.find(chosen)).kind in registry.LEARNED
    assert launch_plan.plan("deploy", "virtual.yaml", cell, "models/mine")["policy"] == "models/mine"


def test_a_virtual_robot_is_deployed_behind_its_vendors_driver_where_no_cell_is_named(monkeypatch):
    monkeypatch.setattr(launch_plan.os, "cpu_count", lambda: 4)
    for robot, driver in (("virtual_ur5e", "ur"), ("virtual_xarm7", "xarm")):
        file, note = launch_plan.cell_of(robot)
        cell = cell_file.load(file)
        assert cell.simulated and cell.arm.backend == driver and not note
        launch_plan.check_deployment(cell, robot, "", 3)
    with pytest.raises(ConfigError, match=r"no cell file was named; .* for 'ur5e' give cell:=my_cell.yaml"):
        launch_plan.cell_of("ur5e")


def test_few_cores_reach_the_virtual_arm_straight_and_the_launch_says_so(monkeypatch):
    monkeypatch.setattr(launch_plan.os, "cpu_count", lambda: 3)
    file, note = launch_plan.cell_of("virtual_ur5e")
    assert file == "launch/cells/virtual.yaml" and note.startswith("3 cores may be too little for")
    assert "cell:=launch/cells/virtual_ur5e.yaml tries it all the same" in note


@pytest.mark.parametrize("cell", ["ur5e", "xarm7"])
def test_a_real_arm_refuses_to_start_by_itself_and_a_policy_that_sees_a_simulators_truth(cell):
    real = cell_file.load(CELLS / f"{cell}.yaml")
    launch_plan.check_deployment(real, cell, "models/mine", 0)
    with pytest.raises(ConfigError, match="no arm starts by itself; allowed is 0"):
        launch_plan.check_deployment(real, cell, "models/mine", 1)
    with pytest.raises(ConfigError, match="name the folder of a checkpoint"):
        launch_plan.check_deployment(real, cell, "", 0)
    with pytest.raises(ConfigError, match="'demonstrator' sees a simulator's truth"):
        launch_plan.check_deployment(real, cell, "demonstrator", 0)


def test_a_real_arm_is_refused_where_no_cell_file_is_named():
    with pytest.raises(ConfigError, match="no robot 'ur5e'; allowed: virtual_ur5e, virtual_xarm7"):
        launch_plan.check_deployment(cell_file.load(cell_file.VIRTUAL), "ur5e", "models/mine", 0)


def _asked(*words):
    command = [sys.executable, "-m", "kinema.apps.launch_plan", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_launch_file_gets_json_or_the_reason():
    told = _asked("handheld", "--cell", str(CELLS / "virtual.yaml"), "--episodes", "2")
    assert json.loads(told.stdout)["processes"] == ["handheld", "renderer"] and told.returncode == 0
    refused = _asked("handheld", "--cell", str(CELLS / "handheld.yaml"), "--episodes", "2")
    assert refused.returncode == 2 and "has no simulated person to demonstrate; allowed is 0" in refused.stderr
