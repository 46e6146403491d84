"""The monitor's nodes on the graph: topics reach the page, buttons reach the services of executor and recorder."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("kinema_interfaces", reason="needs the built workspace")

import rclpy
from geometry_msgs.msg import Point
from kinema_interfaces.msg import (
    CalibrationState,
    CalibrationView,
    CellStatus,
    ExecutorState,
    JawState,
    PolicyInfo,
    Proposal,
    RecorderState,
    Task,
)
from kinema_interfaces.srv import Decide
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from kinema.geometry import Pose
from kinema.interfaces import ForceSample
from kinema.robots import GRIPPER, arm, forward_kinematics
from kinema.topics import CAMERAS, topic
from kinema_ros import convert
from kinema_ros.topics import QOS, message_type

pytestmark = pytest.mark.ros

ROBOT = "virtual_ur5e"
COLOURS = {"gripper": (220, 40, 40), "left": (40, 200, 60), "right": (50, 60, 230)}
IMAGINED = (200, 30, 200)
DRAWN = (250, 250, 10)


class Talker(Node):
    """Publishes some rows of the topic table at 10 Hz and answers services, of which one is refused."""

    NODE: ClassVar[str]
    SERVICES: ClassVar[tuple[str, ...]]
    REFUSED: ClassVar[str]
    TOPICS: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__("surroundings")
        rows = {name: topic(name) for name in self.TOPICS}
        self.out = {
            name: self.create_publisher(message_type(row), row.name, QOS[row.qos]) for name, row in rows.items()
        }
        self.called: list[str] = []
        for name in self.SERVICES:
            self.create_service(Trigger, f"{self.NODE}/{name}", lambda _, r, name=name: self.answer(name, r))
        self.images = {camera: convert.ImageBuffer(f"{camera}_optical_frame") for camera in CAMERAS}
        self.create_timer(0.1, lambda: self.say(self.get_clock().now().nanoseconds))

    def say(self, stamp_ns: int) -> None:
        raise NotImplementedError

    def answer(self, name: str, response: Trigger.Response) -> Trigger.Response:
        self.called.append(name)
        response.success, response.message = name != self.REFUSED, f"{name} answered"
        return response

    def show(self, stream: str, colours: dict[str, tuple[int, int, int]], stamp_ns: int) -> None:
        for camera, colour in colours.items():
            image = np.full((240, 320, 3), colour, np.uint8)
            self.out[f"{camera}/{stream}"].publish(self.images[camera].fill(image, stamp_ns))

    @property
    def watchers(self) -> int:
        return sum(self.out[f"{camera}/image_raw"].get_subscription_count() for camera in CAMERAS)


class Deployment(Talker):
    """Says what a whole cell would say, recorder included, and answers the executor's services."""

    NODE, SERVICES, REFUSED = "executor", ("hold", "stop", "reset"), "hold"
    TOPICS = (
        *("executor/state", "cell/status", "task", "joint_states", "tcp_pose", "executor/planned_path"),
        *(f"{camera}/{stream}" for camera in CAMERAS for stream in ("image_raw", "predicted")),
        *("recorder/state", "policy/info", "executor/proposal", "calibration/state", "gripper/calibration"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.create_service(Decide, "executor/approve", self.decide)
        self.waiting = False
        self.calibrating = False

    def decide(self, request: Decide.Request, response: Decide.Response) -> Decide.Response:
        self.waiting = False
        return self.answer(f"approve {request.chunk}", response)

    def say(self, stamp_ns: int) -> None:
        model = arm(ROBOT)
        T = forward_kinematics(model, np.array(model.home)) @ GRIPPER.T_flange_tcp
        state = ExecutorState(state=ExecutorState.EXECUTING, goal=convert.pose_msg(T), force=6.5, jaw_width=0.04)
        self.out["executor/state"].publish(state)
        self.out["task"].publish(Task(text="put the red mug into the bowl"))
        self.out["policy/info"].publish(PolicyInfo(name="video_policy", mode="single"))
        self.out["executor/proposal"].publish(
            Proposal(waiting=self.waiting, chunk=7, header=convert.header(stamp_ns), until=convert.time_msg(20 * 10**9))
        )
        self.out["cell/status"].publish(CellStatus(episode=2, split="train", real_time_factor=0.97))
        self.out["joint_states"].publish(
            JointState(name=[joint.name for joint in model.joints], position=list(model.home))
        )
        self.out["tcp_pose"].publish(convert.pose_stamped_msg(stamp_ns, "base_link", T))
        line = Marker(ns="planned_path", type=Marker.LINE_STRIP, points=[Point(x=0.4, z=z) for z in (0.1, 0.2, 0.3)])
        self.out["executor/planned_path"].publish(MarkerArray(markers=[line]))
        self.out["recorder/state"].publish(
            RecorderState(state=RecorderState.RECORDING, episode="runs/1/episodes/2026-01-31_007", duration=8.0)
        )
        self.show("image_raw", COLOURS, stamp_ns)
        self.show("predicted", dict.fromkeys(COLOURS, IMAGINED), stamp_ns)
        phase = CalibrationState.COLLECTING if self.calibrating else CalibrationState.IDLE
        views = [CalibrationView(camera="gripper")]
        self.out["calibration/state"].publish(
            CalibrationState(phase=phase, what="hand_eye", devices=["gripper"], views=views)
        )
        self.show("calibration", {"gripper": DRAWN}, stamp_ns)


class Recording(Talker):
    """Says what the handheld gripper's nodes would say, and answers the recorder's services."""

    NODE, SERVICES, REFUSED = "recorder", ("start", "stop", "discard"), "start"
    TOPICS = (
        *("recorder/state", "tracker/pose", "/tf_static", "jaw/state", "load_cell/force", "cell/status"),
        *(f"{camera}/image_raw" for camera in CAMERAS),
    )

    def __init__(self) -> None:
        super().__init__()
        self.state = RecorderState.IDLE

    def say(self, stamp_ns: int) -> None:
        T_base_world = Pose(np.array([0.3, 0.0, 0.1]), np.eye(3))
        self.out["/tf_static"].publish(convert.transforms_msg(stamp_ns, ("base_link", "world", T_base_world)))
        T_world_tcp = Pose(np.array([0.2, 0.05, 0.15]), np.diag([1.0, -1.0, -1.0]))
        self.out["tracker/pose"].publish(convert.pose_stamped_msg(stamp_ns, "world", T_world_tcp))
        self.out["jaw/state"].publish(JawState(width=0.042, valid=True, tags=2))
        self.out["load_cell/force"].publish(convert.force_msg(ForceSample(stamp_ns, 3.5, False, True)))
        self.out["cell/status"].publish(CellStatus(task="pick_and_place", split="train", outcome="not in the bowl"))
        self.out["recorder/state"].publish(
            RecorderState(
                state=self.state,
                task="put the red mug into the bowl",
                operator_name="Ada",
                duration=12.0,
                problems=["the load cell is not tared"] if self.state == RecorderState.IDLE else [],
                streams=["left/image_raw"],
                rates=[29.0],
                dropped=[3],
                confidence=3,
            )
        )
        self.show("image_raw", COLOURS, stamp_ns)


@contextlib.contextmanager
def spinning(kind: Callable[[], Talker]) -> Iterator[Talker]:
    """A node that talks in a thread."""
    rclpy.init()
    node = kind()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with spinning(Deployment) as node:
        yield node


@pytest.fixture
def recording() -> Iterator[Recording]:
    with spinning(Recording) as node:
        yield node


@pytest.fixture
def serve(start, wait_for) -> Callable[..., str]:
    """`serve(executable, *parameters)`: the page of a monitor node in a process of its own."""

    def up(executable: str, *parameters: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = [word for parameter in (*parameters, f"port:={port}") for word in ("-p", parameter)]
        start(["ros2", "run", "monitor", executable, "--ros-args", *options])
        url = f"http://127.0.0.1:{port}"

        def served() -> bool:
            try:
                return urllib.request.urlopen(url).status == 200
            except OSError:
                return False

        wait_for(served, timeout=60, what="the page")
        return url

    return up


def seen(browser, colour: tuple[int, int, int]) -> float:
    """Share of the pixels of a page that have this colour."""
    return float((np.abs(browser.screenshot().astype(int) - colour).max(axis=2) < 25).mean())


def test_graph_to_page_and_buttons_to_services(deployment, serve, browse):
    url = serve("monitor", f"robot:={ROBOT}")
    assert deployment.watchers == 0, "images are subscribed to while nobody looks"
    browser = browse(url)
    browser.until(lambda: "put the red mug into the bowl" in browser.text(), "the task")
    for wanted in (
        "EXECUTING",
        "video_policy, single",
        "6.5 N",
        "40.0 mm",
        "0.97 of real time",
        "recording for 8 s: 2026-01-31_007",
    ):
        browser.until(lambda wanted=wanted: wanted in browser.text(), wanted)

    for colour in (*COLOURS.values(), IMAGINED):
        browser.until(lambda colour=colour: seen(browser, colour) > 0.01, f"an image of colour {colour}")
    browser.until(lambda: deployment.watchers == len(CAMERAS), "subscriptions to the images")

    sessions = deployment.out["gripper/calibration"].get_subscription_count
    assert sessions() == 0 and seen(browser, DRAWN) == 0.0, "no session is open"
    deployment.calibrating = True
    browser.until(lambda: "hand_eye of gripper" in browser.text(), "the session")
    browser.until(lambda: seen(browser, DRAWN) > 0.01, "its picture")
    deployment.calibrating = False
    browser.until(lambda: seen(browser, DRAWN) == 0.0 and sessions() == 0, "its end")

    browser.click("SOFTWARE STOP")
    browser.until(lambda: deployment.called == ["stop"], "the stop at the executor")
    browser.click("Hold")
    browser.until(lambda: "hold answered" in browser.text(), "the refusal of the executor")
    assert deployment.called == ["stop", "hold"]

    deployment.waiting = True
    browser.until(lambda: "chunk 7 waits for you to approve or reject it, 20 s more" in browser.text(), "the plan")
    browser.click("Approve")
    browser.until(lambda: deployment.called == ["stop", "hold", "approve 7"], "the approval at the executor")
    browser.until(lambda: "Approve" not in browser.text(), "nothing waits any more")

    browser.close()
    browser.until(lambda: deployment.watchers == 0, "nobody subscribed to images any more")


def test_a_recording_on_its_page_and_buttons_to_the_recorder(recording, serve, browse):
    url = serve("recording_monitor")
    assert recording.watchers == 0, "images are subscribed to while nobody looks"
    browser = browse(url)
    browser.until(lambda: "put the red mug into the bowl" in browser.text(), "the task")
    for wanted in ("NOT READY", "the load cell is not tared", "29 of 30 Hz", "3 lost", "not in the bowl (scenario"):
        browser.until(lambda wanted=wanted: wanted in browser.text(), wanted)
    for wanted in ("3.5 N", "42.0 mm", "x 50.0 cm", "y 5.0 cm", "z 25.0 cm"):
        browser.until(lambda wanted=wanted: wanted in " ".join(browser.text().split()), wanted)
    for colour in COLOURS.values():
        browser.until(lambda colour=colour: seen(browser, colour) > 0.01, f"an image of colour {colour}")

    browser.click("Start")
    browser.until(lambda: "start answered" in browser.text(), "the refusal of the recorder")
    recording.state = RecorderState.RECORDING
    browser.until(lambda: "REC 0:12.0" in " ".join(browser.text().split()), "the recording")
    browser.click("Stop")
    browser.until(lambda: "stop answered" in browser.text(), "the answer of the recorder")
    browser.click("Discard …")
    browser.click("Yes, delete")
    browser.until(lambda: recording.called == ["start", "stop", "discard"], "the discarding")

    browser.close()
    browser.until(lambda: recording.watchers == 0, "nobody subscribed to images any more")
