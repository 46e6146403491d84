"""A tool's pose in base_link from two views of it. Pure.

Each view says well in which direction the tool lies and poorly how far away. So its middle is where the two views' rays
meet (the midpoint of the shortest way between them), its rotation the mean of both, the tool's symmetry resolved; what
doesn't agree is no pose, and says why. "Dreamitate", section 3.3 and appendix D; mean on SO(3), Markley et al. 2007.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from kinema.calibration.bundle import ALL, SIDE_CAMERAS, Bundle
from kinema.calibration.files import CameraInfo, Transform
from kinema.chunk import Image
from kinema.errors import CalibrationError, TrackingError
from kinema.geometry import Array, Pose, mean_pose
from kinema.perception.tool_mesh import ToolMesh
from kinema.perception.tool_tracker import Sighting, Start, ToolTracker

_SCORE = 0.05  # of a score weighs as much as a whole gate
_ALIKE = 0.4  # gates by which a pose must agree better than another
_OTHER = math.radians(30.0)  # that is turned by more than this


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A camera that stands still: its lens for the images' size, and `T_base_camera`."""

    camera: CameraInfo
    T_base_camera: Pose


@dataclass(frozen=True, slots=True)
class Gates:
    """What two views may disagree by.

    score  of each view, at least
    gap    [m] between the two rays where they are nearest
    apart  [rad] between the two rotations, as far as can be seen
    angle  [rad] between the rays, at least: nearly parallel ones meet anywhere
    depth  [-] of a view's own distance from where the rays meet: more, and the mesh has another size than the tool
    """

    score: float = 0.8
    gap: float = 0.010
    apart: float = math.radians(15.0)
    angle: float = math.radians(8.0)
    depth: float = 0.15


GATES = Gates()


@dataclass(frozen=True, eq=False, slots=True)
class StereoPose:
    """One moment: `T_base_tool`, or None and why; score of the worse view; gap [m], apart [rad] as in `Gates`."""

    T_base_tool: Pose | None
    score: float
    reason: str = ""
    gap: float = math.nan
    apart: float = math.nan


# ---- calibration


def stereo_views(
    bundle: Bundle,
    demonstrated: datetime.date,
    size: tuple[int, int] | None = None,
    cameras: Sequence[str] = SIDE_CAMERAS,
) -> tuple[View, View]:
    """The two views, by calibration files and nothing else; `size` [px] of the images, None: as calibrated.

    demonstrated  when the demonstrations were recorded: what has learned from them imagines the scene as the cameras
                  saw it then

    Raises CalibrationError for fewer than two calibrated cameras, and for a camera that was placed since.
    """
    found, lacking = [], []
    for name in cameras:
        try:
            found.append((name, View(bundle.camera(name), bundle.T_base_camera(name))))
        except CalibrationError as error:
            lacking.append(str(error))
    if len(found) != 2:
        there = ", ".join(name for name, _ in found) or "none"
        raise CalibrationError(
            f"two calibrated cameras are needed, there are: {there}. {'; '.join(lacking)}".rstrip(". ")
        )
    for name, _ in found:
        file = f"T_base_{name}.yaml"
        placed = bundle.files[file]
        assert isinstance(placed, Transform)
        if placed.provenance.date > demonstrated:
            raise CalibrationError(
                f"{bundle.folder / file}: provenance.date {placed.provenance.date} is later than the demonstrations of "
                f"{demonstrated}: what they taught shows the scene from where the camera stood then; record "
                f"demonstrations anew and train on them, or, if it hasn't been moved, bring back the file of that time "
                f"(kinema calibration rollback); {ALL[file].remedy}"
            )
    one, other = (replace(view, camera=view.camera.scaled(size) if size else view.camera) for _, view in found)
    return one, other


# ---- geometry


@dataclass(frozen=True, eq=False, slots=True)
class Meeting:
    """Where two rays come nearest: the midpoint (3,) [m], the gap there [m], the angle between them [rad], and how far
    along each it is [m]; not finite where they are parallel."""

    point: Array
    gap: float
    angle: float
    along: tuple[float, float]


def midpoint(origins: tuple[Array, Array], directions: tuple[Array, Array]) -> Meeting:
    """Of two rays by their origins (3,) [m] and directions (3,) of any length."""
    a, b = (direction / np.linalg.norm(direction) for direction in directions)
    normal = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(normal)), float(a @ b)
    angle = math.atan2(sine, cosine)
    if sine < 1e-9:
        return Meeting(np.full(3, math.nan), math.nan, angle, (math.nan, math.nan))
    between = origins[1] - origins[0]
    s = float(np.cross(between, b) @ normal) / sine**2
    t = float(np.cross(between, a) @ normal) / sine**2
    ends = origins[0] + s * a, origins[1] + t * b
    return Meeting((ends[0] + ends[1]) / 2, float(np.linalg.norm(ends[1] - ends[0])), angle, (s, t))


def triangulate(pixels: tuple[Array, Array], views: tuple[View, View]) -> Meeting:
    """Where a point lies that is seen at pixels (2,) of the two images as they are, the lenses' distortion in them."""
    rays = [view.T_base_camera.rotation @ view.camera.rays(at) for at, view in zip(pixels, views, strict=True)]
    return midpoint((views[0].T_base_camera.position, views[1].T_base_camera.position), (rays[0], rays[1]))


def fuse(
    sightings: tuple[Sighting, Sighting],
    views: tuple[View, View],
    tool: ToolMesh,
    gates: Gates = GATES,
    before: Pose | None = None,
) -> StereoPose:
    """One pose of two sightings of the same moment.

    before  `T_base_tool` of the moment before: of turns that look alike the one nearest to it is taken
    """
    score = min(one.score for one in sightings)
    for one, view in zip(sightings, views, strict=True):
        if one.T_camera_tool is None:
            return StereoPose(None, score, f"{view.camera.camera_name}: {one.reason}")
        if one.score < gates.score:
            return StereoPose(None, score, f"{view.camera.camera_name}: score {one.score:.2f}, needed is {gates.score}")
    poses = [one.T_camera_tool for one in sightings if one.T_camera_tool is not None]
    pixels = [view.camera.project(T.apply(tool.centre)) for T, view in zip(poses, views, strict=True)]
    meeting = triangulate((pixels[0], pixels[1]), views)
    T_base = [view.T_base_camera @ T for T, view in zip(poses, views, strict=True)]
    symmetry = tool.symmetry
    reference = T_base[0].rotation if before is None else symmetry.nearest(T_base[0].rotation, before.rotation)
    rotations = [reference, symmetry.nearest(T_base[1].rotation, reference)]
    apart = symmetry.apart(T_base[1].rotation, reference)
    reason = _doubt(meeting, apart, [float(T.apply(tool.centre)[2]) for T in poses], views, gates)
    if reason:
        return StereoPose(None, score, reason, meeting.gap, apart)
    weights = [one.score for one in sightings]
    rotation = mean_pose([Pose(meeting.point, R) for R in rotations], weights).rotation
    return StereoPose(Pose(meeting.point - rotation @ tool.centre, rotation), score, "", meeting.gap, apart)


def _doubt(meeting: Meeting, apart: float, depths: Sequence[float], views: tuple[View, View], gates: Gates) -> str:
    """Why the two views are not believed, or ''."""
    angle = min(meeting.angle, math.pi - meeting.angle)
    if not angle >= gates.angle:
        return (
            f"the rays are nearly parallel: {math.degrees(angle):.1f} degrees, needed are "
            f"{math.degrees(gates.angle):.0f}; let the cameras stand farther apart"
        )
    if min(meeting.along) <= 0.0:
        return "the rays meet behind a camera: one of the views saw something else"
    if meeting.gap > gates.gap:
        return f"the rays pass each other at {1e3 * meeting.gap:.1f} mm, allowed are {1e3 * gates.gap:.0f}"
    if apart > gates.apart:
        return (
            f"the views' rotations are {math.degrees(apart):.0f} degrees apart, allowed are "
            f"{math.degrees(gates.apart):.0f}"
        )
    for depth, view in zip(depths, views, strict=True):
        far = float(view.T_base_camera.inverse().apply(meeting.point)[2])
        if abs(depth / far - 1.0) > gates.depth:
            return (
                f"{view.camera.camera_name} alone has the tool at {depth:.3f} m, both have it at {far:.3f} m, allowed "
                f"are {100 * gates.depth:.0f} % between: is the mesh as large as the tool?"
            )
    return ""


# ---- clips


@runtime_checkable
class Proposer(Protocol):
    """A tracker that can say all that one frame may show."""

    def candidates(self, frame: Image, camera: CameraInfo, tool: ToolMesh, start: Start) -> list[Sighting]: ...


def first_pose(
    tracker: Proposer,
    frames: tuple[Image, Image],
    views: tuple[View, View],
    tool: ToolMesh,
    starts: tuple[Start, Start],
    gates: Gates = GATES,
) -> StereoPose:
    """Of all that the two frames may show, what they agree on best; None where that can't be told."""
    one, other = (
        tracker.candidates(frame, view.camera, tool, start)
        for frame, view, start in zip(frames, views, starts, strict=True)
    )
    pairs = [fuse((a, b), views, tool, replace(gates, score=0.0)) for a in one for b in other]
    agreeing = sorted((_cost(pair, gates), i) for i, pair in enumerate(pairs) if pair.T_base_tool is not None)
    if not agreeing:
        return StereoPose(None, 0.0, pairs[0].reason if pairs else "not in view of both cameras")
    best = pairs[agreeing[0][1]]
    assert best.T_base_tool is not None
    for cost, i in agreeing[1:]:
        rival = pairs[i].T_base_tool
        assert rival is not None
        turned = tool.symmetry.apart(rival.rotation, best.T_base_tool.rotation)
        if cost < agreeing[0][0] + _ALIKE and turned > _OTHER:
            return StereoPose(
                None,
                best.score,
                f"two poses, {math.degrees(turned):.0f} degrees apart, fit both views alike: if the tool looks the "
                "same after such a turn, its file has to say so (symmetry)",
                best.gap,
                best.apart,
            )
    return best


def _cost(pair: StereoPose, gates: Gates) -> float:
    return pair.gap / gates.gap + pair.apart / gates.apart + (1.0 - pair.score) / _SCORE


def track_stereo(
    tracker: ToolTracker,
    clips: tuple[Sequence[Image], Sequence[Image]],
    views: tuple[View, View],
    tool: ToolMesh,
    starts: tuple[Start, Start],
    gates: Gates = GATES,
) -> list[StereoPose]:
    """A pose a moment, of two clips whose frames belong together one by one.

    Where the tracker can name candidates, the two views agree on the first pose, and each begins from there. Where they
    come to differ later, the view that sees the tool well shows the other where to look.
    Raises TrackingError for clips of different length, and for what the tracker can't work on.
    """
    if len(clips[0]) != len(clips[1]):
        raise TrackingError(f"the clips have {len(clips[0])} and {len(clips[1])} frames; every frame needs its pair")
    known = any(start.T_camera_tool is not None for start in starts)
    early: list[StereoPose] = []
    if isinstance(tracker, Proposer) and not known:
        for frames in zip(*clips, strict=True):
            found = first_pose(tracker, (frames[0], frames[1]), views, tool, starts, gates)
            if found.T_base_tool is not None:
                T = [view.T_base_camera.inverse() @ found.T_base_tool for view in views]
                starts = replace(starts[0], T_camera_tool=T[0]), replace(starts[1], T_camera_tool=T[1])
                break
            early.append(found)
    rest = [
        tracker.track(clip[len(early) :], view.camera, tool, start)
        for clip, view, start in zip(clips, views, starts, strict=True)
    ]
    tracked: list[StereoPose] = []
    before: Pose | None = None
    for i, (a, b) in enumerate(zip(*rest, strict=True), len(early)):
        found = fuse((a, b), views, tool, gates, before)
        if found.T_base_tool is None:
            found = _shown(tracker, (clips[0][i], clips[1][i]), (a, b), views, tool, starts, gates, before) or found
        tracked.append(found)
        before = found.T_base_tool or before
    return early + tracked


def _shown(
    tracker: ToolTracker,
    frames: tuple[Image, Image],
    sightings: tuple[Sighting, Sighting],
    views: tuple[View, View],
    tool: ToolMesh,
    starts: tuple[Start, Start],
    gates: Gates,
    before: Pose | None,
) -> StereoPose | None:
    """What two views agree on when the one that sees the tool well shows the other where it is; None: nothing."""
    agreed = []
    for giver, taker in ((0, 1), (1, 0)):
        T = sightings[giver].T_camera_tool
        if T is None or sightings[giver].score < gates.score:
            continue
        guess = views[taker].T_base_camera.inverse() @ views[giver].T_base_camera @ T
        start = replace(starts[taker], T_camera_tool=guess)
        (found,) = tracker.track([frames[taker]], views[taker].camera, tool, start)
        pair = (sightings[0], found) if giver == 0 else (found, sightings[1])
        agreed.append(fuse(pair, views, tool, gates, before))
    return min((one for one in agreed if one.T_base_tool is not None), key=lambda one: _cost(one, gates), default=None)
