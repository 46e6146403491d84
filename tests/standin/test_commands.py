"""The commands that look at the graph, against a real node in a process of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros

NODE = """
import rclpy
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import KeyValue, DiagnosticStatus
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import SetBool
rclpy.init(args=[])
node = rclpy.create_node("helper", namespace="/demo")
node.declare_parameter("gain", 1.5)
publisher = node.create_publisher(String, "chatter", 10)
node.create_timer(0.05, lambda: publisher.publish(String(data="hello")))
def answer(request, response):
    response.success, response.message = request.data, f"got {request.data}"
    return response
node.create_service(SetBool, "switch", answer)
print("ready", flush=True)
rclpy.spin(node)
"""


@pytest.fixture(scope="module")
def node():
    process = subprocess.Popen(
        [sys.executable, "-c", NODE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def answer(node, ros2):
    def run(*arguments: str) -> str:
        done = subprocess.run([*ros2, *arguments], capture_output=True, text=True, timeout=120)
        return done.stdout if done.returncode == 0 else f"{done.returncode} {done.stderr}"

    return run


def test_topic(answer, wait_for):
    wait_for(lambda: "/demo/chatter [std_msgs/msg/String]\n" in answer("topic", "list", "-t"), 60, "the topic")
    assert answer("topic", "echo", "--once", "/demo/chatter") == "data: hello\n---\n"


def test_topic_hz(node, ros2, start):
    process = start([*ros2, "topic", "hz", "/demo/chatter"], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    while "average rate" not in line:
        line = process.stdout.readline()
    assert 0 < float(line.removeprefix("average rate: ")) < 40


def test_node_list(answer, wait_for):
    wait_for(lambda: "/demo/helper" in answer("node", "list").split(), 60, "the node")


def test_service(answer, wait_for):
    wait_for(lambda: "/demo/switch [std_srvs/srv/SetBool]" in answer("service", "list", "-t"), 60, "the service")
    reply = answer("service", "call", "/demo/switch", "std_srvs/srv/SetBool", "{data: true}")
    assert reply.endswith("response:\nsuccess: true\nmessage: got True\n")
    assert "has no field 'x'; it has: data" in answer(
        "service", "call", "/demo/switch", "std_srvs/srv/SetBool", "{x: 1}"
    )
    assert "interface 'std_srvs/srv/No' is not to be had" in answer(
        "service", "call", "/demo/switch", "std_srvs/srv/No"
    )


def test_param(answer):
    assert answer("param", "get", "/demo/helper", "gain") == "value is: 1.5\n"
    assert answer("param", "set", "/demo/helper", "gain", "2.5") == "Set parameter successful\n"
    assert answer("param", "get", "/demo/helper", "gain") == "value is: 2.5\n"
    assert "has no parameter 'absent'" in answer("param", "get", "/demo/helper", "absent")
    assert "failed: " in answer("param", "set", "/demo/helper", "gain", "text")


def test_run(ros2, package, environment):
    done = subprocess.run([*ros2, "run", "demo", "show", "--x", "1"], env=environment, capture_output=True, text=True)
    assert '"argv": ["--x", "1"]' in done.stdout
    done = subprocess.run([*ros2, "run", "demo", "no"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "which has: show" in done.stderr


@pytest.mark.parametrize("arguments", [["bag"], ["topic", "pub"], ["param", "dump"]])
def test_other_commands_are_refused_by_name(ros2, arguments):
    done = subprocess.run([*ros2, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"'{arguments[-1]}'" in done.stderr and "stand-in" in done.stderr


def test_message_fields_from_yaml():
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from sensor_msgs.msg import JointState

    from ros2_standin.commands.graph import as_yaml, filled

    message = filled(PoseWithCovarianceStamped(), "{pose: {pose: {position: {x: 1}}}, header: {frame_id: base_link}}")
    assert message.pose.pose.position.x == 1.0 and message.header.frame_id == "base_link"
    message = filled(JointState(), "{name: [a, b], position: [1, 2]}")
    assert list(message.position) == [1.0, 2.0] and "name: [a, b]" in as_yaml(message)
