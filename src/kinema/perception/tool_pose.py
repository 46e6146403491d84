"""From a tracker's odometry to the tool: `T_world_tcp` by the calibrated mount, or nothing and the reason (FAULTS F12).

A visual-inertial tracker relocalises: from one sample to the next its world stands elsewhere. What comes after a jump
does not continue what came before, so each jump begins a new `segment`; nothing is smoothed over it, and nothing is
extrapolated. It also drifts by about a hundredth of the way, so each recording begins at rest in a cradle whose place
is known: `anchor` says there where the tracker's world stands to the arm's base.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema.clock import to_ns, to_seconds
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance, mean_pose, so3_log
from kinema.interfaces import TrackedPose


@dataclass(frozen=True, slots=True)
class Limits:
    """What is believed.

    confidence   the tracker's own, at least (0 lost, 1 low, 2 medium, 3 high)
    slack        [m, rad] between two samples that noise explains: some seven deviations of a T265 at rest
    speed        [m/s, rad/s] of a hand that holds a gripper, at most
    acceleration [m/s^2, rad/s^2] of it, at most
    rest         [m, rad] root mean square about the mean, at most, of a tracker in its cradle
    creep        [m, rad] between the means of the first and second half of those samples, at most
    """

    confidence: int = 2
    slack: tuple[float, float] = (0.005, 0.010)
    speed: tuple[float, float] = (2.0, 8.0)
    acceleration: tuple[float, float] = (30.0, 120.0)
    rest: tuple[float, float] = (0.002, 0.005)
    creep: tuple[float, float] = (0.001, 0.002)


LIMITS = Limits()
ANCHOR_SAMPLES = 60  # of a 200 Hz tracker, at least

_BASELINE = 0.030  # [s] over which the speed is taken, lest it multiply the noise of two samples
_MEMORY = 0.100  # [s] after which the last samples say nothing of the speed any more
_HIGH = 3


class ToolPose:
    """Takes samples in order; `reason` says why the last one gave no pose, '' where it did.

    segment  counts the relocalisations seen, by the tracker's own mark or by motion that no hand makes: poses of one
             segment belong together, poses of two do not
    """

    def __init__(self, T_tracker_tcp: Pose, limits: Limits = LIMITS) -> None:
        self.segment = 0
        self.reason = "nothing has arrived"
        self._T_tracker_tcp = T_tracker_tcp
        self._limits = limits
        self._past: deque[TrackedPose] = deque()  # the last _BASELINE, of one segment
        self._lost = False

    def take(self, tracked: TrackedPose) -> Pose | None:
        """`T_world_tcp` at the sample's stamp, or None: lost, doubtful, not finite, out of order, or just jumped."""
        self.reason = self._judge(tracked)
        return None if self.reason else tracked.T_world_tracker @ self._T_tracker_tcp

    def _judge(self, tracked: TrackedPose) -> str:
        if not tracked.T_world_tracker.isfinite():
            return "the tracker's pose is not finite"
        if self._past and tracked.stamp_ns <= self._past[-1].stamp_ns:
            return f"the tracker's stamp went back by {(self._past[-1].stamp_ns - tracked.stamp_ns) * 1e-6:.1f} ms"
        if tracked.confidence <= 0:
            self._lost = True
            self._past.clear()
            return "the tracker is lost"
        jump = "the tracker was lost and found itself again" if self._lost else self._jump(tracked)
        self._lost = False
        if jump:
            self.segment += 1
            self._past.clear()
        self._past.append(tracked)
        while tracked.stamp_ns - self._past[0].stamp_ns > to_ns(_BASELINE):
            self._past.popleft()
        if jump:
            return jump
        if tracked.confidence < self._limits.confidence:
            return f"the tracker's confidence is {tracked.confidence}, wanted is at least {self._limits.confidence}"
        return ""

    def _jump(self, tracked: TrackedPose) -> str:
        """Why this sample does not continue the last one; '' where it does."""
        if tracked.jumped:
            return "the tracker has relocalised"
        if not self._past:
            return ""
        first, last = self._past[0], self._past[-1]
        dt = to_seconds(tracked.stamp_ns - last.stamp_ns)
        step = _motion(last.T_world_tracker, tracked.T_world_tracker)
        allowed = [slack + speed * dt for slack, speed in zip(self._limits.slack, self._limits.speed, strict=True)]
        baseline = to_seconds(last.stamp_ns - first.stamp_ns)
        if baseline >= _BASELINE / 2 and dt <= _MEMORY:  # then the motion so far tells more than that hands are slow
            step = step - _motion(first.T_world_tracker, last.T_world_tracker) * (dt / baseline)
            bends = [0.5 * acceleration * dt * (dt + baseline) for acceleration in self._limits.acceleration]
            allowed = [
                min(most, slack + bend) for most, slack, bend in zip(allowed, self._limits.slack, bends, strict=True)
            ]
        moved, turned = float(np.linalg.norm(step[:3])), float(np.linalg.norm(step[3:]))
        if moved <= allowed[0] and turned <= allowed[1]:
            return ""
        return (
            f"the tracker jumped by {moved * 1e3:.1f} mm, {turned * 1e3:.1f} mrad in {dt * 1e3:.1f} ms; "
            f"a hand moves it by at most {allowed[0] * 1e3:.1f} mm, {allowed[1] * 1e3:.1f} mrad"
        )


def _motion(T_world_a: Pose, T_world_b: Pose) -> Array:
    """(6,) from a to b: translation [m] and rotation vector [rad], both in world axes."""
    return np.concatenate([T_world_b.position - T_world_a.position, so3_log(T_world_b.rotation @ T_world_a.rotation.T)])


def _spread(poses: Sequence[Pose], mean: Pose) -> tuple[float, float]:
    """Root mean square distance from the mean [m], [rad]."""
    gaps = np.array([distance(mean, pose) for pose in poses])
    moved, turned = np.sqrt((gaps**2).mean(axis=0))
    return float(moved), float(turned)


def at_rest(samples: Sequence[TrackedPose], what: str, remedy: str, limits: Limits = LIMITS) -> Pose:
    """`T_world_tracker`, the mean of samples taken while the tool keeps still.

    Raises CalibrationError, beginning with `what` and ending in the `remedy`, when the samples are too few, not all of
    high confidence, or the tool moved.
    """
    if len(samples) < ANCHOR_SAMPLES:
        raise CalibrationError(f"{what}: {len(samples)} samples, needed are {ANCHOR_SAMPLES}; {remedy}")
    worst = min(sample.confidence for sample in samples)
    if worst < _HIGH or any(sample.jumped for sample in samples):
        why = f"confidence was {worst}, needed is {_HIGH}" if worst < _HIGH else "the tracker relocalised"
        raise CalibrationError(f"{what}: {why}; {remedy}")
    poses = [sample.T_world_tracker for sample in samples]
    if not all(pose.isfinite() for pose in poses):
        raise CalibrationError(f"{what}: a pose of the tracker is not finite; {remedy}")
    mean, half = mean_pose(poses), len(poses) // 2
    moved, turned = _spread(poses, mean)
    crept, twisted = distance(mean_pose(poses[:half]), mean_pose(poses[half:]))
    if moved > limits.rest[0] or turned > limits.rest[1] or crept > limits.creep[0] or twisted > limits.creep[1]:
        raise CalibrationError(
            f"{what}: the tool moved: {moved * 1e3:.1f} mm, {turned * 1e3:.1f} mrad about its mean, "
            f"{crept * 1e3:.1f} mm, {twisted * 1e3:.1f} mrad from first to second half; {remedy}"
        )
    return mean


def anchor(T_base_dock: Pose, samples: Sequence[TrackedPose], T_tracker_tcp: Pose, limits: Limits = LIMITS) -> Pose:
    """`T_base_world` from samples taken while the tool rests in its dock; `T_base_dock` is the TCP's pose there.

    Raises CalibrationError as `at_rest` does.
    """
    remedy = "put the gripper into its dock, wait until the tracker is confident, and keep still"
    return T_base_dock @ (at_rest(samples, "anchor", remedy, limits) @ T_tracker_tcp).inverse()
