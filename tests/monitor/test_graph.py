"""What the monitor's nodes make of what they hear of a calibration session; nothing spins."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kinema_interfaces", reason="needs the built workspace")

import rclpy
from kinema_interfaces.msg import CalibrationState, CalibrationView
from monitor.graph import Cameras
from monitor.node import MonitorNode
from monitor.recording import RecordingMonitor

from kinema.calibration.session import Phase
from kinema.topics import CAMERAS
from kinema_ros.convert import ImageBuffer

pytestmark = pytest.mark.ros


class Listener:
    """In a node's place: topics and what takes their messages."""

    def __init__(self) -> None:
        self.taking: dict[str, Any] = {}

    def create_subscription(self, kind: type, name: str, take: Any, qos: Any) -> str:
        self.taking[name] = take
        return name

    def destroy_subscription(self, name: str) -> None:
        del self.taking[name]


def picture(colour: int) -> Any:
    return ImageBuffer("left_optical_frame").fill(np.full((4, 6, 3), colour, np.uint8), 10**9)


def state(**fields: object) -> CalibrationState:
    usual = {"phase": Phase.COLLECTING, "what": "intrinsics", "devices": ["left"], "samples": 2, "message": "sample 2"}
    return CalibrationState(views=[CalibrationView(camera="left")], **{**usual, **fields})


def test_pictures_of_a_session_are_subscribed_to_while_it_is_open_and_somebody_looks():
    node = Listener()
    cameras = Cameras(node, predicted=True)  # type: ignore[arg-type]
    calibrates = set(node.taking)
    assert calibrates == {"calibration/state"}
    node.taking["calibration/state"](state())
    cameras.subscribe(False)
    assert node.taking.keys() == calibrates
    node.taking["calibration/state"](state(phase=Phase.IDLE))
    cameras.subscribe(True)
    usual = calibrates | {f"{camera}/{stream}" for camera in CAMERAS for stream in ("image_raw", "predicted")}
    assert node.taking.keys() == usual
    node.taking["left/image_raw"](picture(10))
    node.taking["left/predicted"](picture(20))
    node.taking["calibration/state"](state())
    cameras.subscribe(True)
    assert node.taking.keys() == usual | {f"{camera}/calibration" for camera in CAMERAS}
    node.taking["left/calibration"](picture(30))
    assert cameras.calibration is not None and cameras.calibration.pictures["left"].max() == 30
    assert cameras.images["left"].max() == 10 and cameras.predicted()["left"].max() == 20, "what was seen stays"
    node.taking["calibration/state"](state(phase=Phase.IDLE))
    cameras.subscribe(True)
    assert node.taking.keys() == usual and cameras.calibration is None
    cameras.close()
    assert not node.taking and not cameras.images and not cameras.predicted()


def test_a_page_is_told_of_an_open_session_with_the_pictures_of_its_own_cameras():
    node = Listener()
    cameras = Cameras(node, predicted=False)  # type: ignore[arg-type]
    assert cameras.calibration is None, "nobody calibrates"
    node.taking["calibration/state"](state(phase=Phase.IDLE))
    assert cameras.calibration is None
    node.taking["calibration/state"](state(auto_capture=True, pose=1, poses=4, show_next="nearer"))
    cameras.subscribe(True)
    for camera in ("left", "right"):
        node.taking[f"{camera}/calibration"](picture(30))
    shown = cameras.calibration
    assert shown is not None and shown.pictures.keys() == {"left"}, "right is of another session"
    assert (shown.phase, shown.what, shown.devices, shown.samples) == (Phase.COLLECTING, "intrinsics", ("left",), 2)
    assert (shown.auto, shown.pose, shown.poses, shown.show_next, shown.message) == (True, 1, 4, "nearer", "sample 2")


@pytest.fixture(params=[MonitorNode, RecordingMonitor])
def node(request) -> Iterator[Any]:
    rclpy.init(args=["test", "--ros-args", "-p", "port:=0"])
    made = request.param("monitor")
    made.trigger_configure()
    yield made
    made.close()
    made.destroy_node()
    rclpy.shutdown()


def test_a_node_shows_a_session_from_its_first_state_to_its_end(node, monkeypatch):
    page, cameras = node._page, node._cameras
    monkeypatch.setattr(type(page), "watched", True)
    node._show()
    usual = set(cameras._subscriptions)
    assert "calibration" not in usual and not page._calibration.visible
    cameras._calibration._take(state(phase=Phase.SOLVING))
    node._show()
    assert set(cameras._subscriptions) == usual | {"calibration"}
    cameras._take_session("left", picture(30))
    shown = node._snapshot(time.monotonic_ns()).calibration
    assert shown is not None and shown.pictures["left"].max() == 30
    node._show()
    assert page._calibration.visible and "intrinsics of left" in page._calibration.content
    cameras._calibration._take(state(phase=Phase.IDLE))
    node._show()
    assert set(cameras._subscriptions) == usual and not page._calibration.visible and not cameras.calibration
