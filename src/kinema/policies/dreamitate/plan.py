"""From a tracked tool to what the arm is told: smoothed, at the control rate, above the table, with a way to its
beginning. Pure.

    T_base_flange = T_base_tool . inv(T_flange_tool)     ("Dreamitate", section 3.3: the tool is mounted on the arm)

The path is played once, open loop, through the normal executor: as chunks that are anchored where the arm then is.
Smoothing: local quadratic regression with a Gaussian kernel (Cleveland 1979), of rotations in the tangent space at
their interpolation; it takes missing frames as they are and needs no even spacing.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from kinema.chunk import ActionChunk
from kinema.clock import NS
from kinema.control.path import slowed, speeds
from kinema.control.settings import Limits
from kinema.episodes.reach import ArmReport, check_arm
from kinema.errors import ConfigError, PlanError, TrackingError
from kinema.geometry import Array, Pose
from kinema.perception.tool_mesh import ToolMesh
from kinema.policies.approach import over
from kinema.robots import GRIPPER, ArmModel, GripperModel

NAME = "dreamitate"

_LEAST = 4  # poses that a path is made of
_QUADRATIC = 6  # poses from which on its bends are believed
_ABOVE = (0.06, 0.12, 0.20)  # [m] over the higher end of the way there: what is tried, the lowest first
_MOST_STEPS = 300  # of a chunk: 128 bytes each in a packet of 64 kB
_WORKSPACE = 1e-3  # [m] beyond it that rounding explains


@dataclass(frozen=True, slots=True)
class Settings:
    """fps       of the video: 5 or 6 in the paper
    dt        [s] between action steps
    window    [s] standard deviation of the smoothing kernel
    gap       [s] without a pose that is bridged
    fastest   [m/s, rad/s] a hand is no faster: beyond, the tracker took something else for the tool
    speed     [m/s, rad/s] of the tool, at most: the whole path is slowed down to it
    approach  [m/s, rad/s] mean speed on the way to the beginning
    floor     [m] in base_link below which no point of the tool may come: the path is lifted there
    """

    fps: float = 6.0
    dt: float = 1 / 30
    window: float = 0.2
    gap: float = 0.5
    fastest: tuple[float, float] = (1.5, 8.0)
    speed: tuple[float, float] = (0.25, 1.0)
    approach: tuple[float, float] = (0.12, 0.5)
    floor: float = 0.003


@dataclass(frozen=True, eq=False, slots=True)
class ArmTask:
    """What one arm is to do.

    poses       `T_base_tool` of each frame in this arm's base_link; None where there is none
    T_base_tcp  where the arm is now, and its joints q (dof,) [rad]
    gripper     what carries the tool: the TCP that chunks speak of is its
    """

    poses: Sequence[Pose | None]
    tool: ToolMesh
    arm: ArmModel
    T_base_tcp: Pose
    q: Array
    gripper: GripperModel = GRIPPER
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, eq=False, slots=True)
class ToolPlan:
    """What is shown before anything moves, and then played, piece by piece, the arm at rest between them.

    approach  (n, 4, 4) `T_base_tcp` from where the arm was, left out, to the path's beginning
    path      (m, 4, 4) from there on
    dt        [s] between them; slower: how many times slower than in the video
    lifted    [m] most that the height limit raised the tool; smoothed [m] most that smoothing moved it
    bridged   how many frames without a pose lie within the path
    report    what the arm makes of all of it
    """

    approach: Array
    path: Array
    dt: float
    slower: float
    lifted: float
    smoothed: float
    bridged: int
    report: ArmReport

    @property
    def pieces(self) -> tuple[Array, ...]:
        """(k, 4, 4) each: targets of one chunk."""
        parts = (self.approach, self.path[1:])
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


# ---- the tool's path


def _usable(poses: Sequence[Pose | None], settings: Settings) -> list[int]:
    """Frames that have a pose; raises TrackingError where too few have, too long none has, or the tool jumps."""
    there = [i for i, pose in enumerate(poses) if pose is not None]
    if len(there) < _LEAST:
        raise TrackingError(f"the tool was found in {len(there)} of {len(poses)} frames, needed are {_LEAST}")
    for i, k in itertools.pairwise(there):
        seconds = (k - i) / settings.fps
        if seconds > settings.gap + 1.0 / settings.fps:
            raise TrackingError(
                f"the tool was lost for {seconds:.2f} s after frame {i}, allowed are {settings.gap} s: "
                "imagine the video anew"
            )
        one, other = poses[i], poses[k]
        assert one is not None and other is not None
        step = one.inverse() @ other
        moved, turned = float(np.linalg.norm(step.position)) / seconds, float(np.linalg.norm(step.rotvec)) / seconds
        if moved > settings.fastest[0] or turned > settings.fastest[1]:
            raise TrackingError(
                f"from frame {i} to {k} the tool goes at {moved:.2f} m/s and {turned:.1f} rad/s, allowed are "
                f"{settings.fastest[0]} m/s and {settings.fastest[1]} rad/s: the tracker took something else for it"
            )
    return there


def unwound(poses: Sequence[Pose | None], tool: ToolMesh, R_base_tool: Array) -> list[Pose | None]:
    """The same poses, each turned as little as looks alike: the first against what the arm holds, then one by one."""
    found: list[Pose | None] = []
    for pose in poses:
        if pose is not None:
            R_base_tool = tool.symmetry.nearest(pose.rotation, R_base_tool)
            pose = Pose(pose.position, R_base_tool)
        found.append(pose)
    return found


def smooth(times: Array, poses: Sequence[Pose], at: Array, window: float) -> list[Pose]:
    """Poses at times `at` (m,) [s], of poses at times (n,); see the module's text."""
    slerp = Slerp(times, Rotation.from_matrix([pose.rotation for pose in poses]))
    positions, rotations = np.array([pose.position for pose in poses]), slerp(times)
    degree = 2 if len(poses) >= _QUADRATIC else 1
    found = []
    for t in at:
        near = slerp(min(max(t, times[0]), times[-1]))
        ways = np.hstack([positions, (near.inv() * rotations).as_rotvec()])
        root = np.exp(-0.25 * ((times - t) / window) ** 2)[:, None]
        basis = np.vander(times - t, degree + 1, increasing=True)
        value = np.linalg.lstsq(root * basis, root * ways, rcond=None)[0][0]
        found.append(Pose(value[:3], (near * Rotation.from_rotvec(value[3:])).as_matrix()))
    return found


def lift(poses: Sequence[Pose], tool: ToolMesh, floor: float) -> tuple[list[Pose], float]:
    """The same poses, raised where a point of the tool would come below `floor` [m]; and the most that one was."""
    raised, most = [], 0.0
    for pose in poses:
        up = max(floor - _lowest(pose, tool), 0.0)
        raised.append(Pose(pose.position + np.array([0.0, 0.0, up]), pose.rotation))
        most = max(most, up)
    return raised, most


def _lowest(T_base_tool: Pose, tool: ToolMesh) -> float:
    return float(T_base_tool.apply(tool.vertices)[:, 2].min())


# ---- the arm's


def _T_tool_tcp(task: ArmTask) -> Pose:
    if task.tool.T_flange_tool is None:
        raise ConfigError("the tool's file has no mount: say there where the tool is on the flange (T_flange_tool)")
    return task.tool.T_flange_tool.inverse() @ task.gripper.T_flange_tcp


def _times(span: tuple[float, float], slower: float, dt: float) -> Array:
    """Of the video, for each action step."""
    steps = max(math.ceil(slower * (span[1] - span[0]) / dt - 1e-9), 1)
    return np.linspace(span[0], span[1], steps + 1)


def _too_fast(poses: Sequence[Pose], times: Array, most: tuple[float, float]) -> float:
    return slowed(
        speeds(times, np.array([pose.position for pose in poses]), np.array([pose.rotation for pose in poses])), most
    )


def _matrices(poses: Sequence[Pose]) -> Array:
    return np.array([pose.matrix for pose in poses]).reshape(-1, 4, 4)


def _approach(task: ArmTask, path: Array, settings: Settings, least: int) -> tuple[list[Pose], ArmReport]:
    """The lowest way there on which nothing meets, with what the arm makes of way and path; at least `least` steps.

    Raises PlanError saying of each way that was tried what is wrong with it.
    """
    T_tcp_tool, begin = _T_tool_tcp(task).inverse(), Pose.from_matrix(path[0])
    low = min(settings.floor, _lowest(task.T_base_tcp @ T_tcp_tool, task.tool)) - 1e-6
    said = []
    for above in _ABOVE:
        way = over(task.T_base_tcp, begin, settings.dt, above, settings.approach)
        way = [task.T_base_tcp] * max(least - len(way), 0) + way
        whole = np.concatenate([_matrices([task.T_base_tcp, *way]), path[1:]])
        stamps = np.rint(np.arange(len(whole)) * settings.dt * NS).astype(np.int64)
        deepest = min(_lowest(pose @ T_tcp_tool, task.tool) for pose in way)
        report = check_arm(whole, stamps, task.arm, task.limits, task.q, task.gripper)
        reason = _outside(whole, stamps, task.limits) or report.verdict()
        if deepest < low:
            reason = f"the tool comes {1e3 * (settings.floor - deepest):.0f} mm below the height limit"
        if not reason:
            return way, report
        said.append(f"by {100 * above:.0f} cm above: {reason}")
    raise PlanError(f"{task.arm.name} can't lead the tool along its path; {'; '.join(said)}")


def _outside(T_base_tcp: Array, stamps_ns: Array, limits: Limits) -> str:
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


def plan(arms: Mapping[str, ArmTask], settings: Settings = Settings()) -> dict[str, ToolPlan]:
    """A plan for each arm, by its name. Several arms work in one clip: they begin the path, and end it, together.

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
    frames = {name: _usable(poses, settings) for name, poses in unwinded.items()}
    span = max(rows[0] for rows in frames.values()) / settings.fps, min(r[-1] for r in frames.values()) / settings.fps
    if span[1] - span[0] < (_LEAST - 1) / settings.fps - 1e-9:
        raise TrackingError(f"the tools are in view together for {max(span[1] - span[0], 0.0):.2f} s only")

    tracks, slower = {}, 1.0
    for name, rows in frames.items():
        tracks[name] = np.array(rows) / settings.fps, [pose for pose in unwinded[name] if pose is not None]
        times = _times(span, 1.0, settings.dt)
        slower = max(slower, _too_fast(smooth(*tracks[name], times, settings.window), times, settings.speed))

    paths, facts = {}, {}
    for name, task in arms.items():
        times, poses = tracks[name]
        smoothed, lifted = lift(
            smooth(times, poses, _times(span, slower, settings.dt), settings.window), task.tool, settings.floor
        )
        T_tool_tcp = _T_tool_tcp(task)
        paths[name] = _matrices([pose @ T_tool_tcp for pose in smoothed])
        moved = max(
            float(np.linalg.norm(a.position - b.position))
            for a, b in zip(smooth(times, poses, times, settings.window), poses, strict=True)
        )
        bridged = sum(span[0] <= i / settings.fps <= span[1] for i in range(len(task.poses))) - sum(
            span[0] <= i / settings.fps <= span[1] for i in frames[name]
        )
        facts[name] = lifted, moved, bridged

    found = {name: _approach(task, paths[name], settings, 0) for name, task in arms.items()}
    longest = max(len(way) for way, _ in found.values())
    plans = {}
    for name, task in arms.items():
        way, report = found[name] if len(arms) == 1 else _approach(task, paths[name], settings, longest)
        lifted, moved, bridged = facts[name]
        plans[name] = ToolPlan(_matrices(way), paths[name], settings.dt, slower, lifted, moved, bridged, report)
    return plans
