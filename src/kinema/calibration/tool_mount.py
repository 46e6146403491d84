"""The handheld gripper's tracker: where it is mounted, and where its world stands to the arm. Pure.

`tool_mount`: the gripper's own camera looks at a board that stands still while a hand turns the gripper from place to
place; at each, the tracker is listened to at rest. That is hand-eye calibration with the tracker for an arm, but its
world creeps by a hundredth of the way and jumps: the board's place in it is followed from sample to sample, and where
the tracker jumped nothing is joined. The camera's own mount, calibrated before, leads on to the TCP.

`tracker_world`: the gripper rests in its dock, whose place the arm has told (`dock`).

Source of the tracker's magnitudes: Intel RealSense T265 data sheet; `virtual/noise.yaml`.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kinema.calibration.adjustment import Said, Seen, Term, adjust
from kinema.calibration.board_pose import board_poses, lens, points_seen
from kinema.calibration.boards import Board, Corners
from kinema.calibration.estimate import Estimate, Plain, carried, measured
from kinema.calibration.files import CameraInfo, Transform
from kinema.calibration.loop_closure import (
    begin,
    central,
    check_certainty,
    check_count,
    check_scale,
    check_turning,
    closed_solutions,
    closures,
)
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance, mean_pose, pose_error
from kinema.interfaces import TrackedPose
from kinema.perception.tool_pose import anchor, at_rest

_NOISE = (1.2e-4, 2e-4)  # [m, rad] of the mean of half a second at rest
_CREEP = (0.008, 0.001)  # [-, rad/m] in each axis, of the line between two places; a hand's way is longer
_LEAST = (2e-4, 2e-4)  # [m, rad] between two samples at the same place
_SQUARES = 0.02  # [-] by which the squares may seem to be of another size, besides what noise explains
_UNSURE = (0.003, math.radians(0.3))  # [m, rad] standard deviation of a result that is not worth having
_VISITS = (0.002, math.radians(0.5))  # [m, rad] from the most central visit to the dock
_ADVICE = "turn the gripper to and fro about all its axes, near the board, without carrying it far"
_STILL = "lay the gripper on something or hold it still for half a second"


@dataclass(frozen=True, eq=False, slots=True)
class TrackerSample:
    """What the tracker said while the gripper was held still, and what the gripper's camera saw then."""

    tracked: tuple[TrackedPose, ...]
    corners: Corners


@dataclass(frozen=True, eq=False, slots=True)
class ToolMount:
    """`tcp` is `T_tracker_tcp`, `camera` `T_tracker_camera` of the gripper camera that it stands on.

    jumps  numbers of the samples before which the tracker's world jumped
    """

    tcp: Estimate
    camera: Estimate
    jumps: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Visits:
    """The same place found several times: `T_a_b`, its mean, and by how much each differs from it.

    off  (n, 6) position [m], rotation vector [rad], in a's axes
    """

    T: Pose
    off: Array

    @property
    def spread(self) -> tuple[float, float]:
        """[m, rad] root mean square distance from the mean."""
        squares = (self.off**2).mean(axis=0)
        return math.sqrt(float(squares[:3].sum())), math.sqrt(float(squares[3:].sum()))

    @property
    def covariance(self) -> Array | None:
        """(6, 6) of the mean; None of a single visit, which says nothing of it."""
        count = len(self.off)
        return None if count < 2 else self.off.T @ self.off / (count * (count - 1))

    def transform(
        self, parent: str, child: str, serial: str, date: datetime.date, board: str | None = None
    ) -> Transform:
        """The file's content; its residual is the spread."""
        return measured(parent, child, self.T, serial, date, board, len(self.off), self.spread[0], self.covariance)

    def report(self) -> str:
        """A line for a person."""
        if len(self.off) < 2:
            return "1 sample; take a second one to see how well they agree"
        return (
            f"{len(self.off)} samples, {1e3 * self.spread[0]:.2f} mm, {math.degrees(self.spread[1]):.3f} deg about "
            "their mean"
        )


def _terms(samples: Sequence[TrackerSample], tracked: Sequence[Pose], camera: CameraInfo, board: Board) -> list[Term]:
    """Poses: 0 is the camera's, then the tracker's, then the board's in the tracker's world, one each a sample.

    The step to sample k from the one before has the number -k: a jump of the tracker is an outlier among steps.
    """
    count, terms = len(samples), list[Term]()
    for number, (sample, T_world_tracker) in enumerate(zip(samples, tracked, strict=True), 1):
        own, placed = number, count + number
        points, info = points_seen(sample.corners, board), lens(camera, sample.corners)
        terms.append(Seen(number, (~0, ~own, placed), info, points, sample.corners.pixels))
        terms.append(Said(number, (own,), T_world_tracker, "tracker", _NOISE, known=True))
        if number > 1:
            way = distance(tracked[number - 2], T_world_tracker)[0]
            allowed = _LEAST[0] + _CREEP[0] * way, _LEAST[1] + _CREEP[1] * way
            terms.append(Said(-number, (~(placed - 1), placed), Pose.identity(), "step", allowed, known=True))
    return terms


def tool_mount(
    samples: Sequence[TrackerSample], camera: CameraInfo, board: Board, T_tcp_camera: Transform
) -> ToolMount:
    """The tracker's mount by the gripper `camera` and its own mount, `T_tcp_gripper.yaml`.

    Raises CalibrationError for too few samples, a gripper that moved, a mirrored board, turns about parallel axes,
    squares of another size than was said, samples that don't fit and samples that leave too much open.
    """
    check_count(len(samples))
    tracked = [at_rest(sample.tracked, f"sample {k}", _STILL) for k, sample in enumerate(samples, 1)]
    check_turning(tracked, "the gripper")
    seen = [found.T_camera_board for found in board_poses([sample.corners for sample in samples], board, camera)]
    T_tracker_camera, _ = begin(tracked, seen)
    boards = [T @ T_tracker_camera @ view for T, view in zip(tracked, seen, strict=True)]
    terms, start = _terms(samples, tracked, camera, board), (T_tracker_camera, *tracked, *boards)
    found = adjust(start, terms, scaled=True, advice=_ADVICE)
    check_scale(found.scale, board, _SQUARES)
    found = adjust(found.poses, terms, factors=found.factors, advice=_ADVICE)
    places = found.poses[1 + len(samples) :]
    estimate = Estimate(
        T=found.poses[0],
        covariance=found.covariances[0],
        rms=found.rms,
        closure=np.array(
            [
                closures([T], found.poses[0], [view], place)[0]
                for T, view, place in zip(tracked, seen, places, strict=True)
            ]
        ),
        outliers=tuple(k for k in found.outliers if k > 0),
        plain=closed_solutions(tracked, seen),
    )
    check_certainty(estimate, _UNSURE, _ADVICE)
    jumps = tuple(sorted(-k for k in found.outliers if k < 0))
    return ToolMount(_carried_on(estimate, T_tcp_camera), estimate, jumps)


def _carried_on(estimate: Estimate, T_tcp_camera: Transform) -> Estimate:
    """From the camera to the TCP: `T_tracker_tcp`, with the uncertainty of both."""
    mount, T_tracker_camera = T_tcp_camera.pose, estimate.T
    T = T_tracker_camera @ mount.inverse()
    covariance = carried(estimate.covariance, T.position - T_tracker_camera.position)
    if T_tcp_camera.provenance.covariance is not None:
        of_mount = carried(np.reshape(T_tcp_camera.provenance.covariance, (6, 6)), -mount.position)  # at the TCP
        turn = np.kron(np.eye(2), T.rotation)  # into the tracker's axes
        covariance = covariance + turn @ of_mount @ turn.T
    plain = {name: Plain(value.T @ mount.inverse(), value.closure) for name, value in estimate.plain.items()}
    return replace(estimate, T=T, covariance=covariance, plain=plain)


def dock(T_base_tcp: Sequence[Pose]) -> Visits:
    """`T_base_dock` from the arm's own poses while its gripper was in the dock, put there anew each time.

    Raises CalibrationError naming the visit that lies too far from the others.
    """
    if not T_base_tcp:
        raise CalibrationError("the dock was not visited: guide the arm's gripper into it, and take a sample")
    return _visits(T_base_tcp)


def tracker_world(dockings: Sequence[Sequence[TrackedPose]], T_base_dock: Pose, T_tracker_tcp: Pose) -> Visits:
    """`T_base_world` from what the tracker said during each rest in the dock.

    Several dockings without much way between them tell how good it is. Raises CalibrationError naming the docking in
    which the tool moved, and where the tracker's world has moved from one to the next.
    """
    if not dockings:
        raise CalibrationError("the gripper was not in its dock: put it there, and take a sample")
    return _visits([anchor(T_base_dock, tracked, T_tracker_tcp) for tracked in dockings])


def _visits(poses: Sequence[Pose]) -> Visits:
    middle = central(poses)
    away = np.array([distance(middle, pose) for pose in poses])
    far = np.flatnonzero((away > _VISITS).any(axis=1)) + 1
    if len(far):
        moved, turned = away.max(axis=0)
        raise CalibrationError(
            f"samples {', '.join(map(str, far))} of {len(poses)} lie up to {1e3 * moved:.1f} mm, "
            f"{math.degrees(turned):.2f} degrees from the others, allowed are {1e3 * _VISITS[0]:.0f} mm, "
            f"{math.degrees(_VISITS[1]):.1f} degrees: does the gripper lie in its dock as it should?"
        )
    mean = mean_pose(poses)
    return Visits(mean, np.array([pose_error(mean, pose) for pose in poses]))
