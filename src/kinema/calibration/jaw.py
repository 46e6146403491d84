"""Jaw calibration: where the tags sit on the fingers, from pictures of the jaw closing and opening once. Pure.

The mechanism's two stops give the measure: closed is 0, open is the stroke. A fit of both tags' poses and of every
picture's opening at once (bundle adjustment) says what lies between; the printed size of the tags is only its start.
"""

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from scipy.optimize import least_squares

from kinema import __version__
from kinema.calibration.files import CameraInfo, Jaw, JawTag, Provenance, tag_corners
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, so3_exp
from kinema.perception.jaw import Finger

Sighting = Mapping[int, Array]  # of one picture: corners (4, 2) [px] by tag id

_REMEDY = "close the jaw fully, open it fully, both tags in the gripper camera's view, and calibrate again"
_FEWEST = 20  # pictures with both tags
_FITTED = 48  # pictures that are fitted, evenly over the opening
_TRAVEL = 0.7  # [-] of the stroke that the jaw must have gone, judged by the printed size
_TURNED = math.radians(10)  # between the tags' motion and the TCP's x axis
_MISPRINT = 0.05  # [-] by which the printed size may be wrong
_AT_STOP = 0.0005  # [m] from its outermost openings within which the jaw is at a stop
_PEAK = 3  # th outermost opening: two may be outliers
_OUTLIER = 1.0  # [px] beyond which a corner counts less
_FIT = 0.9  # [-] of all tags seen that the result must explain

_DIRECTIONS: tuple[Literal[-1, 1], Literal[-1, 1]] = (-1, 1)  # of the left and the right finger when the jaw opens
_X = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True, slots=True)
class JawDesign:
    """What is known before: the tags' `dictionary` and printed `size` [m], and the jaw's `stroke` [m]."""

    dictionary: str
    size: float
    stroke: float


@dataclass(frozen=True, eq=False, slots=True)
class _Track:
    """One tag in n pictures: its corners in the camera's plane z = 1, and where its printed size puts it."""

    id: int
    uv: Array  # (n, 4, 2)
    T_tcp_tag: tuple[Pose, ...]

    def some(self, indices: Array) -> "_Track":
        """Of these pictures alone."""
        return _Track(self.id, self.uv[indices], tuple(self.T_tcp_tag[i] for i in indices))

    @property
    def positions(self) -> Array:
        """(n, 3) [m] in the TCP frame."""
        return np.array([pose.position for pose in self.T_tcp_tag])

    def typical_rotation(self) -> Array:
        """The one that the others are closest to: a square seen small is sometimes posed the wrong way round."""
        rotations = np.array([pose.rotation for pose in self.T_tcp_tag])
        likeness = np.einsum("aij,bij->ab", rotations, rotations).clip(0.0)
        return np.asarray(rotations[likeness.sum(axis=1).argmax()], float)


def _track(tag_id: int, sightings: Sequence[Sighting], camera: CameraInfo, T_tcp_camera: Pose, size: float) -> _Track:
    uv = camera.rays(np.array([sighting[tag_id] for sighting in sightings]))[..., :2]
    poses = []
    for corners in uv:
        _, rotvec, position = cv2.solvePnP(
            tag_corners(size), np.ascontiguousarray(corners), np.eye(3), None, flags=cv2.SOLVEPNP_IPPE_SQUARE
        )
        poses.append(T_tcp_camera @ Pose.from_rotvec(np.ravel(position), np.ravel(rotvec)))
    return _Track(tag_id, uv, tuple(poses))


def _both(sightings: Sequence[Sighting]) -> tuple[tuple[int, int], list[Sighting]]:
    """The two tags seen most often, and the pictures that show both."""
    common = [tag_id for tag_id, _ in Counter(tag_id for s in sightings for tag_id in s).most_common(2)]
    pictures = [s for s in sightings if len(common) == 2 and all(tag_id in s for tag_id in common)]
    if len(pictures) < _FEWEST:
        raise CalibrationError(
            f"both finger tags are seen in {len(pictures)} of {len(sightings)} pictures, "
            f"needed are {_FEWEST}; {_REMEDY}"
        )
    return (common[0], common[1]), pictures


def _checked_travel(left: _Track, right: _Track, design: JawDesign) -> Array:
    """Each picture's opening (n,) [m] as the printed size has it; refuses a motion that is none of this jaw."""
    apart = right.positions - left.positions
    opening = apart[:, 0] - np.sort(apart[:, 0])[_PEAK - 1]
    near, far = apart[opening.argsort()[:_PEAK]], apart[opening.argsort()[-_PEAK:]]
    way = np.median(far, axis=0) - np.median(near, axis=0)
    if way[0] < _TRAVEL * design.stroke:
        raise CalibrationError(
            f"the tags came apart by {1e3 * way[0]:.1f} mm, the stroke is {1e3 * design.stroke:.1f} mm; {_REMEDY}"
        )
    turned = math.acos(way[0] / float(np.linalg.norm(way)))
    if turned > _TURNED:
        raise CalibrationError(
            f"the tags move at {math.degrees(turned):.0f} degrees to the TCP's x axis, allowed are "
            f"{math.degrees(_TURNED):.0f}: calibrate the gripper camera's mount first"
        )
    return opening


def _fit(
    tracks: tuple[_Track, _Track], opening: Array, camera: CameraInfo, T_tcp_camera: Pose, size: float
) -> list[JawTag]:
    """Both tags with the jaw closed, least squares over all corners [px]; the narrowest picture counts as closed.

    Parameters: each tag's rotation (3) and translation (3) from where it starts, and every other picture's opening.
    """
    T_camera_tcp = T_tcp_camera.inverse()
    others = np.arange(len(opening)) != opening.argmin()
    starts = []
    for track, direction in zip(tracks, _DIRECTIONS, strict=True):
        carried = np.outer(direction * opening / 2, _X)
        starts.append(Pose(np.median(track.positions - carried, axis=0), track.typical_rotation()))

    def poses(parameters: Array) -> list[Pose]:
        moves = parameters[:12].reshape(2, 6)
        return [
            Pose(start.position + move[3:], so3_exp(move[:3]) @ start.rotation)
            for start, move in zip(starts, moves, strict=True)
        ]

    def residuals(parameters: Array) -> Array:
        widths = np.full(len(opening), opening.min())
        widths[others] = parameters[12:]
        errors = []
        for track, direction, T_tcp_tag in zip(tracks, _DIRECTIONS, poses(parameters), strict=True):
            closed = (T_camera_tcp @ T_tcp_tag).apply(tag_corners(size))
            carried = np.outer(direction * widths / 2, T_camera_tcp.rotation @ _X)
            corners = closed + carried[:, None, :]  # (n, 4, 3)
            pixels = camera.matrix[0, 0] / (1.0 + (track.uv**2).sum(axis=-1, keepdims=True))  # per unit of z = 1
            errors.append(pixels * (corners[..., :2] / corners[..., 2:] - track.uv))
        return np.concatenate(errors).ravel()

    begin = np.concatenate([np.zeros(12), opening[others]])
    found = least_squares(residuals, begin, loss="soft_l1", f_scale=_OUTLIER, x_scale=0.01)
    return [
        JawTag.of(track.id, size, direction, T_tcp_tag)
        for track, direction, T_tcp_tag in zip(tracks, _DIRECTIONS, poses(found.x), strict=True)
    ]


def _openings(tags: Sequence[JawTag], tracks: Sequence[_Track], T_camera_tcp: Pose) -> tuple[Array, float]:
    """What each tag says of each picture's opening (2, n) [m], and the share of the tags' corners that fit."""
    readings = []
    for name, tag, track in zip(("left", "right"), tags, tracks, strict=True):
        finger = Finger(name, tag, T_camera_tcp)
        readings.append([(width, finger.fits(off)) for width, off in map(finger.opening, track.uv)])
    values = np.array(readings, float)
    return values[..., 0], float(values[..., 1].mean())


def _to_stops(tags: Sequence[JawTag], openings: Array, stroke: float, T_tcp_camera: Pose) -> list[JawTag]:
    """The same pictures with closed at 0 and open at the stroke.

    A scene that is larger by a factor, the camera its centre, gives the same pictures: so all of it is scaled.
    """
    width = openings.mean(axis=0)
    ordered = np.sort(width)
    closed = float(np.median(width[width <= ordered[_PEAK - 1] + _AT_STOP]))
    opened = float(np.median(width[width >= ordered[-_PEAK] - _AT_STOP]))
    scale = stroke / (opened - closed)
    if abs(scale - 1.0) > _MISPRINT:
        raise CalibrationError(
            f"by tags of {1e3 * tags[0].size:.2f} mm the jaw went {1e3 * (opened - closed):.1f} mm, the stroke is "
            f"{1e3 * stroke:.1f} mm; the tags are of another size, or: {_REMEDY}"
        )
    scaled = []
    for tag in tags:
        T_tcp_tag = tag.T_tcp_tag(closed)
        position = T_tcp_camera.position + scale * (T_tcp_tag.position - T_tcp_camera.position)
        size = round(scale * tag.size, 9)
        scaled.append(JawTag.of(tag.id, size, tag.direction, Pose(position, T_tcp_tag.rotation)))
    return scaled


def calibrate(
    sightings: Sequence[Sighting],
    camera: CameraInfo,
    T_tcp_camera: Pose,
    design: JawDesign,
    serial: str,
    date: datetime.date,
) -> Jaw:
    """The jaw file for pictures of the jaw going from one stop to the other, in any order and as often as it likes.

    `camera` for the pictures' size. The residual is half of what the two tags' openings differ by (RMS). Raises
    CalibrationError saying what the pictures lack.
    """
    T_camera_tcp = T_tcp_camera.inverse()
    numbers, pictures = _both(sightings)
    tracks = [_track(number, pictures, camera, T_tcp_camera, design.size) for number in numbers]
    left, right = sorted(tracks, key=lambda track: float(np.median(track.positions[:, 0])))
    opening = _checked_travel(left, right, design)
    fitted = opening.argsort()[np.linspace(0, len(pictures) - 1, min(_FITTED, len(pictures))).astype(int)]
    draft = _fit((left.some(fitted), right.some(fitted)), opening[fitted], camera, T_tcp_camera, design.size)
    openings, _ = _openings(draft, (left, right), T_camera_tcp)
    tags = _to_stops(draft, openings, design.stroke, T_tcp_camera)
    openings, share = _openings(tags, (left, right), T_camera_tcp)
    jaw = Jaw(
        dictionary=design.dictionary,
        stroke=design.stroke,
        left=tags[0],
        right=tags[1],
        provenance=Provenance(
            serial=serial,
            date=date,
            origin="measured",
            software_version=__version__,
            samples=len(pictures),
            rms=round(float(np.sqrt(np.mean(((openings[1] - openings[0]) / 2) ** 2))), 9),
        ),
    )
    reason = jaw.unusable() or (f"only {100 * share:.0f} % of the tags seen fit the result" if share < _FIT else None)
    if reason:
        raise CalibrationError(f"{reason}; {_REMEDY}")
    return jaw
