"""The jaw tracker on the graph: without a calibration it says so, calibrate_jaw makes one, then it measures."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema import paths
from kinema.calibration.bundle import JAW
from kinema.calibration.files import Jaw, load
from kinema.robots import GRIPPER
from kinema.virtual import noise, scenario
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.renderer import CellRenderer

from .spun import Spun

pytestmark = pytest.mark.ros

PERIOD_NS = 33_333_333
OPENINGS = (*np.linspace(0.05, 0.0, 12), 0.0, 0.0, 0.0, *np.linspace(0.0, GRIPPER.stroke, 18), *[GRIPPER.stroke] * 6)


class Eye(Spun):
    """Publishes images as the gripper camera's node does, one for each reading, and calls calibrate_jaw."""

    def __init__(self, wait_for) -> None:
        from std_srvs.srv import Trigger

        from kinema.topics import topic
        from kinema_ros.convert import ImageBuffer
        from kinema_ros.topics import QOS, message_type

        super().__init__("test_eye")
        self._wait_for = wait_for
        images, readings = topic("gripper/image_raw"), topic("jaw/state")
        self._publisher = self.node.create_publisher(message_type(images), images.name, QOS[images.qos])
        self.readings: list = []
        self.node.create_subscription(message_type(readings), readings.name, self.readings.append, QOS[readings.qos])
        self._service = self.node.create_client(Trigger, "jaw_tracker/calibrate_jaw")
        self._request = Trigger.Request
        self._buffer, self._shown = ImageBuffer("gripper_optical_frame"), 0
        self.spin()

    def show(self, image: np.ndarray):
        """The reading that an image brings; shown again where a best-effort message was lost."""
        self._shown += 1
        message = self._buffer.fill(image, self._shown * PERIOD_NS)

        def seen():
            self._publisher.publish(message)
            time.sleep(0.02)
            return [reading for reading in self.readings if reading.header.stamp == message.header.stamp]

        return self._wait_for(seen, what="a reading of the image's stamp")[0]

    def calibrate(self):
        self._wait_for(self._service.service_is_ready, what="calibrate_jaw")
        time.sleep(0.5)  # for the server to discover the client too
        future = self._service.call_async(self._request())
        self._wait_for(future.done, what="the answer of calibrate_jaw")
        return future.result()


@pytest.fixture
def eye(wait_for) -> Iterator[Eye]:
    value = Eye(wait_for)
    yield value
    value.close()


@pytest.fixture(scope="module")
def film() -> list[tuple[np.ndarray, float]]:
    """Images of a jaw that closes and opens once, with the true openings [m]."""
    world = HandheldWorld(scenario.draw("pick_and_place", "train", 0))
    renderer = CellRenderer(world.model, (320, 240), noise.load().camera)
    shown = []
    for k, opening in enumerate(OPENINGS):
        for _ in range(40):
            world.step(T_BASE_TCP_START, float(opening))
        shown.append((renderer.render("gripper", world.snapshot(), k), world.width()))
    renderer.close()
    return shown


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """A copy of the virtual cell's calibration without the jaw's."""
    folder = tmp_path / "calibration"
    shutil.copytree(paths.root() / "calibration/virtual", folder)
    (folder / JAW.file).unlink()
    return folder


def test_calibrate_jaw_makes_the_file_that_the_node_then_measures_by(eye, film, calibration, start, tmp_path):
    cell = tmp_path / "cell.yaml"
    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    cell.write_text(text.replace("calibration: calibration/virtual", f"calibration: {calibration}"))
    log = tmp_path / "log"
    with log.open("w") as out:
        command = ["ros2", "run", "sensor_nodes", "jaw_tracker", "--ros-args", "-p", f"cell:={cell}"]
        start(command, stdout=out, stderr=subprocess.STDOUT)

        reading = eye.show(film[-1][0])
        assert not reading.valid and np.isnan(reading.width)
        answer = eye.calibrate()
        assert not answer.success and "close the jaw fully, open it fully" in answer.message
        assert not (calibration / JAW.file).exists()
        assert "jaw.yaml: cannot be read" in log.read_text() and "jaw_tracker/calibrate_jaw" in log.read_text()

        for image, _ in film:
            eye.show(image)
        answer = eye.calibrate()
        assert answer.success, answer.message
        assert str(calibration / JAW.file) in answer.message
        jaw = load(calibration / JAW.file, Jaw, serial="VIRTUAL-JAW", remedy="")
        assert jaw.provenance.origin == "measured"

        for image, width in film[::6]:
            reading = eye.show(image)
            assert reading.valid and reading.tags == 2
            assert reading.width == pytest.approx(width, abs=0.0005)
