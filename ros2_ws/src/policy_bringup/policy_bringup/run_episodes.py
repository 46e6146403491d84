"""Runs episodes in the virtual cell: fresh scene, home, open jaw, policy, until its physics say success or time is up.

Stands in for the operator of a virtual cell, and only there: it also resets what stopped in an earlier episode. Ends
with the report; its exit code is non-zero only when something broke, never because a policy failed at its task.
"""

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from kinema_interfaces.action import RunPolicy
from kinema_interfaces.msg import CellStatus, ExecutorState
from kinema_interfaces.srv import MarkOutcome, ResetScenario
from lifecycle_msgs.srv import GetState
from rclpy.action import ActionClient
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from kinema import paths
from kinema.apps import report, run_folder
from kinema.clock import now_ns
from kinema.errors import ConfigError, DeviceError, KinemaError
from kinema.policies.registry import POLICIES, SIMULATOR_ONLY
from kinema.topics import topic
from kinema_ros.node import start
from kinema_ros.parameters import Parameter, declare
from kinema_ros.topics import QOS, message_type

PARAMETERS = (
    Parameter("episodes", 3, "how many", 1, 100000),
    Parameter("task", "pick_and_place", "task of the virtual cell"),
    Parameter("split", "train", "which scenarios", choices=("train", "unseen_objects", "unseen_background")),
    Parameter("seed", 0, "of the first scenario; the next adds one", 0, 2**31 - 1),
    Parameter("policy", "demonstrator", "which policy is running", choices=tuple(POLICIES)),
    Parameter("robot", "virtual_ur5e", "which robot stands in the cell"),
    Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
    Parameter("mode", "", "execution mode; '': the cell file's", choices=("", "overlap", "stop_and_go")),
    Parameter("speed_scale", 0.0, "[-] stretch of every chunk; 0: the cell file's", 0.0, 1.0),
    Parameter("time_limit", 60.0, "[s] of one episode, arm's time", 1.0, 3600.0),
    Parameter("run_dir", "runs/latest", "folder of the report, relative to the checkout"),
)
LIFECYCLE_NODES = ("virtual_cell", "gripper_camera", "left_camera", "right_camera", "load_cell", "executor", "policy")
_START_TIMEOUT = 90.0  # [s] for everything to come up
_ANSWER_TIMEOUT = 20.0  # [s] for one service
_LOST_AFTER = 3.0  # [s] a server may answer before it has discovered who asked: such an answer never comes
_MOTION_TIMEOUT = 60.0  # [s] for homing or moving the jaw
SERVICES = {
    **{f"{name}/get_state": GetState for name in LIFECYCLE_NODES},
    **{f"executor/{name}": Trigger for name in ("reset", "enable", "open_jaw", "home")},
    "executor/mark_outcome": MarkOutcome,
    "load_cell/zero": Trigger,
    "virtual_cell/reset_scenario": ResetScenario,
}
_BEGUN = 100  # ticks after which a motion that was ordered shows in the state
_REST = ExecutorState.READY


class InterruptedRunError(Exception):
    """SIGINT or SIGTERM has come."""


class Operator(Node):
    """Blocking calls for a script, which end by InterruptedRunError once `ended()`; a thread spins meanwhile."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        super().__init__("run_episodes")
        self._ended = ended
        problems = declare(self, PARAMETERS)
        if problems:
            raise ConfigError("; ".join(problems))
        self.state: ExecutorState | None = None
        self.cell: CellStatus | None = None
        for name, attribute in (("executor/state", "state"), ("cell/status", "cell")):
            row = topic(name)
            keep = functools.partial(setattr, self, attribute)
            self.create_subscription(message_type(row), name, keep, QOS[row.qos])
        self._run = ActionClient(self, RunPolicy, "executor/run_policy")
        # made at once: when they are first called, everybody has discovered them
        self._callers = {name: self.create_client(kind, name) for name, kind in SERVICES.items()}

    def value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def wait(self, condition: Callable[[], Any], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._ended():
                raise InterruptedRunError
            if time.monotonic() > deadline:
                raise DeviceError(f"{what} did not come within {timeout:.0f} s")
            time.sleep(0.01)

    def call(self, name: str, timeout: float = _ANSWER_TIMEOUT, **fields: Any) -> Any:
        """The response of a service; raises DeviceError when there is none or it says no."""
        client = self._callers[name]
        self.wait(client.service_is_ready, timeout, f"service {name}")
        request = SERVICES[name].Request(**fields)
        response = self.result(client.call_async(request), timeout, f"an answer of {name}")
        if getattr(response, "success", True):
            return response
        raise DeviceError(f"{name}: {response.message}")

    def result(self, future: Future, timeout: float, what: str) -> Any:
        self.wait(future.done, timeout, what)
        return future.result()

    def wait_active(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        for name in LIFECYCLE_NODES:
            self.wait(functools.partial(self._is_active, name), deadline - time.monotonic(), f"node {name}, active,")
        self.wait(lambda: self.state and self.cell, _START_TIMEOUT, "executor/state and cell/status")

    def _is_active(self, name: str) -> bool:
        client = self._callers[f"{name}/get_state"]
        if not client.service_is_ready():
            return False
        asked = client.call_async(GetState.Request())
        with contextlib.suppress(DeviceError):
            return self.result(asked, _LOST_AFTER, "an answer").current_state.label == "active"
        client.remove_pending_request(asked)
        return False

    def settle(self, what: str) -> None:
        """Wait until the executor is ready again after an order."""
        begun = self.state.ticks + _BEGUN
        moving = ExecutorState.EXECUTING
        self.wait(lambda: self.state.ticks > begun and self.state.state != moving, _MOTION_TIMEOUT, what)
        if self.state.state != _REST:
            raise DeviceError(f"{what}: the executor stands in state {self.state.state}: {self.state.reason}")


def prepare(operator: Operator, seed: int) -> str:
    """Open jaw, arm at home, a fresh scene; returns the task in words."""
    if operator.state.state in (ExecutorState.FAULT, ExecutorState.STOPPED):
        operator.get_logger().warning(f"resetting: {operator.state.reason}")
        operator.call("executor/reset")
        operator.wait(lambda: operator.state.state == ExecutorState.IDLE, _ANSWER_TIMEOUT, "state IDLE after reset")
    if operator.state.state == ExecutorState.IDLE:
        operator.call("executor/enable")
        operator.wait(lambda: operator.state.state == _REST, _ANSWER_TIMEOUT, "state READY after enable")
    operator.call("executor/open_jaw")
    operator.call("executor/home")
    operator.settle("homing")
    episode = operator.cell.episode
    text = operator.call(
        "virtual_cell/reset_scenario",
        task=operator.value("task"),
        split=operator.value("split"),
        seed=seed,
    ).text
    operator.wait(lambda: operator.cell.episode != episode, _ANSWER_TIMEOUT, "the fresh scene")
    operator.call("load_cell/zero")
    return text


def run_policy(operator: Operator, text: str) -> RunPolicy.Result:
    """One run, until the cell says success or the time is up; the outcome is marked either way."""
    goal = RunPolicy.Goal(
        task=text,
        duration=operator.value("time_limit"),
        mode=operator.value("mode"),
        speed_scale=operator.value("speed_scale"),
    )
    operator.wait(operator._run.server_is_ready, _ANSWER_TIMEOUT, "action executor/run_policy")
    handle = operator.result(operator._run.send_goal_async(goal), _ANSWER_TIMEOUT, "acceptance of the policy run")
    if not handle.accepted:
        raise DeviceError("executor/run_policy refused the goal; see its log")
    done = handle.get_result_async()
    patience = 4.0 * operator.value("time_limit") + _ANSWER_TIMEOUT  # the cell's clock may slip
    operator.wait(lambda: done.done() or operator.cell.success, patience, "the end of the episode")
    success = bool(operator.cell.success)
    operator.call("executor/mark_outcome", success=success, note=operator.cell.outcome)
    return operator.result(done, _ANSWER_TIMEOUT, "the result of the policy run").result


def run_episode(operator: Operator, run: run_folder.Run, number: int) -> None:
    seed = operator.value("seed") + number - 1
    text = prepare(operator, seed)
    operator.get_logger().info(f"episode {number}: {text} (seed {seed})")
    run.begin(number)
    start_ns = now_ns()
    result = run_policy(operator, text)
    if operator.cell.fault:
        raise DeviceError(f"the simulation broke: {operator.cell.fault}")
    run.end(
        run_folder.Episode(
            number=number,
            seed=seed,
            text=text,
            start_ns=start_ns,
            end_ns=now_ns(),
            success=result.success,
            outcome=result.outcome,
            chunks=result.chunks,
            real_time_factor=operator.cell.real_time_factor,
            slipped=operator.cell.slipped,
        )
    )
    operator.get_logger().info(f"episode {number}: {'success' if result.success else 'failure'}: {result.outcome}")


def run_all(operator: Operator) -> None:
    policy = operator.value("policy")
    facts = run_folder.Facts(
        **{name: operator.value(name) for name in ("robot", "task", "split", "seed", "mode", "speed_scale", "cell")},
        policy=policy,
        simulator_truth=policy in SIMULATOR_ONLY,
    )
    folder = paths.root() / operator.value("run_dir")
    run = run_folder.Run(folder, facts)
    try:
        operator.wait_active()
        for number in range(1, operator.value("episodes") + 1):
            run_episode(operator, run, number)
    finally:
        run.close()
        report.show(report.write(folder))


def main() -> None:
    ended = start()
    executor = EventsExecutor()
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)
    code = 1
    try:
        operator = Operator(ended)
        executor.add_node(operator)
        thread.start()
        run_all(operator)
        code = 0
    except InterruptedRunError:
        code = 130
    except KinemaError as error:
        print(f"run_episodes: {error}", file=sys.stderr)
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
        rclpy.shutdown()
    sys.exit(code)
