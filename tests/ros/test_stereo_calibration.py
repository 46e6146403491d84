"""A calibration session on the graph: what the arm says makes samples, the file is written when it is accepted."""

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema import paths
from kinema.calibration.files import Payload, load
from kinema.calibration.load_cell import GRAVITY
from kinema.calibration.session import Phase
from kinema.clock import now_ns
from kinema.geometry import Pose, so3_exp
from kinema.robots import GRIPPER

from .spun import Spun

pytestmark = pytest.mark.ros

EXTRA = 0.5  # [kg] that hangs in the TCP beside the gripper


class Arm(Spun):
    """Says at 100 Hz that it rests at `T_base_tcp`, and what weighs on it; calls the session's services."""

    def __init__(self, wait_for) -> None:
        from kinema.topics import topic
        from kinema_ros.topics import QOS, message_type

        super().__init__("test_resting_arm")
        self._wait_for = wait_for
        self.T_base_tcp = Pose.identity()
        self.states: list = []
        self._clients: dict = {}
        pose, wrench, state = (topic(name) for name in ("tcp_pose", "tcp_wrench", "calibration/state"))
        self._pose = self.node.create_publisher(message_type(pose), pose.name, QOS[pose.qos])
        self._wrench = self.node.create_publisher(message_type(wrench), wrench.name, QOS[wrench.qos])
        self.node.create_subscription(message_type(state), state.name, self.states.append, QOS[state.qos])
        self.node.create_timer(0.01, self._say)
        self.spin()

    def _say(self) -> None:
        from kinema_ros.convert import pose_stamped_msg, wrench_msg

        stamp_ns, weight = now_ns(), np.array([0.0, 0.0, -EXTRA * GRAVITY])
        self._pose.publish(pose_stamped_msg(stamp_ns, "base_link", self.T_base_tcp))
        wrench = np.concatenate([self.T_base_tcp.rotation.T @ weight, np.zeros(3)])
        self._wrench.publish(wrench_msg(stamp_ns, "tcp", wrench))

    def call(self, kind: type, name: str, **fields):
        future = self.ask(kind, name, **fields)
        self._wait_for(future.done, what=f"the answer of {name}")
        return future.result()

    def ask(self, kind: type, name: str, **fields):
        """The answer's future."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f"stereo_calibration/{name}")
            self._wait_for(self._clients[name].service_is_ready, what=name)
            time.sleep(0.5)  # for the server to discover the client too
        return self._clients[name].call_async(kind.Request(**fields))


@pytest.fixture
def arm(wait_for) -> Iterator[Arm]:
    value = Arm(wait_for)
    yield value
    value.close()


def calibrate(start, tmp_path: Path) -> Path:
    """Start the node in a cell whose payload is not calibrated; the folder of its files."""
    folder, cell = tmp_path / "calibration", tmp_path / "cell.yaml"
    shutil.copytree(paths.root() / "calibration/virtual", folder, ignore=shutil.ignore_patterns("payload.yaml"))
    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    cell.write_text(text.replace("calibration: calibration/virtual", f"calibration: {folder}"))
    command = ["ros2", "run", "stereo_calibration", "stereo_calibration", "--ros-args", "-p", f"cell:={cell}"]
    start(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    return folder


def test_while_the_solver_is_at_work_the_node_goes_on_and_cancel_ends_it(arm, start, wait_for, tmp_path: Path):
    from kinema_interfaces.srv import CalibrationStatus, CaptureSample, SolveCalibration, StartCalibration
    from std_srvs.srv import Trigger

    calibrate(start, tmp_path)
    assert arm.call(StartCalibration, "start_session", what="jaw").success
    solution = arm.ask(SolveCalibration, "solve")  # waits 20 s for a jaw_tracker that is not there
    wait_for(lambda: arm.states and arm.states[-1].phase == Phase.SOLVING, what="SOLVING on calibration/state")
    assert arm.call(CalibrationStatus, "status").state.phase == Phase.SOLVING
    for kind, name in ((CaptureSample, "capture_sample"), (Trigger, "accept"), (SolveCalibration, "solve")):
        answer = arm.call(kind, name)
        assert not answer.success and "the state is SOLVING" in answer.message
    assert not solution.done()
    assert arm.call(Trigger, "cancel").success
    wait_for(solution.done, what="the answer of the solve that was cancelled")
    assert not solution.result().success and "cancelled" in solution.result().message
    assert arm.call(StartCalibration, "start_session", what="payload").success, "the next session does not wait"


def test_a_session_from_start_to_the_file_and_what_is_out_of_order_is_refused(arm, start, wait_for, tmp_path: Path):
    from kinema_interfaces.srv import CaptureSample, SolveCalibration, StartCalibration, UndoSample
    from std_srvs.srv import Trigger

    folder = calibrate(start, tmp_path)
    answer = arm.call(CaptureSample, "capture_sample")
    assert not answer.success and "the state is IDLE" in answer.message
    assert arm.call(StartCalibration, "start_session", what="payload").success
    answer = arm.call(StartCalibration, "start_session", what="dock")
    assert not answer.success and "COLLECTING (payload of arm, 0 samples)" in answer.message

    for k in range(9):
        R = so3_exp(np.array([math.pi + 0.6 * math.sin(k), 0.8 * math.cos(2 * k), 0.3 * k]))
        arm.T_base_tcp = Pose(np.array([0.5, 0.0, 0.3]), R)
        wait_for(lambda: arm.call(CaptureSample, "capture_sample").success, what="the arm at rest")
    assert arm.call(UndoSample, "undo_sample", number=2).success
    assert not arm.call(Trigger, "accept").success
    found = arm.call(SolveCalibration, "solve")
    assert found.success and found.acceptable and list(found.files) == ["payload.yaml"], found.message
    wait_for(lambda: arm.states and arm.states[-1].phase == Phase.SOLVED, what="SOLVED on calibration/state")
    assert arm.states[-1].samples == 8 and not (folder / "payload.yaml").exists()

    assert arm.call(Trigger, "accept").success
    payload = load(folder / "payload.yaml", Payload, serial="VIRTUAL-ARM", remedy="")
    assert payload.mass == pytest.approx(GRIPPER.mass + EXTRA, abs=0.02)
    answer = arm.call(Trigger, "accept")
    assert not answer.success and "the state is IDLE" in answer.message
