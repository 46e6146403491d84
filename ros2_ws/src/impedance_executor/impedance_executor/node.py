"""The control loop on the ROS graph: services and RunPolicy in, states, frames, events and the audit log out.

The loop is a process of its own; this node is its only client. It survives the loop's death and says FAULT (F17); its
own death makes the loop hold, latched. Orders are decided by the loop: an answer tells what became of them.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import Twist
from kinema_interfaces.action import RunPolicy
from kinema_interfaces.msg import (
    ActionChunk as ActionChunkMsg,
    Divergence,
    ExecutorState,
    PolicyInfo,
    PolicyRequest,
    PolicyTiming,
    Task,
)
from kinema_interfaces.srv import Jog, MarkOutcome, MoveJaw, SetTask
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.timer import Timer
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from impedance_executor import messages
from impedance_executor.approval import Approval
from kinema import cell_file, paths, records, robots
from kinema.apps.clients import LoopClient, LoopStatistics
from kinema.apps.telemetry import Telemetry
from kinema.chunk import ActionChunk
from kinema.clock import now_ns, to_ns, to_seconds
from kinema.control import messages as orders
from kinema.control.messages import Event, Mode, Order, State
from kinema.control.pacing import Pace, Tempo, pace
from kinema.episodes.audit import AuditLog
from kinema.errors import ChunkError, ConfigError, DeviceError, KinemaError, OwnershipError
from kinema.frames import BASE, LinkFrames
from kinema.geometry import Array, Pose, distance
from kinema.ring import RingReader
from kinema.robots import GRIPPER
from kinema.streams import Health, Level
from kinema.topics import topic
from kinema.urdf import urdf
from kinema_ros import convert
from kinema_ros.node import Node, Parameter, spin

_FAST = 1.0 / topic("joint_states").rate
_SLOW = round(topic("joint_states").rate / topic("executor/state").rate)  # every so many fast cycles
_TRAIL, _TRAIL_EVERY = 300, 10  # positions of the executed path; one every so many fast cycles
_FEEDBACK = 0.2  # [s]
_DECIDED = 3  # ticks after which an order has been taken or refused
_ANSWER = 0.25  # [s] for those ticks to come
_SILENT = 0.5  # [s] without a new record: the loop has died or hangs


@dataclass(slots=True)
class _Run:
    """One policy run, from the goal to its result."""

    number: int
    task: str
    seed: int
    handle: ServerGoalHandle
    start_ns: int
    feedback: Timer | None = None
    ended: bool = False
    failed: bool = False
    success: bool = False
    outcome: str = ""
    ending: str = ""
    chunks: int = 0
    latency: float = 0.0
    seen: set[int] = field(default_factory=set)
    doubted: set[int] = field(default_factory=set)


class ExecutorNode(Node):
    """See the module's text."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        Parameter("robot", "virtual_ur5e", "which robot stands in the cell"),
        Parameter("run_dir", "runs/latest", "folder of the audit log; relative to the checkout"),
        Parameter("require_approval", False, "every chunk waits for approve or reject before anything moves"),
        Parameter(
            "on_divergence",
            "ignore",
            "when what is seen is not what the policy imagined: a new observation at once, or the end of the run",
            choices=("ignore", "replan", "hold"),
        ),
        Parameter("approval_timeout", 60.0, "[s] that a chunk waits, then another one is asked for", 1.0, 3600.0),
    )

    # ---- lifecycle

    def configure(self) -> None:
        self._cell = cell_file.load(self.value("cell"))
        robot = self._cell.check_robot(self.value("robot"))
        self._model = robots.arm(robot)
        self._frames = LinkFrames(self._model, self._cell.devices.gripper.model)
        self._loop = LoopClient()
        self._jaw = RingReader(paths.runtime() / "jaw_state.ring", records.JAW)
        self._folder = paths.root() / self.value("run_dir")
        self._audit = AuditLog(self._folder / "audit.jsonl")
        self._joint_names = [joint.name for joint in self._model.joints]
        self._newest: Telemetry | None = None
        self._newest_ns = time.monotonic_ns()
        self._statistics: LoopStatistics | None = None
        self._cycle = 0
        self._trail: deque[Array] = deque(maxlen=_TRAIL)
        self._jaw_stamp_ns = 0
        self._request = 0
        self._task = ""
        self._runs = 0
        self._run: _Run | None = None
        self._chunks: dict[int, ActionChunk] = {}
        self._policy: PolicyInfo | None = None
        self._approval: Approval | None = None
        self._gone = ""
        self._make_topics()
        self._make_services()

    def activate(self) -> None:
        stamp_ns = now_ns()
        self._tf_static.publish(convert.transforms_msg(stamp_ns, ("world", BASE, Pose.identity()), *self._frames.fixed))
        self._description.publish(String(data=urdf(self.value("robot"), self._cell.devices.gripper.model)))
        self._task_out.publish(Task(header=convert.header(stamp_ns), text=self._task))
        if self._approval:
            self._approval.show()

    def cleanup(self) -> None:
        for name in ("_loop", "_audit", "_actions"):
            if thing := self.__dict__.pop(name, None):
                thing.destroy() if name == "_actions" else thing.close()

    def _make_topics(self) -> None:
        self._joints = self.outlet("joint_states")
        self._tf = self.outlet("/tf")
        self._tf_static = self.outlet("/tf_static")
        self._description = self.outlet("robot_description")
        self._pose = self.outlet("tcp_pose")
        self._wrench = self.outlet("tcp_wrench")
        self._jaw_out = self.outlet("jaw/state")
        self._state = self.outlet("executor/state")
        self._events = self.outlet("executor/events")
        self._path = self.outlet("executor/planned_path")
        self._request_out = self.outlet("policy/request")
        self._task_out = self.outlet("task")
        self.listen("policy/chunk", self._take_chunk)
        self.listen("policy/timing", self._take_timing)
        self.listen("policy/divergence", self._take_divergence)
        self.listen("policy/info", lambda message: setattr(self, "_policy", message))
        self.every(_FAST, self._poll)
        self.watch("control loop", self._health)

    def _make_services(self) -> None:
        simple: dict[str, Callable[[], Order]] = {
            "enable": orders.Enable,
            "hold": lambda: orders.Hold("asked for by service"),
            "home": orders.Home,
            "open_jaw": lambda: orders.MoveJaw(GRIPPER.stroke),
            "close_jaw": lambda: orders.MoveJaw(0.0),
        }
        for name, make in simple.items():
            self.serve(Trigger, f"~/{name}", lambda request, response, make=make: self._order(make()))
        self.serve(Trigger, "~/reset", self._reset)
        self.serve(Trigger, "~/stop", self._stop)
        self.serve(SetBool, "~/freedrive", lambda request, response: self._order(orders.Freedrive(request.data)))
        self.serve(Jog, "~/jog", self._jog)
        self.serve(MoveJaw, "~/move_jaw", self._move_jaw)
        self.serve(SetTask, "~/set_task", self._set_task)
        self.serve(MarkOutcome, "~/mark_outcome", self._mark_outcome)
        if self.value("require_approval"):
            self._approval = Approval(self, self.value("approval_timeout"), self._path, self._record, self._send_on)
        self._actions = ActionServer(
            self,
            RunPolicy,
            "~/run_policy",
            execute_callback=self._conclude_run,
            goal_callback=self._accept_goal,
            handle_accepted_callback=self._begin_run,
            cancel_callback=self._cancel,
        )

    # ---- orders

    def _send(self, order: Order) -> None:
        if self._gone:
            raise DeviceError(f"{self._gone}; call executor/reset")
        self._loop.send(order)

    def _order(self, order: Order) -> str:
        """Send, and watch the few ticks in which the loop decides; raises DeviceError with its reason to refuse."""
        self._take_news()
        self._send(order)
        name = type(order).__name__
        decided = (self._newest.ticks if self._newest else 0) + _DECIDED
        deadline_ns = time.monotonic_ns() + to_ns(_ANSWER)
        while True:
            over = self._newest is not None and self._newest.ticks >= decided
            for event in self._take_news():
                if event.kind == "order_refused" and event.data.get("order", name) == name:
                    raise DeviceError(event.text)
            if over:
                return f"{name} taken"
            if self._gone or time.monotonic_ns() > deadline_ns:
                raise DeviceError(self._gone or f"the control loop did not take {name} within {_ANSWER} s")
            time.sleep(self._model.period)

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> str:
        if self._gone:
            self._loop.close()
            self._loop = LoopClient()
            self._gone = ""
            self._newest_ns = time.monotonic_ns()
        return self._order(orders.Reset())

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> str:
        self._loop.request_stop()
        return "software stop pressed; latched until reset"

    def _jog(self, request: Jog.Request, response: Jog.Response) -> str:
        return self._order(orders.Jog(_twist(request.twist), request.duration))

    def _move_jaw(self, request: MoveJaw.Request, response: MoveJaw.Response) -> str:
        if not 0.0 <= request.width <= GRIPPER.stroke:
            raise DeviceError(f"width is {request.width} m, allowed is 0..{GRIPPER.stroke} m")
        return self._order(orders.MoveJaw(request.width))

    def _set_task(self, request: SetTask.Request, response: SetTask.Response) -> str:
        self._task = request.text
        self._task_out.publish(Task(header=convert.header(now_ns()), text=self._task))
        return f"task: {self._task}"

    def _mark_outcome(self, request: MarkOutcome.Request, response: MarkOutcome.Response) -> str:
        mark = "success" if request.success else "failure"
        event = Event(
            self._newest.t_ns if self._newest else now_ns(),
            "outcome",
            f"marked as {mark}: {request.note}",
            data={"success": request.success, "note": request.note},
        )
        self._record([event])
        if self._run is not None:
            self._run.success, self._run.outcome = request.success, request.note or mark
            if not self._run.ended:
                self._send(orders.StopPolicy(f"marked as {mark}"))
        return f"marked as {mark}"

    # ---- the policy

    def _take_chunk(self, message: ActionChunkMsg) -> None:
        try:
            sources = self.get_publishers_info_by_topic("policy/chunk")
            if len(sources) > 1:
                names = ", ".join(sorted(source.node_name for source in sources))
                raise OwnershipError(f"policy/chunk has {len(sources)} sources: {names}; allowed is one")
            chunk, request = convert.chunk(message)
            if self._approval and self._newest:
                self._approval.propose(chunk, request, self._newest.t_ns)
                return
        except (ChunkError, OwnershipError) as error:
            data = {"chunk": message.id, "policy": message.policy}
            self._record([Event(now_ns(), "chunk_rejected", str(error), error.fault, data)])
            self._send(orders.RejectObservation(message.request, str(error)))
            return
        self._send_on(orders.PlayChunk(chunk, request))

    def _send_on(self, answer: orders.PlayChunk | orders.RejectObservation) -> None:
        """Answer the loop's request; a chunk is kept to be drawn once it is accepted."""
        if isinstance(answer, orders.PlayChunk):
            chunk = answer.chunk
            self._chunks = {**{id: kept for id, kept in self._chunks.items() if id > chunk.id - 8}, chunk.id: chunk}
        self._send(answer)

    def _take_timing(self, message: PolicyTiming) -> None:
        if message.rejected:
            self._send(orders.RejectObservation(message.request, message.rejected))

    def _take_divergence(self, message: Divergence) -> None:
        """Once for each chunk of this run; whether what is being played knows of it, the core sees."""
        run, reaction = self._run, self.value("on_divergence")
        if not message.diverged or run is None or run.ended or message.chunk not in run.seen - run.doubted:
            return
        run.doubted.add(message.chunk)
        t_ns = self._newest.t_ns
        self._record([Event(t_ns, "diverged", message.text, data={"chunk": message.chunk, "reaction": reaction})])
        if reaction == "hold":
            self._send(orders.Hold(message.text))
        elif reaction == "replan":
            self._send(orders.Replan(message.chunk, convert.time_ns(message.header.stamp), message.text))

    def _relay_request(self, t: Telemetry) -> None:
        if t.request == self._request:
            return
        active = t.request != 0
        self._request_out.publish(
            PolicyRequest(
                header=convert.header(t.t_ns),
                id=t.request or self._request,
                active=active,
                run=self._runs,
                seed=self._run.seed if self._run else 0,
                task=self._task,
                approval=self._approval is not None,
                not_before=convert.time_msg(t.not_before_ns),
            )
        )
        self._request = t.request

    def _accept_goal(self, goal: RunPolicy.Goal) -> GoalResponse:
        state = self._newest.state if self._newest else None
        reason = ""
        if goal.execution and goal.execution not in tuple(Mode):
            reason = f"execution is {goal.execution!r}; allowed: {', '.join(Mode)}"
        elif not 0.0 <= goal.speed_scale <= 1.0:
            reason = f"speed_scale is {goal.speed_scale}; allowed is 0..1, 0 for the cell file's"
        elif self._run is not None:
            reason = "a policy is running already"
        elif self._gone or state != State.READY:
            reason = self._gone or f"the state is {state.name if state is not None else 'unknown'}, allowed is READY"
        if reason:
            self.get_logger().error(f"run_policy refused: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self._run is not None and not self._gone:
            self._send(orders.StopPolicy("cancelled"))
        return CancelResponse.ACCEPT

    def _begin_run(self, handle: ServerGoalHandle) -> None:
        """The goal runs from here on, and is executed in rclpy's sense only to deliver its result.

        An execute callback that awaits the end would be polled by the executor without a pause.
        """
        goal = handle.request
        if goal.task:
            self._task = goal.task
            self._task_out.publish(Task(header=convert.header(now_ns()), text=self._task))
        self._runs += 1
        run = self._run = _Run(self._runs, self._task, goal.seed or self._runs, handle, self._newest.t_ns)
        self.get_logger().info(f"run {run.number}: {run.task!r}, the policy draws from seed {run.seed}")
        run.feedback = self.create_timer(_FEEDBACK, lambda: self._feedback(run))
        try:
            self._order(self._start(goal))
        except KinemaError as error:
            run.failed = True
            self._end_run(str(error))

    def _start(self, goal: RunPolicy.Goal) -> orders.StartPolicy:
        """The order that begins a run as the goal wants it; where that says nothing, as it fits the policy."""
        chosen = self._pace(goal)
        return orders.StartPolicy(
            chosen.mode,
            goal.speed_scale or self._cell.speed_scale,
            goal.chunks,
            goal.duration,
            uses_force=self._policy is None or self._policy.uses_force,
            replan_steps=chosen.replan_steps,
            executable=chosen.executable,
            approval=self._approval.patience if self._approval else 0.0,
        )

    def _pace(self, goal: RunPolicy.Goal) -> Pace:
        """Raises ConfigError for more steps than the policy allows, or where it says nothing of steps."""
        wanted = Mode(goal.execution) if goal.execution else Mode.STOP_AND_GO if self._approval else None
        known, execution = self._policy, self._cell.control.execution
        if known is not None and known.dt > 0:
            tempo = Tempo(known.latency, known.dt, known.executable)
            return pace(tempo, execution, goal.executed or known.executed, wanted)
        if goal.executed:
            raise ConfigError(f"executed is {goal.executed}; allowed is 0, the policy does not say how long a step is")
        return Pace(wanted or execution.mode)

    def _end_run(self, why: str = "") -> None:
        """Let the run's result go out, once; `why` if nothing else has said it."""
        run = self._run
        if run is not None and not run.ended:
            run.ended, run.ending = True, run.ending or why
            run.handle.execute()

    def _conclude_run(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        run, self._run = self._run, None
        self.destroy_timer(run.feedback)
        conclude = handle.canceled if handle.is_cancel_requested else handle.abort if run.failed else handle.succeed
        conclude()
        return RunPolicy.Result(
            success=run.success,
            outcome=run.outcome or run.ending,
            chunks=run.chunks,
            duration=to_seconds(self._newest.t_ns - run.start_ns),
            report=str(self._folder),
        )

    def _feedback(self, run: _Run) -> None:
        t = self._newest
        if t is None or run.ended:
            return
        stage = "waiting" if not run.chunks else "executing" if t.state == State.EXECUTING else "holding"
        position, rotation = distance(t.T_base_tcp, t.T_base_goal)
        run.handle.publish_feedback(
            RunPolicy.Feedback(
                stage=stage,
                chunk=max(t.chunk, 0),
                latency=run.latency,
                position_error=position,
                rotation_error=rotation,
            )
        )

    # ---- what the loop says

    def _poll(self) -> None:
        self._take_news()
        self._cycle += 1
        t = self._newest
        if t is None:
            return
        if not self._gone:
            self._relay_request(t)
            if self._approval:
                self._approval.follow(t.request, t.t_ns)
            self._publish_fast(t)
        if self._cycle % _SLOW == 0:
            self._publish_slow(t)

    def _take_news(self) -> list[Event]:
        """The loop's newest record, and its events: recorded, followed, and returned."""
        events: list[Event] = []
        if not self._gone:
            t, now = self._loop.telemetry(), time.monotonic_ns()
            is_new = t is not None and (self._newest is None or t.sequence != self._newest.sequence)
            if is_new and t.ticks > 0:  # before the arm's first tick there are no numbers
                self._newest, self._newest_ns = t, now
            try:
                events = self._loop.events()
            except DeviceError as error:
                self._lose(str(error))
        if events:
            self._record(events)
            self._follow(events)
        return events

    def _lose(self, why: str) -> None:
        """F17: the loop's process has ended; the arm's own watchdog stops the arm, this node stays and says so."""
        self._gone = why
        self.get_logger().error(why)
        t_ns = self._newest.t_ns if self._newest else now_ns()
        self._record([Event(t_ns, "state", f"FAULT: {why}", "F17")])
        self._end_run(why)

    def _record(self, events: list[Event]) -> None:
        self._audit.write(events)
        for event in events:
            self._events.publish(messages.event_msg(event))

    def _follow(self, events: list[Event]) -> None:
        run = self._run
        for event in events:
            if event.fault:
                self.get_logger().warning(f"{event.fault}: {event.text}")
            if event.kind == "chunk_accepted" and (chunk := self._chunks.get(event.data.get("chunk", -1))):
                self._path.publish(messages.path(chunk, "planned_path"))
            if run is None:
                continue
            if event.kind == "step" and event.data["chunk"] not in run.seen:
                run.seen.add(event.data["chunk"])
                run.chunks += 1
                run.latency = to_seconds(event.t_ns - event.data["t0_ns"])
            elif event.kind == "policy_ended":
                self._end_run(event.text)

    def _publish_fast(self, t: Telemetry) -> None:
        self._joints.publish(
            JointState(
                header=convert.header(t.t_ns),
                name=self._joint_names,
                position=t.q.tolist(),
                velocity=t.dq.tolist(),
                effort=t.tau.tolist(),
            )
        )
        self._pose.publish(convert.pose_stamped_msg(t.t_ns, BASE, t.T_base_tcp))
        into_tcp = t.T_base_tcp.rotation.T
        wrench = np.concatenate([into_tcp @ t.wrench[:3], into_tcp @ t.wrench[3:]])
        self._wrench.publish(convert.wrench_msg(t.t_ns, "tcp", wrench))

    def _publish_slow(self, t: Telemetry) -> None:
        if not self._gone:
            self._tf.publish(messages.link_transforms(self._frames, t.t_ns, t.q))
        self._publish_jaw()
        if self._cycle % _TRAIL_EVERY == 0:
            self._trail.append(t.T_base_tcp.position)
        if self._cycle % topic("joint_states").rate == 0:
            self._statistics = self._loop.statistics()
            limits = self._cell.control.limits.workspace
            self._path.publish(messages.workspace_box(t.t_ns, *limits))
            self._path.publish(messages.executed_path(t.t_ns, self._trail))
        s = self._statistics
        position, rotation = distance(t.T_base_tcp, t.T_base_goal)
        self._state.publish(
            ExecutorState(
                header=convert.header(t.t_ns),
                state=State.FAULT if self._gone else t.state,
                reason=self._gone or t.reason,
                owner="" if self._gone else t.owner,
                chunk=t.chunk,
                step=t.step,
                steps_left=t.steps_left,
                goal=convert.pose_msg(t.T_base_goal),
                position_error=position,
                rotation_error=rotation,
                jaw_width=t.jaw_width,
                jaw_goal=t.jaw_goal,
                force=t.force,
                correction=t.correction,
                period_p50=s.period_p50 if s else 0.0,
                period_p99=s.period_p99 if s else 0.0,
                period_max=s.period_max if s else 0.0,
                ticks=t.ticks,
                missed=t.missed,
            )
        )

    def _publish_jaw(self) -> None:
        found = self._jaw.latest()
        if found is None:
            return
        state = records.to_gripper_state(found[1])
        if state.stamp_ns != self._jaw_stamp_ns:
            self._jaw_stamp_ns = state.stamp_ns
            self._jaw_out.publish(convert.jaw_msg(state))

    def _health(self, monotonic_ns: int) -> Health:
        if self._gone:
            return Health(Level.ERROR, f"FAULT: {self._gone}")
        t, age = self._newest, to_seconds(monotonic_ns - self._newest_ns)
        if t is None or age > _SILENT:
            return Health(Level.ERROR, f"no record for {age:.1f} s")
        values = {"state": t.state.name, "ticks": str(t.ticks), "missed": str(t.missed)}
        if t.state in (State.FAULT, State.STOPPED):
            return Health(Level.ERROR if t.state == State.FAULT else Level.WARN, t.reason, values)
        return Health(Level.OK, t.state.name, values)


def _twist(message: Twist) -> np.ndarray:
    v, w = message.linear, message.angular
    return np.array([v.x, v.y, v.z, w.x, w.y, w.z])


def main() -> None:
    spin(lambda: ExecutorNode("executor"))
