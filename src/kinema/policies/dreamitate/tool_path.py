"""A tracked tool's path: which frames count, turned as little as looks alike, smoothed, above the table. Pure.

Smoothing: local quadratic regression with a Gaussian kernel (Cleveland 1979), of rotations in the tangent space at
their interpolation; it takes missing frames as they are and needs no even spacing.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from kinema.errors import TrackingError
from kinema.geometry import Array, Pose
from kinema.perception.tool_mesh import ToolMesh

LEAST = 4  # poses that a path is made of

_QUADRATIC = 6  # poses from which on its bends are believed


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

    def at(self, fps: float) -> "Settings":
        """The same for another video: of few frames a second each one counts, and one of them may be missing."""
        return replace(self, fps=fps, window=max(self.window, 1.0 / fps), gap=max(self.gap, 1.0 / fps))


SETTINGS = Settings()


def usable(poses: Sequence[Pose | None], settings: Settings) -> list[int]:
    """Frames that have a pose; raises TrackingError where too few have, too long none has, or the tool jumps."""
    there = [i for i, pose in enumerate(poses) if pose is not None]
    if len(there) < LEAST:
        raise TrackingError(f"the tool was found in {len(there)} of {len(poses)} frames, needed are {LEAST}")
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
        up = max(floor - lowest(pose, tool), 0.0)
        raised.append(Pose(pose.position + np.array([0.0, 0.0, up]), pose.rotation))
        most = max(most, up)
    return raised, most


def lowest(T_base_tool: Pose, tool: ToolMesh) -> float:
    return float(T_base_tool.apply(tool.vertices)[:, 2].min())
