"""Faults on the running graph, through the services and topics that a person has."""

import re
import subprocess
import time

import pytest

from kinema.control.messages import State

pytestmark = pytest.mark.ros


def kinds(graph, kind: str, since: int = 0) -> list:
    return [event for event in graph.events[since:] if event.kind == kind]


def resting(graph, cycles: int = 500) -> bool:
    """Nothing moves for so many cycles of the loop."""
    from kinema.apps.clients import LoopObserver

    observer = LoopObserver()
    first = observer.telemetry()
    graph.wait(lambda: observer.telemetry().ticks > first.ticks + cycles, "ticks")
    last = observer.telemetry()
    return float(abs(last.T_base_tcp.position - first.T_base_tcp.position).max()) < 0.002


def test_the_graph_is_what_the_table_says(graph):
    """Names and types of published topics are rows of the table; nobody else names a topic."""
    from kinema.topics import TOPICS

    rows = {("/" + name).replace("//", "/"): row.type for name, row in TOPICS.items()}
    ours = {
        name: types
        for name, types in graph.node.get_topic_names_and_types()
        if "/_action/" not in name
        and not name.endswith("/transition_event")
        and name not in ("/parameter_events", "/rosout")
    }
    assert {"/joint_states", "/tf", "/tcp_pose", "/executor/state", "/left/image_raw", "/cell/truth"} <= ours.keys()
    assert {name: types[0] for name, types in ours.items()} == {name: rows.get(name) for name in ours}


def test_only_the_demonstrator_receives_the_truth(graph):
    def receivers() -> set[str]:
        return {info.node_name for info in graph.node.get_subscriptions_info_by_topic("/cell/truth")}

    graph.wait(lambda: receivers() and "_NODE_NAME_UNKNOWN_" not in receivers(), "the receivers' names")
    assert receivers() == {"policy"}


def test_every_parameter_is_declared_with_a_description(graph):
    from rcl_interfaces.srv import DescribeParameters, ListParameters

    for node in ("executor", "policy", "left_camera", "load_cell", "virtual_cell"):
        names = [
            name
            for name in graph.call(ListParameters, f"{node}/list_parameters").result.names
            if name not in ("use_sim_time", "start_type_description_service")
        ]
        assert names
        for row in graph.call(DescribeParameters, f"{node}/describe_parameters", names=names).descriptors:
            assert row.description, f"{node}: {row.name}"


def test_orders_that_the_state_does_not_allow_are_refused_with_the_reason(graph):
    from kinema_interfaces.srv import MoveJaw

    graph.idle()
    answer = graph.trigger("executor/home")
    assert not answer.success and "IDLE" in answer.message
    answer = graph.call(MoveJaw, "executor/move_jaw", width=0.5)
    assert not answer.success and "0.5" in answer.message and "allowed" in answer.message
    assert not graph.run_policy(duration=1.0).accepted


def test_jog_moves_and_a_wrong_fault_name_is_answered_by_the_table(graph):
    from geometry_msgs.msg import Twist
    from kinema_interfaces.srv import InjectFault, Jog

    graph.ready()
    before = graph.latest["executor/state"].goal.position.z
    twist = Twist()
    twist.linear.z = 0.05
    assert graph.call(Jog, "executor/jog", twist=twist, duration=0.5).success
    graph.wait(lambda: graph.latest["executor/state"].goal.position.z > before + 0.01, "upward motion")
    graph.wait_state(State.READY)
    answer = graph.call(InjectFault, "virtual_cell/inject_fault", name="gremlins")
    assert not answer.success and "frozen" in answer.message


def test_f30_the_software_stop_is_latched_until_reset(graph):
    graph.ready()
    since = len(graph.events)
    graph.run_policy(task="anything", duration=60.0)
    graph.wait_state(State.EXECUTING)
    assert graph.trigger("executor/stop").success
    graph.wait_state(State.STOPPED)
    graph.wait(lambda: [event for event in graph.events[since:] if event.fault == "F30"], "an event of F30")
    graph.wait(lambda: kinds(graph, "stopped", since), "stopping time and distance")  # STOPPED comes first
    assert resting(graph)
    for name in ("executor/enable", "executor/home"):
        answer = graph.trigger(name)
        assert not answer.success and "STOPPED" in answer.message
    assert graph.state == State.STOPPED and graph.latest["executor/state"].reason


def test_f21_a_second_executor_and_a_second_source_of_chunks_are_refused_naming_the_owner(graph, start, tmp_path):
    from kinema_interfaces.msg import ActionChunk

    from kinema.topics import topic
    from kinema_ros.topics import QOS

    command = ["ros2", "run", "impedance_executor", "executor", "--ros-args", "-r", "__node:=intruder"]
    with (tmp_path / "log").open("w") as out:
        start([*command, "-p", f"run_dir:={tmp_path}"], stdout=out, stderr=subprocess.STDOUT)
    log = graph.wait(lambda: (t := (tmp_path / "log").read_text()) and "stays unconfigured" in t and t, "a refusal", 60)
    assert re.search(r"loop\.sock belongs to executor \(process \d+\)", log)

    since = len(graph.events)
    publisher = graph.node.create_publisher(ActionChunk, "policy/chunk", QOS[topic("policy/chunk").qos])
    graph.wait(lambda: publisher.get_subscription_count() > 0, "the executor")
    publisher.publish(ActionChunk(id=99, policy="intruder"))
    (event,) = graph.wait(lambda: kinds(graph, "chunk_rejected", since), "a rejection")
    graph.node.destroy_publisher(publisher)
    assert event.fault == "F21" and "policy" in event.text and "test_graph" in event.text


def diagnosed(graph, name: str) -> int:
    """The level in the last report that has this line, -1 if none has."""
    levels = {status.name: status.level[0] for status in graph.latest["/diagnostics"].status}
    return levels.get(name, -1)


def test_f09_an_unplugged_camera_goes_stale_and_comes_back_unattended(graph):
    from kinema_interfaces.srv import InjectFault

    from kinema.streams import Level

    lines = ("right_camera: publishes right/image_raw", "policy: receives right/image_raw")
    answer = graph.call(InjectFault, "virtual_cell/inject_fault", name="disconnect", target="right")
    assert answer.success, answer.message
    for line in lines:
        graph.wait(lambda line=line: diagnosed(graph, line) == Level.STALE, f"{line}: stale")
    assert graph.trigger("virtual_cell/clear_faults").success
    for line in lines:
        graph.wait(lambda line=line: diagnosed(graph, line) in (Level.OK, Level.WARN), f"{line}: alive")


def test_f10_a_frozen_camera_is_reported_and_the_policy_gets_no_observation(graph):
    from kinema_interfaces.srv import InjectFault

    from kinema.streams import Level

    graph.ready()
    answer = graph.call(InjectFault, "virtual_cell/inject_fault", name="frozen", target="left")
    assert answer.success, answer.message
    graph.wait(lambda: diagnosed(graph, "left_camera: picture") == Level.ERROR, "ERROR of the left camera")
    since = len(graph.events)
    handle = graph.run_policy(task="anything", duration=30.0)
    timing = graph.wait(
        lambda: (t := graph.latest.get("policy/timing")) and "left" in t.rejected and t, "a rejected request", 60
    )
    assert timing.chunk == 0 and not kinds(graph, "chunk_accepted", since)
    assert graph.trigger("virtual_cell/clear_faults").success
    graph.wait(lambda: kinds(graph, "chunk_accepted", since), "a chunk, once the camera sees again")
    graph.result(handle.cancel_goal_async(), "cancel")
    graph.wait_state(State.READY)


def test_f06_a_killed_policy_leaves_at_most_one_chunk_then_a_hold_and_nothing_re_engages(stack, graph, start, tmp_path):
    import os
    import signal

    graph.ready()
    started = len(graph.events)
    graph.run_policy(task="anything", duration=60.0)
    graph.wait(lambda: kinds(graph, "step", started), "steps")
    since = len(graph.events)
    os.kill(stack.pid("policy"), signal.SIGKILL)
    graph.wait_state(State.HOLDING, State.READY)
    assert len(kinds(graph, "chunk_accepted", since)) <= 1
    graph.wait(lambda: [e for e in graph.events[since:] if e.fault == "F05" and e.kind == "error"], "an error", 60)
    assert [e for e in graph.events[started:] if e.fault == "F05" and e.kind == "warning"]
    assert resting(graph)

    since = len(graph.events)
    with (tmp_path / "log").open("w") as out:
        start(["ros2", "run", "policy_inference", "policy"], stdout=out, stderr=subprocess.STDOUT)
    graph.wait(lambda: graph.node.count_publishers("policy/chunk") == 1, "a new policy", 60)
    time.sleep(2.0)  # time for it to do what it must not
    assert not kinds(graph, "chunk_accepted", since) and graph.state in (State.HOLDING, State.READY)
    assert resting(graph)


def test_f17_a_killed_control_loop_is_a_fault_that_the_executor_survives(stack, graph):
    import os
    import signal

    os.kill(stack.pid("control_loop"), signal.SIGKILL)
    graph.wait_state(State.FAULT)
    assert "control loop" in graph.latest["executor/state"].reason
    graph.wait(lambda: [event for event in graph.events if event.fault == "F17"], "an event of F17")
    answer = graph.trigger("executor/enable")
    assert not answer.success and "reset" in answer.message
    answer = graph.trigger("executor/reset")
    assert not answer.success and "nobody serves" in answer.message
    assert graph.state == State.FAULT
    graph.wait(lambda: graph.latest["cell/status"].unanswered >= 15, "the arm's own watchdog, which brakes it,")
