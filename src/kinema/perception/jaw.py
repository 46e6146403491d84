"""Jaw opening from the two ArUco tags on the fingers, seen by the gripper's fisheye camera. Pure.

Sub-pixel corners become rays by the fisheye model; no image is undistorted. Each finger carries its tag along the TCP's
x axis by half of the opening, so that the opening is linear in what is known: it is solved for, not searched. One tag
is enough. What is implausible is marked invalid and says why; nothing is guessed, and gaps are `perception.align`'s to
close.

Sources: ArUco, Garrido-Jurado et al. 2014 (corners clockwise from the top left); fisheye, Kannala and Brandt 2006.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.calibration.files import CameraInfo, Jaw, JawTag
from kinema.chunk import Image
from kinema.clock import to_seconds
from kinema.errors import CalibrationError, ConfigError
from kinema.geometry import Array, Pose

_BEYOND = 0.005  # [m] beyond closed and open that is still plausible: pads are soft, stops give
_FASTEST = 1.5  # [m/s] of the opening; a squeezing hand stays below 1
_PLAY = 0.003  # [m] that the opening may change from one image to the next whatever the time between them
_ALIKE = 0.004  # [m] by which the two tags' openings may differ: play of the fingers' coupling
_OFF = 0.06  # [-] of a tag's edge: how far its corners may lie (RMS) from where the calibration has them
_REFINED = 0.4  # [-] of one of the tag's modules: half the window in which a corner is refined
_LARGEST = 8  # [px] the largest such half window
_SAMPLED = 8  # [px] edge of a module when its bit is read; tags of five pixels a module are then read, too
_THRESHOLD = 23  # [px] window of the adaptive threshold; wider than two modules at any distance of the fingers


@dataclass(frozen=True, slots=True)
class JawReading:
    """Opening `width` [m] at a moment, NaN unless `valid`; `reason` why it is not.

    tags   by how many it was measured
    speed  [m/s] of the opening since the last valid reading; 0 where there is none
    """

    stamp_ns: int
    width: float
    valid: bool
    tags: int
    reason: str = ""
    speed: float = 0.0


class TagFinder:
    """Finds tags of one dictionary in one camera's images, their corners to a fraction of a pixel."""

    def __init__(self, dictionary: str, camera: CameraInfo) -> None:
        """Raises ConfigError for a dictionary that OpenCV does not have."""
        which = getattr(cv2.aruco, dictionary, None)
        if not dictionary.startswith("DICT_") or which is None:
            allowed = ", ".join(sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_")))
            raise ConfigError(f"ArUco dictionary {dictionary!r} is unknown; allowed: {allowed}")
        parameters = cv2.aruco.DetectorParameters()
        parameters.adaptiveThreshWinSizeMin = parameters.adaptiveThreshWinSizeMax = _THRESHOLD
        parameters.perspectiveRemovePixelPerCell = _SAMPLED
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        parameters.cornerRefinementWinSize = _LARGEST
        parameters.relativeCornerRefinmentWinSize = _REFINED
        self._detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(which), parameters)
        self._camera = camera

    def find(self, image: Image) -> dict[int, Array]:
        """Corners (4, 2) [px] by tag id in an image (height, width, 3) RGB; clockwise from the tag's top left.

        An id that is seen twice is left out: one of the two is not the finger's. Raises CalibrationError for an image
        of another size than the camera's calibration.
        """
        if image.shape[:2] != (self._camera.image_height, self._camera.image_width):
            raise CalibrationError(
                f"{self._camera.camera_name}: the image is {image.shape[1]} x {image.shape[0]} px, its calibration is "
                f"for {self._camera.image_width} x {self._camera.image_height} px; scale it (CameraInfo.scaled)"
            )
        quads, ids, _ = self._detector.detectMarkers(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        numbers = [] if ids is None else [int(number) for number in ids.ravel()]
        return {
            number: np.asarray(quad, float).reshape(4, 2)
            for quad, number in zip(quads, numbers, strict=True)
            if numbers.count(number) == 1
        }


class Finger:
    """One tag's corners in the camera as a function of the opening: `closed + width * along`."""

    def __init__(self, name: str, tag: JawTag, T_camera_tcp: Pose) -> None:
        self.name, self.id, self._size = name, tag.id, tag.size
        self._closed = (T_camera_tcp @ tag.T_tcp_tag(0.0)).apply(tag.corners)  # (4, 3) [m]
        self._along = T_camera_tcp.rotation[:, 0] * tag.direction / 2

    def opening(self, rays: Array) -> tuple[float, float]:
        """Opening [m] that fits the corners' rays (4, 3) at z = 1 best, and how far off they are (RMS) [m].

        A corner (X + w a, Y + w b, Z + w c) on the ray (u, v, 1) has X + w a = u (Z + w c): linear in w. Rays off the
        axis are weighted by how densely the fisheye's pixels lie there.
        """
        uv = rays[:, :2]
        weight = 1.0 / (1.0 + (uv**2).sum(axis=1, keepdims=True))
        slope = weight * (self._along[:2] - uv * self._along[2])
        offset = weight * (uv * self._closed[:, 2:] - self._closed[:, :2])
        width = float((slope * offset).sum() / (slope**2).sum())
        return width, float(np.sqrt(((slope * width - offset) ** 2).sum() / len(uv)))

    def fits(self, off: float) -> bool:
        return off <= _OFF * self._size


class JawTracker:
    """Opening of the jaw, image by image.

    A reading is refused when no tag is seen, when corners are not where the calibration lets them be, when the two tags
    disagree, when the opening is out of range, or when it moved faster than a jaw can. After such a jump the second
    reading that agrees with the first is believed.
    """

    def __init__(self, jaw: Jaw, camera: CameraInfo, T_tcp_camera: Pose) -> None:
        """`camera` for the images' size. Raises ConfigError for a dictionary that OpenCV does not have."""
        T_camera_tcp = T_tcp_camera.inverse()
        self._camera = camera
        self._range = -_BEYOND, jaw.stroke + _BEYOND
        self._fingers = [Finger(name, getattr(jaw, name), T_camera_tcp) for name in ("left", "right")]
        self._finder = TagFinder(jaw.dictionary, camera)
        self._believed: tuple[int, float] | None = None  # stamp and opening of the last valid reading
        self._doubted: tuple[int, float] | None = None  # of the last one that was too fast

    def measure(self, stamp_ns: int, image: Image) -> JawReading:
        """The opening that an image (height, width, 3) RGB shows; CalibrationError for an image of another size."""
        return self.read(stamp_ns, self._finder.find(image))

    def read(self, stamp_ns: int, found: Mapping[int, Array]) -> JawReading:
        """The opening at a moment from the tags' corners (4, 2) [px] by id, as `TagFinder` finds them."""
        openings, reason = self._openings(found)
        width = sum(openings) / len(openings) if openings else math.nan
        last = self._believed
        reason = reason or self._implausible(stamp_ns, width)
        if reason:
            return JawReading(stamp_ns, math.nan, False, len(openings), reason)
        speed = 0.0 if last is None or stamp_ns <= last[0] else (width - last[1]) / to_seconds(stamp_ns - last[0])
        return JawReading(stamp_ns, width, True, len(openings), "", speed)

    def _openings(self, found: Mapping[int, Array]) -> tuple[list[float], str]:
        """What each usable tag says, and why the whole can't be used."""
        openings, reason = [], "no tag is seen"
        for finger in self._fingers:
            if finger.id not in found:
                continue
            width, off = finger.opening(self._camera.rays(found[finger.id]))
            if finger.fits(off):
                openings.append(width)
            else:
                reason = f"the {finger.name} tag is {1e3 * off:.1f} mm from where jaw.yaml has it: calibrate the jaw"
        if not openings:
            return openings, reason
        apart = max(openings) - min(openings)
        return openings, f"the tags disagree by {1e3 * apart:.1f} mm" if apart > _ALIKE else ""

    def _implausible(self, stamp_ns: int, width: float) -> str:
        low, high = self._range
        if not low <= width <= high:
            return f"opening {1e3 * width:.1f} mm is outside {1e3 * low:.0f}..{1e3 * high:.0f} mm"
        now = stamp_ns, width
        if self._believed is not None and not any(_reachable(last, now) for last in (self._believed, self._doubted)):
            moved = width - self._believed[1]
            self._doubted = now
            return f"opening moved by {1e3 * moved:+.1f} mm in {1e-6 * (stamp_ns - self._believed[0]):.0f} ms"
        self._believed, self._doubted = now, None
        return ""


def _reachable(last: tuple[int, float] | None, now: tuple[int, float]) -> bool:
    """Whether a jaw can have moved so far since."""
    return last is not None and abs(now[1] - last[1]) <= _PLAY + _FASTEST * to_seconds(abs(now[0] - last[0]))
