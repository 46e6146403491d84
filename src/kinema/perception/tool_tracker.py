"""Where a known tool is in each frame of a video: the protocol, and the built-in tracker by its outline.

`ModelTracker` finds the tool by what differs from the empty scene (`foreground`, `tool_templates`), and follows it from
frame to frame by its outline (`contour_fit`). The score is how much the drawn tool and what is seen of it cover each
other. One outline can fit two poses: then the tracker says so, and guesses nothing; a second view tells them apart
(`stereo_tool`). "Dreamitate", section 3.3 and appendix D, where MegaPose (Labbe et al. 2022) does what the outline does
here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.errors import ConfigError, TrackingError
from kinema.geometry import Pose, interpolate
from kinema.perception.contour_fit import COARSE, FULL, Level, fit, overlap
from kinema.perception.foreground import Colours, Picture, smooth_lab
from kinema.perception.silhouette import Mask, Rasteriser, Renderer
from kinema.perception.tool_mesh import ToolMesh
from kinema.perception.tool_templates import Templates, unseen_turn

LOST = 0.6  # a score below which there is no pose

_LEAST_SHARE = 4e-4  # of the picture that must differ before the tool is looked for
_INSIDE = 0.6  # of the tool's box that must lie inside of the picture
_TRIED, _FITTED = 12, 8  # candidates of a search that are fitted coarsely, and fully
_ALIKE = 0.03  # two scores as near as this are one
_OTHER = math.radians(30.0)  # and two poses turned by more than this are two
_SAME = math.radians(10.0)  # turned by less, they are one after a fit
_MERGED = 0.15  # of the largest region's size: a smaller one is no part of the tool
_AGAIN = 0.8  # below this score the tool is looked for anew, too; above, its colours are believed
_WHOLE = 0.75  # of the tool's box inside of the picture: colours of less are not those of the whole


@dataclass(frozen=True, eq=False, slots=True)
class Sighting:
    """One frame: `T_camera_tool`, or None and why; `score` 0 to 1 is how well what is seen agrees."""

    T_camera_tool: Pose | None
    score: float
    reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Start:
    """What is known before the first frame.

    background     (height, width, 3) the scene without the tool
    T_camera_tool  where it is in the first frame, if that is known
    box            x, y, width, height [px] within which it is looked for at first: a person's hint
    bare_hand      a bare hand may hold it: skin is no part of the tool
    """

    background: Image
    T_camera_tool: Pose | None = None
    box: tuple[int, int, int, int] | None = None
    bare_hand: bool = False


class ToolTracker(Protocol):
    """Whoever finds a known tool in one camera's video."""

    def track(self, frames: Sequence[Image], camera: CameraInfo, tool: ToolMesh, start: Start) -> list[Sighting]:
        """One sighting a frame (height, width, 3) RGB. Raises TrackingError for what can't be worked on."""
        ...


def check(frames: Sequence[Image], camera: CameraInfo, start: Start) -> None:
    """Refuse pictures that are none, or not this camera's, and a camera without a focal length."""
    width, height = camera.size
    for what, picture in (("the background", start.background), *((f"frame {i}", f) for i, f in enumerate(frames))):
        if picture.dtype != np.uint8 or picture.shape != (height, width, 3):
            raise TrackingError(
                f"{what} is {picture.dtype} of shape {picture.shape}, allowed is uint8 of {(height, width, 3)}: the "
                f"size that camera {camera.camera_name!r} is calibrated for (CameraInfo.scaled)"
            )
    if reason := camera.unusable():
        raise TrackingError(f"camera {camera.camera_name!r}: {reason}; calibrate it")


class _Hunt:
    """One tool before one camera."""

    def __init__(self, camera: CameraInfo, tool: ToolMesh, start: Start, renderer: Renderer, banks: list[Templates]):
        self._camera, self._tool, self._renderer, self._banks = camera, tool, renderer, banks
        self._empty, self._bare_hand = smooth_lab(start.background), start.bare_hand
        self._colours: Colours | None = None

    @property
    def knows_colours(self) -> bool:
        return self._colours is not None

    def picture(self, frame: Image) -> Picture:
        return Picture.of(frame, self._empty, self._bare_hand)

    def fitted(self, picture: Picture, T: Pose, levels: tuple[Level, ...] = FULL) -> Sighting:
        """From nearby; never None, whatever the score."""
        evidence = picture.evidence(self._colours, self._renderer.draw(T).others)
        T = fit(T, self._tool, self._camera, self._renderer, evidence, picture.lab, levels)
        return self.scored(picture, T)

    def scored(self, picture: Picture, T: Pose) -> Sighting:
        depth = float(T.apply(self._tool.centre)[2])
        if depth <= 0.0 or not T.isfinite():
            return Sighting(T, 0.0, "the fit led behind the camera")
        drawn = self._renderer.draw(T)
        evidence = picture.evidence(self._colours, np.zeros_like(drawn.others))
        size = float(self._camera.matrix[0, 0]) * self._tool.radius / depth
        score = overlap(drawn, evidence, picture.unknown, size)
        if drawn.inside < _INSIDE:
            return Sighting(T, 0.0, f"out of view: {100 * drawn.inside:.0f} % of it are in the picture")
        return Sighting(T, score)

    def learn(self, picture: Picture, T: Pose) -> None:
        """The tool's colours, where it is seen now, if all of it is."""
        drawn = self._renderer.draw(T)
        if drawn.tracked.sum() > 30 and drawn.inside >= _WHOLE:
            self._colours = Colours.of(picture, drawn.tracked, drawn.others)

    def search(self, picture: Picture, box: tuple[int, int, int, int] | None) -> list[Sighting]:
        """Poses that may be it, the best first; none where nothing differs from the empty scene."""
        poses = [
            pose
            for region in self._regions(picture, box)
            for bank in self._banks
            for pose in bank.candidates(region, self._camera, _TRIED)
        ]
        rough = _ranked([self.fitted(picture, pose, COARSE) for pose in poses])
        return _ranked([self.fitted(picture, _pose(one)) for one in self._distinct(rough)[:_FITTED]])

    def _regions(self, picture: Picture, box: tuple[int, int, int, int] | None) -> list[Mask]:
        mask = picture.mask() & (picture.evidence(self._colours, np.zeros_like(picture.unknown)) > 0.5)
        if box is not None:
            x, y, width, height = box
            within = np.zeros_like(mask)
            within[max(y, 0) : y + height, max(x, 0) : x + width] = True
            mask &= within
        count, labels, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        areas = facts[1:, cv2.CC_STAT_AREA]
        if count < 2 or areas.max() < _LEAST_SHARE * mask.size:
            return []
        largest = labels == 1 + int(areas.argmax())
        merged = np.isin(labels, 1 + np.flatnonzero(areas >= _MERGED * areas.max()))
        return [largest] if merged.sum() == largest.sum() else [largest, merged]

    def _distinct(self, found: list[Sighting]) -> list[Sighting]:
        kept: list[Sighting] = []
        for one in found:
            if all(self.apart(_pose(one), _pose(other)) > _SAME for other in kept):
                kept.append(one)
        return kept

    def apart(self, T: Pose, T_other: Pose) -> float:
        """[rad] that two poses are turned by, as far as can be seen."""
        return self._tool.symmetry.apart(T.rotation, T_other.rotation)

    def rivals(self, found: list[Sighting]) -> list[Sighting]:
        """Those of the ranked ones that fit as well as the best and are turned otherwise."""
        best = found[0]
        return [
            one for one in found[1:] if one.score > best.score - _ALIKE and self.apart(_pose(one), _pose(best)) > _OTHER
        ]

    def follow(self, picture: Picture, last: Pose, before: Pose | None) -> Sighting:
        """From where it was, and where it would be if it went on."""
        guesses = [last] if before is None else [last, interpolate(before, last, 2.0)]
        guesses += [self._centred(picture, guess) for guess in guesses]
        rough = _ranked([self.fitted(picture, guess, COARSE) for guess in guesses])
        return _ranked([self.fitted(picture, _pose(one)) for one in rough[:2]])[0]

    def _centred(self, picture: Picture, T: Pose) -> Pose:
        """Shifted sideways to the middle of what is likely to be it, within three of its own sizes."""
        centre = T.apply(self._tool.centre)
        drawn = self._renderer.draw(T)
        evidence = picture.evidence(self._colours, drawn.others) > 0.5
        if not drawn.tracked.any():
            return T
        at = np.argwhere(drawn.tracked).mean(axis=0)[::-1]
        size = float(self._camera.matrix[0, 0]) * self._tool.radius / max(float(centre[2]), 1e-3)
        rows, columns = np.nonzero(evidence)
        near = np.hypot(columns - at[0], rows - at[1]) < 3.0 * size
        if not near.any():
            return T
        shift = np.array([columns[near].mean(), rows[near].mean()]) - at
        ray = self._camera.rays(self._camera.project(centre) + shift)
        return Pose(T.position + centre[2] * ray - centre, T.rotation)


def _pose(sighting: Sighting) -> Pose:
    assert sighting.T_camera_tool is not None
    return sighting.T_camera_tool


def _ranked(found: list[Sighting]) -> list[Sighting]:
    return sorted(found, key=lambda one: -one.score)


class ModelTracker:
    """The built-in tracker. `renderer` draws a tool through a camera; the built-in one needs nothing but OpenCV."""

    def __init__(self, renderer: Callable[[ToolMesh, CameraInfo], Renderer] = Rasteriser) -> None:
        self._renderer = renderer
        self._banks: tuple[ToolMesh, list[Templates]] | None = None

    def track(self, frames: Sequence[Image], camera: CameraInfo, tool: ToolMesh, start: Start) -> list[Sighting]:
        """As the protocol says. A frame without a pose says why: not in view, lost, or one of two that look alike.

        Raises ConfigError for a tool of which a turn doesn't show at all.
        """
        check(frames, camera, start)
        hunt = self._hunt(camera, tool, start)
        found: list[Sighting] = []
        poses: list[Pose] = []  # the last ones in a row
        last = start.T_camera_tool
        for i, frame in enumerate(frames):
            picture = hunt.picture(frame)
            if i == 0 and last is not None:
                sighting = self._met(hunt, picture, hunt.fitted(picture, last))
            elif poses:
                sighting = hunt.follow(picture, poses[-1], poses[-2] if len(poses) > 1 else None)
            else:
                sighting = Sighting(None, 0.0)
            if sighting.score < _AGAIN:
                sighting = self._better(sighting, self._searched(hunt, picture, start.box, last))
            found.append(_judged(sighting))
            pose = found[-1].T_camera_tool
            if pose is not None and found[-1].score >= _AGAIN:
                hunt.learn(picture, pose)
            poses = [] if pose is None else [*poses, pose]
            last = pose or last
        return found

    def candidates(self, frame: Image, camera: CameraInfo, tool: ToolMesh, start: Start) -> list[Sighting]:
        """All that one frame may show, the best first: for who can tell them apart by another view."""
        check([frame], camera, start)
        hunt = self._hunt(camera, tool, start)
        picture = hunt.picture(frame)
        return [one for one in hunt.search(picture, start.box) if one.score >= LOST]

    def _hunt(self, camera: CameraInfo, tool: ToolMesh, start: Start) -> _Hunt:
        if self._banks is None or self._banks[0] is not tool:
            if (axis := unseen_turn(tool)) is not None:
                along = ", ".join(f"{value:.2f}" for value in axis)
                raise ConfigError(
                    f"how {' and '.join(tool.tracked)} is turned about ({along}) doesn't show: track more of the tool, "
                    "or, if all of it looks the same after any such turn, say so in its file (symmetry, fold 0)"
                )
            whole = tool.tracking(*tool.parts)
            self._banks = tool, [Templates(one) for one in ([tool] if tool.tracked == tool.parts else [tool, whole])]
        return _Hunt(camera, tool, start, self._renderer(tool, camera), self._banks[1])

    def _met(self, hunt: _Hunt, picture: Picture, found: Sighting) -> Sighting:
        """When it is seen for the first time its colours are learned, and what they say of it."""
        if hunt.knows_colours or found.score < _AGAIN:
            return found
        hunt.learn(picture, _pose(found))
        return hunt.fitted(picture, _pose(found), FULL[1:])

    def _searched(
        self, hunt: _Hunt, picture: Picture, box: tuple[int, int, int, int] | None, last: Pose | None
    ) -> Sighting:
        found = hunt.search(picture, None if hunt.knows_colours else box)
        if not found:
            return Sighting(None, 0.0, "not in view: nothing of a tool's size differs from the empty scene")
        if rivals := hunt.rivals(found):
            if last is None:
                said = ", ".join(f"{one.score:.2f}" for one in (found[0], *rivals))
                return Sighting(
                    None, 0.0, f"{len(rivals) + 1} poses fit alike ({said}): only another view tells them apart"
                )
            found = sorted([found[0], *rivals], key=lambda one: hunt.apart(_pose(one), last))
        return self._met(hunt, picture, found[0])

    def _better(self, one: Sighting, other: Sighting) -> Sighting:
        if one.T_camera_tool is None or (other.T_camera_tool is not None and other.score > one.score):
            return other
        return one


def _judged(sighting: Sighting) -> Sighting:
    if sighting.T_camera_tool is None:
        return sighting
    if sighting.reason:
        return Sighting(None, sighting.score, sighting.reason)
    if sighting.score < LOST:
        reason = f"lost: tool and outline cover {100 * sighting.score:.0f} % of each other, needed are {100 * LOST:.0f}"
        return Sighting(None, sighting.score, reason)
    return sighting
