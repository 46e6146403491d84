"""A recorded demonstration as a policy: the robot does what the gripper did, through the normal executor.

It looks at nothing but the arm's own pose. First the tool goes to where the demonstration began: up, over, down. Then
the demonstration runs in its own time, or slower where the executor stretches it. That the task is done again is the
proof that frames, times and units of a recording are right.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction
from kinema.clock import NS
from kinema.episodes.aligned import Aligned, align_episode
from kinema.episodes.reader import Episode
from kinema.errors import EpisodeError
from kinema.geometry import Array, Pose, distance
from kinema.policies.approach import over
from kinema.robots import GRIPPER

DT = 1 / 30  # [s] between steps, and from t0 to the first
STEPS = 32
EXECUTABLE = 24

_LONGEST_GAP = 0.25  # [s] without a step that is bridged
_ABOVE = 0.06  # [m] over the higher end of the way to the beginning
_THERE = (0.005, 0.05)  # [m, rad] from the beginning: no way is needed
_ON_TIME = (0.01, 0.1)  # [m, rad] measured tool that is where it should be by now
_ON_PLAN = (0.05, 0.4)  # [m, rad] measured tool that follows the route, if late


@dataclass(frozen=True, eq=False, slots=True)
class Route:
    """Where the tool is (n poses), how far the jaw is open (n,) [m] and how it presses (n,) [N] at times (n,) [s]."""

    times: Array
    positions: Array  # (n, 3) [m]
    rotations: Array  # (n, 3, 3)
    width: Array
    force: Array

    @staticmethod
    def of(aligned: Aligned) -> "Route":
        """A demonstration; raises EpisodeError where it doesn't hang together."""
        times = (aligned.stamps_ns - aligned.stamps_ns[:1]) / NS
        if len(times) < 2:
            raise EpisodeError(
                f"{len(times)} steps of the episode could be aligned, needed are 2: {aligned.rejected[:3]}"
            )
        if np.ptp(aligned.segment):
            raise EpisodeError("the tracker jumped in the episode: its poses do not belong together")
        gap = int(np.argmax(np.diff(times)))
        if times[gap + 1] - times[gap] > _LONGEST_GAP:
            raise EpisodeError(
                f"the episode has no usable step for {times[gap + 1] - times[gap]:.2f} s after {times[gap]:.2f} s, "
                f"allowed are {_LONGEST_GAP} s: {aligned.rejected[:3]}"
            )
        T = aligned.T_base_tcp
        return Route(times, T[:, :3, 3], T[:, :3, :3], aligned.width, aligned.force)

    def before(self, way: list[Pose], width: float) -> "Route":
        """This route after the tool has come along `way`, which ends where it begins; the jaw opens meanwhile."""
        count = len(way)
        opening = np.linspace(0.0, 1.0, count, endpoint=False)
        return Route(
            np.concatenate([np.arange(count) * DT, count * DT + self.times]),
            np.concatenate([np.array([pose.position for pose in way]).reshape(-1, 3), self.positions]),
            np.concatenate([np.array([pose.rotation for pose in way]).reshape(-1, 3, 3), self.rotations]),
            np.concatenate([width + opening * (self.width[0] - width), self.width]),
            np.concatenate([np.zeros(count), self.force]),
        )

    def poses(self, times: Array) -> tuple[Array, Array]:
        """Positions (m, 3) and rotations (m, 3, 3) at times (m,) [s]; at rest beyond the ends."""
        held = np.clip(times, self.times[0], self.times[-1])
        positions = np.stack([np.interp(held, self.times, axis) for axis in self.positions.T], axis=1)
        return positions, Slerp(self.times, Rotation.from_matrix(self.rotations))(held).as_matrix()

    def pose(self, time: float) -> Pose:
        positions, rotations = self.poses(np.array([time]))
        return Pose(positions[0], rotations[0])


def _way(start: Pose, end: Pose) -> list[Pose]:
    """A pose each DT [s], the end itself left out; none where the tool is there."""
    return [] if _near(start, end, _THERE) else [start, *over(start, end, DT, _ABOVE)][:-1]


def _near(a: Pose, b: Pose, tolerance: tuple[float, float]) -> bool:
    moved, turned = distance(a, b)
    return moved <= tolerance[0] and turned <= tolerance[1]


class Replay:
    """Plays one demonstration, once a run; after its end the tool stays. `demonstration` is what it plays."""

    name = "replay"
    spec = ObservationSpec(cameras=("gripper",), images=False, committed_prefix=1, text=False)

    def __init__(self, aligned: Aligned) -> None:
        """Raises EpisodeError for a demonstration that can't be played as a whole."""
        self.demonstration = Route.of(aligned)
        self._chunks = 0
        self.reset()

    def reset(self, seed: int | None = None) -> None:  # nothing is drawn
        self._route: Route | None = None
        self._t0_ns, self._t0 = 0, 0.0  # the last chunk's observation, and where on the route it was

    def predict(self, observation: Observation) -> Prediction:
        """The next steps of the route, from where the arm is on it."""
        tcp, width = observation.T_base_tcp[-1], float(observation.width[-1])
        if self._route is None:
            self._route = self.demonstration.before(_way(tcp, self.demonstration.pose(0.0)), width)
        else:
            self._t0 = self._progress(self._route, observation)
        self._t0_ns = observation.stamp_ns
        route, times = self._route, np.array([self._t0 + DT * i for i in range(1, STEPS + 1)])
        positions, rotations = route.poses(times)
        T_rel = np.zeros((STEPS, 4, 4))
        T_rel[:, :3, 3] = (positions - tcp.position) @ tcp.rotation
        T_rel[:, :3, :3] = tcp.rotation.T @ rotations
        T_rel[:, 3, 3] = 1.0
        force = np.interp(times, route.times, route.force)
        wanted = GRIPPER.asked(np.interp(times, route.times, route.width), force)
        self._chunks += 1
        return Prediction(
            ActionChunk(
                id=self._chunks,
                policy=self.name,
                t0_ns=observation.stamp_ns,
                T_base_tcp_t0=tcp,
                width_t0=width,
                dt=DT,
                offset=DT,
                T_rel=T_rel,
                width_change=wanted - width,
                force=force,
                executable=EXECUTABLE,
            )
        )

    def _progress(self, route: Route, observation: Observation) -> float:
        """Where on the route [s] the arm is: on time, or as far as its chunk went, or else nearest to the tool."""
        tcp, committed = observation.T_base_tcp[-1], observation.committed
        elapsed = played = min((observation.stamp_ns - self._t0_ns) / NS, EXECUTABLE * DT)
        if _near(tcp, route.pose(self._t0 + elapsed), _ON_TIME):
            return self._t0 + elapsed
        if committed is not None and committed.t0_ns == self._t0_ns:  # a stretched chunk is behind its time
            played = min(elapsed, committed.offset - DT / 2)
        if _near(tcp, route.pose(self._t0 + played), _ON_PLAN):
            return self._t0 + played
        times = self._t0 + np.linspace(0.0, elapsed, EXECUTABLE + 1)
        away = np.linalg.norm(route.poses(times)[0] - tcp.position, axis=1)
        return float(times[np.argmin(away)])


def load(episode: str) -> Replay:
    """The demonstration in a folder; raises EpisodeError where there is none, or none that can be played."""
    return Replay(align_episode(Episode.open(Path(episode))))
