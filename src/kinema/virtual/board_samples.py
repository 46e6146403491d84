"""Samples for calibration as the virtual cell's cameras, arm and tracker would give them, with the truth known.

Corners are projected through the cameras' own lenses and moved by the noise table's corner noise, or, by another `Eye`,
found in rendered pictures; arm poses come from joints that are read with noise; the tracker drifts and jumps as the
virtual T265 does.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT, Board, Corners
from kinema.calibration.files import CameraInfo
from kinema.calibration.hand_eye import ArmSample
from kinema.calibration.tool_mount import TrackerSample
from kinema.dh import nominal
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, distance, interpolate, pose_error, so3_exp
from kinema.interfaces import TrackedPose
from kinema.robots import GRIPPER, ArmModel, arm
from kinema.virtual import noise
from kinema.virtual.board_view import T_TCP_BOARD, BoardView, board_on_the_table
from kinema.virtual.cameras import VirtualCamera, camera
from kinema.virtual.handheld import TRACKER_RATE, TrackerSignal
from kinema.virtual.noise import NoiseTable

SIZE = (640, 480)
BOARD = DEFAULT

Eye = Callable[[VirtualCamera, Pose, np.random.Generator], Corners | None]  # T_camera_board -> what is seen of a board

_FEWEST = 20  # corners that a view must show to count
_REST = 0.5  # [s] that the tracker is listened to at rest
_WALK = 0.5  # [m/s] of a hand between two places


@dataclass(frozen=True, slots=True)
class Spread:
    """How differently samples are taken: distances [m] of the board from the camera, tilt and roll [rad] at most,
    offset [-] of the board's middle from the axis at most, as a tangent."""

    near: float = 0.28
    far: float = 0.55
    tilt: float = math.radians(35)
    roll: float = math.radians(60)
    offset: float = 0.25


_BY_HAND = Spread(near=0.25, far=0.45, tilt=math.radians(45), roll=math.radians(90), offset=0.25)
_HELD = Spread(near=0.6, far=0.95, tilt=math.radians(40), roll=math.radians(40), offset=0.25)
_SHARED = Spread(near=0.55, far=1.0, tilt=math.radians(45), roll=math.radians(45), offset=0.3)


def look(
    board: Board, info: CameraInfo, T_camera_board: Pose, rng: np.random.Generator, table: NoiseTable, max_angle: float
) -> Corners | None:
    """What a camera sees of a board, as a detector would find it; None where that is too little."""
    points = T_camera_board.apply(board.points)
    angle = np.arctan2(np.hypot(points[:, 0], points[:, 1]), points[:, 2])
    ahead = np.flatnonzero(angle < max_angle)
    if len(ahead) < _FEWEST or T_camera_board.rotation[:, 2] @ points[0] <= 0.0:
        return None
    pixels = info.project(points[ahead]) + table.camera.corner * rng.standard_normal((len(ahead), 2))
    inside = ((pixels > 2.0) & (pixels < np.array(info.size) - 3.0)).all(axis=1)
    if inside.sum() < _FEWEST:
        return None
    return Corners(ahead[inside], pixels[inside], info.size)


def projected(board: Board) -> Eye:
    """Sees what a detector would find, without a picture."""
    table = noise.load()
    return lambda row, T_camera_board, rng: look(board, row.info(SIZE), T_camera_board, rng, table, row.max_angle)


def rendered(board: Board) -> Eye:
    """Sees what is found in a rendered picture, half a second each."""
    boards: dict[str, BoardView] = {}
    foreseen = projected(board)

    def see(row: VirtualCamera, T_camera_board: Pose, rng: np.random.Generator) -> Corners | None:
        if foreseen(row, T_camera_board, rng) is None:
            return None  # nobody takes a picture of that
        picture = boards.setdefault(row.name, BoardView(board, row.info(SIZE))).render(T_camera_board, rng)
        try:
            return detect(picture, board)
        except CalibrationError:
            return None

    return see


def views(board: Board, spread: Spread, rng: np.random.Generator) -> Iterator[Pose]:
    """`T_camera_board` without end: the board's middle near the axis, tilted about any axis in its plane, rolled."""
    middle = np.array([*board.size, 0.0]) / 2
    while True:
        about, tilt, roll = rng.uniform(0.0, 2 * math.pi), rng.uniform(0.0, spread.tilt), rng.uniform(-1.0, 1.0)
        tilted = so3_exp(tilt * np.array([math.cos(about), math.sin(about), 0.0]))
        rotation = tilted @ so3_exp(np.array([0.0, 0.0, roll * spread.roll]))
        off = spread.offset * rng.uniform(-1.0, 1.0, 2)
        position = rng.uniform(spread.near, spread.far) * np.array([*off, 1.0])
        yield Pose(position - rotation @ middle, rotation)


def tool(model: ArmModel, q: Array) -> tuple[Pose, Array]:
    """`T_base_tcp` at q [rad], and the TCP's Jacobian (6, n) in base axes, linear rows first."""
    T_foot_tcp, jacobian = nominal(model).jacobian(q, GRIPPER.T_flange_tcp)
    foot = Pose.from_rotvec(np.zeros(3), [0.0, 0.0, model.base_yaw])
    return foot @ T_foot_tcp, np.concatenate([foot.rotation @ jacobian[:3], foot.rotation @ jacobian[3:]])


def joints(model: ArmModel, T_base_tcp: Pose) -> Array | None:
    """Joint positions [rad] that reach a pose, by Gauss-Newton from the arm's home; None where it doesn't."""
    q = np.array(model.home)
    for _ in range(60):
        there, jacobian = tool(model, q)
        error = pose_error(there, T_base_tcp)
        if np.abs(error).max() < 1e-9:
            return q
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-6 * np.eye(6), error)
        q = q + step * min(1.0, 0.3 / max(float(np.abs(step).max()), 1e-9))
    return None


def arm_samples(
    name: str,
    count: int,
    seed: int,
    *,
    joint_noise: float,
    spread: Spread | None = None,
    board: Board = BOARD,
    T_base_board: Pose | None = None,
    eye: Eye | None = None,
) -> list[ArmSample]:
    """Of a camera of the cell and a UR5e whose joints are read with noise [rad]; the board lies on the table before it,
    or, for a camera on the base, is held in the jaws (`T_TCP_BOARD`)."""
    rng, row, model, see = np.random.default_rng(seed), camera(name), arm("ur5e"), eye or projected(board)
    on_tool = row.mount == "tcp"
    board_on_table = T_base_board or board_on_the_table(board)
    samples = []
    for T_camera_board in views(board, spread or (Spread() if on_tool else _HELD), rng):
        if on_tool:
            wanted = board_on_table @ T_camera_board.inverse() @ row.T_mount_camera.inverse()
        else:
            wanted = row.T_mount_camera @ T_camera_board @ T_TCP_BOARD.inverse()
        q = joints(model, wanted)
        corners = see(row, T_camera_board, rng)
        if q is None or corners is None:
            continue
        samples.append(ArmSample(tool(model, q + joint_noise * rng.standard_normal(len(q)))[0], corners))
        if len(samples) == count:
            return samples
    raise AssertionError("views never end")


def pair_samples(
    first: str,
    second: str,
    count: int,
    seed: int,
    *,
    spread: Spread | None = None,
    board: Board = BOARD,
    T_first_second: Pose | None = None,
    eye: Eye | None = None,
) -> list[tuple[Corners, Corners]]:
    """Of two cameras at the same moment, on the base unless `T_first_second` says more: the board is held where both
    see it."""
    rng, see = np.random.default_rng(seed), eye or projected(board)
    rows = camera(first), camera(second)
    apart = T_first_second or rows[0].T_mount_camera.inverse() @ rows[1].T_mount_camera
    samples = []
    for T_camera_board in views(board, spread or _SHARED, rng):
        both = [
            see(row, T, rng) for row, T in zip(rows, (T_camera_board, apart.inverse() @ T_camera_board), strict=True)
        ]
        if both[0] is not None and both[1] is not None:
            samples.append((both[0], both[1]))
        if len(samples) == count:
            return samples
    raise AssertionError("views never end")


def tracker_samples(
    count: int, seed: int, *, spread: Spread | None = None, board: Board = BOARD, eye: Eye | None = None
) -> list[TrackerSample]:
    """Of the handheld gripper, held still at places about a board and carried each time to the nearest that is left."""
    rng, table, row = np.random.default_rng(seed), noise.load(), camera("gripper")
    T_board_base, see = board_on_the_table(board).inverse(), eye or projected(board)
    places: list[tuple[Pose, Corners]] = []
    for T_camera_board in views(board, spread or _BY_HAND, rng):
        corners = see(row, T_camera_board, rng)
        if corners is not None:
            places.append(((row.T_mount_camera @ T_camera_board @ T_board_base).inverse(), corners))
        if len(places) == count:
            break
    signal, t_ns, last = TrackerSignal(table.tracker, seed), 0, places[0][0]
    samples = []
    while places:
        place, corners = places.pop(int(np.argmin([distance(last, place)[0] for place, _ in places])))
        way, stream = _carried(last, place), list[TrackedPose]()
        while not _calm(stream):  # a person waits until the tracker is confident
            for T_base_tcp in [*way, *[place] * round(_REST * TRACKER_RATE)]:
                t_ns += round(1e9 / TRACKER_RATE)
                stream.append(signal.sample(t_ns, T_base_tcp))
            way, stream = [], stream[-round(_REST * TRACKER_RATE) :]
        samples.append(TrackerSample(tuple(stream), corners))
        last = place
    return samples


def _carried(begin: Pose, end: Pose) -> list[Pose]:
    steps = max(round(distance(begin, end)[0] / _WALK * TRACKER_RATE), 1)
    return [interpolate(begin, end, k / steps) for k in range(1, steps)]


def _calm(stream: Sequence[TrackedPose]) -> bool:
    return bool(stream) and all(tracked.confidence == 3 and not tracked.jumped for tracked in stream)
