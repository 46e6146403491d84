"""The chunk player: which chunk is played, at which path time, and when a new observation is wanted.

DESIGN "Execution modes". It decides where the equilibrium should be; motion.py gets it there smoothly, safety.py says
whether it may. Pure: stamps come from the arm's records.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.chunk import ActionChunk, check_chunk
from kinema.clock import to_ns, to_seconds
from kinema.control import path
from kinema.control.messages import Event, Mode, ObservationRequest, PlayChunk, StartPolicy
from kinema.control.motion import Reference
from kinema.control.path import Path
from kinema.control.settings import ControlSettings
from kinema.errors import ChunkError, NonFiniteChunkError
from kinema.geometry import Array, Pose, distance

_FUTURE = 0.050  # [s] an observation's stamp may lie ahead of the arm's
_AGAIN = 0.050  # [s] between two observation requests
_SPEED_MARGIN = 0.95  # of the speed limits, for the path's curvature between the steps

_FOREVER = 1 << 62  # [ns]

Clamp = Callable[[Array], tuple[Array, str]]  # positions (n, 3) -> those that are allowed, and what was changed


class RefusalError(ChunkError):
    """Why a chunk isn't played; `abandon`: what is being played must not go on either."""

    def __init__(self, fault: str, text: str, *, abandon: bool = False):
        super().__init__(text)
        self.fault, self.abandon = fault, abandon


@dataclass(slots=True)
class Playing:
    """A chunk on its way. `origin_ns` is where path time 0 lies, arm latency already taken off."""

    chunk: ActionChunk
    path: Path
    origin_ns: int
    first: int
    s: float
    rate: float = 1.0
    rate_change: float = 0.0
    told: int = -1
    ended: bool = False
    doubted: bool = False  # what it imagined is not what is seen

    @property
    def step(self) -> int:
        return self.path.step(self.s)

    @property
    def steps_left(self) -> int:
        return self.chunk.executable - 1 - self.step


@dataclass(frozen=True, slots=True)
class Playback:
    """One cycle: where the equilibrium should be, or None (brake); what the jaw should do, or None (leave it)."""

    reference: Reference | None
    width: float | None
    force: float | None


_NOTHING = Playback(None, None, None)


class Player:
    """One policy run at a time. `request` is the open observation request, `run` the order that began the run."""

    def __init__(self, settings: ControlSettings):
        self._limits, self._execution = settings.limits, settings.execution
        self.run: StartPolicy | None = None
        self.playing: Playing | None = None
        self.request: ObservationRequest | None = None
        self.accepted = 0
        self._requests = 0
        self._started_ns = 0
        self._asked_ns = -_FOREVER
        self._waiting_ns: int | None = None
        self._warned = self._failed = False
        self._settled_ns: int | None = None

    @property
    def stop_and_go(self) -> bool:
        return self.run is not None and self.run.mode is Mode.STOP_AND_GO

    # ---- orders

    def start(self, order: StartPolicy, t_ns: int) -> None:
        self.run, self.playing, self.request = order, None, None
        self.accepted, self._started_ns, self._asked_ns = 0, t_ns, -_FOREVER
        self._waiting_ns, self._warned, self._failed = None, False, False

    def end(self, t_ns: int, reason: str) -> list[Event]:
        """End the run; what was still queued is dropped for `reason`."""
        events = self.abandon(t_ns, reason)
        if self.run is not None:
            events.append(Event(t_ns, "policy_ended", reason, data={"chunks": self.accepted}))
        self.run, self.request = None, None
        return events

    def abandon(self, t_ns: int, reason: str) -> list[Event]:
        """Drop the chunk that is being played; the run goes on."""
        playing, self.playing = self.playing, None
        return [] if playing is None else _dropped(t_ns, playing, playing.step + 1, reason)

    def withdraw(self) -> None:
        """An answer to the open request wouldn't be played."""
        self.request = None

    def refused(self, request: int) -> None:
        """The open request won't be answered: ask again."""
        if self.request is not None and request == self.request.id:
            self.request = None

    def replan(self, seen_ns: int) -> bool:
        """Ask anew though few steps have been played, because of what was seen at `seen_ns`.

        False where nothing is being played, or what knew of it, or what was doubted before. What is being thought from
        an observation that may be older isn't waited for.
        """
        playing = self.playing
        if playing is None or playing.chunk.t0_ns >= seen_ns or playing.doubted:
            return False
        playing.doubted = True
        if self.request is not None and self.request.not_before_ns < seen_ns:
            self.request = None
        return True

    def accept(
        self, order: PlayChunk, t_ns: int, T_base_tcp: Pose, T_base_goal: Pose, width_t0: float, clamp: Clamp
    ) -> list[Event]:
        """Join a chunk, or raise RefusalError. `width_t0` [m] is the policy's own jaw opening at t0."""
        chunk, run = order.chunk, self.run
        if run is None:
            raise RefusalError("", f"chunk {chunk.id}: no policy run is open")
        self._check_values(chunk)
        if run.approval and not order.approved:
            raise RefusalError("", f"chunk {chunk.id}: nobody has approved it, and this run plays no other chunks")
        if run.executable:
            chunk = replace(chunk, executable=min(run.executable, len(chunk)))
        self._check_request(order, t_ns)
        if run.mode is Mode.STOP_AND_GO:
            self._check_drift(chunk, t_ns, T_base_tcp, run.approval)
        positions, rotations = path.knots(chunk)
        positions, clamped = clamp(positions)
        knots, from_rest = (positions, rotations), run.mode is Mode.STOP_AND_GO
        playing, stretch = self._plan(chunk, knots, width_t0, t_ns, run.speed_scale, from_rest)
        if self._far(playing, T_base_goal) and self._stood_since(chunk, T_base_tcp):
            playing, stretch = self._plan(chunk, knots, width_t0, t_ns, run.speed_scale, from_rest=True)
        if far := self._far(playing, T_base_goal):
            raise RefusalError("F03", far)

        events = self.abandon(t_ns, "superseded by a newer chunk")
        data: dict[str, Any] = {"chunk": chunk.id, "t0_ns": chunk.t0_ns, "first": playing.first, "stretch": stretch}
        events.append(Event(t_ns, "chunk_accepted", f"chunk {chunk.id} of {chunk.policy}", data=data))
        if clamped:
            events.append(Event(t_ns, "clamped", f"chunk {chunk.id}: {clamped}", "F29", {"chunk": chunk.id}))
        events += [_drop(t_ns, chunk, i, "its time has passed") for i in range(playing.first)]
        events += [_drop(t_ns, chunk, i, "beyond executable") for i in range(chunk.executable, len(chunk))]
        self.playing, self.request = playing, None
        self.accepted += 1
        self._waiting_ns, self._warned, self._failed = None, False, False
        return events

    # ---- every cycle

    def advance(self, t_ns: int, dt: float) -> Playback:
        """Move path time on to t_ns and say where the equilibrium and the jaw should be."""
        playing = self.playing
        if playing is None:
            return _NOTHING
        self._move(playing, t_ns, dt)
        now = playing.path
        ahead = playing.s + self._execution.jaw_latency - self._execution.arm_latency
        width = now.width(ahead) if playing.chunk.width_change is not None else None
        force = now.force(ahead) if playing.chunk.force is not None else None
        return Playback(now.reference(playing.s, playing.rate, playing.rate_change), width, force)

    def reached(self) -> list[tuple[ActionChunk, int]]:
        """The steps that have become due since this was asked last, once each."""
        playing = self.playing
        if playing is None:
            return []
        begin, playing.told = max(playing.told + 1, playing.first), max(playing.step, playing.told)
        return [(playing.chunk, i) for i in range(begin, playing.told + 1)]

    def watch(self, t_ns: int, at_rest: bool, force_ready: bool) -> list[Event]:
        """Drop a finished chunk, ask for observations, end the run at its limit, and notice who is late (F05).

        at_rest      the equilibrium stands and the measured speed is below the settling speed
        force_ready  the load cell can be trusted, or the policy doesn't need it
        """
        run = self.run
        if run is None:
            return []
        self._settled_ns = None if not at_rest else (t_ns if self._settled_ns is None else self._settled_ns)
        if self.playing is not None and self.playing.ended and at_rest:
            self.playing = None
        if self._over(run, t_ns):  # no chunk comes any more that a doubted one could wait for
            done = self.playing is None or self.playing.doubted or self._timed_out(run, t_ns)
            return self.end(t_ns, "its limit is reached") if done else []
        if self.request is None and force_ready and t_ns - self._asked_ns >= to_ns(_AGAIN) and self._wanted(run, t_ns):
            self._requests += 1
            self.request, self._asked_ns = ObservationRequest(self._requests, t_ns), t_ns
        return self._overdue(run, t_ns)

    # ---- acceptance, in the order of the checks

    def _check_values(self, chunk: ActionChunk) -> None:
        try:
            check_chunk(chunk)
        except ChunkError as error:
            raise RefusalError(error.fault, str(error), abandon=isinstance(error, NonFiniteChunkError)) from error

    def _check_request(self, order: PlayChunk, t_ns: int) -> None:
        chunk, request = order.chunk, self.request
        expected = 0 if request is None else request.id
        stop_and_go = self.stop_and_go
        if order.request != expected and (order.request != 0 or stop_and_go):
            raise RefusalError("", f"chunk {chunk.id} answers request {order.request}, the open one is {expected}")
        if stop_and_go and request is None:
            raise RefusalError(
                "", f"chunk {chunk.id}: nothing was asked for; in stop_and_go every chunk answers a request"
            )
        if request is not None and chunk.t0_ns < request.not_before_ns:
            early = to_seconds(request.not_before_ns - chunk.t0_ns)
            raise RefusalError("", f"chunk {chunk.id}: its observation is {early:.3f} s older than what was asked for")
        if chunk.t0_ns > t_ns + to_ns(_FUTURE):
            ahead = to_seconds(chunk.t0_ns - t_ns)
            raise RefusalError("", f"chunk {chunk.id}: its observation lies {ahead:.3f} s ahead of the arm's time")

    def _check_drift(self, chunk: ActionChunk, t_ns: int, T_base_tcp: Pose, looking: float) -> None:
        """`looking` [s] that a person may have looked at it."""
        age = to_seconds(t_ns - chunk.t0_ns)
        oldest = self._execution.max_age + looking
        if age > oldest:
            raise RefusalError("F04", f"chunk {chunk.id} is {age:.1f} s old, allowed are {oldest} s")
        if drift := self._drift(chunk, T_base_tcp):
            raise RefusalError("F04", drift)

    def _drift(self, chunk: ActionChunk, T_base_tcp: Pose) -> str:
        """What is wrong where the tool has moved since the observation, else ''."""
        moved, turned = distance(chunk.T_base_tcp_t0, T_base_tcp)
        most = self._execution.max_drift
        if moved <= most[0] and turned <= most[1]:
            return ""
        return (
            f"chunk {chunk.id}: the tool drifted by {moved * 1000:.1f} mm and {math.degrees(turned):.2f} deg since "
            f"its observation, allowed are {most[0] * 1000:.1f} mm and {math.degrees(most[1]):.2f} deg"
        )

    def _stood_since(self, chunk: ActionChunk, T_base_tcp: Pose) -> bool:
        """Nothing has moved since its observation: thinking has taken no time of its path, and it may begin now."""
        stood = self.playing is None and self._settled_ns is not None and self._settled_ns <= chunk.t0_ns
        return stood and not self._drift(chunk, T_base_tcp)

    def _plan(
        self, chunk: ActionChunk, knots: tuple[Array, Array], width_t0: float, t_ns: int, scale: float, from_rest: bool
    ) -> tuple[Playing, float]:
        """The chunk from now on, and how many times slower than its own pace; `knots` are positions and rotations.

        from_rest  it begins with its first step, at its anchor; else with the step that is due, whose time is known
        """
        times = self._times(chunk, from_rest)
        first = self._first(chunk, times, 1.0 / scale, t_ns, from_rest)
        slower = self._slower(chunk, times[first:], knots[0][first:], knots[1][first:], scale)
        stretch = slower / scale
        first = self._first(chunk, times, stretch, t_ns, from_rest)
        return self._place(chunk, stretch * times, *knots, width_t0, first, t_ns, from_rest), stretch

    def _times(self, chunk: ActionChunk, from_rest: bool) -> Array:
        """When anchor and executable steps (n + 1,) are due [s] at the chunk's own pace, 0 being the observation.

        From rest 0 is where the path begins, at the anchor.
        """
        gap = path.first_gap(chunk)
        times = np.empty(chunk.executable + 1)
        times[1:] = (gap if from_rest else chunk.offset) + chunk.dt * np.arange(chunk.executable)
        times[0] = times[1] - gap
        return times

    def _origin_ns(self, chunk: ActionChunk, stretch: float, t_ns: int, from_rest: bool) -> int:
        """Where path time 0 lies, the arm's latency taken off."""
        latency = to_ns(self._execution.arm_latency)
        if from_rest:
            return t_ns + to_ns(self._execution.lead - stretch * path.first_gap(chunk)) - latency
        return chunk.t0_ns - latency

    def _first(self, chunk: ActionChunk, times: Array, stretch: float, t_ns: int, from_rest: bool) -> int:
        """The first step that may still be played; raises RefusalError when too few are left (F04)."""
        if from_rest:
            return 0
        s = to_seconds(t_ns - self._origin_ns(chunk, stretch, t_ns, from_rest))
        first = int(np.searchsorted(stretch * times[1:], s + 1e-9, side="right"))
        usable, least = chunk.executable - first, self._execution.min_steps
        if usable < least:
            raise RefusalError(
                "F04",
                f"chunk {chunk.id}: {usable} of {chunk.executable} executable steps are still ahead, "
                f"needed are {least}",
            )
        return first

    def _slower(self, chunk: ActionChunk, times: Array, positions: Array, rotations: Array, scale: float) -> float:
        """How many times slower than its scaled pace a chunk must be played; raises RefusalError beyond the most.

        Of steps that have passed only the last counts: the path joins from there, not from the measured anchor.
        """
        linear, angular = path.speeds(times, positions, rotations)
        most = (_SPEED_MARGIN * self._limits.speed[0], _SPEED_MARGIN * self._limits.speed[1])
        slower = path.slowed((linear * scale, angular * scale), most)
        if slower > self._execution.max_stretch:
            raise RefusalError(
                "F03",
                f"chunk {chunk.id} moves at up to {linear.max():.2f} m/s and {angular.max():.2f} rad/s (speed scale "
                f"{scale}); allowed are {most[0]:.2f} m/s and {most[1]:.2f} rad/s, stretched at most "
                f"{self._execution.max_stretch} times",
            )
        return slower

    def _place(
        self,
        chunk: ActionChunk,
        times: Array,
        positions: Array,
        rotations: Array,
        width_t0: float,
        first: int,
        t_ns: int,
        from_rest: bool,
    ) -> Playing:
        """The path from the step before the first usable one on (from the anchor where nothing has passed)."""
        n = chunk.executable
        widths, forces = np.full(n + 1, width_t0), np.zeros(n + 1)
        if chunk.width_change is not None:
            widths[1:] += chunk.width_change[:n]
        if chunk.force is not None:
            forces[0], forces[1:] = chunk.force[0], chunk.force[:n]
        knots = (times[first:], positions[first:], rotations[first:], widths[first:], forces[first:])
        route = Path(*knots, from_rest=from_rest, begin=first - 1)
        origin_ns = self._origin_ns(chunk, (times[1] - times[0]) / path.first_gap(chunk), t_ns, from_rest)
        return Playing(chunk, route, origin_ns, first, to_seconds(t_ns - origin_ns))

    def _far(self, playing: Playing, T_base_goal: Pose) -> str:
        """What is wrong where a path begins too far from the commanded pose, else ''."""
        joins = playing.path.reference(playing.s, 0.0, 0.0).pose
        moved, turned = distance(T_base_goal, joins)
        most = self._execution.max_join
        if moved <= most[0] and turned <= most[1]:
            return ""
        return (
            f"chunk {playing.chunk.id} begins {moved:.3f} m and {turned:.2f} rad from the commanded pose, allowed "
            f"are {most[0]} m and {most[1]} rad"
        )

    # ---- time

    def _move(self, playing: Playing, t_ns: int, dt: float) -> None:
        """Path time runs with the arm's; over the last steps it slows down evenly, to rest on the last one."""
        if playing.rate_change == 0.0 and not playing.ended:
            playing.s = min(to_seconds(t_ns - playing.origin_ns), playing.path.end)
            left = playing.path.end - playing.s
            if left <= self._braking_span(playing):
                playing.rate_change = -1.0 / (2.0 * max(left, 1e-3))
            return
        rate = playing.rate + playing.rate_change * dt
        if rate <= 0.0 or playing.ended:
            playing.s, playing.rate, playing.rate_change, playing.ended = playing.path.end, 0.0, 0.0, True
            return
        playing.s = min(playing.s + 0.5 * (playing.rate + rate) * dt, playing.path.end)
        playing.rate = rate

    def _braking_span(self, playing: Playing) -> float:
        times = playing.path.times
        steps = min(self._execution.min_steps - 1, len(times) - 1)
        return times[-1] - times[-1 - steps]

    def _wanted(self, run: StartPolicy, t_ns: int) -> bool:
        playing = self.playing
        if run.mode is Mode.STOP_AND_GO:
            settled = self._settled_ns
            return playing is None and settled is not None and t_ns - settled >= to_ns(self._execution.settle_time)
        if playing is None or playing.rate_change != 0.0 or playing.ended or playing.doubted:
            return True
        return playing.step + 1 - playing.first >= (run.replan_steps or self._execution.replan_steps)

    def _timed_out(self, run: StartPolicy, t_ns: int) -> bool:
        return bool(run.duration) and t_ns - self._started_ns >= to_ns(run.duration)

    def _over(self, run: StartPolicy, t_ns: int) -> bool:
        return bool(run.chunks and self.accepted >= run.chunks) or self._timed_out(run, t_ns)

    def _overdue(self, run: StartPolicy, t_ns: int) -> list[Event]:
        """WARN when the arm runs out of steps before the next chunk is there, ERROR after the time-out."""
        if self.playing is not None and self.playing.rate_change == 0.0 and not self.playing.ended:
            self._waiting_ns = None
            return []
        if self.request is None and self._waiting_ns is None:
            return []
        self._waiting_ns = t_ns if self._waiting_ns is None else self._waiting_ns
        waited = to_seconds(t_ns - self._waiting_ns)
        events = []
        late = run.mode is Mode.OVERLAP and self.accepted > 0
        if late and not self._warned:
            self._warned = True
            events.append(Event(t_ns, "warning", "no new chunk before the last usable step: slowing down", "F05"))
        patience = self._execution.chunk_timeout if run.mode is Mode.OVERLAP else self._execution.max_age + run.approval
        if waited >= patience and not self._failed:
            self._failed = True
            events.append(Event(t_ns, "error", f"no chunk for {waited:.1f} s", "F05", {"waited": waited}))
        return events


def _drop(t_ns: int, chunk: ActionChunk, step: int, reason: str) -> Event:
    return Event(
        t_ns, "step_dropped", reason, data={"chunk": chunk.id, "step": step, "t0_ns": chunk.t0_ns, "reason": reason}
    )


def _dropped(t_ns: int, playing: Playing, begin: int, reason: str) -> list[Event]:
    return [_drop(t_ns, playing.chunk, i, reason) for i in range(max(begin, playing.first), playing.chunk.executable)]
