"""From a tracked tool to what the arm is told: smoothed, at the control rate, above the table, with a way to its
beginning. Pure.

    T_base_flange = T_base_tool . inv(T_flange_tool)     ("Dreamitate", section 3.3: the tool is mounted on the arm)

The path is played once, open loop, through the normal executor: as chunks that are anchored where the arm then is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinema.chunk import ActionChunk
from kinema.clock import NS
from kinema.control.path import slowed, speeds
from kinema.control.settings import Limits
from kinema.episodes.reach import ArmReport, check_arm
from kinema.errors import ConfigError, PlanError, TrackingError
from kinema.geometry import Array, Pose
from kinema.perception.tool_mesh import ToolMesh
from kinema.policies.approach import leg, over
from kinema.policies.dreamitate.tool_path import LEAST, SETTINGS, Settings, lift, lowest, smooth, unwound, usable
from kinema.robots import GRIPPER, ArmModel, GripperModel

NAME = "dreamitate"

_ABOVE = (0.06, 0.12, 0.20)  # [m] over the higher end of the way there: what is tried, the lowest first
_HIGH = 0.25  # [m] above the path's end: from there the arm comes down before it goes across
_RISE, _CLEAR = 0.02, 0.03  # [m] from try to try out of the cameras' view, and beyond what is enough
_MOST_STEPS = 300  # of a chunk: 128 bytes each in a packet of 64 kB
_WORKSPACE = 1e-3  # [m] beyond it that rounding explains


@dataclass(frozen=True, eq=False, slots=True)
class ArmTask:
    """What one arm is to do.

    poses       `T_base_tool` of each frame in this arm's base_link; None where there is none
    T_base_tcp  where the arm is now, and its joints q (dof,) [rad]; None: those nearest to its home
    gripper     what carries the tool: the TCP that chunks speak of is its
    """

    poses: Sequence[Pose | None]
    tool: ToolMesh
    arm: ArmModel
    T_base_tcp: Pose
    q: Array | None = None
    gripper: GripperModel = GRIPPER
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False, slots=True)
class ToolPlan:
    """What is shown before anything moves, and then played, piece by piece, the arm at rest between them.

    approach  (n, 4, 4) `T_base_tcp` from where the arm was, left out, to the path's beginning
    path      (m, 4, 4) from there on
    retreat   (k, 4, 4) from its end, left out, back to where the arm was; none where nobody asked for it
    dt        [s] between them; slower: how many times slower than in the video
    lifted    [m] most that the height limit raised the tool; smoothed [m] most that smoothing moved it
    bridged   how many frames without a pose lie within the path
    report    what the arm makes of all of it
    """

    approach: Array
    path: Array
    retreat: Array
    dt: float
    slower: float
    lifted: float
    smoothed: float
    bridged: int
    report: ArmReport

    @property
    def pieces(self) -> tuple[Array, ...]:
        """(k, 4, 4) each: targets of one chunk."""
        parts = (self.approach, self.path[1:], self.retreat)
        return tuple(part[i : i + _MOST_STEPS] for part in parts for i in range(0, len(part), _MOST_STEPS))

    def chunk(self, piece: int, id: int, t0_ns: int, T_base_tcp_t0: Pose, width_t0: float) -> ActionChunk:
        """A piece, anchored where the arm is at t0; the jaw, which may hold the tool, stays."""
        targets = self.pieces[piece]
        return ActionChunk(
            id=id,
            policy=NAME,
            t0_ns=t0_ns,
            T_base_tcp_t0=T_base_tcp_t0,
            width_t0=width_t0,
            dt=self.dt,
            offset=self.dt,
            T_rel=T_base_tcp_t0.inverse().matrix @ targets,
            width_change=None,
            force=None,
            executable=len(targets),
        )


def _T_tool_tcp(task: ArmTask) -> Pose:
    if task.tool.T_flange_tool is None:
        raise ConfigError("the tool's file has no mount: say there where the tool is on the flange (T_flange_tool)")
    return task.tool.T_flange_tool.inverse() @ task.gripper.T_flange_tcp


def _times(span: tuple[float, float], slower: float, dt: float) -> Array:
    """Of the video, for each action step."""
    steps = max(math.ceil(slower * (span[1] - span[0]) / dt - 1e-9), 1)
    return np.linspace(span[0], span[1], steps + 1)


Track = tuple[Array, list[Pose]]  # times (n,) [s] and poses of one tool


def _too_fast(track: Track, span: tuple[float, float], settings: Settings) -> float:
    """How many times slower it must be led for its speed to keep the limit (1: as it is)."""
    times = _times(span, 1.0, settings.dt)
    poses = smooth(*track, times, settings.window)
    positions, rotations = np.array([pose.position for pose in poses]), np.array([pose.rotation for pose in poses])
    return slowed(speeds(times, positions, rotations), settings.speed)


def _path(task: ArmTask, track: Track, at: Array, settings: Settings) -> tuple[Array, float, float]:
    """`T_base_tcp` (m, 4, 4); the most that it was lifted, and the most that smoothing moved it [m]."""
    poses, lifted = lift(smooth(*track, at, settings.window), task.tool, settings.floor)
    again = smooth(*track, track[0], settings.window)
    moved = max(float(np.linalg.norm(a.position - b.position)) for a, b in zip(again, track[1], strict=True))
    T_tool_tcp = _T_tool_tcp(task)
    return _matrices([pose @ T_tool_tcp for pose in poses]), lifted, moved


def _matrices(poses: Sequence[Pose]) -> Array:
    return np.array([pose.matrix for pose in poses]).reshape(-1, 4, 4)


def _ways(
    task: ArmTask, path: Array, settings: Settings, least: int, retreat: bool
) -> tuple[list[Pose], list[Pose], ArmReport]:
    """The lowest way there, and back if asked for, on which nothing meets, with what the arm makes of ways and path;
    at least `least` steps there.

    Raises PlanError saying of each way that was tried what is wrong with it.
    """
    T_tcp_tool, begin, end = _T_tool_tcp(task).inverse(), Pose.from_matrix(path[0]), Pose.from_matrix(path[-1])
    low = min(settings.floor, lowest(task.T_base_tcp @ T_tcp_tool, task.tool)) - 1e-6
    said = []
    for above in _ABOVE:
        way = _across(task.T_base_tcp, begin, above, settings)
        way = [task.T_base_tcp] * max(least - len(way), 0) + way
        back = [*reversed(_across(task.T_base_tcp, end, above, settings)[:-1]), task.T_base_tcp] if retreat else []
        whole = np.concatenate([_matrices([task.T_base_tcp, *way]), path[1:], _matrices(back)])
        stamps = _stamps(len(whole), settings.dt)
        deepest = min(lowest(pose @ T_tcp_tool, task.tool) for pose in (*way, *back))
        if deepest < low:
            said.append(
                f"by {100 * above:.0f} cm above: the tool comes {1e3 * (settings.floor - deepest):.0f} mm below the "
                "height limit"
            )
            continue
        if reason := _outside(whole, stamps, task.limits):
            said.append(f"by {100 * above:.0f} cm above: {reason}")
            continue
        report = check_arm(whole, stamps, task.arm, task.limits, task.q, task.gripper)
        if not report.trouble:
            return way, back, report
        said.append(f"by {100 * above:.0f} cm above: {report.verdict()}")
        if len(way) < report.trouble[0].time / settings.dt < len(way) + len(path):
            break  # the path itself: no other way there helps
    raise PlanError(f"{task.arm.name} can't lead the tool along its path; {'; '.join(said)}")


def _across(start: Pose, end: Pose, above: float, settings: Settings) -> list[Pose]:
    """Over whatever stands between; from high above first down to as much over the end. The start is left out."""
    via = _at_height(start, end.position[2] + above)
    if start.position[2] < end.position[2] + _HIGH:
        return over(start, end, settings.dt, above, settings.approach)
    return leg(start, via, settings.dt, settings.approach) + over(via, end, settings.dt, 0.0, settings.approach)


def _stamps(count: int, dt: float) -> NDArray[np.int64]:
    """[ns] of poses `dt` [s] apart."""
    return np.rint(np.arange(count) * dt * NS).astype(np.int64)


def _outside(T_base_tcp: Array, stamps_ns: NDArray[np.int64], limits: Limits) -> str:
    """When the TCP first leaves the workspace, which the executor would change the path for; or ''."""
    low, high = np.array(limits.workspace)
    points = T_base_tcp[:, :3, 3]
    out = ((points < low - _WORKSPACE) | (points > high + _WORKSPACE)).any(axis=1)
    for plane in limits.planes:
        out |= points @ plane[:3] < plane[3] - _WORKSPACE
    if not out.any():
        return ""
    first = int(np.argmax(out))
    at = ", ".join(f"{value:.3f}" for value in points[first])
    return f"the tool centre point leaves the workspace at {at} m, {stamps_ns[first] / NS:.2f} s after the beginning"


def out_of_view(task: ArmTask, seen: Callable[[Pose], bool], settings: Settings = SETTINGS) -> Array:
    """Targets `T_base_tcp` (n, 4, 4) straight up to where the tool isn't `seen` any more; none if it isn't now, or if
    the arm can't get there.

    A clip begins with the scene alone ("Dreamitate", section 4.1), and the tracker compares with that.
    """
    here = task.T_base_tcp
    if not seen(here):
        return _matrices([])
    for height in np.arange(here.position[2] + _RISE, task.limits.workspace[1][2] - _CLEAR, _RISE):
        if seen(_at_height(here, height)):
            continue
        way = leg(here, _at_height(here, height + _CLEAR), settings.dt, settings.approach)
        whole = _matrices([here, *way])
        stamps = _stamps(len(whole), settings.dt)
        report = check_arm(whole, stamps, task.arm, task.limits, task.q, task.gripper)
        return _matrices([] if report.trouble or _outside(whole, stamps, task.limits) else way)
    return _matrices([])


def _at_height(T_base_tcp: Pose, height: float) -> Pose:
    return Pose(np.array([*T_base_tcp.position[:2], height]), T_base_tcp.rotation)


def plan(arms: Mapping[str, ArmTask], settings: Settings = SETTINGS, retreat: bool = False) -> dict[str, ToolPlan]:
    """A plan for each arm, by its name. Several arms work in one clip: they begin the path, and end it, together.

    retreat  afterwards they go back to where they are now, out of the picture that the next clip begins with

    Whether the arms meet each other isn't looked at: give them workspaces that don't overlap where they needn't.

    Raises TrackingError for a path that isn't one, PlanError for one that an arm can't follow, ConfigError for a tool
    that isn't mounted.
    """
    counts = {name: len(task.poses) for name, task in arms.items()}
    if len(set(counts.values())) != 1:
        raise TrackingError(f"the arms' clips have {counts} frames; one clip shows them all")
    unwinded = {
        name: unwound(task.poses, task.tool, (task.T_base_tcp @ _T_tool_tcp(task).inverse()).rotation)
        for name, task in arms.items()
    }
    frames = {name: usable(poses, settings) for name, poses in unwinded.items()}
    span = max(rows[0] for rows in frames.values()) / settings.fps, min(r[-1] for r in frames.values()) / settings.fps
    if span[1] - span[0] < (LEAST - 1) / settings.fps - 1e-9:
        raise TrackingError(f"the tools are in view together for {max(span[1] - span[0], 0.0):.2f} s only")

    tracks = {
        name: (np.array(rows) / settings.fps, [pose for pose in unwinded[name] if pose is not None])
        for name, rows in frames.items()
    }
    slower = max(_too_fast(track, span, settings) for track in tracks.values())
    paths = {
        name: _path(task, tracks[name], _times(span, slower, settings.dt), settings) for name, task in arms.items()
    }

    found = {name: _ways(task, paths[name][0], settings, 0, retreat) for name, task in arms.items()}
    longest = max(len(way) for way, _, _ in found.values())
    plans = {}
    for name, task in arms.items():
        path, lifted, moved = paths[name]
        way, back, report = found[name] if len(arms) == 1 else _ways(task, path, settings, longest, retreat)
        first, last = (round(end * settings.fps) for end in span)
        bridged = len(set(range(first, last + 1)) - set(frames[name]))
        plans[name] = ToolPlan(
            _matrices(way), path, _matrices(back), settings.dt, slower, lifted, moved, bridged, report
        )
    return plans
