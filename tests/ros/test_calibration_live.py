"""Calibration sessions in the whole virtual cell with a board: by services alone, the arm takes its poses by itself."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kinema import paths
from kinema.calibration.boards import DEFAULT
from kinema.calibration.files import Transform, load
from kinema.control.messages import State
from kinema.geometry import Pose, distance, pose_error
from kinema.robots import GRIPPER, arm, forward_kinematics
from kinema.virtual.board_view import T_TCP_BOARD
from kinema.virtual.cameras import camera

pytestmark = [pytest.mark.ros, pytest.mark.slow]

POSES = 15
BEFORE = Pose(np.array([*(-np.array(DEFAULT.size) / 2), 0.7]), np.eye(3))  # a camera
UR = arm("virtual_ur5e")
HOME = forward_kinematics(UR, np.array(UR.home)) @ GRIPPER.T_flange_tcp


def _cell(folder: Path, board: str, missing: str) -> Path:
    """A cell file with a board, and with calibration files of its own, one of which is missing."""
    shutil.copytree(
        paths.root() / "calibration/virtual", folder / "calibration", ignore=shutil.ignore_patterns(missing)
    )
    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    for old, new in (
        ("calibration/virtual", str(folder / "calibration")),
        ("[320, 240]", "[640, 480]"),
        ("seed: 0}", f"seed: 0, board: {board}}}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "cell.yaml").write_text(text)
    return folder / "cell.yaml"


def _jog(graph, T_base_a: Pose, T_base_b: Pose) -> None:
    from geometry_msgs.msg import Twist, Vector3
    from kinema_interfaces.srv import Jog

    error = pose_error(T_base_a, T_base_b)
    duration = max(np.linalg.norm(error[:3]) / 0.1, np.linalg.norm(error[3:]) / 0.4)
    vx, vy, vz, wx, wy, wz = (error / duration).tolist()
    twist = Twist(linear=Vector3(x=vx, y=vy, z=vz), angular=Vector3(x=wx, y=wy, z=wz))
    assert graph.call(Jog, "executor/jog", twist=twist, duration=float(duration)).success
    ticks = graph.latest["executor/state"].ticks + round(500 * (duration + 1.0))
    graph.wait(lambda: graph.latest["executor/state"].ticks > ticks, "the jog's end")
    graph.wait_state(State.READY)


@pytest.mark.parametrize(
    ("what", "name", "board", "made"),
    [
        ("hand_eye", "gripper", "table", "T_tcp_gripper.yaml"),
        ("eye_on_base", "left", "gripper", "T_base_left.yaml"),
    ],
)
def test_a_camera_is_calibrated_by_services_with_the_poses_that_the_arm_takes(
    launch, connect, tmp_path, what, name, board, made
):
    from kinema_interfaces.srv import CalibrationStatus, PoseArm, SolveCalibration, StartCalibration
    from std_srvs.srv import Trigger

    cell = _cell(tmp_path, board, made)
    stack = launch(
        episodes=0, cell=cell, calibrate="true", calibration_override="it is to be made", run_dir=tmp_path / "run"
    )
    graph = connect()
    graph.wait(lambda: {"executor/state", "cell/status"} <= graph.latest.keys(), "the cell", 120.0)
    graph.wait(graph.whole, stack.log.read_text(), 120.0)
    graph.idle()
    assert graph.trigger("executor/enable").success
    graph.wait_state(State.READY)
    if board == "gripper":
        _jog(graph, HOME, camera(name).T_mount_camera @ BEFORE @ T_TCP_BOARD.inverse())

    said = lambda kind, service, **fields: graph.call(kind, f"stereo_calibration/{service}", **fields)  # noqa: E731
    answer = said(StartCalibration, "start_session", what=what, cameras=[name])
    assert answer.success, answer.message
    graph.wait(lambda: said(PoseArm, "pose_arm", poses=POSES).success, "the board before the camera", 30.0)
    status = lambda: said(CalibrationStatus, "status").state  # noqa: E731
    graph.wait(lambda: status().poses == 0, stack.log.read_text(), 300.0)
    assert status().samples >= POSES - 3, status().message

    found = said(SolveCalibration, "solve")
    assert found.success and found.acceptable and list(found.files) == [made], found.message
    assert not (tmp_path / "calibration" / made).exists()
    assert said(Trigger, "accept").success
    row = camera(name)
    T = load(tmp_path / "calibration" / made, Transform, serial=row.serial, remedy="").pose
    moved, turned = distance(T, row.T_mount_camera)
    assert moved < 0.001 and np.degrees(turned) < 0.1, found.message
