"""A deployed stack, started as a person starts it, and a client of its graph."""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinema.control.messages import State
from kinema.topics import CAMERAS

from .spun import Spun

DEPLOY = "policy_bringup/deploy.launch.py"
_DEPLOYED = {"policy": "demonstrator", "cell": "launch/cells/virtual.yaml"}

_UP = 90.0  # [s] for the stack to come up on a busy machine
_DISCOVERED = 0.5  # [s] for a server to discover a new client too: else it answers and nobody hears


class Graph(Spun):
    """Calls services, runs policies, keeps what executor and cell say."""

    def __init__(self) -> None:
        from kinema_interfaces.action import RunPolicy
        from rclpy.action import ActionClient

        from kinema.topics import topic
        from kinema_ros.topics import QOS, message_type

        super().__init__("test_graph")
        self.clients: dict = {}
        self.latest: dict = {}
        self.events: list = []
        said = ("executor/state", "executor/events", "executor/proposal", "policy/info", "policy/timing")
        for name in (*said, "cell/status", "/diagnostics"):
            row = topic(name)
            self.node.create_subscription(
                message_type(row), name, lambda message, name=name: self._keep(name, message), QOS[row.qos]
            )
        self.actions = ActionClient(self.node, RunPolicy, "executor/run_policy")
        self.spin()

    def _keep(self, name: str, message: object) -> None:
        self.latest[name] = message
        if name == "executor/events":
            self.events.append(message)

    @property
    def state(self) -> int:
        return self.latest["executor/state"].state

    def wait(self, condition, what: str, timeout: float = 30.0):
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what} not seen within {timeout} s"
            time.sleep(0.01)
        return value

    def whole(self) -> bool:
        """Whether every node of the launch has been heard of: cameras publish, the policy has taken its inputs."""
        published = {name for name, _ in self.node.get_topic_names_and_types()}
        heard = self.node.get_subscriptions_info_by_topic("/cell/truth")
        return bool(heard) and {"/gripper/image_raw", "/left/image_raw", "/right/image_raw", "/cell/truth"} <= published

    def wait_state(self, *states: int, timeout: float = 30.0) -> None:
        self.wait(lambda: self.state in states, f"state {states}", timeout)

    def call(self, kind: type, service: str, /, **fields: object):
        client = self.clients.get(service)
        if client is None:
            client = self.clients[service] = self.node.create_client(kind, service)
            self.wait(client.service_is_ready, f"service {service}", _UP)
            time.sleep(_DISCOVERED)
        return self.result(client.call_async(kind.Request(**fields)), service)

    def trigger(self, name: str):
        from std_srvs.srv import Trigger

        return self.call(Trigger, name)

    def result(self, future, what: str, timeout: float = 60.0):
        self.wait(future.done, what, timeout)
        return future.result()

    def idle(self) -> None:
        """Whatever went before."""
        if self.state in (State.EXECUTING, State.HOLDING):
            assert self.trigger("executor/hold").success
            self.wait_state(State.READY)
        if self.state != State.IDLE:
            assert self.trigger("executor/reset").success
            self.wait_state(State.IDLE)

    def ready(self) -> None:
        """Enabled, jaw open, at home, in a fresh scene, load cell tared."""
        from kinema_interfaces.srv import ResetScenario

        self.idle()
        assert self.trigger("executor/enable").success
        self.wait_state(State.READY)
        assert self.trigger("executor/open_jaw").success
        assert self.trigger("executor/home").success
        ticks = self.latest["executor/state"].ticks + 100
        self.wait(lambda: self.latest["executor/state"].ticks > ticks, "ticks")
        self.wait_state(State.READY)
        assert self.call(ResetScenario, "virtual_cell/reset_scenario", task="pick_and_place", split="train").success
        assert self.trigger("load_cell/zero").success

    def run_policy(self, **goal: object):
        """The handle of an accepted run."""
        from kinema_interfaces.action import RunPolicy

        self.wait(self.actions.server_is_ready, "action executor/run_policy", _UP)
        return self.result(self.actions.send_goal_async(RunPolicy.Goal(**goal)), "run_policy")


class Stack:
    """`ros2 launch policy_bringup deploy.launch.py`, or another file, with arguments; its output is in `log`.

    A deployment is the demonstrator's, of an arm reached straight, where nothing else is asked for; None is left out.
    """

    def __init__(self, log: Path, file: str = DEPLOY, **arguments: object) -> None:
        self.log = log
        usual = {"headless": "true", **(_DEPLOYED if file == DEPLOY else {})}
        words = [f"{key}:={value}" for key, value in {**usual, **arguments}.items() if value is not None]
        with log.open("w") as out:
            self.process = subprocess.Popen(
                ["ros2", "launch", *file.split("/"), *words], stdout=out, stderr=subprocess.STDOUT
            )

    def pid(self, name: str) -> int:
        """Of one process of the launch, by its name there."""
        return int(re.search(rf"\[{name}-\d+\]: process started with pid \[(\d+)\]", self.log.read_text())[1])

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"process started with pid \[(\d+)\]", self.log.read_text())]

    def interrupt(self) -> None:
        """SIGINT to the launch alone, as Ctrl-C in another terminal or `kill -INT` does; waits for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture(scope="session")
def video_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video policy of the small size that has learned nothing: gentle noise."""
    import torch

    from kinema.policies import checkpoint
    from kinema.policies.actions import ActionSpace
    from kinema.policies.checkpoint import Checkpoint
    from kinema.policies.video_policy.config import VideoPolicyConfig
    from kinema.policies.video_policy.model import VideoPolicyModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, size = VideoPolicyConfig.small(), (128, 96)
    model = VideoPolicyModel(config, len(CAMERAS), size)
    model.codec.fit(0.5 * torch.randn(8, 3, size[1], size[0]))
    still = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    spread = (0.004,) * 3 + (0.01,) * 6 + (0.002, 0.2)
    facts = Checkpoint(
        kind="video_policy",
        config=config.model_dump(mode="json"),
        action=ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=24, mean=still, std=spread),
        cameras=CAMERAS,
        image_size=size,
        dataset="none",
        calibration_origin=("simulator truth",),
        latency=model.latency,
        training={},
    )
    folder = tmp_path_factory.mktemp("video_policy")
    checkpoint.save(folder, facts, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A cell that stays up for an operator."""
    folder = tmp_path_factory.mktemp("stack")
    running = Stack(folder / "launch.log", episodes=0, run_dir=folder / "run")
    yield running
    running.interrupt()
    assert not [pid for pid in running.pids() if alive(pid)], "SIGINT has to end every process of the launch"


@pytest.fixture(scope="module")
def graph(stack: Stack) -> Iterator[Graph]:
    client = Graph()
    try:
        client.wait(lambda: {"executor/state", "cell/status"} <= client.latest.keys(), stack.log.read_text(), _UP)
        client.wait(client.whole, "every node, active,", _UP)
        yield client
    finally:
        client.close()


@pytest.fixture
def connect() -> Iterator[Callable[[], Graph]]:
    """`connect()`: a client of a graph that the test has launched; closed at the test's end."""
    made: list[Graph] = []

    def make() -> Graph:
        made.append(Graph())
        return made[-1]

    yield make
    for graph in made:
        graph.close()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[type]:
    """`launch(**arguments)` starts another stack, of `file` if given; it is interrupted at the test's end."""
    started: list[Stack] = []

    def make(**arguments: object) -> Stack:
        started.append(Stack(tmp_path / f"launch{len(started)}.log", **arguments))
        return started[-1]

    yield make
    for running in started:
        running.interrupt()
