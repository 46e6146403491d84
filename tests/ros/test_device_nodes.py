"""The nodes of a real cell's load cell and tracker: a virtual board on the port, drawn tags in the images."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from kinema import paths, records
from kinema.calibration.bundle import LOAD_CELL, load_bundle
from kinema.calibration.files import CameraInfo, ForceScale, MapTag, TagMap, load, save
from kinema.calibration.load_cell import newtons
from kinema.clock import now_ns
from kinema.interfaces import ForceSample
from kinema.ring import RingReader
from kinema.virtual.cameras import simulator_truth
from kinema.virtual.load_cell import SCALE, SERIAL, Board

from .spun import Spun

pytestmark = pytest.mark.ros

_UP = 90.0  # [s] for a node to come up on a busy machine
SIZE = (320, 240)
TAG, AWAY, HALF = 0.06, 0.30, 0.12  # [m] edge of the tags, how far their plane is, half of its width
TAGS = {3: (-0.06, -0.06), 7: (0.06, -0.06), 11: (-0.06, 0.06), 19: (0.06, 0.06)}  # [m] x right, y down


class Scales:
    """The board at its port, with a load [N] on its cell."""

    def __init__(self, link: Path) -> None:
        self.load = 0.0
        self._board, self._over = Board(link), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        rng, began = np.random.default_rng(0), time.monotonic()
        for k in range(1_000_000):
            self._board.answer()
            self._board.port.write(
                self._board.line(ForceSample(now_ns(), self.load + rng.normal(0, 0.01), False, False))
            )
            if self._over.wait(max(0.0, began + k / 100 - time.monotonic())):
                return

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._board.close()


class Client(Spun):
    """A node of its own that calls, listens and shows images."""

    def __init__(self, wait_for) -> None:
        from kinema.topics import topic
        from kinema_ros.topics import QOS, message_type

        super().__init__("test_device_nodes")
        self.wait_for, self.heard = wait_for, {}
        for name in ("load_cell/force", "tracker/odometry"):
            row = topic(name)
            self.node.create_subscription(
                message_type(row), name, lambda message, name=name: self.heard.update({name: message}), QOS[row.qos]
            )
        row = topic("gripper/image_raw")
        self.images = self.node.create_publisher(message_type(row), row.name, QOS[row.qos])
        self.spin()

    def caller(self, kind: type, name: str):
        """`call(**fields)` of a service that is there and knows us."""
        client = self.node.create_client(kind, name)
        self.wait_for(client.service_is_ready, timeout=_UP, what=name)
        time.sleep(0.5)  # for the server to discover the client too

        def call(**fields):
            future = client.call_async(kind.Request(**fields))
            self.wait_for(future.done, what=f"the answer of {name}")
            return future.result()

        return call


@pytest.fixture
def client(wait_for) -> Iterator[Client]:
    value = Client(wait_for)
    yield value
    value.close()


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """The handheld gripper's, tags in place of a T265, and a load cell that nobody has calibrated."""
    calibration = tmp_path / "calibration"
    shutil.copytree(paths.root() / "calibration/virtual", calibration)
    (calibration / LOAD_CELL.file).unlink()
    for file in (*calibration.glob("T_*.yaml"), calibration / "latency.yaml"):
        file.write_text(re.sub("VIRTUAL-TRACKER", "VIRTUAL-GRIPPER", file.read_text()))
    tags = tuple(
        MapTag(id=number, size=TAG, position=(x, y, AWAY), quaternion=(1.0, 0.0, 0.0, 0.0))
        for number, (x, y) in TAGS.items()
    )
    save(
        calibration / "tag_map.yaml", TagMap(dictionary="DICT_5X5_100", tags=tags, provenance=simulator_truth("map-1"))
    )
    content = yaml.safe_load((paths.root() / "launch/cells/handheld.yaml").read_text())
    content |= {"calibration": str(calibration), "image_size": list(SIZE)}
    content["devices"] |= {
        "load_cell": {"backend": "serial", "serial": SERIAL, "port": str(tmp_path / "load_cell.tty")},
        "tracker": {"backend": "tags", "serial": "VIRTUAL-GRIPPER"},
    }
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def _run(start, node: str, cell: Path) -> None:
    command = ["ros2", "run", "sensor_nodes", node, "--ros-args", "-p", f"cell:={cell}"]
    start(command, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_load_cell_is_calibrated_by_masses_and_then_measures(client, cell, start, wait_for):
    from kinema_interfaces.srv import CalibrateLoadCell
    from std_srvs.srv import Trigger

    scales = Scales(cell.parent / "load_cell.tty")
    try:
        _run(start, "load_cell", cell)
        weigh = client.caller(CalibrateLoadCell, "load_cell/calibrate")
        for mass in (0.0, 2.0, 5.0):
            scales.load = newtons(1e3 * mass)
            time.sleep(1.0)  # until the last half second is this load's
            answer = weigh(mass=mass)
            assert answer.success, answer.message
        assert "load_cell/force" not in client.heard  # without a calibration there is no force
        scales.load = 0.0
        time.sleep(1.0)
        answer = weigh(mass=0.0, last=True)
        assert answer.success and "load_cell.yaml is written: 4 loads" in answer.message, answer.message
        scale = load(cell.parent / "calibration" / LOAD_CELL.file, ForceScale, serial=SERIAL, remedy="")
        assert scale.newtons == pytest.approx(SCALE.newtons, rel=1e-3) and scale.provenance.origin == "measured"

        wait_for(lambda: "load_cell/force" in client.heard, what="the force")
        assert not client.heard["load_cell/force"].tared
        zero = client.caller(Trigger, "load_cell/zero")
        wait_for(lambda: zero().success, what="a tare")
        scales.load = 7.0
        ring = RingReader(paths.runtime() / "force.ring", records.LOAD_CELL)
        wait_for(lambda: abs(client.heard["load_cell/force"].force - 7.0) < 0.1, what="7 N on the topic")
        sample = records.to_force_sample(ring.latest()[1])
        assert sample.tared and sample.force == pytest.approx(7.0, abs=0.1)
    finally:
        scales.close()


def _picture(camera: CameraInfo) -> np.ndarray:
    """The tags of the map, seen by a camera in the map's origin."""
    dictionary, shown = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100), np.full((600, 600), 255, np.uint8)
    scale = len(shown) / (2 * HALF)  # px/m
    edge = round(TAG * scale)
    for number, (x, y) in TAGS.items():
        left, top = (round((offset + HALF) * scale) - edge // 2 for offset in (x, y))
        shown[top : top + edge, left : left + edge] = cv2.aruco.generateImageMarker(dictionary, number, edge)
    pixels = np.stack(np.meshgrid(*map(np.arange, SIZE)), axis=-1).astype(float)
    at = ((camera.rays(pixels)[..., :2] * AWAY + HALF) * scale - 0.5).astype(np.float32)
    grey = cv2.remap(shown, at[..., 0], at[..., 1], cv2.INTER_AREA, borderValue=128)
    return np.repeat(grey[..., None], 3, axis=-1)


def test_the_tracker_is_the_gripper_camera_where_the_cell_file_says_tags(client, cell, start, wait_for):
    from kinema_ros.convert import ImageBuffer

    camera = load_bundle(cell.parent / "calibration", {"gripper": "VIRTUAL-GRIPPER"}).camera("gripper").scaled(SIZE)
    image, buffer = _picture(camera), ImageBuffer("gripper_optical_frame")
    _run(start, "pose_tracker", cell)

    def located():
        client.images.publish(buffer.fill(image, now_ns()))
        time.sleep(0.05)
        return client.heard.get("tracker/odometry")

    tracked = wait_for(located, timeout=_UP, what="a pose")
    position = tracked.pose.position
    assert tracked.confidence == 3
    assert max(abs(position.x), abs(position.y), abs(position.z)) < 0.01  # it stands in the origin
