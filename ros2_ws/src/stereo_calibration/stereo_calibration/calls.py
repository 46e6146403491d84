"""Calls of other nodes' services from within a callback: the answer is waited for.

They go through a node and an executor of their own, for the one that called back is busy with that callback. One call
at a time: who calls from another thread waits.
"""

import threading
import time
from typing import Any

from rclpy.client import Client
from rclpy.experimental import EventsExecutor
from rclpy.node import Node

from kinema.errors import DeviceError

_SPIN = 0.02  # [s]


class Calls:
    """A node's telephone. `namespace` is the node's: names are relative to it."""

    def __init__(self, owner: str, namespace: str) -> None:
        # the command line's name is the owner's alone
        options = {"use_global_arguments": False, "start_parameter_services": False, "enable_rosout": False}
        self._node = Node(f"{owner}_calls", namespace=namespace, **options)
        self._executor = EventsExecutor()
        self._executor.add_node(self._node)
        self._clients: dict[str, Client] = {}
        self._busy = threading.Lock()
        self._closed = False

    def call(self, kind: type, name: str, timeout: float, **fields: Any) -> str:
        """The message of a service's answer; raises DeviceError when it says no, or nothing within `timeout` [s]."""
        with self._busy:
            self._check_open()
            return self._call(kind, name, timeout, fields)

    def _call(self, kind: type, name: str, timeout: float, fields: dict[str, Any]) -> str:
        deadline = time.monotonic() + timeout
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, name)
        client = self._clients[name]
        while not client.service_is_ready():
            self._wait(deadline, f"service {name} is not there: is its node up?")
        asked = client.call_async(kind.Request(**fields))
        while not asked.done():
            self._wait(deadline, f"{name} has not answered within {timeout:.0f} s")
        answer = asked.result()
        if not answer.success:
            raise DeviceError(f"{name}: {answer.message}")
        return answer.message

    def close(self) -> None:
        """A call that still waits in another thread ends with DeviceError."""
        self._closed = True
        with self._busy:
            self._executor.remove_node(self._node)
            self._node.destroy_node()

    def _wait(self, deadline: float, otherwise: str) -> None:
        self._check_open()
        if time.monotonic() > deadline:
            raise DeviceError(otherwise)
        self._executor.spin_once(timeout_sec=_SPIN)

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("the node that calls is closed")
