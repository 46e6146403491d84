"""One table: what a session calibrates, and the solver and the files that it is done with. Pure but for the files.

A solver that builds upon other calibrations (a mount upon the camera's lens) reads them from the cell's folder, through
the same checks as everybody: what is missing, foreign or old is refused with the session that makes it.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from kinema.calibration import hand_eye, intrinsics, latency, payload, stereo, tool_mount, verification
from kinema.calibration.boards import Board, Corners
from kinema.calibration.bundle import ALL, FRAMES, GRIPPER_CAMERA, LATENCY, PAYLOAD, SIDE_CAMERAS, STEREO
from kinema.calibration.display_clock import Clock
from kinema.calibration.estimate import Estimate
from kinema.calibration.files import CameraInfo, File, Latencies, Transform, load
from kinema.calibration.hand_eye import ArmSample, Mount
from kinema.calibration.latency import LagResult
from kinema.calibration.outline import Sight
from kinema.calibration.payload import WrenchSample
from kinema.calibration.session import Session, Solution
from kinema.calibration.tool_mount import TrackerSample, Visits
from kinema.cell_file import Cell
from kinema.clock import NS
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.robots import GripperModel
from kinema.topics import CAMERAS

_AGREE = 0.002  # [s] that the records of one latency may differ by

_CLOSE = 0.003  # [m] RMS by which touched corners may be missed: a person's hand, the joints and the tips' shape

_ACTUATED = ("arm", "jaw")  # theirs is from command to motion; a sensor's is taken off its stamps already

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Setting:
    """The cell that is calibrated.

    name     of the cell; folder of its calibration files
    serials  by device: the cameras by name, arm, jaw, tracker, load_cell
    gripper  what the arm carries, as its controller was told
    today    the date of what is made
    """

    name: str
    folder: Path
    serials: Mapping[str, str]
    gripper: GripperModel
    today: datetime.date

    def serial(self, device: str) -> str:
        """Raises CalibrationError for a device that the cell does not have."""
        found = self.serials.get(device)
        if found is None:
            raise CalibrationError(f"cell {self.name!r} has no {device}; it has {', '.join(self.serials)}")
        return found

    def owner(self, file: str) -> str:
        """The serial number that stands in a file, or both of them."""
        return " ".join(self.serial(device) for device in ALL[file].device.split())

    def load(self, file: str, schema: type[File]) -> File:
        """A calibration that is there already."""
        return load(self.folder / file, schema, serial=self.owner(file), remedy=ALL[file].remedy, today=self.today)

    def camera(self, name: str) -> CameraInfo:
        return self.load(f"{name}.yaml", CameraInfo)


def setting(cell: Cell, today: datetime.date) -> Setting:
    """A cell as it is described today."""
    devices = cell.devices
    found = {name: getattr(devices.cameras, name) for name in CAMERAS}
    found |= {"jaw": devices.gripper, "load_cell": devices.load_cell, "arm": devices.arm, "tracker": devices.tracker}
    return Setting(
        name=cell.name,
        folder=cell.calibration_folder,
        serials={name: device.serial for name, device in found.items() if device is not None},
        gripper=devices.gripper.model,
        today=today,
    )


def _all(values: list[_T | None], what: str) -> list[_T]:
    """Session.capture has seen to it."""
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        raise CalibrationError(f"a sample lacks {what}")
    return found


def _seen(session: Session, camera: str) -> list[Corners]:
    return [sample.corners[camera] for sample in session.samples]


def _arm(session: Session) -> list[Pose]:
    return _all([sample.T_base_tcp for sample in session.samples], "T_base_tcp")


def _board(session: Session) -> Board:
    return _all([session.board], "a board")[0]


def _lens(session: Session, setting: Setting) -> Solution:
    (camera,) = session.devices
    models = intrinsics.FISHEYE if session.what == "fisheye" else intrinsics.PINHOLE
    found = intrinsics.calibrate(_seen(session, camera), _board(session), models)
    info = found.camera_info(camera, setting.serial(camera), setting.today)
    return Solution({f"{camera}.yaml": info}, found.outliers, found.report())


def _names(file: str, setting: Setting) -> tuple[str, str, str]:
    """Parent, child and serial number of a transform's file."""
    return (*FRAMES[file], setting.owner(file))


def _estimated(file: str, found: Estimate, session: Session, setting: Setting) -> Solution:
    transform = found.transform(*_names(file, setting), setting.today, _board(session).name)
    return Solution({file: transform}, found.outliers, found.report())


def _visited(file: str, found: Visits, setting: Setting) -> Solution:
    transform = found.transform(*_names(file, setting), setting.today)
    return Solution({file: transform}, (), found.report())


def _mount(session: Session, setting: Setting) -> Solution:
    """hand_eye and eye_on_base."""
    (camera,) = session.devices
    mount: Mount = "tcp" if session.what == "hand_eye" else "base_link"
    file = f"T_tcp_{camera}.yaml" if session.what == "hand_eye" else f"T_base_{camera}.yaml"
    samples = [ArmSample(*pair) for pair in zip(_arm(session), _seen(session, camera), strict=True)]
    found = hand_eye.calibrate(samples, setting.camera(camera), _board(session), mount)
    return _estimated(file, found.camera, session, setting)


def _stereo(session: Session, setting: Setting) -> Solution:
    """From the left camera to the right one, in whichever order they were named."""
    first, second = SIDE_CAMERAS
    pairs = list(zip(_seen(session, first), _seen(session, second), strict=True))
    infos = setting.camera(first), setting.camera(second)
    found = stereo.calibrate(pairs, *infos, _board(session), apart=session.apart, second_is_right=True)
    return _estimated(STEREO.file, found, session, setting)


def _tool_mount(session: Session, setting: Setting) -> Solution:
    tracked = [sample.tracked for sample in session.samples]
    samples = [TrackerSample(*pair) for pair in zip(tracked, _seen(session, GRIPPER_CAMERA), strict=True)]
    mount = setting.load("T_tcp_gripper.yaml", Transform)
    found = tool_mount.tool_mount(samples, setting.camera(GRIPPER_CAMERA), _board(session), mount)
    solution = _estimated("T_tracker_tcp.yaml", found.tcp, session, setting)
    if not found.jumps:
        return solution
    jumps = ", ".join(map(str, found.jumps))
    return replace(solution, report=f"{solution.report}\nthe tracker's world jumped before samples {jumps}")


def _tracker_world(session: Session, setting: Setting) -> Solution:
    T_base_dock = setting.load("T_base_dock.yaml", Transform).pose
    T_tracker_tcp = setting.load("T_tracker_tcp.yaml", Transform).pose
    found = tool_mount.tracker_world([sample.tracked for sample in session.samples], T_base_dock, T_tracker_tcp)
    return _visited("T_base_world.yaml", found, setting)


def _dock(session: Session, setting: Setting) -> Solution:
    return _visited("T_base_dock.yaml", tool_mount.dock(_arm(session)), setting)


def _payload(session: Session, setting: Setting) -> Solution:
    wrenches = _all([sample.wrench for sample in session.samples], "a wrench")
    samples = [WrenchSample(*pair) for pair in zip(_arm(session), wrenches, strict=True)]
    tool = setting.gripper
    carried = tool.mass, (0.0, 0.0, tool.com)
    found = payload.calibrate(samples, tool.T_flange_tcp, setting.serial("arm"), setting.today, carried)
    return Solution({PAYLOAD.file: found.payload}, found.fit.outliers, found.report())


def _by_motion(session: Session) -> list[LagResult]:
    return [latency.lag(*motions) for motions in _all([sample.motions for sample in session.samples], "motion")]


def _by_clock(session: Session, clock: Clock) -> list[LagResult]:
    records = [np.array(sample.readings, np.int64) for sample in session.samples]
    both = [(record - record[0, 0]) / NS for record in records]
    return [latency.displayed_clock(t[:, 0], t[:, 1], 1.0 / clock.rate, clock.delay) for t in both]


def _latency(session: Session, setting: Setting) -> Solution:
    """Of one device; the others' rows stay. Each sample is a record of motion, or of the displayed clock."""
    (device,) = session.devices
    lags = _by_clock(session, session.clock) if session.clock else _by_motion(session)
    values = [lag.seconds for lag in lags]
    spread = max(values) - min(values)
    if spread > _AGREE:
        raise CalibrationError(
            f"the samples say {', '.join(f'{1e3 * value:.1f}' for value in values)} ms, which differ by more than "
            f"{1e3 * _AGREE:.0f} ms: undo the bad one"
        )
    found = replace(
        lags[0],
        seconds=sum(values) / len(values),
        std=max(spread, *(lag.std for lag in lags)),
        samples=sum(lag.samples for lag in lags),
    )
    path, old = setting.folder / LATENCY.file, None
    if path.exists():
        old = load(path, Latencies, remedy=LATENCY.remedy, today=setting.today)
        if device in _ACTUATED:
            old = old.model_copy(update={"devices": {name: row for name, row in old.devices.items() if name != device}})
    file = latency.updated(old, device, setting.serial(device), found, setting.today, setting.name)
    lines = [f"{device}: {1e3 * file.devices[device].seconds:.1f} ms in all"]
    lines += [f"sample {k}: {lag.report()}" for k, lag in enumerate(lags, 1)]
    return Solution({LATENCY.file: file}, (), "\n".join(lines))


def sight(setting: Setting, camera: str) -> Sight:
    """What the files in force say of a camera."""
    moves = camera == GRIPPER_CAMERA
    mount = setting.load(f"T_tcp_{camera}.yaml" if moves else f"T_base_{camera}.yaml", Transform)
    return Sight(setting.camera(camera), mount.pose, moves)


def _verify(session: Session, setting: Setting) -> Solution:
    """Of one sample a picture of the board, of the others corners that the fingers' tips were on."""
    (camera,), board, gripper = session.devices, _board(session), setting.gripper
    first = next(sample for sample in session.samples if sample.corners)
    T_base_tcp = _all([first.T_base_tcp], "T_base_tcp")[0]
    T_tcp_tip = Pose(np.array([0.0, 0.0, gripper.tip]), np.eye(3))
    touches = {s.touched: s.T_base_tcp @ T_tcp_tip for s in session.samples if s.touched is not None and s.T_base_tcp}
    known = sight(setting, camera)
    check = verification.touched(touches, first.corners[camera], known.info, board, known.T_base_camera(T_base_tcp))
    each = ", ".join(f"{n} by {1e3 * off:.1f}" for n, off in zip(touches, check.each, strict=True))
    good = "good enough" if check.rms <= _CLOSE else "NOT GOOD ENOUGH: make the mount of the camera anew"
    return Solution(
        {}, (), f"{check.report()}; up to {1e3 * _CLOSE:.0f} mm RMS are allowed: {good}\nmissed [mm]: {each}"
    )


_SOLVERS: dict[str, Callable[[Session, Setting], Solution]] = {
    "intrinsics": _lens,
    "fisheye": _lens,
    "stereo": _stereo,
    "hand_eye": _mount,
    "eye_on_base": _mount,
    "tool_mount": _tool_mount,
    "tracker_world": _tracker_world,
    "dock": _dock,
    "payload": _payload,
    "latency": _latency,
    "verify": _verify,
}


def solve(session: Session, setting: Setting) -> Solution:
    """What comes of the session's samples; raises CalibrationError with the reason to refuse them."""
    session.may_solve()
    try:
        return _SOLVERS[session.what](session, setting)
    except (ValueError, ArithmeticError, LookupError, cv2.error) as error:  # numpy's and scipy's linear algebra, too
        raise CalibrationError(f"no solution is found ({error}); take more samples, and other ones") from error
