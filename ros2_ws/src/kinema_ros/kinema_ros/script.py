"""A script on the graph: a node that calls services and waits, in plain sequence. It has no lifecycle."""

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.executors import Executor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.task import Future

from kinema.errors import ConfigError, DeviceError, KinemaError
from kinema.topics import topic
from kinema_ros.node import GAVE_UP, start
from kinema_ros.parameters import Parameter, declare
from kinema_ros.topics import QOS, message_type

START_TIMEOUT = 90.0  # [s] for everything to come up
ANSWER_TIMEOUT = 20.0  # [s] for one service
_LOST_AFTER = 3.0  # [s] a server may answer before it has discovered who asked: such an answer never comes


class InterruptedRunError(Exception):
    """SIGINT or SIGTERM has come."""


class Script(Node):
    """Blocking calls, which end by InterruptedRunError once `ended()`; a thread spins meanwhile.

    parameters  its own table
    services    those it calls, with their types
    nodes       the lifecycle nodes that `wait_active` waits for
    """

    def __init__(
        self,
        name: str,
        ended: Callable[[], bool],
        parameters: tuple[Parameter, ...],
        services: Mapping[str, type],
        nodes: Iterable[str],
    ) -> None:
        super().__init__(name)
        self._ended = ended
        problems = declare(self, parameters)
        if problems:
            raise ConfigError("; ".join(problems))
        self._nodes = tuple(nodes)
        self._kinds = {**services, **{f"{node}/get_state": GetState for node in self._nodes}}
        # made at once: when they are first called, everybody has discovered them
        self._callers = {name: self.create_client(kind, name) for name, kind in self._kinds.items()}

    def value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def keep(self, name: str, attribute: str) -> None:
        """Have the newest message of the topic table's row `name` in an attribute."""
        row = topic(name)
        keep = functools.partial(setattr, self, attribute)
        self.create_subscription(message_type(row), name, keep, QOS[row.qos])

    def wait(self, condition: Callable[[], Any], timeout: float, what: str) -> None:
        """Until `condition()` is true; raises DeviceError after `timeout` [s]."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self._ended():
                raise InterruptedRunError
            if time.monotonic() > deadline:
                raise DeviceError(f"{what} did not come within {timeout:.0f} s")
            time.sleep(0.01)

    def call(self, name: str, timeout: float = ANSWER_TIMEOUT, **fields: Any) -> Any:
        """The response of a service; raises DeviceError when there is none or it says no."""
        client = self._callers[name]
        self.wait(client.service_is_ready, timeout, f"service {name}")
        request = self._kinds[name].Request(**fields)
        response = self.result(client.call_async(request), timeout, f"an answer of {name}")
        if getattr(response, "success", True):
            return response
        raise DeviceError(f"{name}: {response.message}")

    def result(self, future: Future, timeout: float, what: str) -> Any:
        self.wait(future.done, timeout, what)
        return future.result()

    def wait_active(self) -> None:
        """Until every one of `nodes` is active; raises DeviceError as soon as one of them has given up, saying why."""
        deadline = time.monotonic() + START_TIMEOUT
        refusals: dict[str, str] = {}

        def hear(told: DiagnosticArray) -> None:
            for status in told.status:
                if status.hardware_id in self._nodes and any(value.key == GAVE_UP for value in status.values):
                    refusals[status.hardware_id] = status.message

        hearing = self.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
        for name in self._nodes:
            ready = functools.partial(self._is_active, name)
            self.wait(lambda ready=ready: refusals or ready(), deadline - time.monotonic(), f"node {name}, active,")
            for refused, why in refusals.items():
                raise DeviceError(f"node {refused} does not come up: {why}")
        self.destroy_subscription(hearing)

    def _is_active(self, name: str) -> bool:
        client = self._callers[f"{name}/get_state"]
        if not client.service_is_ready():
            return False
        asked = client.call_async(GetState.Request())
        with contextlib.suppress(DeviceError):
            return self.result(asked, _LOST_AFTER, "an answer").current_state.label == "active"
        client.remove_pending_request(asked)
        return False


def run(name: str, make: Callable[[Callable[[], bool]], Script], body: Callable[[Any], None]) -> None:
    """The main function of a script's process; ends it with 0, 1 after a KinemaError, 130 when interrupted."""
    ended = start()
    executor: Executor = EventsExecutor()
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)
    code = 1
    try:
        script = make(ended)
        executor.add_node(script)
        thread.start()
        body(script)
        code = 0
    except InterruptedRunError:
        code = 130
    except KinemaError as error:
        print(f"{name}: {error}", file=sys.stderr)
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
        rclpy.shutdown()
    sys.exit(code)
