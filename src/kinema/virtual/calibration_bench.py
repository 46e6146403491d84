"""What the virtual cell's devices tell while somebody calibrates it: the streams that `calibration.senses` hears.

The bench moves arm, boards, handheld gripper and jaw as a person would, and knows where they are; what it tells is what
sensors give: corners found in pictures, joints read with errors, a T265 that drifts and jumps, wrenches, loads, stamps
with jitter that are as late as each device of the cell is. Magnitudes are the noise table's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kinema.calibration.boards import DEFAULT, Board
from kinema.calibration.load_cell import newtons
from kinema.calibration.senses import Look, Senses
from kinema.calibration.session import Session
from kinema.chunk import Image
from kinema.clock import NS, to_ns
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, interpolate, so3_exp
from kinema.robots import GRIPPER, arm
from kinema.topics import topic
from kinema.virtual import load_cell, noise, scenario
from kinema.virtual.board_samples import (
    Eye,
    Spread,
    arm_samples,
    joints,
    pair_samples,
    projected,
    rendered,
    tool,
    tracker_samples,
    views,
)
from kinema.virtual.board_view import T_TCP_BOARD, board_on_the_table
from kinema.virtual.cameras import CAMERAS, camera
from kinema.virtual.handheld import T_BASE_TCP_START, TRACKER_RATE, HandheldWorld, TrackerSignal
from kinema.virtual.motion_samples import TILTS, wave, wrenches
from kinema.virtual.renderer import CellRenderer

At = Callable[[float], Array]  # [s] -> (3,) [m] of a motion
Heard = tuple[int, Callable[[int], None]]  # a stamp [ns], and what tells of it

JOINT_ERROR = math.radians(0.02)  # of a pose: gears and links; the encoders' own noise comes on top

_ORIGIN_NS = NS
_SECONDS = 10.0  # of motion for a latency
_JITTER = 0.001  # [s] of a stamp
_REST = 0.5  # [s]
_TAPE = 0.001  # [m] to which a tape measure is read
_LENS = Spread(near=0.3, far=0.5, tilt=math.radians(55), offset=0.3)
_FISHEYE = Spread(near=0.12, far=0.3, tilt=math.radians(45), offset=1.2)
_COUNTS = {"intrinsics": 25, "fisheye": 25, "stereo": 15, "hand_eye": 15, "eye_on_base": 15, "tool_mount": 25}
_VISITS = 3  # to the dock
_BESIDE = Pose(np.array([0.0, 0.02, 0.04]), np.eye(3))  # the dock, where the gripper waits between two visits
_WALK = 0.2  # [m/s] to the dock
_SPONGE = 400.0  # [N/m] of what is squeezed
_READINGS = 80  # of the load cell under one load
_BEFORE = {"gripper": 0.4, "left": 0.8, "right": 0.8}  # [m] that the board is away from a camera that is timed


@dataclass(eq=False)
class Bench:
    """One cell on the bench; everything follows from `seed`.

    eye   finds the boards' corners; by default in rendered pictures, but for latencies, which need thousands: there
          corners are projected, with the noise that a detector has
    late  [s] by device; what is not named is as late as the table of the cell's devices says
    """

    seed: int = 0
    board: Board = DEFAULT
    eye: Eye | None = None
    late: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._eye = self.eye or rendered(self.board)
        self._rng = np.random.default_rng([self.seed, 7])
        self._noise = noise.load()

    # ---- what a person reads off

    def tape(self, first: str, second: str) -> float:
        """[m] between two cameras' lenses by a tape measure."""
        apart = np.linalg.norm(camera(first).T_mount_camera.position - camera(second).T_mount_camera.position)
        return round(float(apart) / _TAPE) * _TAPE

    # ---- sessions of the calibration node

    def samples(self, session: Session, senses: Senses) -> Iterator[int]:
        """Do what the session asks for; at each moment [ns] that is yielded a sample may be captured."""
        moves: dict[str, Callable[[Session, Senses], Iterator[int]]] = {
            "intrinsics": self._lens,
            "fisheye": self._lens,
            "stereo": self._pairs,
            "hand_eye": self._arm,
            "eye_on_base": self._arm,
            "tool_mount": self._tool_mount,
            "dock": self._dock,
            "tracker_world": self._tracker_world,
            "payload": self._payload,
            "latency": self._latency,
        }
        if session.what not in moves:
            raise ConfigError(f"the bench has no samples of {session.what!r}; allowed: {', '.join(moves)}")
        return moves[session.what](session, senses)

    def _moments(self) -> Iterator[int]:
        """A second apart."""
        now_ns = _ORIGIN_NS
        while True:
            now_ns += NS
            yield now_ns

    def _lens(self, session: Session, senses: Senses) -> Iterator[int]:
        (name,) = session.devices
        shown = views(self.board, _FISHEYE if session.what == "fisheye" else _LENS, self._rng)
        found = (corners for T in shown if (corners := self._eye(camera(name), T, self._rng)) is not None)
        for now_ns, corners, _ in zip(self._moments(), found, range(_COUNTS[session.what]), strict=False):
            senses.look(name, Look(now_ns, corners))
            yield now_ns

    def _pairs(self, session: Session, senses: Senses) -> Iterator[int]:
        first, second = session.devices
        pairs = pair_samples(first, second, _COUNTS["stereo"], self.seed, board=self.board, eye=self._eye)
        for now_ns, pair in zip(self._moments(), pairs, strict=False):
            for name, corners in zip((first, second), pair, strict=True):
                senses.look(name, Look(now_ns, corners))
            yield now_ns

    def _arm(self, session: Session, senses: Senses) -> Iterator[int]:
        (name,) = session.devices
        count = _COUNTS[session.what]
        samples = arm_samples(name, count, self.seed, joint_noise=JOINT_ERROR, board=self.board, eye=self._eye)
        for now_ns, sample in zip(self._moments(), samples, strict=False):
            self._rest(senses, now_ns, sample.T_base_tcp)
            senses.look(name, Look(now_ns, sample.corners))
            yield now_ns

    def _tool_mount(self, session: Session, senses: Senses) -> Iterator[int]:
        for sample in tracker_samples(_COUNTS["tool_mount"], self.seed, board=self.board, eye=self._eye):
            for tracked in sample.tracked:
                senses.tracker(tracked)
            now_ns = sample.tracked[-1].stamp_ns
            senses.look("gripper", Look(now_ns, sample.corners))
            yield now_ns

    def _dock(self, session: Session, senses: Senses) -> Iterator[int]:
        model = arm("ur5e")
        q = joints(model, T_BASE_TCP_START)
        if q is None:
            raise ConfigError("the arm does not reach the dock")
        for now_ns, _ in zip(self._moments(), range(_VISITS), strict=False):
            self._rest(senses, now_ns, tool(model, q + JOINT_ERROR * self._rng.standard_normal(len(q)))[0])
            yield now_ns

    def _tracker_world(self, session: Session, senses: Senses) -> Iterator[int]:
        signal, t_ns = TrackerSignal(self._noise.tracker, self.seed), _ORIGIN_NS
        away = _BESIDE @ T_BASE_TCP_START
        steps = math.ceil(float(np.linalg.norm(_BESIDE.position)) / _WALK * TRACKER_RATE)
        there = [interpolate(away, T_BASE_TCP_START, k / steps) for k in range(1, steps + 1)]
        for _ in range(_VISITS):
            calm = 0
            for T in (*there, *[T_BASE_TCP_START] * round(2 * TRACKER_RATE)):
                t_ns += round(NS / TRACKER_RATE)
                tracked = signal.sample(t_ns, T)
                senses.tracker(tracked)
                calm = calm + 1 if T is T_BASE_TCP_START and tracked.confidence == 3 and not tracked.jumped else 0
                if calm == round(_REST * TRACKER_RATE):
                    break
            yield t_ns
            for T in reversed(there):
                t_ns += round(NS / TRACKER_RATE)
                senses.tracker(signal.sample(t_ns, T))

    def _payload(self, session: Session, senses: Senses) -> Iterator[int]:
        felt = wrenches(
            GRIPPER.mass,
            np.array([0.0, 0.0, GRIPPER.com]),
            np.zeros(6),
            GRIPPER.T_flange_tcp,
            tilts=[*TILTS, (2.6, 0.8, 0.3)],
            carried=(GRIPPER.mass, (0.0, 0.0, GRIPPER.com)),
            seed=None,
        )
        deviation = np.repeat([self._noise.arm.force, self._noise.arm.wrench_torque], 3)
        for now_ns, sample in zip(self._moments(), felt, strict=False):
            self._rest(senses, now_ns, sample.T_base_tcp)
            R = sample.T_base_tcp.rotation.T
            wrench = np.concatenate([R @ sample.wrench[:3], R @ sample.wrench[3:]])
            for t in np.arange(0.0, _REST, 1.0 / topic("tcp_wrench").rate)[::-1]:
                senses.wrench(now_ns - to_ns(float(t)), wrench + deviation * self._rng.standard_normal(6))
            yield now_ns

    def _rest(self, senses: Senses, now_ns: int, T_base_tcp: Pose) -> None:
        """The arm tells of its pose for a while, until now."""
        for t in np.arange(0.0, _REST, 1.0 / topic("tcp_pose").rate)[::-1]:
            senses.arm(now_ns - to_ns(float(t)), self._read(T_base_tcp))

    def _read(self, T_base_tcp: Pose) -> Pose:
        """A pose as encoders tell it, at arm's length."""
        error = self._noise.arm.position * self._rng.standard_normal(6)
        return Pose(T_base_tcp.position + error[:3], T_base_tcp.rotation @ so3_exp(error[3:]))

    # ---- latencies

    def _latency(self, session: Session, senses: Senses) -> Iterator[int]:
        (device,) = session.devices
        times = np.arange(0.0, _SECONDS + 1.0, 0.001)
        way = wave(self.seed + 1, times)
        axes = np.ascontiguousarray((way - way.mean(axis=0)).T)

        def at(t: float) -> Array:
            return np.array([np.interp(t, times, axis) for axis in axes])

        tells = {
            "arm": self._goal_and_arm,
            "jaw": self._goal_and_jaw,
            "tracker": self._tracker_and_gripper,
            "load_cell": self._squeeze,
        }.get(device, self._camera_and_arm)
        heard: list[Heard] = tells(device, senses, at)
        for stamp_ns, tell in sorted(heard, key=lambda row: row[0]):
            tell(stamp_ns)
        yield max(stamp_ns for stamp_ns, _ in heard)

    def _stream(self, device: str, rate: float, tell: Callable[[float], Callable[[int], None]]) -> list[Heard]:
        """`tell(t)` makes what a device says of the moment t [s]; its stamp is later by the device's latency."""
        late = self.late.get(device, CAMERAS[device].latency if device in CAMERAS else 0.0)
        times = np.arange(0.3, _SECONDS, 1.0 / rate)
        stamps = times + late + _JITTER * self._rng.uniform(0.0, 0.5, len(times))
        return [(_ORIGIN_NS + to_ns(float(s)), tell(float(t))) for t, s in zip(times, stamps, strict=True)]

    def _goal_and_arm(self, device: str, senses: Senses, at: At) -> list[Heard]:
        centre = T_BASE_TCP_START

        def goal(t: float) -> Callable[[int], None]:
            return lambda stamp_ns: senses.goal(stamp_ns, Pose(centre.position + at(t), centre.rotation), 0.0)

        return self._stream("goal", topic("executor/state").rate, goal) + self._arm_at(senses, centre, at)

    def _arm_at(self, senses: Senses, centre: Pose, at: At) -> list[Heard]:
        def measured(t: float) -> Callable[[int], None]:
            return lambda stamp_ns: senses.arm(stamp_ns, self._read(Pose(centre.position + at(t), centre.rotation)))

        return self._stream("arm", topic("tcp_pose").rate, measured)

    def _looks(self, name: str, senses: Senses, tcp: Callable[[float], Pose]) -> list[Heard]:
        row, see, on_table = camera(name), projected(self.board), board_on_the_table(self.board)

        def look(t: float) -> Callable[[int], None]:
            if row.mount == "tcp":
                T_camera_board = (tcp(t) @ row.T_mount_camera).inverse() @ on_table
            else:
                T_camera_board = row.T_mount_camera.inverse() @ tcp(t) @ T_TCP_BOARD
            corners = see(row, T_camera_board, self._rng)
            return lambda stamp_ns: senses.look(name, Look(stamp_ns, corners, "" if corners else "out of sight"))

        return self._stream(name, row.rate, look)

    def _before(self, name: str) -> Pose:
        """`T_base_tcp` with the board straight before a camera."""
        row, straight = camera(name), Pose(np.array([*(-np.array(self.board.size) / 2), _BEFORE[name]]), np.eye(3))
        if row.mount == "tcp":
            return board_on_the_table(self.board) @ straight.inverse() @ row.T_mount_camera.inverse()
        return row.T_mount_camera @ straight @ T_TCP_BOARD.inverse()

    def _camera_and_arm(self, device: str, senses: Senses, at: At) -> list[Heard]:
        centre = self._before(device)
        seen = self._looks(device, senses, lambda t: Pose(centre.position + at(t), centre.rotation))
        return self._arm_at(senses, centre, at) + seen

    def _tracker_and_gripper(self, device: str, senses: Senses, at: At) -> list[Heard]:
        centre, signal = self._before("gripper"), TrackerSignal(self._noise.tracker, self.seed)

        def place(t: float) -> Pose:
            return Pose(centre.position + at(t), centre.rotation)

        def tell(t: float) -> Callable[[int], None]:
            tracked = signal.sample(to_ns(t), place(t))
            return lambda stamp_ns: senses.tracker(replace(tracked, stamp_ns=stamp_ns))

        return self._stream(device, TRACKER_RATE, tell) + self._looks("gripper", senses, place)

    def _width(self, at: At, t: float) -> float:
        return 0.04 + 0.2 * float(at(t)[0])

    def _goal_and_jaw(self, device: str, senses: Senses, at: At) -> list[Heard]:
        def goal(t: float) -> Callable[[int], None]:
            return lambda stamp_ns: senses.goal(stamp_ns, T_BASE_TCP_START, self._width(at, t))

        return self._stream("goal", topic("executor/state").rate, goal) + self._jaw_at(senses, at)

    def _jaw_at(self, senses: Senses, at: At) -> list[Heard]:
        def tell(t: float) -> Callable[[int], None]:
            read = self._width(at, t) + self._noise.jaw.position * float(self._rng.standard_normal())
            return lambda stamp_ns: senses.jaw(stamp_ns, read)

        return self._stream("jaw", topic("jaw/state").rate, tell)

    def _squeeze(self, device: str, senses: Senses, at: At) -> list[Heard]:
        def tell(t: float) -> Callable[[int], None]:
            force = _SPONGE * (0.085 - self._width(at, t)) + self._noise.load_cell.force * self._rng.standard_normal()
            return lambda stamp_ns: senses.load(stamp_ns, float(force))

        return self._stream(device, topic("load_cell/force").rate, tell) + self._jaw_at(senses, at)

    # ---- sessions of other nodes

    def jaw_pictures(self, size: tuple[int, int]) -> Iterator[Image]:
        """The handheld gripper's camera while the jaw goes from one stop to the other and back."""
        world = HandheldWorld(scenario.draw("pick_and_place", "train", self.seed), seed=self.seed)
        eyes = CellRenderer(world.model, size, self._noise.camera, self.seed)
        row, frame = camera("gripper"), 0
        try:
            for k in range(round(4.0 / world.period)):
                t = k * world.period
                closing = np.interp(t, (0.0, 0.4, 1.8, 2.3, 3.6), (1.0, 1.0, 0.0, 0.0, 1.0))
                world.step(T_BASE_TCP_START, GRIPPER.stroke * float(closing))
                if t * row.rate >= frame:
                    yield eyes.render("gripper", world.snapshot(), frame)
                    frame += 1
        finally:
            eyes.close()

    def load_readings(self, grams: float) -> Sequence[float]:
        """[counts] of the load cell's amplifier with a mass hung on in the closing direction."""
        cell = self._noise.load_cell
        force = newtons(grams) + cell.force * self._rng.standard_normal(_READINGS)
        return [float(round(load_cell.SCALE.reading(f))) for f in force]
