"""A service that is answered later, as an executor calls it; no graph."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from std_srvs.srv import Trigger
from stereo_calibration.late import Answer, LateService

pytestmark = pytest.mark.ros


class Calling:
    """In a node's place; `call` does what an executor does with a request."""

    def __init__(self) -> None:
        self.sent: list = []
        self.service = SimpleNamespace(send_response=lambda response, header: self.sent.append((response, header)))
        self.gone: list = []

    def create_service(self, kind, name, callback):
        self.service.callback = callback
        return self.service

    def destroy_service(self, service) -> None:
        self.gone.append(service)

    def call(self, header: str) -> None:
        self.service.send_response(self.service.callback(Trigger.Request(), Trigger.Response()), header)


def test_each_call_is_answered_by_itself_when_its_answer_is_there():
    node, asked = Calling(), []
    service = LateService(node, Trigger, "~/solve", lambda request, answer: asked.append(answer))
    node.call("first")
    node.call("second")
    assert len(asked) == 2 and not node.sent, "nothing is sent before it is there"
    second, first = asked.pop(), asked.pop()
    second.refuse("the state is SOLVING")
    first.give("rms 0.1 px")
    answers = [(header, response.success, response.message) for response, header in node.sent]
    assert answers == [("second", False, "the state is SOLVING"), ("first", True, "rms 0.1 px")]
    service.close()
    assert node.gone == [node.service]


def test_a_call_may_be_answered_at_once():
    node = Calling()

    def begin(request: Trigger.Request, answer: Answer) -> None:
        answer.refuse("the state is IDLE")

    LateService(node, Trigger, "~/solve", begin)
    node.call("only")
    assert [(header, response.success) for response, header in node.sent] == [("only", False)]
