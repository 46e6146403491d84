"""From what both cameras see to a plan: imagine, follow the tool, lay the arm's way. Pure but for the networks it asks.

"Dreamitate", sections 3.2 and 3.3. The scene without the tool, which the tracker compares with, is the image that the
video begins with. For that the arm first takes the tool out of both views; where it can't, the scene without the tool
is the middle value of each pixel over the video.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from kinema.chunk import Image
from kinema.control.settings import Limits
from kinema.errors import NoPlanError, PlanError, TrackingError
from kinema.geometry import Array, Pose
from kinema.perception.silhouette import Rasteriser
from kinema.perception.stereo_tool import GATES, Gates, StereoPose, View, track_stereo
from kinema.perception.tool_mesh import ToolMesh
from kinema.perception.tool_tracker import Start, ToolTracker
from kinema.policies.dreamitate.plan import ArmTask, ToolPlan, out_of_view, plan
from kinema.policies.dreamitate.tool_path import SETTINGS, Settings
from kinema.robots import ArmModel, GripperModel

_MARK = (255, 210, 0)  # colour of the outline that people are shown


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """What no video tells: the tool, where the cameras stand, which arm leads the tool, and within which limits."""

    tool: ToolMesh
    views: tuple[View, View]
    arm: ArmModel
    gripper: GripperModel
    limits: Limits


@dataclass(frozen=True, eq=False, slots=True)
class Dream:
    """A plan, and the video that it was made of.

    tracked  what the two views agreed on in each imagined frame
    video    camera -> (1 + frames, height, width, 3) uint8: the image that it began with, then the imagined ones with
             the outline of the tool as it was tracked; `dt` [s] between them
    seconds  that tracking and planning took
    """

    plan: ToolPlan
    tracked: tuple[StereoPose, ...]
    video: Mapping[str, Image]
    dt: float
    seconds: Mapping[str, float]


def held(place: Place, T_base_tcp: Pose) -> Pose:
    """`T_base_tool` of the tool that the arm holds; the tool has to be mounted."""
    assert place.tool.T_flange_tool is not None
    return T_base_tcp @ place.gripper.T_flange_tcp.inverse() @ place.tool.T_flange_tool


def in_view(tool: ToolMesh, view: View, T_base_tool: Pose) -> bool:
    """Whether anything of it is, tracked or not."""
    T_camera_tool, whole = view.T_base_camera.inverse() @ T_base_tool, replace(tool, tracked=tool.parts)
    before = float(T_camera_tool.apply(tool.vertices)[:, 2].min()) > 0.0
    return before and Rasteriser(whole, view.camera).draw(T_camera_tool).inside > 0.0


def aside(place: Place, T_base_tcp: Pose, settings: Settings = SETTINGS) -> Array:
    """Targets (n, 4, 4) that lead an arm at `T_base_tcp` to where neither camera sees the tool; see `out_of_view`."""
    task = ArmTask((), place.tool, place.arm, T_base_tcp, gripper=place.gripper, limits=place.limits)

    def seen(T_base_tcp: Pose) -> bool:
        return any(in_view(place.tool, view, held(place, T_base_tcp)) for view in place.views)

    return out_of_view(task, seen, settings)


def interpret(
    place: Place,
    tracker: ToolTracker,
    now: Image,
    clip: Image,
    T_base_tcp: Pose,
    dt: float,
    retreat: bool = False,
    settings: Settings = SETTINGS,
    gates: Gates = GATES,
) -> Dream:
    """What an imagined clip (2, frames, height, width, 3) means for an arm at `T_base_tcp`, its frames `dt` [s] apart.

    now      (2, height, width, 3) the images that it began with
    retreat  the arm goes back to where it is now in the end

    Raises NoPlanError saying what the tracker or the arm made of it.
    """
    began, views = time.perf_counter(), place.views
    clips = list(clip[0]), list(clip[1])
    starts, tracked = _starts(place, now, clips, held(place, T_base_tcp)), list[StereoPose]()
    try:
        tracked = track_stereo(tracker, clips, views, place.tool, starts, gates)
        seen = time.perf_counter()
        task = ArmTask([one.T_base_tool for one in tracked], place.tool, place.arm, T_base_tcp,
                       gripper=place.gripper, limits=place.limits)  # fmt: skip
        (found,) = plan({"": task}, settings.at(1.0 / dt), retreat).values()
    except TrackingError as error:
        raise NoPlanError(f"{error}{_most('; of the other frames most say: ', tracked)}") from error
    except PlanError as error:
        raise NoPlanError(str(error)) from error
    planned = time.perf_counter()
    video = {
        view.camera.camera_name: np.stack([now[i], *map(_Outline(place.tool, view), clips[i], tracked)])
        for i, view in enumerate(views)
    }
    return Dream(found, tuple(tracked), video, dt, {"track": seen - began, "plan": planned - seen})


def _starts(
    place: Place, now: Image, clips: tuple[Sequence[Image], Sequence[Image]], T_base_tool: Pose
) -> tuple[Start, Start]:
    """What the tracker knows beforehand; see the module's text."""
    if not any(in_view(place.tool, view, T_base_tool) for view in place.views):
        return Start(now[0]), Start(now[1])
    left, right = (np.median(np.stack([now[i], *clips[i]]), axis=0).astype(np.uint8) for i in range(2))
    return Start(left), Start(right)


def _most(words: str, tracked: Sequence[StereoPose]) -> str:
    """The commonest reason for no pose, or ''."""
    reasons = Counter(one.reason for one in tracked if one.T_base_tool is None)
    return words + reasons.most_common(1)[0][0] if reasons else ""


class _Outline:
    """Draws what was tracked into a frame."""

    def __init__(self, tool: ToolMesh, view: View) -> None:
        self._drawn, self._T_camera_base = Rasteriser(tool, view.camera), view.T_base_camera.inverse()

    def __call__(self, frame: Image, tracked: StereoPose) -> Image:
        if tracked.T_base_tool is None:
            return frame
        mask = self._drawn.draw(self._T_camera_base @ tracked.T_base_tool).tracked.astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return np.asarray(cv2.drawContours(frame.copy(), outline, -1, _MARK, 1), np.uint8)
