"""What the devices of a calibration session have said lately, and the sample that it makes. Pure.

Everything comes with its stamp of acquisition [ns, Kinema time]; what is older than the moment it stands for, or was
measured in motion where rest is needed, makes no sample but a CalibrationError that says so.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from kinema.calibration.arm_rest import REST, Rest
from kinema.calibration.board_detection import detect
from kinema.calibration.board_pose import board_pose
from kinema.calibration.boards import Board, Corners
from kinema.calibration.coverage import not_yet, view
from kinema.calibration.display_clock import Clock, read
from kinema.calibration.files import CameraInfo
from kinema.calibration.latency import Motion
from kinema.calibration.session import SIDES, Sample, Session
from kinema.chunk import Image
from kinema.clock import to_ns, to_seconds
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose
from kinema.interfaces import TrackedPose
from kinema.topics import CAMERAS

RECORDED = 15.0  # [s] of motion that a latency is told from

_FRESH = 1.0  # [s] that a picture may be old
_PAIR = 0.04  # [s] between two cameras' pictures of one sample
_LOOKS = 4  # of a camera, among which the pair is found
_TRACKED = 100  # samples of a tracker: half a second of a T265
_GAP = 0.1  # [s] between two of them: what was before is another rest

_REFERENCE = {"arm": "goal", "jaw": "jaw goal", "tracker": "gripper", "load_cell": "jaw"}  # of cameras the arm
_TOPICS = {  # where a stream of motion comes from, and what a sample needs
    "goal": "executor/state",
    "jaw goal": "executor/state",
    "arm": "tcp_pose",
    "jaw": "jaw/state",
    "tracker": "tracker/odometry",
    "load_cell": "load_cell/force",
    "T_base_tcp": "tcp_pose",
    "tracked": "tracker/odometry",
    "wrench": "tcp_wrench",
}

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """One picture's worth: the board's corners, the time that a clock shows, or the `problem` that there is neither."""

    stamp_ns: int
    corners: Corners | None = None
    problem: str = ""
    shown_ns: int | None = None


def look(stamp_ns: int, picture: Image, target: Board | Clock) -> Look:
    """What a picture (h, w, 3) RGB shows of what is looked for."""
    try:
        if isinstance(target, Clock):
            return Look(stamp_ns, shown_ns=read(picture, stamp_ns))
        return Look(stamp_ns, detect(picture, target))
    except CalibrationError as error:
        return Look(stamp_ns, problem=str(error))


def looks_through(session: Session) -> tuple[str, ...]:
    """The cameras that a session needs."""
    kind = session.kind
    if "motions" in kind.needs:
        (device,) = session.devices
        return tuple(name for name in (device, _REFERENCE.get(device, "arm")) if name in CAMERAS)
    return session.devices if {"corners", "readings"} & {*kind.needs, *kind.first} else ()


def listens_to(session: Session) -> tuple[str, ...]:
    """The topics that a session needs, besides its cameras' pictures."""
    names: tuple[str, ...] = session.kind.needs
    if session.what == "verify":  # where the fingers are that are drawn into the picture
        names = *names, "jaw"
    if "motions" in names:
        (device,) = session.devices
        names = device, _REFERENCE.get(device, "arm")
    return tuple(dict.fromkeys(_TOPICS[name] for name in names if name in _TOPICS))


def ring(session: Session, camera: str, seen: Look | None) -> Array | None:
    """(2,) [px] where a camera sees the corner that is to be touched, or saw it: a side camera stands still."""
    looks = [seen.corners] if seen and seen.corners else []
    if camera in SIDES:
        looks += [sample.corners[camera] for sample in session.samples if camera in sample.corners]
    for corners in looks:
        at = np.flatnonzero(corners.ids == (-1 if session.corner is None else session.corner))
        if len(at):
            return np.asarray(corners.pixels[at[0]])
    return None


def _misfit(corners: Corners, board: Board) -> str:
    """Why corners fit no plane, '' where they do."""
    try:
        view(corners, board)
    except CalibrationError as error:
        return str(error)
    except np.linalg.LinAlgError:
        return "the corners lie on one line"
    return ""


def _twist(T_a_b: Pose, T_a_c: Pose) -> Array:
    """(6,) position [m] and rotation vector [rad] of c in b."""
    T_b_c = T_a_b.inverse() @ T_a_c
    return np.concatenate([T_b_c.position, T_b_c.rotvec])


class Senses:
    """Of one session; whoever hears a device calls its verb. `cameras` are the calibrated ones, for latencies."""

    def __init__(self, session: Session, cameras: Mapping[str, CameraInfo]) -> None:
        self._session = session
        self._cameras = cameras
        self._looks: dict[str, deque[Look]] = defaultdict(lambda: deque(maxlen=_LOOKS))
        self._rest = Rest()
        self._wrenches: deque[tuple[int, Array]] = deque()
        self._tracked: deque[TrackedPose] = deque(maxlen=_TRACKED)
        self._motions: dict[str, deque[tuple[int, Array]]] = defaultdict(deque)
        self._first: dict[str, Pose] = {}
        self._readings: deque[tuple[int, int]] = deque()
        self.T_base_tcp: Pose | None = None  # the newest, at rest or not
        self.width: float | None = None  # [m] of the jaw

    # ---- what is heard

    def look(self, camera: str, look: Look) -> None:
        """Corners that fit no plane are none."""
        board, info = self._session.board, self._cameras.get(camera)
        if look.shown_ns is not None:
            self._readings.append((look.stamp_ns, look.shown_ns))
            while look.stamp_ns - self._readings[0][0] > to_ns(RECORDED):
                self._readings.popleft()
        if look.corners is None or board is None:
            self._looks[camera].append(look)
            return
        if why := _misfit(look.corners, board):
            self._looks[camera].append(replace(look, corners=None, problem=why))
            return
        self._looks[camera].append(look)
        if info is None:
            return
        try:
            self._move(camera, look.stamp_ns, board_pose(look.corners, board, info).T_camera_board.inverse())
        except CalibrationError:
            return  # a gap in the motion; of many pictures some make none

    def arm(self, stamp_ns: int, T_base_tcp: Pose) -> None:
        if not T_base_tcp.isfinite():
            return
        self.T_base_tcp = T_base_tcp
        self._rest.take(to_seconds(stamp_ns), T_base_tcp)
        self._move("arm", stamp_ns, T_base_tcp)

    def goal(self, stamp_ns: int, T_base_goal: Pose, jaw: float) -> None:
        """What the arm and the jaw [m] were commanded to."""
        self._move("goal", stamp_ns, T_base_goal)
        self._keep("jaw goal", stamp_ns, [jaw])

    def jaw(self, stamp_ns: int, width: float) -> None:
        self.width = width
        self._keep("jaw", stamp_ns, [width])

    def load(self, stamp_ns: int, force: float) -> None:
        """What the load cell says [N]."""
        self._keep("load_cell", stamp_ns, [force])

    def wrench(self, stamp_ns: int, wrench: Array) -> None:
        """(6,) [N, N m] at the TCP, in its axes."""
        self._wrenches.append((stamp_ns, wrench))
        while stamp_ns - self._wrenches[0][0] > to_ns(REST):
            self._wrenches.popleft()

    def tracker(self, tracked: TrackedPose) -> None:
        if self._tracked and tracked.stamp_ns - self._tracked[-1].stamp_ns > to_ns(_GAP):
            self._tracked.clear()
        self._tracked.append(tracked)
        self._move("tracker", tracked.stamp_ns, tracked.T_world_tracker)

    def _move(self, name: str, stamp_ns: int, T: Pose) -> None:
        self._keep(name, stamp_ns, _twist(self._first.setdefault(name, T), T))

    def _keep(self, name: str, stamp_ns: int, values: ArrayLike) -> None:
        if self._session.what != "latency":
            return
        kept = self._motions[name]
        if kept and stamp_ns <= kept[-1][0]:
            return
        kept.append((stamp_ns, np.asarray(values, float)))
        while stamp_ns - kept[0][0] > to_ns(RECORDED):
            kept.popleft()

    # ---- what it makes

    def not_yet(self, samples: Sequence[Sample]) -> str:
        """Why what the cameras see now is no sample to take by itself, '' where it is; see `coverage.not_yet`."""
        board = self._session.board
        for camera in self._session.devices if board else ():
            if why := self.problem(camera, samples):
                return f"{camera}: {why}"
        return ""

    def problem(self, camera: str, samples: Sequence[Sample]) -> str:
        """The same of one camera."""
        looks, board = self._looks[camera], self._session.board
        if not looks or board is None:
            return "no picture has arrived"
        if looks[-1].corners is None or "corners" not in self._session.kind.needs:
            return looks[-1].problem
        frames = [look.corners for look in looks if look.corners is not None]
        return not_yet(frames, [sample.corners[camera] for sample in samples if camera in sample.corners], board)

    def seen(self, camera: str) -> Look | None:
        """The newest look through a camera."""
        return self._looks[camera][-1] if self._looks[camera] else None

    def resting(self, now_ns: int) -> Pose | None:
        """`T_base_tcp` of the arm at rest; None while it moves or is silent."""
        return self._rest.pose(to_seconds(now_ns))

    def sample(self, now_ns: int, needs: Sequence[str] | None = None) -> Sample:
        """All that is needed, of now, by default for the first sample.

        Raises CalibrationError with everything that is missing.
        """
        needs = self._session.needs if needs is None else needs
        problems: list[str] = []

        def get(name: str, make: Callable[[int], _Value], otherwise: _Value) -> _Value:
            try:
                return make(now_ns) if name in needs else otherwise
            except CalibrationError as error:
                problems.append(str(error))
                return otherwise

        nothing: tuple[dict[str, Corners], int] = {}, now_ns
        corners, stamp_ns = get("corners", self._corners, nothing)
        sample = Sample(
            stamp_ns=stamp_ns,
            corners=corners,
            T_base_tcp=get("T_base_tcp", self._T_base_tcp, None),
            tracked=get("tracked", self._at_rest, ()),
            wrench=get("wrench", self._mean_wrench, None),
            motions=get("motions", self._motion, None),
            readings=get("readings", self._clock, ()),
        )
        if problems:
            raise CalibrationError(f"not captured: {'; '.join(dict.fromkeys(problems))}")
        return sample

    def _corners(self, now_ns: int) -> tuple[dict[str, Corners], int]:
        """Of every camera, as near to one another in time as there are; and when."""
        oldest = REST if "T_base_tcp" in self._session.kind.needs or "tracked" in self._session.kind.needs else _FRESH
        found: dict[str, list[Look]] = {}
        for camera in self._session.devices:
            looks = self._looks[camera]
            if not looks or now_ns - looks[-1].stamp_ns > to_ns(oldest):
                raise CalibrationError(f"no picture of {camera} for {oldest:g} s: look after its node {camera}_camera")
            if looks[-1].corners is None:
                raise CalibrationError(f"{camera}: {looks[-1].problem}")
            found[camera] = [look for look in looks if look.corners is not None]
        first, *others = self._session.devices
        chosen = {first: found[first][-1]}
        for camera in others:
            pairs = [(a, b) for a in found[first] for b in found[camera]]
            chosen[first], chosen[camera] = min(pairs, key=lambda pair: abs(pair[0].stamp_ns - pair[1].stamp_ns))
            apart = to_seconds(abs(chosen[first].stamp_ns - chosen[camera].stamp_ns))
            if apart > _PAIR:
                raise CalibrationError(
                    f"{first} and {camera}: pictures {1e3 * apart:.0f} ms apart, allowed are {1e3 * _PAIR:.0f} ms"
                )
        corners = {camera: look.corners for camera, look in chosen.items() if look.corners is not None}
        return corners, chosen[first].stamp_ns

    def _T_base_tcp(self, now_ns: int) -> Pose:
        T_base_tcp = self.resting(now_ns)
        if T_base_tcp is None:
            raise CalibrationError(f"the arm has not been heard at rest for {REST:g} s: let it come to rest")
        return T_base_tcp

    def _at_rest(self, now_ns: int) -> tuple[TrackedPose, ...]:
        """The solvers judge whether it moved."""
        if not self._tracked or now_ns - self._tracked[-1].stamp_ns > to_ns(_FRESH):
            raise CalibrationError(
                f"the tracker is silent for {_FRESH:g} s: look after its cable and its node pose_tracker"
            )
        return tuple(self._tracked)

    def _mean_wrench(self, now_ns: int) -> Array:
        T_base_tcp = self._T_base_tcp(now_ns)
        if not self._wrenches or now_ns - self._wrenches[-1][0] > to_ns(REST):
            raise CalibrationError(f"no wrench for {REST:g} s: has the arm a force sensor?")
        mean = np.mean([wrench for _, wrench in self._wrenches], axis=0)
        return np.asarray(np.concatenate([T_base_tcp.rotation @ mean[:3], T_base_tcp.rotation @ mean[3:]]))

    def _clock(self, now_ns: int) -> tuple[tuple[int, int], ...]:
        """Since the first one, which is 15 s old at the most."""
        if not self._readings or now_ns - self._readings[-1][0] > to_ns(_FRESH):
            (camera,) = self._session.devices
            why = self._looks[camera][-1].problem if self._looks[camera] else "no picture has arrived"
            raise CalibrationError(f"{camera} has not read the clock for {_FRESH:g} s: {why}")
        return tuple(self._readings)

    def _motion(self, now_ns: int) -> tuple[Motion, Motion]:
        (device,) = self._session.devices
        names = _REFERENCE.get(device, "arm"), device
        for name in names:
            kept = self._motions[name]
            if not kept or now_ns - kept[-1][0] > to_ns(_FRESH):
                raise CalibrationError(f"nothing of {name} for {_FRESH:g} s: both must be heard while they move")
        begin_ns = max(self._motions[name][0][0] for name in names)
        reference, measured = (
            Motion.of(
                name,
                [to_seconds(stamp_ns - begin_ns) for stamp_ns, _ in self._motions[name]],
                [values for _, values in self._motions[name]],
            )
            for name in names
        )
        return reference, measured
