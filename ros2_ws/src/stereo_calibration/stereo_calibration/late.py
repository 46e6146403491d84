"""A service that is answered some time after it was called, while the node's other callbacks go on.

rclpy's executors hand what a service's callback returns to `Service.send_response`, together with the request's header.
Here the answer is held back at that place until it is there: EventsExecutor takes no coroutine for a callback.
"""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node


class Answer:
    """To one call: fill in `response`, then `give` or `refuse` once."""

    def __init__(self, response: Any, send: Callable[[Any], None]) -> None:
        self.response = response
        self._send = send

    def give(self, message: str) -> None:
        self.response.success, self.response.message = True, message
        self._send(self.response)

    def refuse(self, why: str) -> None:
        self.response.success, self.response.message = False, why
        self._send(self.response)


class LateService:
    """`begin(request, answer)` is called back as a service's callback is, and sees to it that `answer` is given."""

    def __init__(self, node: Node, kind: type, name: str, begin: Callable[[Any, Answer], None]) -> None:
        self._node = node
        self._service = node.create_service(kind, name, lambda request, response: (request, response))
        self._send = self._service.send_response
        self._service.send_response = self._hold
        self._begin = begin

    def _hold(self, asked: tuple[Any, Any], header: Any) -> None:
        request, response = asked
        self._begin(request, Answer(response, lambda filled: self._send(filled, header)))

    def close(self) -> None:
        """What is not answered by now never is."""
        self._node.destroy_service(self._service)
