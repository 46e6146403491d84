"""What calibration files hold, and how they are read and saved.

Cameras are ROS `camera_info` YAML (sensor_msgs/CameraInfo; camera_calibration_parsers) with one key more,
`provenance`, that ROS readers pass over. Every other result is one small YAML file. A file that does not fit its
schema, its device, its age or its quality raises CalibrationError and names the remedy (FAULTS F22, F23); saving never
leaves a half-written file and keeps the one before (F24). Who saves at the same moment as another waits for it.
"""

import contextlib
import datetime
import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar

import cv2
import numpy as np
import pydantic
from numpy.typing import ArrayLike

from kinema import __version__, yaml_file
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose

MAX_AGE = datetime.timedelta(days=180)  # a mount that is knocked, a lens that is refocused: calibrate twice a year
PREVIOUS = "previous"  # folder of the files that were replaced, beside those in force
CLOCK_TOLERANCE = datetime.timedelta(days=1)

Model = Literal["plumb_bob", "rational_polynomial", "equidistant"]

COEFFICIENTS: dict[Model, int] = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
_UNIT_TOLERANCE = 1e-6
_DECIMALS = 12  # below any meaning, above the differences between two machines' libm


class Provenance(pydantic.BaseModel):
    """Where a calibration comes from.

    serial    of the device that it belongs to
    date      when it was made
    origin    'simulator truth' never ages and has no error; 'measured' has both
    samples   how many were used; rms their residual, in the unit that the file's kind says
    covariance row by row, of the parameters in the order of the file, or None
    """

    model_config = yaml_file.STRICT

    serial: str = pydantic.Field(min_length=1)
    date: datetime.date
    origin: Literal["simulator truth", "measured"]
    software_version: str
    samples: int = pydantic.Field(default=0, ge=0)
    rms: float = pydantic.Field(default=0.0, ge=0.0)
    board: str | None = None
    covariance: tuple[float, ...] | None = None


class _File(pydantic.BaseModel):
    """`max_rms` is the worst residual that may be used, in `rms_unit`."""

    model_config = yaml_file.STRICT

    max_rms: ClassVar[float]
    rms_unit: ClassVar[str]

    provenance: Provenance

    def unusable(self) -> str | None:
        """Why the numbers may not be used, or None."""
        if self.provenance.rms > self.max_rms:
            return f"provenance.rms is {self.provenance.rms:g}, allowed is at most {self.max_rms:g} {self.rms_unit}"
        return None


class Matrix(pydantic.BaseModel):
    """A matrix as ROS writes it: `data` row by row."""

    model_config = yaml_file.STRICT

    rows: int = pydantic.Field(ge=1, le=16)
    cols: int = pydantic.Field(ge=1, le=16)
    data: tuple[float, ...]

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        if len(self.data) != self.rows * self.cols:
            raise ValueError(f"data has {len(self.data)} numbers, rows x cols are {self.rows * self.cols}")
        return self

    @staticmethod
    def of(values: ArrayLike) -> "Matrix":
        m = np.atleast_2d(np.asarray(values, float)).round(_DECIMALS)
        return Matrix(rows=m.shape[0], cols=m.shape[1], data=tuple(m.ravel().tolist()))

    @property
    def array(self) -> Array:
        return np.array(self.data).reshape(self.rows, self.cols)


class CameraInfo(_File):
    """One camera's intrinsics in the layout of ROS camera_info; `rms` is the reprojection error [px].

    The centre of a pixel has whole coordinates. `plumb_bob` is Brown's model with k1 k2 p1 p2 k3,
    `rational_polynomial` the same with k4 k5 k6 below the line, `equidistant` the fisheye model of Kannala and Brandt
    (2006) with k1..k4.
    """

    max_rms: ClassVar[float] = 0.5
    rms_unit: ClassVar[str] = "px"

    image_width: int = pydantic.Field(ge=1, le=16384)
    image_height: int = pydantic.Field(ge=1, le=16384)
    camera_name: str = pydantic.Field(min_length=1)
    camera_matrix: Matrix
    distortion_model: Model
    distortion_coefficients: Matrix
    rectification_matrix: Matrix
    projection_matrix: Matrix

    @pydantic.model_validator(mode="after")
    def _well_formed(self) -> Self:
        count = COEFFICIENTS[self.distortion_model]
        shapes = {
            "camera_matrix": (3, 3),
            "distortion_coefficients": (1, count),
            "rectification_matrix": (3, 3),
            "projection_matrix": (3, 4),
        }
        for name, shape in shapes.items():
            matrix: Matrix = getattr(self, name)
            if (matrix.rows, matrix.cols) != shape:
                raise ValueError(f"{name} is {matrix.rows} x {matrix.cols}, {self.distortion_model} has {shape}")
        if not np.array_equal(self.matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0.0, 0.0, 0.0, 0.0, 1.0]):
            raise ValueError("camera_matrix must read fx 0 cx / 0 fy cy / 0 0 1")
        return self

    @staticmethod
    def of(
        name: str,
        size: tuple[int, int],
        matrix: Array,
        model: Model,
        distortion: ArrayLike,
        provenance: Provenance,
    ) -> "CameraInfo":
        """A camera that is neither rectified nor part of a stereo pair."""
        return CameraInfo(
            image_width=size[0],
            image_height=size[1],
            camera_name=name,
            camera_matrix=Matrix.of(matrix),
            distortion_model=model,
            distortion_coefficients=Matrix.of(distortion),
            rectification_matrix=Matrix.of(np.eye(3)),
            projection_matrix=Matrix.of(np.hstack([matrix, np.zeros((3, 1))])),
            provenance=provenance,
        )

    @staticmethod
    def uncalibrated(name: str, size: tuple[int, int], serial: str) -> "CameraInfo":
        """What a camera says of itself before anybody has calibrated it: no focal length, K[0] = 0."""
        matrix = np.diag([0.0, 0.0, 1.0])
        provenance = Provenance(
            serial=serial, date=_today(), origin="measured", software_version=__version__, samples=0
        )
        return CameraInfo.of(name, size, matrix, "plumb_bob", np.zeros(5), provenance)

    @property
    def size(self) -> tuple[int, int]:
        """Width, height [px]."""
        return self.image_width, self.image_height

    @property
    def frame_id(self) -> str:
        return f"{self.camera_name}_optical_frame"

    @property
    def matrix(self) -> Array:
        """The camera matrix (3, 3) [px]."""
        return self.camera_matrix.array

    @property
    def distortion(self) -> Array:
        return self.distortion_coefficients.array.ravel()

    def unusable(self) -> str | None:
        if self.matrix[0, 0] <= 0.0 or self.matrix[1, 1] <= 0.0:
            return "camera_matrix has no focal length: the camera is uncalibrated (K[0] = 0)"
        return super().unusable()

    def scaled(self, size: tuple[int, int]) -> "CameraInfo":
        """The same lens for images of another size [px] of the same aspect ratio."""
        if size[0] * self.image_height != size[1] * self.image_width:
            raise CalibrationError(
                f"camera {self.camera_name!r} is calibrated for {self.image_width} x {self.image_height} px; "
                f"{size[0]} x {size[1]} px has another aspect ratio"
            )
        scale = size[0] / self.image_width
        matrix = self.matrix * scale
        matrix[:2, 2] += (scale - 1) / 2  # whole coordinates are pixel centres
        matrix[2, 2] = 1.0
        return CameraInfo.of(self.camera_name, size, matrix, self.distortion_model, self.distortion, self.provenance)

    def project(self, points: ArrayLike) -> Array:
        """Points (..., 3) [m] in the optical frame, in front of the camera, to pixels (..., 2)."""
        p = np.asarray(points, float)
        flat = np.ascontiguousarray(p.reshape(-1, 1, 3))
        zero = np.zeros(3)
        if self.distortion_model != "equidistant":
            pixels, _ = cv2.projectPoints(flat, zero, zero, self.matrix, self.distortion)
        else:
            pixels, _ = cv2.fisheye.projectPoints(flat, zero, zero, self.matrix, self.distortion)
        return np.asarray(pixels, float).reshape(*p.shape[:-1], 2)

    def rays(self, pixels: ArrayLike) -> Array:
        """Pixels (..., 2) to points (..., 3) of the optical frame at z = 1."""
        p = np.asarray(pixels, float)
        flat = np.ascontiguousarray(p.reshape(-1, 1, 2))
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)
        if self.distortion_model != "equidistant":
            xy = cv2.undistortPointsIter(flat, self.matrix, self.distortion, np.eye(3), np.eye(3), criteria)
        else:
            xy = cv2.fisheye.undistortPoints(flat, self.matrix, self.distortion, criteria=criteria)
        xy = np.asarray(xy, float).reshape(*p.shape[:-1], 2)
        return np.concatenate([xy, np.ones((*p.shape[:-1], 1))], axis=-1)


class Transform(_File):
    """`T_parent_child`: `position` [m] and `quaternion` x, y, z, w; `rms` is the residual of the position [m].

    Covariance: 6 x 6, position [m] then rotation vector [rad], in the parent's axes.
    """

    max_rms: ClassVar[float] = 0.005
    rms_unit: ClassVar[str] = "m"

    parent: str = pydantic.Field(min_length=1)
    child: str = pydantic.Field(min_length=1)
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    @pydantic.field_validator("quaternion")
    @classmethod
    def _unit(cls, quaternion: tuple[float, ...]) -> tuple[float, ...]:
        length = math.hypot(*quaternion)
        if abs(length - 1.0) > _UNIT_TOLERANCE:
            raise ValueError(f"has length {length:.6g}, allowed is 1")
        return quaternion

    @staticmethod
    def of(parent: str, child: str, T_parent_child: Pose, provenance: Provenance) -> "Transform":
        x, y, z = T_parent_child.position.round(_DECIMALS).tolist()
        qx, qy, qz, qw = T_parent_child.quaternion.round(_DECIMALS).tolist()
        return Transform(
            parent=parent, child=child, position=(x, y, z), quaternion=(qx, qy, qz, qw), provenance=provenance
        )

    @property
    def pose(self) -> Pose:
        return Pose.from_quaternion(self.position, self.quaternion)


def tag_corners(size: float) -> Array:
    """(4, 3) [m] of a square tag in its own frame, clockwise from the top left, as cv2.aruco has them."""
    half = size / 2
    return np.array([[-half, half, 0.0], [half, half, 0.0], [half, -half, 0.0], [-half, -half, 0.0]])


class JawTag(pydantic.BaseModel):
    """One finger's ArUco tag: `T_tcp_tag` with the jaws closed (tag frame: x right, y up, z out of the tag).

    `direction` is +1 where the finger moves along the TCP's +x when the jaws open, else -1; `size` [m] is the edge of
    the black square.
    """

    model_config = yaml_file.STRICT

    id: int = pydantic.Field(ge=0)
    size: float = pydantic.Field(gt=0.0)
    direction: Literal[-1, 1]
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    @staticmethod
    def of(number: int, size: float, direction: Literal[-1, 1], T_tcp_tag: Pose) -> "JawTag":
        """From its pose with the jaws closed."""
        x, y, z = T_tcp_tag.position.round(_DECIMALS).tolist()
        qx, qy, qz, qw = T_tcp_tag.quaternion.round(_DECIMALS).tolist()
        return JawTag(id=number, size=size, direction=direction, position=(x, y, z), quaternion=(qx, qy, qz, qw))

    @property
    def corners(self) -> Array:
        """(4, 3) [m] in the tag's frame."""
        return tag_corners(self.size)

    def T_tcp_tag(self, width: float) -> Pose:
        """Where the tag is at a jaw opening [m]: each finger moves by half of it."""
        x, y, z = self.position
        return Pose.from_quaternion((x + self.direction * width / 2, y, z), self.quaternion)


class Jaw(_File):
    """How tags and jaw opening belong together; `rms` is the residual of the opening [m]."""

    max_rms: ClassVar[float] = 0.001
    rms_unit: ClassVar[str] = "m"

    dictionary: str = pydantic.Field(pattern=r"^DICT_[0-9A-Z_]+$")
    stroke: float = pydantic.Field(gt=0.0, le=0.3)
    left: JawTag
    right: JawTag


class MapTag(pydantic.BaseModel):
    """A tag of a map: `T_world_tag` (x right, y up, z out of the tag); `size` [m] is the edge of the black square."""

    model_config = yaml_file.STRICT

    id: int = pydantic.Field(ge=0)
    size: float = pydantic.Field(gt=0.0, le=1.0)
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]

    @property
    def corners(self) -> Array:
        """(4, 3) [m] in the world."""
        return Pose.from_quaternion(self.position, self.quaternion).apply(tag_corners(self.size))


class TagMap(_File):
    """Where tags of one dictionary, ArUco's or AprilTag's, stand in the world; `rms` is the residual of a corner [m].

    `provenance.serial` names the board or the scene.
    """

    max_rms: ClassVar[float] = 0.002
    rms_unit: ClassVar[str] = "m"

    dictionary: str = pydantic.Field(pattern=r"^DICT_[0-9A-Za-z_]+$")
    tags: tuple[MapTag, ...] = pydantic.Field(min_length=1)

    @pydantic.field_validator("tags")
    @classmethod
    def _different(cls, tags: tuple[MapTag, ...]) -> tuple[MapTag, ...]:
        numbers = [tag.id for tag in tags]
        if len(set(numbers)) < len(numbers):
            raise ValueError("an id stands twice: nobody could tell one tag from the other")
        return tags


class LoadPoint(pydantic.BaseModel):
    """A known load: `force` [N], closing positive, and the amplifier's mean `reading` in the unit of its file."""

    model_config = yaml_file.STRICT

    force: float
    reading: float


class ForceScale(_File):
    """What a load cell's amplifier reads, as force: `force = newtons * (reading - zero)`; `rms` is the residual [N].

    unit      of a reading: `count` of a converter, or `V/V` (bridge output to excitation)
    newtons   per unit; its sign makes closing positive
    capacity  [N] that the cell is rated for: beyond, either way, it counts as saturated
    points    what the line was fitted to, in the order in which the loads were put on
    """

    max_rms: ClassVar[float] = 0.2
    rms_unit: ClassVar[str] = "N"

    unit: Literal["count", "V/V"]
    newtons: float
    zero: float
    capacity: float = pydantic.Field(gt=0.0, le=2000.0)
    points: tuple[LoadPoint, ...] = ()

    @pydantic.field_validator("newtons")
    @classmethod
    def _not_zero(cls, newtons: float) -> float:
        if newtons == 0.0:
            raise ValueError("is 0: the cell would feel nothing")
        return newtons

    def force(self, reading: float) -> float:
        """[N], not tared."""
        return self.newtons * (reading - self.zero)

    def reading(self, force: float) -> float:
        """What the amplifier reads at a force [N], not tared."""
        return self.zero + force / self.newtons


class Payload(_File):
    """What an arm carries; `rms` is the residual of the force [N]. `provenance.serial` is the arm's.

    mass         [kg]; centre (3,) [m] of mass in the flange's frame
    force_bias   (3,) [N], torque_bias (3,) [N m] at the TCP, in its axes: what the sensor reads of nothing
    Covariance: 10 x 10, in this order.
    """

    max_rms: ClassVar[float] = 1.0
    rms_unit: ClassVar[str] = "N"

    mass: float = pydantic.Field(gt=0.0, le=50.0)
    centre: tuple[float, float, float]
    force_bias: tuple[float, float, float]
    torque_bias: tuple[float, float, float]


class Latency(pydantic.BaseModel):
    """Of one device: `seconds` from the moment of acquisition to its stamp, or from command to motion.

    `date` is when this row was measured; None: when the file was.
    """

    model_config = yaml_file.STRICT

    serial: str = pydantic.Field(min_length=1)
    seconds: float = pydantic.Field(ge=0.0, le=1.0)
    std: float = pydantic.Field(default=0.0, ge=0.0)
    date: datetime.date | None = None


class Latencies(_File):
    """Latencies by device; `rms` is the worst residual [s]. `provenance.serial` names the cell."""

    max_rms: ClassVar[float] = 0.005
    rms_unit: ClassVar[str] = "s"

    devices: dict[str, Latency]


File = TypeVar("File", bound=_File)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def load(
    path: Path,
    kind: type[File],
    *,
    serial: str | None = None,
    remedy: str,
    today: datetime.date | None = None,
    override: bool = False,
) -> File:
    """A calibration that may be used now by the device with that serial number; with `override`, old or bad ones too.

    Raises CalibrationError naming the file, the key, what is allowed and the `remedy`; nothing else, whatever the file
    holds.
    """
    value = yaml_file.read(path, kind, CalibrationError, remedy)
    provenance = value.provenance
    if serial is not None and provenance.serial != serial:
        raise CalibrationError(
            f"{path}: provenance.serial is {provenance.serial!r}, the device's is {serial!r}; {remedy}"
        )
    if override:
        return value
    day = today or _today()
    if provenance.date > day + CLOCK_TOLERANCE and provenance.origin == "measured":
        raise CalibrationError(f"{path}: provenance.date {provenance.date} lies in the future; {remedy}")
    if day - provenance.date > MAX_AGE and provenance.origin == "measured":
        raise CalibrationError(
            f"{path}: provenance.date {provenance.date} is too old, allowed are {MAX_AGE.days} days; {remedy}"
        )
    reason = value.unusable()
    if reason:
        raise CalibrationError(f"{path}: {reason}; {remedy}")
    return value


def previous(path: Path) -> dict[int, Path]:
    """The files that `save` has replaced, by growing numbers: the newest is the last."""
    found = {}
    for kept in (path.parent / PREVIOUS).glob(f"{path.stem}.*{path.suffix}"):
        number = kept.name[len(path.stem) + 1 : -len(path.suffix)]
        if number.isdecimal() and not (path.exists() and kept.samefile(path)):
            found[int(number)] = kept
    return dict(sorted(found.items()))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One saver at a time in a folder; those of other threads and processes wait."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _keep(path: Path) -> None:
    """Give the file a second name among the previous ones; cut short after that, it is the file in force as well."""
    folder = path.parent / PREVIOUS
    folder.mkdir(exist_ok=True)
    if any(kept.samefile(path) for kept in folder.glob(f"{path.stem}.*{path.suffix}")):
        return
    number = max(previous(path), default=0) + 1
    os.link(path, folder / f"{path.stem}.{number}{path.suffix}")
    yaml_file.sync_folder(folder)


def set_aside(path: Path) -> None:
    """Take a file out of force: it stays as `previous(path)`'s newest."""
    with _alone(path.parent):
        _keep(path)
        path.unlink()
        yaml_file.sync_folder(path.parent)


def save(path: Path, value: _File) -> None:
    """Replace a calibration file: whenever this is cut short, `path` holds the old file or the new one, whole (F24).

    The file that is replaced stays as `previous(path)`'s newest.
    """
    save_all(path.parent, {path.name: value})


def save_all(folder: Path, files: Mapping[str, _File]) -> None:
    """`save` each under its name, one after the other; nobody else's come between them."""
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for name, value in files.items():
            if (folder / name).exists():
                _keep(folder / name)
            yaml_file.write(folder / name, value)
