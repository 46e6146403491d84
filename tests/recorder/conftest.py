"""The recorder node in a process of its own, and in the test the sensors that it records, at their true rates."""

import resource
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from kinema import paths
from kinema.calibration.bundle import load_bundle
from kinema.clock import NS, now_ns
from kinema.episodes.messages import JawSample, Picture, StampedPose, Transforms, encode, typestore
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, TOPICS

UP = 90.0  # [s] for a process to come up on a busy machine

_TICK = 200  # [Hz]
_RATES = {
    "tracker/odometry": 200,
    "tracker/pose": 200,
    "load_cell/force": 80,
    "jaw/state": 30,
    **{f"{camera}/image_raw": 30 for camera in CAMERAS},
}
_LOOP = 400  # ticks after which the tracker comes round again
_SQUEEZE = 0.06 - 0.018 * (1 - np.cos(np.linspace(0, 4 * np.pi, 22)))  # [m] twice, at 30 Hz


def _loop(size: tuple[int, int]) -> dict[str, list[bytearray]]:
    """Serialised messages without stamps, each stream played again and again."""
    store, rng = typestore(), np.random.default_rng(0)
    angles = 2 * np.pi * np.arange(_LOOP) / _LOOP
    poses = [Pose.from_rotvec([0.1 * np.cos(a), 0.1 * np.sin(a), 0.0], [0.0, 0.0, 0.2 * np.sin(a)]) for a in angles]
    width, height = size
    rows: dict[str, list] = {
        "tracker/odometry": [TrackedPose(0, pose, 3, False) for pose in poses],
        "tracker/pose": [StampedPose(0, "world", pose) for pose in poses],
        "load_cell/force": [ForceSample(0, 0.02 * rng.standard_normal(), False, True) for _ in range(80)],
        "jaw/state": [JawSample(0, 0.06, True, 2)],
    }
    for camera in CAMERAS:
        images = rng.integers(0, 255, (8, height, width, 3), np.uint8)
        rows[f"{camera}/image_raw"] = [Picture(0, f"{camera}_optical_frame", image) for image in images]
    return {topic: [bytearray(encode(store, value)) for value in values] for topic, values in rows.items()}


class Sensors:
    """All that a handheld recording needs, published from a thread.

    silent  topics that say nothing
    sent    stamps [ns] by topic, as published
    """

    def __init__(self, node, size: tuple[int, int]) -> None:
        from kinema_ros.topics import QOS, message_type

        self.silent: set[str] = set()
        self.sent: dict[str, list[int]] = {topic: [] for topic in _RATES}
        self._loop = _loop(size)
        self._out = {
            name: node.create_publisher(message_type(TOPICS[name]), name, QOS[TOPICS[name].qos])
            for name in (*_RATES, "/tf_static")
        }
        self._node = node
        self._squeeze: list[float] = []
        self._next: dict[str, object] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def anchor(self) -> None:
        """/tf_static knows where the tracker's world stands, as after pose_tracker/anchor."""
        T = load_bundle(paths.root() / "calibration/virtual", {"tracker": "VIRTUAL-TRACKER"}).T_base_world
        self._out["/tf_static"].publish(bytes(encode(typestore(), Transforms(now_ns(), (("base_link", "world", T),)))))

    def squeeze_twice(self) -> None:
        self._squeeze = _SQUEEZE.tolist()

    def once(self, topic: str, value: object) -> None:
        """The next message of a topic says this, with the stamp that it is due at."""
        self._next[topic] = value

    def always(self, topic: str, value: object) -> None:
        """From now on."""
        self._loop[topic] = [bytearray(encode(typestore(), value))]

    def heard(self) -> bool:
        """Whether the recorder listens to every stream."""
        return all(out.get_subscription_count() > 0 for out in self._out.values())

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        origin_ns, tick = now_ns(), 0
        while not self._over.is_set():
            stamp_ns = origin_ns + tick * NS // _TICK
            for topic, rate in _RATES.items():
                if tick * rate // _TICK != (tick - 1) * rate // _TICK and topic not in self.silent:
                    self._publish(topic, stamp_ns, tick * rate // _TICK)
            tick += 1
            time.sleep(max(0.0, began + tick / _TICK - time.monotonic()))

    def _publish(self, topic: str, stamp_ns: int, count: int) -> None:
        messages = self._loop[topic]
        message = messages[count % len(messages)]
        if topic == "jaw/state" and self._squeeze:
            message = bytearray(encode(typestore(), JawSample(0, self._squeeze.pop(0), True, 2)))
        if topic in self._next:
            message = bytearray(encode(typestore(), self._next.pop(topic)))
        struct.pack_into("<iI", message, 4, stamp_ns // NS, stamp_ns % NS)  # after CDR's four bytes
        self._out[topic].publish(bytes(message))
        self.sent[topic].append(stamp_ns)


class Graph:
    """A node of the test that spins in a thread, keeps recorder/state, and calls the recorder's services."""

    def __init__(self) -> None:
        import rclpy
        from kinema_interfaces.msg import RecorderState
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("test_recorder")
        self.state: RecorderState | None = None
        self.node.create_subscription(RecorderState, "recorder/state", self._keep, 10)
        self._clients: dict = {}
        self._shutdown = rclpy.shutdown
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _keep(self, state) -> None:
        self.state = state

    def call(self, service: str, **fields: object):
        from kinema_interfaces.srv import SetTask
        from std_srvs.srv import Trigger

        kind = SetTask if service == "set_task" else Trigger
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self.node.create_client(kind, f"recorder/{service}")
        _until(client.service_is_ready, f"service recorder/{service}", UP)
        time.sleep(0.5)  # until the server has discovered this client too: else it answers and nobody hears
        future = client.call_async(kind.Request(**fields))
        _until(future.done, f"an answer of recorder/{service}", 60.0)
        return future.result()

    def until(self, condition: Callable, what: str, timeout: float = 60.0):
        """Wait for a condition on recorder/state."""
        return _until(lambda: self.state is not None and condition(self.state), what, timeout)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self._shutdown()


class Running:
    """One recorder process; its lines are in `log`, its episodes below `folder`."""

    def __init__(self, graph: Graph, log: Path, folder: Path, parameters: dict, **options: object) -> None:
        self.graph, self.log, self.folder = graph, log, folder
        values = {"episodes_dir": folder, "task": "put the cup into the bowl", "keys": "false", **parameters}
        words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
        with log.open("w") as out:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT, **options}
            command = [paths.root() / "ros2_ws/install/recording/lib/recording/recorder", "--ros-args", *words]
            self.process = subprocess.Popen(command, **options)
        graph.state = None
        graph.until(lambda state: True, f"recorder/state; {log.read_text()}", UP)

    @property
    def state(self):
        return self.graph.state

    def start(self):
        answer = self.graph.call("start")
        assert answer.success, answer.message
        self.graph.until(lambda state: state.state == state.RECORDING, "RECORDING")
        return Path(self.state.episode)

    def stop(self) -> Path:
        saved = self.state.saved
        answer = self.graph.call("stop")
        assert answer.success, answer.message
        return self.saved(saved + 1)

    def saved(self, count: int) -> Path:
        self.graph.until(lambda state: state.state == state.IDLE and state.saved == count, f"{count} saved")
        return Path(self.state.episode)

    def lasts(self, seconds: float) -> None:
        """Wait until the present episode is so long."""
        self.graph.until(lambda state: state.duration > seconds, f"an episode of {seconds} s", 60.0 + 2 * seconds)

    def ready(self) -> None:
        self.graph.until(lambda state: not state.problems, "a recorder without problems")

    def resident(self) -> int:
        """[bytes] of the process that are in memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def end(self, number: int = 2) -> int:
        """Send a signal, by default SIGINT; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


def _until(condition: Callable, what: str, timeout: float):
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} not seen within {timeout} s"
        time.sleep(0.01)
    return value


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    client = Graph()
    yield client
    client.close()


@pytest.fixture
def make_sensors(graph: Graph) -> Iterator[Callable[..., Sensors]]:
    """`make_sensors(size)`: all sensors, with pictures of that size [px]."""
    made: list[Sensors] = []

    def make(size: tuple[int, int] = (160, 120)) -> Sensors:
        made.append(Sensors(graph.node, size))
        return made[-1]

    yield make
    for sensors in made:
        sensors.close()
        for publisher in sensors._out.values():
            graph.node.destroy_publisher(publisher)


@pytest.fixture
def recorder(graph: Graph, make_sensors, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """`recorder(**parameters)`: a recorder with running sensors, ready to record; also as `sensors` on it."""
    started: list[Running] = []

    def run(
        size: tuple[int, int] = (160, 120), folder: Path | None = None, ready: bool = True, **parameters
    ) -> Running:
        options = parameters.pop("options", {})
        number = len(started)
        running = Running(graph, tmp_path / f"log{number}", folder or tmp_path / "episodes", parameters, **options)
        started.append(running)
        running.sensors = make_sensors(size) if number == 0 else started[0].sensors
        _until(running.sensors.heard, "a recorder that listens", UP)
        if ready:
            running.sensors.anchor()
            running.ready()
        return running

    yield run
    for running in started:
        running.end()
        assert "Traceback" not in running.log.read_text(), running.log.read_text()


@pytest.fixture
def cell_file(tmp_path: Path) -> Callable[[Path], Path]:
    """`cell_file(calibration)`: the virtual cell with another calibration folder."""

    def write(calibration: Path) -> Path:
        cell = yaml.safe_load((paths.root() / "launch/cells/virtual.yaml").read_text())
        cell["calibration"] = str(calibration)
        path = tmp_path / "cell.yaml"
        path.write_text(yaml.safe_dump(cell))
        return path

    return write
