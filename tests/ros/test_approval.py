"""A person approves each chunk before anything moves: the launch file, a video policy, and the executor's services."""

import json

import numpy as np
import pytest

from kinema.control.messages import State

pytestmark = pytest.mark.ros


class Person:
    """Watches the stack through a graph, and decides."""

    def __init__(self, graph) -> None:
        from kinema.topics import topic
        from kinema_ros.topics import QOS, message_type

        self.graph = graph
        self.frames: list = []
        self.markers: dict[str, object] = {}
        for name, take in (("left/predicted", self.frames.append), ("executor/planned_path", self._take_markers)):
            row = topic(name)
            graph.node.create_subscription(message_type(row), name, take, QOS[row.qos])

    def _take_markers(self, message) -> None:
        self.markers |= {marker.ns: marker for marker in message.markers}

    def proposal(self, after: int = 0):
        """The chunk that waits, once it is one after `after`."""

        def waiting():
            found = self.graph.latest.get("executor/proposal")
            return found if found is not None and found.waiting and found.chunk > after else None

        return self.graph.wait(waiting, f"a chunk that waits, after {after}", 90)

    def decide(self, decision: str, chunk: int):
        from kinema_interfaces.srv import Decide

        return self.graph.call(Decide, f"executor/{decision}", chunk=chunk)

    def click(self, decision: str) -> None:
        """On a ball, as RViz tells of it."""
        from visualization_msgs.msg import InteractiveMarkerFeedback
        from visualization_msgs.srv import GetInteractiveMarkers

        from kinema.topics import topic
        from kinema_ros.topics import QOS

        shown = self.graph.call(GetInteractiveMarkers, "executor/decision/get_interactive_markers").markers
        (name,) = (marker.name for marker in shown if marker.name.startswith(decision))
        row = topic("executor/decision/feedback")
        mouse = self.graph.node.create_publisher(InteractiveMarkerFeedback, row.name, QOS[row.qos])
        self.graph.wait(lambda: mouse.get_subscription_count() > 0, "the executor")
        mouse.publish(InteractiveMarkerFeedback(marker_name=name, event_type=InteractiveMarkerFeedback.BUTTON_CLICK))

    def goal(self) -> np.ndarray:
        position = self.graph.latest["executor/state"].goal.position
        return np.array([position.x, position.y, position.z])

    def kinds(self) -> list[str]:
        return [event.kind for event in self.graph.events]


@pytest.fixture
def person(launch, tmp_path, video_checkpoint, connect) -> Person:
    stack = launch(episodes=0, policy=video_checkpoint, mode="single", require_approval="true", run_dir=tmp_path)
    graph = connect()
    known = {"executor/state", "cell/status", "policy/info"}
    graph.wait(lambda: known <= graph.latest.keys(), stack.log.read_text(), 180)
    return Person(graph)


def test_nothing_moves_until_a_person_has_seen_the_video_and_approved(person):
    from kinema_ros import convert

    graph = person.graph
    graph.ready()
    assert not graph.run_policy(execution="sideways").accepted
    assert graph.run_policy(task="put the apple into the yellow bucket").accepted
    first = person.proposal()
    t0_ns, began = convert.time_ns(first.header.stamp), person.goal()
    graph.wait(lambda: len(person.frames) >= 9, "the video")
    assert [convert.time_ns(frame.header.stamp) - t0_ns for frame in person.frames[:9]] == [
        k * 400_000_000 for k in range(9)
    ]
    graph.wait(lambda: "proposed_path" in person.markers, "the path in the scene")
    assert len(person.markers["proposed_path"].points) == 24 and "planned_path" not in person.markers
    assert first.policy == "video_policy" and convert.time_ns(first.until) > t0_ns

    refused = person.decide("approve", first.chunk + 1)
    assert not refused.success and f"chunk {first.chunk} does" in refused.message
    person.click("reject")
    second = person.proposal(after=first.chunk)
    assert graph.state == State.HOLDING and "step" not in person.kinds() and (person.goal() == began).all()

    assert person.decide("approve", second.chunk).success
    graph.wait_state(State.EXECUTING)
    assert not person.decide("approve", second.chunk).success, "an approval counts once"
    third = person.proposal(after=second.chunk)
    steps = {event.data for event in graph.events if event.kind == "step"}
    assert {json.loads(data)["chunk"] for data in steps} == {second.chunk}
    assert not (person.goal() == began).all() and "planned_path" in person.markers

    assert graph.trigger("executor/stop").success
    graph.wait_state(State.STOPPED)
    graph.wait(lambda: not graph.latest["executor/proposal"].waiting, "the proposal's withdrawal")
    answer = person.decide("approve", third.chunk)
    assert not answer.success and "no chunk does" in answer.message and graph.state == State.STOPPED
    told = [kind for kind in person.kinds() if kind.startswith("chunk_")]
    decided = ["chunk_proposed", "chunk_declined", "chunk_proposed", "chunk_approved", "chunk_accepted"]
    assert told == [*decided, "chunk_proposed", "chunk_declined"]
