"""The control core: one pure step from the arm's record and the node's orders to a command.

It composes player, force correction, tracking filter, law and safety chain, and owns the executor's state. No clock, no
I/O: time is the arm's.
"""

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
import pinocchio as pin

from kinema.clock import to_ns, to_seconds
from kinema.control import safety
from kinema.control.force_correction import Correction, force_fault, measured_force
from kinema.control.impedance import Compliance, law
from kinema.control.messages import (
    Enable,
    Event,
    Freedrive,
    Hold,
    Home,
    JawTarget,
    Jog,
    Mode,
    MoveJaw,
    Order,
    PlayChunk,
    RejectObservation,
    Replan,
    Reset,
    StartPolicy,
    State,
    StopPolicy,
    Tick,
)
from kinema.control.model import RobotModel
from kinema.control.motion import Equilibrium, Reference, advance, bounded, sizes
from kinema.control.player import Playback, Player, RefusalError
from kinema.control.safety import Motion, Reaction, Verdict
from kinema.control.settings import ControlSettings
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind, ForceSample, GripperState
from kinema.robots import GRIPPER, ArmModel, GripperModel

_S = State
# state x order -> state; what isn't here is refused. Hold(latched=True) leads to STOPPED from everywhere but FAULT.
TABLE: dict[tuple[State, type], State] = {
    (_S.IDLE, Enable): _S.READY,
    (_S.IDLE, Hold): _S.IDLE,
    (_S.IDLE, Reset): _S.IDLE,
    (_S.IDLE, StopPolicy): _S.IDLE,
    (_S.READY, Enable): _S.READY,
    (_S.READY, Hold): _S.READY,
    (_S.READY, Reset): _S.IDLE,
    (_S.READY, Home): _S.EXECUTING,
    (_S.READY, Jog): _S.EXECUTING,
    (_S.READY, Freedrive): _S.EXECUTING,
    (_S.READY, MoveJaw): _S.READY,
    (_S.READY, StartPolicy): _S.HOLDING,
    (_S.READY, StopPolicy): _S.READY,
    (_S.EXECUTING, Hold): _S.READY,
    (_S.EXECUTING, StopPolicy): _S.READY,
    (_S.EXECUTING, Jog): _S.EXECUTING,
    (_S.EXECUTING, Freedrive): _S.EXECUTING,
    (_S.EXECUTING, MoveJaw): _S.EXECUTING,
    (_S.EXECUTING, PlayChunk): _S.EXECUTING,
    (_S.EXECUTING, RejectObservation): _S.EXECUTING,
    (_S.EXECUTING, Replan): _S.EXECUTING,
    (_S.HOLDING, Hold): _S.READY,
    (_S.HOLDING, StopPolicy): _S.READY,
    (_S.HOLDING, PlayChunk): _S.EXECUTING,
    (_S.HOLDING, RejectObservation): _S.HOLDING,
    (_S.HOLDING, Replan): _S.HOLDING,
    (_S.FAULT, Hold): _S.FAULT,
    (_S.FAULT, StopPolicy): _S.FAULT,
    (_S.FAULT, Reset): _S.IDLE,
    (_S.STOPPED, Hold): _S.STOPPED,
    (_S.STOPPED, StopPolicy): _S.STOPPED,
    (_S.STOPPED, Reset): _S.IDLE,
}

_LATE = 0.025  # [s] between two records: with 40 ms the laws swing up, a torque arm within a third of a second
_GRACE = 0.1  # [s] after a reset in which the arm may still report its own stop
_SPEED_FILTER = 0.02  # [s] of the measured speed that decides about rest
_LONGEST_JOG = 10.0  # [s]
_PEAK = 1.875  # peak over mean speed of a minimum-jerk motion
_ARRIVAL = 0.5  # [s] that the tracking filter and the arm get to arrive


class Activity(enum.Enum):
    """What EXECUTING does."""

    NONE = "nothing"
    POLICY = "a policy run"
    JOG = "a jog"
    HOME = "the way home"
    FREE = "freedrive"


class Straight:
    """A jog: the TCP at a constant twist. `reference` is None once it is over."""

    posture: Array | None = None
    turning: Array | None = None

    def __init__(self, t_ns: int, duration: float, pose: Pose, twist: Array):
        self._begin_ns, self._duration, self._pose, self._twist = t_ns, duration, pose, twist

    def reference(self, t_ns: int) -> Reference | None:
        t = to_seconds(t_ns - self._begin_ns)
        if t >= self._duration:
            return None
        return Reference(advance(self._pose, self._twist, t), self._twist, np.zeros(6))


class Homeward:
    """Minimum jerk in the joints, led by the TCP pose it implies.

    `posture` (n,) is where the joints should be, `turning` (n,) [rad/s] how they turn.
    """

    posture: Array | None
    turning: Array | None

    def __init__(self, t_ns: int, model: RobotModel, q: Array, home: Array, speed: float):
        self._begin_ns, self._model, self._q, self._way = t_ns, model, q, home - q
        self._duration = max(_PEAK * float(np.abs(self._way).max()) / speed, 0.2)

    def reference(self, t_ns: int) -> Reference | None:
        t = to_seconds(t_ns - self._begin_ns)
        if t >= self._duration + _ARRIVAL:
            return None
        u = min(t / self._duration, 1.0)
        s = u**3 * (10 - 15 * u + 6 * u * u)
        ds = 30 * u * u * (1 - u) ** 2 / self._duration
        dds = 60 * u * (1 - u) * (1 - 2 * u) / self._duration**2
        self.posture = self._q + s * self._way
        self.turning = ds * self._way
        pose, J = self._model.fk(self.posture), self._model.jacobian(self.posture)
        return Reference(pose, J @ self.turning, J @ (dds * self._way))


class Controller:
    """Give every record of the arm to `tick`, send `Tick.command` back. Starts IDLE, holding the measured pose."""

    def __init__(
        self,
        arm: ArmModel,
        settings: ControlSettings,
        command_kind: CommandKind,
        home: Array | None = None,
        gripper: GripperModel = GRIPPER,
    ) -> None:
        self.arm, self.settings, self.kind = arm, settings, command_kind
        self.state = State.IDLE
        self.reason = ""  # of the last FAULT or STOPPED
        self._home = np.array(arm.home if home is None else home, float)
        self._model = RobotModel(arm, gripper)
        self._bounds = safety.Bounds(arm, settings.limits, settings.execution, command_kind)
        self._law = law(command_kind, arm, settings.impedance)
        self._equilibrium = Equilibrium(settings.limits)
        self._player = Player(settings)
        self._correction = Correction(settings.force)
        self._activity = Activity.NONE
        self._way: Straight | Homeward | None = None
        self._posture = self._home
        self._events: list[Event] = []
        self._started = False
        self._t_ns, self._k, self._missed = 0, 0, 0
        self._late: tuple[float, ...] = ()  # [s] cycles that were late, in a row up to now
        self._grace_ns = 0  # until when the arm may still report its own stop
        self._q, self._speed = self._home, np.zeros(6)  # measured: joints, and the filtered twist of the TCP
        self._clamped: set[str] = set()
        self._stop_from: tuple[int, Array] | None = None
        self._policy_width: float | None = None
        self._predicted: float | None = None
        self._jaw_width: float | None = None  # commanded
        self._jaw_floor: float | None = None  # the force ceiling lets it close no further
        self._force_told = ""

    def tick(
        self,
        state: ArmState,
        orders: Sequence[Order],
        jaw: GripperState | None,
        force: ForceSample | None,
        stop: bool,
    ) -> Tick:
        """One cycle: `jaw` and `force` are the newest samples there are, `stop` is the software stop's flag."""
        self._events = []
        gap = self._gap(state)
        dt = min(max(gap, 1e-4), self.settings.execution.max_gap)
        motion = Motion(state, self._model, self._equilibrium, gap)
        found = safety.judge(safety.MEASURED, motion, self._bounds)
        self._measure(state, dt)
        self._react(found, state)
        self._watch_pace(gap)
        if stop and self.state not in (State.STOPPED, State.FAULT):
            self._stop("F30", "software stop", at_measured=False)
        for order in orders:
            self._obey(order, state)
        if self.state is not State.FAULT:
            self._watch_force(force)
            playback = self._move(motion, dt)
            self._command_jaw(dt, playback, jaw, force)
            self._report_steps(jaw, force)
            self._conclude(force)
        return self._tick(self._command(state, motion, dt))

    # ---- measurement

    def _gap(self, state: ArmState) -> float:
        """Seconds since the last record; counts the records that were missed in between (F19)."""
        before, before_k = self._t_ns, self._k
        self._t_ns, self._k = state.t_ns, state.k
        if not self._started:
            return self.arm.period
        missed = state.k - before_k - 1
        row = self._missed + missed if missed > 0 else 0
        if row >= self.settings.execution.max_missed > self._missed:
            self._tell("error", f"{row} records of the arm missed in a row", "F19", missed=row)
        self._missed = row
        return to_seconds(state.t_ns - before)

    def _measure(self, state: ArmState, dt: float) -> None:
        """Evaluate the model. At first, and while the arm stands by its own means, the equilibrium follows the arm."""
        if len(state.q) != self.arm.dof or not (safety.finite(state.q) and safety.finite(state.dq)):
            return
        self._q = state.q
        self._model.update(state.q, state.dq)
        self._speed += min(dt / _SPEED_FILTER, 1.0) * (self._model.J @ state.dq - self._speed)
        if not self._started or self.state is State.FAULT or state.mode != ArmMode.RUNNING:
            self._begin_at(state)
            self._started = True

    def _begin_at(self, state: ArmState) -> None:
        """The equilibrium becomes the measured pose, with no memory of what was commanded before."""
        self._equilibrium.place(self._model.T_base_tcp)
        self._law.start(state)
        self._posture = state.q.copy()

    def _react(self, found: list[tuple[str, Verdict]], state: ArmState) -> None:
        """To what the checks of the measurement found."""
        for name, verdict in found:
            if name == "arm_mode" and state.t_ns < self._grace_ns:
                continue
            if verdict.reaction is Reaction.FAULT and self.state is not State.FAULT:
                self._fail(verdict)
            elif verdict.reaction is Reaction.STOP and self.state not in (State.FAULT, State.STOPPED):
                self._stop(verdict.fault, verdict.text, at_measured=name in ("contact", "overspeed"), data=verdict.data)

    def _watch_pace(self, gap: float) -> None:
        """Brake where cycles go on coming late, for longer than one alone may: no law holds an arm that way (F19)."""
        self._late = (*self._late, gap) if gap > _LATE and self.state is not State.FAULT else ()
        if len(self._late) > 1 and sum(self._late) > self.settings.execution.max_gap:
            text = (
                f"{len(self._late)} cycles in a row came late, {1000 * max(self._late):.0f} ms after the one before; "
                f"allowed are {1000 * _LATE:.0f} ms: the loop gets too little of its processor, or of the arm's records"
            )
            self._fail(Verdict(Reaction.FAULT, "F19", text))

    # ---- orders

    def _obey(self, order: Order, state: ArmState) -> None:
        if isinstance(order, Hold) and order.latched:
            if self.state not in (State.FAULT, State.STOPPED):
                self._stop("", order.reason, at_measured=False)
            return
        leads_to = TABLE.get((self.state, type(order)))
        if leads_to is None:
            allowed = ", ".join(s.name for s in State if (s, type(order)) in TABLE)
            self._refuse(order, f"the state is {self.state.name}, allowed in {allowed}")
            return
        busy = self._activity not in (Activity.NONE, Activity.POLICY if isinstance(order, PlayChunk) else Activity.NONE)
        match order:
            case Enable():
                self._enter(leads_to, "enabled")
            case Reset():
                self._quit("reset")
                self._begin_at(state)
                self._started = False  # the arm may have taken its time: the next record begins anew
                self._grace_ns = state.t_ns + to_ns(_GRACE)
                self._enter(leads_to, "reset")
            case Hold():
                self._tell("held", order.reason)
                self._leave(leads_to, order.reason)
            case StopPolicy():
                if self._activity is Activity.POLICY:
                    self._leave(leads_to, order.reason)
            case PlayChunk():
                self._play(order, leads_to)
            case RejectObservation():
                self._player.refused(order.request)
            case Replan():
                self._replan(order)
            case MoveJaw():
                self._move_jaw(order)
            case Freedrive(on=False):
                if self._activity is Activity.FREE:
                    self._leave(State.READY, "freedrive is over")
            case Jog() if self._activity is Activity.JOG or not busy:
                self._jog(order, leads_to)
            case _ if busy:
                self._refuse(order, f"{self._activity.value} is under way: hold first")
            case Home():
                speed = self.settings.execution.home_speed
                self._way = Homeward(self._t_ns, self._model, state.q, self._home, speed)
                self._begin(Activity.HOME, leads_to)
            case Freedrive():
                self._begin(Activity.FREE, leads_to)
            case StartPolicy():
                self._start_policy(order, leads_to)

    def _refuse(self, order: Order, why: str) -> None:
        self._tell("order_refused", f"{type(order).__name__}: {why}", order=type(order).__name__)

    def _jog(self, order: Jog, leads_to: State) -> None:
        twist = np.asarray(order.twist, float)
        if twist.shape != (6,) or not np.isfinite(twist).all() or not 0.0 < order.duration <= _LONGEST_JOG:
            self._refuse(order, f"a finite twist of 6 numbers and 0 < duration <= {_LONGEST_JOG} s are allowed")
            return
        twist = bounded(twist, self.settings.limits.speed)
        self._way = Straight(self._t_ns, order.duration, self._equilibrium.pose, twist)
        self._begin(Activity.JOG, leads_to)

    def _move_jaw(self, order: MoveJaw) -> None:
        if self._activity is Activity.POLICY:
            self._refuse(order, "a policy run is under way: hold first")
        elif not 0.0 <= order.width <= GRIPPER.stroke:
            self._refuse(order, f"width is {order.width} m, allowed is 0 to {GRIPPER.stroke} m")
        else:
            self._jaw_width, self._jaw_floor = order.width, None

    def _start_policy(self, order: StartPolicy, leads_to: State) -> None:
        limits = (order.chunks, order.duration, order.replan_steps, order.executable, order.approval)
        if not (0.0 < order.speed_scale <= 1.0 and min(limits) >= 0):
            self._refuse(
                order,
                "0 < speed_scale <= 1 is allowed, and no number below 0 of chunks, duration, replan_steps, executable "
                "and approval",
            )
            return
        if order.approval and order.mode is not Mode.STOP_AND_GO:
            self._refuse(order, f"the mode is {order.mode.value}; chunks that wait for approval allow stop_and_go")
            return
        self._player.start(order, self._t_ns)
        self._tell("policy_started", f"{order.mode.value} at speed scale {order.speed_scale}", mode=order.mode.value)
        self._begin(Activity.POLICY, leads_to)

    def _play(self, order: PlayChunk, leads_to: State) -> None:
        chunk = order.chunk
        try:
            width_t0 = self._correction.anchor(chunk.width_t0, chunk.t0_ns)
            self._events += self._player.accept(
                order, self._t_ns, self._model.T_base_tcp, self._equilibrium.pose, width_t0, self._bounds.targets
            )
        except RefusalError as refusal:
            self._tell("chunk_rejected", str(refusal), refusal.fault, chunk=chunk.id, request=order.request)
            self._player.refused(order.request)
            if refusal.abandon:
                self._refuse_motion(str(refusal))
            return
        self._enter(leads_to, f"chunk {chunk.id}")

    def _replan(self, order: Replan) -> None:
        if not self._player.replan(order.seen_ns):
            return
        self._tell("replanned", order.reason, chunk=order.chunk)
        if self._player.stop_and_go:
            self._refuse_motion(order.reason)

    # ---- motion

    def _move(self, motion: Motion, dt: float) -> Playback:
        """Move the equilibrium on, as far as the safety chain lets it."""
        equilibrium = self._equilibrium
        playback = self._player.advance(self._t_ns, dt)
        if self._activity is Activity.FREE:
            if self.kind == CommandKind.TORQUE:
                equilibrium.place(self._model.T_base_tcp)
            return playback
        reference, turning = playback.reference, None
        if self._way is not None:
            reference = self._way.reference(self._t_ns)
            turning = self._way.turning
            if self._way.posture is not None:
                self._posture = self._way.posture
            if reference is None:
                self._leave(State.READY, f"{self._activity.value} is over")
        motion.begin(dt, turning)
        if reference is None:
            equilibrium.brake(dt)
        else:
            equilibrium.follow(reference, dt)
        clamped = set()
        for name, verdict in safety.judge(safety.EQUILIBRIUM, motion, self._bounds):
            if verdict.reaction is Reaction.CLAMP:
                clamped.add(name)
                self._tell_clamp(name, verdict)
            elif verdict.reaction is Reaction.FAULT:
                self._fail(verdict)
            else:
                motion.take_back()
                equilibrium.brake(dt)
                self._tell("safety", verdict.text, verdict.fault, check=name, **verdict.data)
                self._refuse_motion(f"{name}: {verdict.text}")
        self._clamped = clamped
        return playback

    def _command(self, state: ArmState, motion: Motion, dt: float) -> ArmCommand:
        if self.state is not State.FAULT:
            compliance = Compliance.STIFF if self.state is State.IDLE else Compliance.SOFT
            if self._activity is Activity.FREE:
                compliance = Compliance.FREE
            # away from singularities an arm of six joints has no choice of posture
            posture = self._posture if self.arm.dof > 6 or motion.turning is not None else None
            motion.values = self._law.command(self._model, state, self._equilibrium, posture, compliance, dt)
            for name, verdict in safety.judge(safety.VALUES, motion, self._bounds):
                if verdict.reaction is Reaction.FAULT:
                    self._fail(verdict)
                else:
                    self._tell_clamp(name, verdict)
                    self._clamped.add(name)
        if self.state is State.FAULT:
            return ArmCommand(CommandKind.BRAKE, np.zeros(0))
        return ArmCommand(self.kind, motion.values)

    def _conclude(self, force: ForceSample | None) -> None:
        """What follows from where the arm is now: the end of a stop, of a chunk, of a run; observation requests."""
        settle, speed = self.settings.execution.settle_speed, self._speed
        linear, angular = sizes(speed)
        at_rest = linear < settle[0] and angular < settle[1] and self._equilibrium.resting
        if self._stop_from is not None and at_rest:
            began_ns, began = self._stop_from
            time, way = (
                to_seconds(self._t_ns - began_ns),
                float(np.linalg.norm(self._model.T_base_tcp.position - began)),
            )
            self._tell("stopped", f"at rest after {time:.3f} s and {way * 1000:.1f} mm", time=time, distance=way)
            self._stop_from = None
        run = self._player.run
        if run is None:
            return
        ready = not (run.uses_force and force_fault(force, self._t_ns, self.settings.force.stale_after))
        self._events += self._player.watch(self._t_ns, at_rest, ready)
        if self._player.run is None:
            self._leave(State.READY, "the policy run is over")
        elif self._player.playing is None:
            self._enter(State.HOLDING, "waiting for a chunk")

    # ---- jaw

    def _watch_force(self, force: ForceSample | None) -> None:
        """Say when the load cell fails during a run, and hold if the policy needs it (F13, F14)."""
        run = self._player.run
        fault = "" if run is None else force_fault(force, self._t_ns, self.settings.force.stale_after)
        if fault and fault != self._force_told:
            text = "the load cell is silent" if fault == "F13" else "the load cell is saturated or not a number"
            self._tell("warning" if fault == "F13" else "error", f"{text}: the force correction stays as it is", fault)
        self._force_told = fault
        if fault and run is not None and run.uses_force:
            self._player.withdraw()
            if self._player.playing is not None:
                self._refuse_motion(f"{fault}: the policy needs the load cell")

    def _command_jaw(self, dt: float, playback: Playback, jaw: GripperState | None, force: ForceSample | None) -> None:
        stale_after = self.settings.force.stale_after
        if playback.width is not None:
            self._policy_width, self._predicted = playback.width, playback.force
        wanted = self._jaw_width
        if self._policy_width is not None:
            measured = measured_force(force, self._t_ns, stale_after)
            before = self._correction.closing
            closing = self._correction.update(self._t_ns, dt, self._policy_width, self._predicted, measured)
            if closing > before:
                text = f"closing {closing * 1000:.1f} mm further"
                self._tell("correction", text, correction=closing, predicted=self._predicted, measured=measured)
            wanted = min(max(self._policy_width - closing, 0.0), GRIPPER.stroke)
        if wanted is None:
            return
        broken = force_fault(force, self._t_ns, stale_after) == "F14"
        if broken and self._jaw_width is not None:
            wanted = max(wanted, self._jaw_width)
        self._jaw_width = self._under_ceiling(wanted, jaw, force)

    def _under_ceiling(self, wanted: float, jaw: GripperState | None, force: ForceSample | None) -> float:
        """Above the jaw's force ceiling closing stops and the jaw stays, until it is told to open (F15)."""
        most = self.settings.limits.jaw_force
        squeeze = max(0.0 if force is None else force.force, 0.0 if jaw is None else jaw.force)
        if squeeze > most and self._jaw_floor is None:
            held = wanted if jaw is None else jaw.width - most / GRIPPER.stiffness  # what presses as much as allowed
            self._jaw_floor = max(held, wanted if self._jaw_width is None else self._jaw_width)
            self._tell(
                "safety", f"jaw force {squeeze:.1f} N, the ceiling is {most} N: closing stops", "F15", value=squeeze
            )
        if self._jaw_floor is None:
            return wanted
        if wanted > self._jaw_floor:
            self._jaw_floor = None
            return wanted
        return self._jaw_floor

    # ---- reports

    def _report_steps(self, jaw: GripperState | None, force: ForceSample | None) -> None:
        for chunk, i in self._player.reached():
            self._tell(
                "step",
                f"step {i} of chunk {chunk.id}",
                chunk=chunk.id,
                step=i,
                t0_ns=chunk.t0_ns,
                latency=to_seconds(self._t_ns - chunk.t0_ns),
                command=_seven(self._equilibrium.pose),
                measured=_seven(self._model.T_base_tcp),
                width=None if jaw is None else jaw.width,
                force=None if force is None else force.force,
            )

    def _tick(self, command: ArmCommand) -> Tick:
        playing, width, limits = self._player.playing, self._jaw_width, self.settings.limits
        return Tick(
            command=command,
            jaw=None if width is None else JawTarget(width, GRIPPER.speed, min(limits.jaw_force, GRIPPER.force)),
            state=self.state,
            T_base_tcp=self._model.T_base_tcp,
            T_base_goal=self._equilibrium.pose,
            correction=self._correction.closing,
            chunk=-1 if playing is None else playing.chunk.id,
            step=-1 if playing is None else playing.step,
            steps_left=0 if playing is None else playing.steps_left,
            request=self._player.request,
            events=tuple(self._events),
        )

    def _tell(self, kind: str, text: str, fault: str = "", **data: Any) -> None:
        self._events.append(Event(self._t_ns, kind, text, fault, data))

    def _tell_clamp(self, name: str, verdict: Verdict) -> None:
        """Once, when a check begins to clamp."""
        if name not in self._clamped:
            self._tell("clamped", verdict.text, verdict.fault, check=name, **verdict.data)

    # ---- states

    def _enter(self, state: State, reason: str) -> None:
        if state is not self.state:
            self._tell("state", f"{self.state.name} to {state.name}: {reason}", state=int(state))
            self.state = state
            if state in (State.FAULT, State.STOPPED):
                self.reason = reason

    def _begin(self, activity: Activity, state: State) -> None:
        self._activity = activity
        self._enter(state, activity.value)

    def _quit(self, reason: str) -> None:
        """Give up whatever is under way; the equilibrium brakes. The grip is kept, its correction folded into it."""
        if self._activity is Activity.FREE:
            self._stand()
        self._events += self._player.end(self._t_ns, reason)
        self._activity, self._way = Activity.NONE, None
        self._correction.reset()
        self._policy_width = self._predicted = None

    def _leave(self, state: State, reason: str) -> None:
        self._quit(reason)
        self._enter(state, reason)

    def _refuse_motion(self, reason: str) -> None:
        """What is under way may not go on: a policy run holds, everything else ends."""
        if self._activity is Activity.POLICY:
            self._events += self._player.abandon(self._t_ns, reason)
            self._enter(State.HOLDING, reason)
        elif self.state is State.EXECUTING:
            self._leave(State.READY, reason)

    def _stand(self) -> None:
        """The equilibrium becomes the measured pose."""
        self._equilibrium.place(self._model.T_base_tcp)
        self._law.stand(self._q)

    def _stop(self, fault: str, reason: str, *, at_measured: bool, data: dict[str, Any] | None = None) -> None:
        """Brake and stay, latched. `at_measured`: the arm must not press on towards where it was going."""
        self._tell("safety", reason, fault, **(data or {}))
        self._quit(reason)
        if at_measured:
            self._stand()
        self._stop_from = (self._t_ns, self._model.T_base_tcp.position)
        self._enter(State.STOPPED, reason)

    def _fail(self, verdict: Verdict) -> None:
        self._tell("safety", verdict.text, verdict.fault, **verdict.data)
        self._quit(verdict.text)
        self._enter(State.FAULT, verdict.text)


def _seven(T: Pose) -> list[float]:
    """Position and quaternion x, y, z, w."""
    return [*T.position.tolist(), *pin.Quaternion(T.rotation).coeffs().tolist()]
