"""What the node stereo_calibration does with its session, by its callbacks alone: nothing spins."""

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("kinema_interfaces", reason="needs the built workspace")

import rclpy
from kinema_interfaces.srv import PoseArm, SolveCalibration, StartCalibration
from std_srvs.srv import SetBool, Trigger
from stereo_calibration.late import Answer
from stereo_calibration.node import CalibrationNode

from kinema import paths
from kinema.calibration.files import CameraInfo, load, previous
from kinema.calibration.session import Phase, Sample, Session, Solution
from kinema.errors import CalibrationError
from kinema.geometry import Pose, so3_exp

pytestmark = pytest.mark.ros


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(paths.root() / "calibration/virtual", tmp_path / "calibration")


@pytest.fixture
def node(folder: Path, tmp_path: Path) -> Iterator[CalibrationNode]:
    content = yaml.safe_load((paths.root() / "launch/cells/virtual.yaml").read_text())
    cell = tmp_path / "cell.yaml"
    cell.write_text(yaml.safe_dump(content | {"calibration": str(folder)}))
    rclpy.init(args=["test", "--ros-args", "-p", f"cell:={cell}"])
    made = CalibrationNode("stereo_calibration")
    made.trigger_configure()
    yield made
    made.close()
    made.destroy_node()
    rclpy.shutdown()


def collected(node: CalibrationNode) -> None:
    """A session of the payload with all samples that it needs."""
    node._start(StartCalibration.Request(what="payload"), StartCalibration.Response())
    for k in range(9):
        R = so3_exp(np.array([math.pi + 0.6 * math.sin(k), 0.8 * math.cos(2 * k), 0.3 * k]))
        T_base_tcp = Pose(np.array([0.5, 0.0, 0.3]), R)
        node._session = node._session.capture(Sample(k + 1, T_base_tcp=T_base_tcp, wrench=np.zeros(6)))


def solve(node: CalibrationNode) -> list[SolveCalibration.Response]:
    """What is answered, once it is."""
    sent: list[SolveCalibration.Response] = []
    node._solve(SolveCalibration.Request(), Answer(SolveCalibration.Response(), sent.append))
    return sent


def test_solve_is_answered_once_the_solver_is_through_and_meanwhile_the_state_is_solving(node):
    collected(node)
    sent = solve(node)
    assert not sent and node._session.phase is Phase.SOLVING and node._state_msg().phase == Phase.SOLVING
    for refused in (
        lambda: node._auto_capture(SetBool.Request(data=True), SetBool.Response()),
        lambda: node._pose_arm(PoseArm.Request(poses=3), PoseArm.Response()),
        lambda: node._accept(Trigger.Request(), Trigger.Response()),
    ):
        with pytest.raises(CalibrationError, match="the state is SOLVING"):
            refused()
    (second,) = solve(node)
    assert not second.success and "the state is SOLVING" in second.message
    deadline = time.monotonic() + 60.0
    while not sent and time.monotonic() < deadline:
        node._poll()
    assert sent[0].success and sent[0].acceptable and sent[0].files == ["payload.yaml"], sent[0].message
    assert node._session.phase is Phase.SOLVED


def test_cancel_answers_whoever_waits_for_the_solver(node):
    node._start(StartCalibration.Request(what="jaw"), StartCalibration.Response())
    sent = solve(node)  # waits for a jaw_tracker that is not there
    node._poll()
    assert not sent and node._session.phase is Phase.SOLVING
    node._cancel(Trigger.Request(), Trigger.Response())
    assert [answer.success for answer in sent] == [False] and "cancelled" in sent[0].message
    node._poll()
    assert node._session.phase is Phase.IDLE and len(sent) == 1


def test_what_a_solver_refuses_is_answered_and_the_samples_stay(node):
    collected(node)
    for _ in range(7):
        node._session = node._session.undo()
    sent = solve(node)
    deadline = time.monotonic() + 60.0
    while not sent and time.monotonic() < deadline:
        node._poll()
    assert not sent[0].success and node._session.message == f"REFUSED: {sent[0].message}"
    assert node._session.phase is Phase.COLLECTING and len(node._session.samples) == 2


def test_accepting_the_lens_of_a_replaced_camera_replaces_the_foreign_file_and_keeps_it(node, folder):
    path = folder / "left.yaml"
    new = load(path, CameraInfo, remedy="")
    old = new.model_copy(update={"provenance": new.provenance.model_copy(update={"serial": "REPLACED"})})
    path.write_text(yaml.safe_dump(old.model_dump(mode="json")))
    session = replace(Session().start("intrinsics", ["left"], node.value("board")), samples=(Sample(1),))
    node._session = session.solving().solve(Solution({"left.yaml": new}, (), ""))
    node._accept(Trigger.Request(), Trigger.Response())
    assert load(path, CameraInfo, serial="VIRTUAL-LEFT", remedy="") == new
    assert load(previous(path)[1], CameraInfo, serial="REPLACED", remedy="") == old
