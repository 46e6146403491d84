"""Runs episodes in the virtual cell: fresh scene, home, open jaw, policy, until its physics say success or time is up.

Stands in for the operator of a virtual cell, and only there: it also resets what stopped in an earlier episode. Ends
with the report; its exit code is non-zero only when something broke, never because a policy failed at its task.
"""

import math
from collections.abc import Callable

import numpy as np
from kinema_interfaces.action import RunPolicy
from kinema_interfaces.msg import CellStatus, ExecutorState
from kinema_interfaces.srv import MarkOutcome, ResetScenario
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from kinema import cell_file, paths, robots
from kinema.apps import report, run_folder
from kinema.clock import now_ns
from kinema.errors import ConfigError, DeviceError
from kinema.geometry import distance
from kinema.policies.registry import SIMULATOR_ONLY
from kinema_ros import convert
from kinema_ros.parameters import CALIBRATION_OVERRIDE, Parameter
from kinema_ros.script import ANSWER_TIMEOUT, START_TIMEOUT, Script, run

PARAMETERS = (
    Parameter("episodes", 3, "how many", 1, 100000),
    Parameter("task", "pick_and_place", "task of the virtual cell"),
    Parameter("split", "train", "which scenarios", choices=("train", "unseen_objects", "unseen_background")),
    Parameter("seed", 0, "of the first scenario; the next adds one", 0, 2**31 - 1),
    Parameter("policy", "demonstrator", "which policy is running, as the policy node knows it"),
    Parameter("robot", "virtual_ur5e", "which robot stands in the cell"),
    Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
    CALIBRATION_OVERRIDE,
    Parameter("mode", "", "the policy's mode of inference, as the policy node knows it"),
    Parameter("execution", "", "'': as fits the policy", choices=("", "overlap", "stop_and_go")),
    Parameter("executed", 0, "steps between two observations; 0: the policy's own number", 0, 1000),
    Parameter("speed_scale", 0.0, "[-] stretch of every chunk; 0: the cell file's", 0.0, 1.0),
    Parameter("time_limit", 60.0, "[s] of one episode, arm's time", 1.0, 3600.0),
    Parameter("run_dir", "runs/latest", "folder of the report, relative to the checkout"),
)
LIFECYCLE_NODES = ("virtual_cell", "gripper_camera", "left_camera", "right_camera", "load_cell", "executor", "policy")
_MOTION_TIMEOUT = 60.0  # [s] for homing or moving the jaw
SERVICES = {
    **{f"executor/{name}": Trigger for name in ("reset", "enable", "open_jaw", "home")},
    "executor/mark_outcome": MarkOutcome,
    "load_cell/zero": Trigger,
    "virtual_cell/reset_scenario": ResetScenario,
}
_BEGUN = 100  # ticks after which a motion that was ordered shows in the state
_REST = ExecutorState.READY
_AT_HOME = (0.02, 0.05)  # [m, rad] that count as home


class Operator(Script):
    """Whoever runs a deployed cell: calls, and the newest of what executor and cell say."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        super().__init__("run_episodes", ended, PARAMETERS, SERVICES, LIFECYCLE_NODES)
        self.state: ExecutorState | None = None
        self.cell: CellStatus | None = None
        self.keep("executor/state", "state")
        self.keep("cell/status", "cell")
        self._run = ActionClient(self, RunPolicy, "executor/run_policy")

    def wait_active(self) -> None:
        super().wait_active()
        self.wait(lambda: self.state and self.cell, START_TIMEOUT, "executor/state and cell/status")

    def settle(self, what: str) -> None:
        """Wait until the executor is ready again after an order."""
        begun = self.state.ticks + _BEGUN
        moving = ExecutorState.EXECUTING
        self.wait(lambda: self.state.ticks > begun and self.state.state != moving, _MOTION_TIMEOUT, what)
        if self.state.state != _REST:
            raise DeviceError(f"{what}: the executor stands in state {self.state.state}: {self.state.reason}")


def _check_home(operator: Operator) -> None:
    """An episode that begins elsewhere, as where the safety chain held the arm on its way, would say nothing."""
    arm = robots.arm(operator.value("robot"))
    home = robots.forward_kinematics(arm, np.array(arm.home)) @ robots.GRIPPER.T_flange_tcp
    moved, turned = distance(home, convert.pose(operator.state.goal))
    if moved > _AT_HOME[0] or turned > _AT_HOME[1]:
        raise DeviceError(
            f"homing: the arm was led to {1e3 * moved:.0f} mm, {math.degrees(turned):.0f} degrees from home; the audit "
            "log says what held it"
        )


def prepare(operator: Operator, seed: int) -> str:
    """Open jaw, arm at home, a fresh scene; returns the task in words."""
    if operator.state.state in (ExecutorState.FAULT, ExecutorState.STOPPED):
        operator.get_logger().warning(f"resetting: {operator.state.reason}")
        operator.call("executor/reset")
        operator.wait(lambda: operator.state.state == ExecutorState.IDLE, ANSWER_TIMEOUT, "state IDLE after reset")
    if operator.state.state == ExecutorState.IDLE:
        operator.call("executor/enable")
        operator.wait(lambda: operator.state.state == _REST, ANSWER_TIMEOUT, "state READY after enable")
    operator.call("executor/open_jaw")
    operator.call("executor/home")
    operator.settle("homing")
    _check_home(operator)
    episode = operator.cell.episode
    text = operator.call(
        "virtual_cell/reset_scenario",
        task=operator.value("task"),
        split=operator.value("split"),
        seed=seed,
    ).text
    operator.wait(lambda: operator.cell.episode != episode, ANSWER_TIMEOUT, "the fresh scene")
    operator.call("load_cell/zero")
    return text


def run_policy(operator: Operator, text: str, seed: int) -> RunPolicy.Result:
    """One run, until the cell says success or the time is up; the outcome is marked either way.

    The policy draws from the scene's seed, as in an evaluation.
    """
    goal = RunPolicy.Goal(
        task=text,
        duration=operator.value("time_limit"),
        execution=operator.value("execution"),
        executed=operator.value("executed"),
        speed_scale=operator.value("speed_scale"),
        seed=seed,
    )
    operator.wait(operator._run.server_is_ready, ANSWER_TIMEOUT, "action executor/run_policy")
    handle = operator.result(operator._run.send_goal_async(goal), ANSWER_TIMEOUT, "acceptance of the policy run")
    if not handle.accepted:
        raise DeviceError("executor/run_policy refused the goal; see its log")
    done = handle.get_result_async()
    patience = 4.0 * operator.value("time_limit") + ANSWER_TIMEOUT  # the cell's clock may slip
    operator.wait(lambda: done.done() or operator.cell.success, patience, "the end of the episode")
    success = bool(operator.cell.success)
    operator.call("executor/mark_outcome", success=success, note=operator.cell.outcome)
    return operator.result(done, ANSWER_TIMEOUT, "the result of the policy run").result


def run_episode(operator: Operator, record: run_folder.Run, number: int) -> None:
    seed = operator.value("seed") + number - 1
    text = prepare(operator, seed)
    operator.get_logger().info(f"episode {number}: {text} (seed {seed})")
    record.begin(number)
    start_ns = now_ns()
    result = run_policy(operator, text, seed)
    if operator.cell.fault:
        raise DeviceError(f"the simulation broke: {operator.cell.fault}")
    record.end(
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
    if not cell_file.load(operator.value("cell")).simulated:
        raise ConfigError(f"{operator.value('cell')}: a real cell; there a person enables the arm and runs the policy")
    same = ("robot", "task", "split", "seed", "policy", "mode", "execution", "executed", "speed_scale", "cell")
    same += ("calibration_override",)
    facts = run_folder.Facts(
        **{name: operator.value(name) for name in same},
        simulator_truth=operator.value("policy") in SIMULATOR_ONLY,
    )
    folder = paths.root() / operator.value("run_dir")
    record = run_folder.Run(folder, facts)
    try:
        operator.wait_active()
        for number in range(1, operator.value("episodes") + 1):
            run_episode(operator, record, number)
    finally:
        record.close()
        report.show(report.write(folder))


def main() -> None:
    run("run_episodes", Operator, run_all)
