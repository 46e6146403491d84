"""One table: the cameras of the virtual cell and the tags that the gripper camera reads.

World, renderer and exported calibration are all made from these rows. Two RealSense D435-like cameras stand 0.66 m
apart with their axes at 45 degrees and look over the arm's shoulders at the work space; a Basler-like fisheye rides on
the gripper and sees both fingers, both tags and what lies between and beyond them ("Video Generators are Robot
Policies", figure 2 and appendix A.4).

Sources
- D435 colour: Intel RealSense D400 Series Datasheet, field of view 42.5 degrees high; 4:3 images are cut at the sides.
- Fisheye: equidistant with the small polynomial of a real lens (Kannala and Brandt 2006), 120 degrees wide.
"""

import datetime
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kinema import __version__
from kinema.calibration.files import CameraInfo, Provenance
from kinema.errors import ConfigError
from kinema.geometry import Pose

SIZES = ((256, 192), (320, 240), (640, 480))  # width, height [px]; all 4:3, so that one row serves them all
DEFAULT_SIZE = (320, 240)
TABLE_DATE = datetime.date(2026, 11, 20)  # of the last change to this table


@dataclass(frozen=True, eq=False, slots=True)
class VirtualCamera:
    """One camera.

    mount       'base_link' or 'tcp': what it is fixed to
    T_mount_camera  pose of its optical frame there (z forward, x right, y down: REP-103)
    model       distortion model, named as in ROS camera_info
    focal       [-] focal length divided by the image's width (both axes; pixels are square)
    centre      [-] principal point's offset from the image's middle, divided by its width
    distortion  coefficients of `model`: plumb_bob k1 k2 p1 p2 k3, equidistant k1..k4
    max_angle   [rad] from the optical axis to the rim of the image circle; black beyond
    rate        [Hz]; latency [s] from acquisition to the device's own stamp
    """

    name: str
    serial: str
    mount: Literal["base_link", "tcp"]
    T_mount_camera: Pose
    model: Literal["plumb_bob", "equidistant"]
    focal: float
    centre: tuple[float, float]
    distortion: tuple[float, ...]
    max_angle: float
    rate: float = 30.0
    latency: float = 0.0

    @property
    def frame_id(self) -> str:
        return f"{self.name}_optical_frame"

    def info(self, size: tuple[int, int] = DEFAULT_SIZE) -> CameraInfo:
        """The true calibration for images of `size` [px]; a pixel's centre has whole coordinates."""
        if size not in SIZES:
            raise ConfigError(f"image size {size} is not offered; allowed: {', '.join(map(str, SIZES))}")
        width, height = size
        f = self.focal * width
        cx, cy = ((n - 1) / 2 + offset * width for n, offset in zip((width, height), self.centre, strict=True))
        matrix = np.array([[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]])
        return CameraInfo.of(self.name, size, matrix, self.model, self.distortion, simulator_truth(self.serial))


@dataclass(frozen=True, slots=True)
class FingerTag:
    """An ArUco tag on a finger, its plate facing the gripper camera.

    side      -1 for the finger at the TCP's -x, +1 for the one at +x
    offset    [m] from the finger's pad surface outwards to the tag's centre, along the jaws' axis
    y, z      [m] of the tag's centre in the TCP frame
    tilt      [rad] of the tag's normal from the TCP's -z towards its -y
    size      [m] edge of the black square; plate [m] edge of the white plate around it
    """

    name: str
    id: int
    side: Literal[-1, 1]
    offset: float = 0.013
    y: float = -0.019
    z: float = -0.075
    tilt: float = math.radians(45)
    size: float = 0.016
    plate: float = 0.022

    def T_tcp_tag(self, width: float) -> Pose:
        """Pose at a jaw opening [m]; tag frame: x right, y up, z out of the tag, as OpenCV has it."""
        s, c = math.sin(self.tilt), math.cos(self.tilt)
        rotation = np.array([[1.0, 0.0, 0.0], [0.0, -c, -s], [0.0, s, -c]])
        return Pose(np.array([self.side * (width / 2 + self.offset), self.y, self.z]), rotation)


def simulator_truth(serial: str) -> Provenance:
    """Where calibration of the virtual cell comes from, and says so."""
    return Provenance(serial=serial, date=TABLE_DATE, origin="simulator truth", software_version=__version__)


def _look_at(position: ArrayLike, target: ArrayLike, down: ArrayLike) -> Pose:
    """An optical frame at `position` that looks at `target` with its y as close to `down` as can be."""
    eye = np.asarray(position, float)
    z = np.asarray(target, float) - eye
    z /= np.linalg.norm(z)
    x = np.cross(np.asarray(down, float), z)
    x /= np.linalg.norm(x)
    return Pose(eye, np.stack([x, np.cross(z, x), z], axis=1))


def _side(side: int) -> Pose:
    """`T_base_camera` of a side camera: 0.66 m apart, 45 degrees between the axes, 46 degrees above the table."""
    target = np.array([0.48, 0.0, 0.08])
    distance = 0.33 / math.sin(math.radians(22.5))
    elevation = math.radians(46)
    azimuth = math.asin(math.sin(math.radians(22.5)) / math.cos(elevation))
    back = np.array([-math.cos(elevation) * math.cos(azimuth), side * 0.33 / distance, math.sin(elevation)])
    return _look_at(target + distance * back, target, down=(0.0, 0.0, -1.0))


_D435_FOCAL = 0.75 / 2 / math.tan(math.radians(42.5 / 2))
_FISHEYE_FOCAL = 0.5 / math.radians(60.0)

_ROWS = (
    VirtualCamera(
        name="gripper",
        serial="VIRTUAL-GRIPPER",
        mount="tcp",
        T_mount_camera=_look_at((0.0, -0.075, -0.125), (0.0, -0.0344, 0.0), down=(0.0, 1.0, 0.0)),
        model="equidistant",
        focal=_FISHEYE_FOCAL,
        centre=(0.004, -0.003),
        distortion=(0.004, -0.002, 0.0, 0.0),
        max_angle=math.radians(66),
    ),
    *(
        VirtualCamera(
            name=name,
            serial=f"VIRTUAL-{name.upper()}",
            mount="base_link",
            T_mount_camera=_side(side),
            model="plumb_bob",
            focal=_D435_FOCAL,
            centre=centre,
            distortion=distortion,
            max_angle=math.radians(45),
        )
        for name, side, centre, distortion in (
            ("left", 1, (0.006, 0.004), (0.060, -0.120, 0.0006, -0.0004, 0.0)),
            ("right", -1, (-0.005, 0.003), (0.055, -0.110, -0.0004, 0.0005, 0.0)),
        )
    ),
)

CAMERAS: dict[str, VirtualCamera] = {row.name: row for row in _ROWS}
TAGS = (FingerTag("tag_left", 0, -1), FingerTag("tag_right", 1, 1))
TAG_DICTIONARY = "DICT_4X4_50"


def camera(name: str) -> VirtualCamera:
    """One row; raises ConfigError naming the rows there are."""
    row = CAMERAS.get(name)
    if row is None:
        raise ConfigError(f"camera {name!r} is not in the table; allowed: {', '.join(CAMERAS)}")
    return row
