"""Whether the arm is at rest, and where: what a calibration calls its pose. Pure."""

from collections import deque

import numpy as np

from kinema.geometry import Pose, distance, mean_pose

REST = 0.4  # [s] that the arm has to stand still
_FULL = 0.9  # [-] of that which must have been heard
_SILENT = 0.2  # [s] without a pose: nobody knows where the arm is
_STILL = (0.0003, 0.001)  # [m, rad] from the first half's mean to the second's
_NOISE = (0.003, 0.010)  # [m, rad] from the mean that one pose may lie


class Rest:
    """Of the poses of the last moment."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Pose]] = deque()

    def take(self, now: float, T_base_tcp: Pose) -> None:
        """A measured pose at `now` [s]."""
        self._recent.append((now, T_base_tcp))
        while now - self._recent[0][0] > REST:
            self._recent.popleft()

    def pose(self, now: float) -> Pose | None:
        """The mean of the last moment; None where that is too short, too long ago, or the arm moved in it."""
        if not self._recent or now - self._recent[-1][0] > _SILENT:
            return None
        if self._recent[-1][0] - self._recent[0][0] < REST * _FULL:
            return None
        poses = [pose for _, pose in self._recent]
        mean, half = mean_pose(poses), len(poses) // 2
        crept = np.array(distance(mean_pose(poses[:half]), mean_pose(poses[half:])))
        gaps = np.array([distance(mean, pose) for pose in poses])
        return mean if (crept < _STILL).all() and (gaps < _NOISE).all() else None
