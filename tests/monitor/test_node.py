"""The monitor node on the graph: topics reach the page, buttons reach the executor's services."""

import socket
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("kinema_interfaces", reason="needs the built workspace")

import rclpy
from geometry_msgs.msg import Point
from kinema_interfaces.msg import CellStatus, ExecutorState, Task
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from kinema.robots import GRIPPER, arm, forward_kinematics
from kinema.topics import CAMERAS, topic
from kinema_ros import convert
from kinema_ros.topics import QOS, message_type

pytestmark = pytest.mark.ros

ROBOT = "virtual_ur5e"
COLOURS = {"gripper": (220, 40, 40), "left": (40, 200, 60), "right": (50, 60, 230)}
IMAGINED = (200, 30, 200)


class Surroundings(Node):
    """Says what a whole cell would say, and answers the executor's services."""

    def __init__(self) -> None:
        super().__init__("surroundings")
        names = ["executor/state", "cell/status", "task", "joint_states", "tcp_pose", "executor/planned_path"]
        names += [f"{camera}/{stream}" for camera in CAMERAS for stream in ("image_raw", "predicted")]
        rows = {name: topic(name) for name in names}
        self.out = {
            name: self.create_publisher(message_type(row), row.name, QOS[row.qos]) for name, row in rows.items()
        }
        self.called: list[str] = []
        for name in ("hold", "stop", "reset"):
            self.create_service(Trigger, f"executor/{name}", lambda _, r, name=name: self.answer(name, r))
        self.images = {camera: convert.ImageBuffer(f"{camera}_optical_frame") for camera in CAMERAS}
        self.create_timer(0.1, self.say)
        self.out["task"].publish(Task(text="put the red mug into the bowl"))

    def answer(self, name: str, response: Trigger.Response) -> Trigger.Response:
        self.called.append(name)
        response.success, response.message = name != "hold", f"{name} answered"
        return response

    def say(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        model = arm(ROBOT)
        T = forward_kinematics(model, np.array(model.home)) @ GRIPPER.T_flange_tcp
        state = ExecutorState(state=ExecutorState.EXECUTING, goal=convert.pose_msg(T), force=6.5, jaw_width=0.04)
        self.out["executor/state"].publish(state)
        self.out["cell/status"].publish(CellStatus(episode=2, split="train", real_time_factor=0.97))
        self.out["joint_states"].publish(
            JointState(name=[joint.name for joint in model.joints], position=list(model.home))
        )
        self.out["tcp_pose"].publish(convert.pose_stamped_msg(stamp_ns, "base_link", T))
        line = Marker(ns="planned_path", type=Marker.LINE_STRIP, points=[Point(x=0.4, z=z) for z in (0.1, 0.2, 0.3)])
        self.out["executor/planned_path"].publish(MarkerArray(markers=[line]))
        for camera, colour in COLOURS.items():
            for stream, shown in (("image_raw", colour), ("predicted", IMAGINED)):
                image = np.full((240, 320, 3), shown, np.uint8)
                self.out[f"{camera}/{stream}"].publish(self.images[camera].fill(image, stamp_ns))

    @property
    def watchers(self) -> int:
        return sum(self.out[f"{camera}/image_raw"].get_subscription_count() for camera in CAMERAS)


@pytest.fixture
def surroundings() -> Iterator[Surroundings]:
    rclpy.init()
    node = Surroundings()
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
def url(start, wait_for) -> str:
    """The page of a monitor node in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start(["ros2", "run", "monitor", "monitor", "--ros-args", "-p", f"robot:={ROBOT}", "-p", f"port:={port}"])
    url = f"http://127.0.0.1:{port}"

    def served() -> bool:
        try:
            return urllib.request.urlopen(url).status == 200
        except OSError:
            return False

    wait_for(served, timeout=60, what="the page")
    return url


def test_graph_to_page_and_buttons_to_services(surroundings, url, browse):
    assert surroundings.watchers == 0, "images are subscribed to while nobody looks"
    browser = browse(url)
    browser.until(lambda: "put the red mug into the bowl" in browser.text(), "the task")
    for wanted in ("EXECUTING", "6.5 N", "40.0 mm", "0.97 of real time"):
        browser.until(lambda wanted=wanted: wanted in browser.text(), wanted)

    def seen(colour: tuple[int, int, int]) -> float:
        return float((np.abs(browser.screenshot().astype(int) - colour).max(axis=2) < 25).mean())

    for colour in (*COLOURS.values(), IMAGINED):
        browser.until(lambda colour=colour: seen(colour) > 0.01, f"an image of colour {colour}")
    browser.until(lambda: surroundings.watchers == len(CAMERAS), "subscriptions to the images")

    browser.click("SOFTWARE STOP")
    browser.until(lambda: surroundings.called == ["stop"], "the stop at the executor")
    browser.click("Hold")
    browser.until(lambda: "hold answered" in browser.text(), "the refusal of the executor")
    assert surroundings.called == ["stop", "hold"]

    browser.close()
    browser.until(lambda: surroundings.watchers == 0, "nobody subscribed to images any more")
