"""What the recorder sees of the streams that it records: newest stamps, quality, the gesture, what a recording needs.

All of it from the serialised messages as they arrive, without ROS.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kinema.episodes.gesture import DoubleSqueeze, Gesture
from kinema.episodes.messages import JawSample, Picture, TaskText, Transforms, decode, typestore
from kinema.episodes.quality_monitor import Profile, QualityMonitor
from kinema.episodes.session import Conditions
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.perception.tool_pose import ToolPose
from kinema.topics import Topic

BASE, WORLD = "base_link", "world"

_MEMORY_NS = 15_000_000_000  # that is kept while nothing is recorded
_LATE_NS = 5_000_000_000  # from an anchor's making to its arrival: beyond, the tracker may have jumped unseen since


class Surroundings:
    """Give it every message of every recorded row, in the order of arrival.

    stamp_ns      the newest stamp of any stream of the profile: the present moment in the sensors' own time
    text          of `task`
    T_base_world  from /tf_static, None while it is unknown; what was latched before anybody listened does not count
    status        the newest cell/status, None outside of the virtual cell
    image_size    width, height [px] of the reference camera, zeros before its first picture
    """

    def __init__(self, profile: Profile) -> None:
        self.stamp_ns = 0
        self.text = ""
        self.T_base_world: Pose | None = None
        self.status: Any = None
        self.image_size = (0, 0)
        self._profile = profile
        self._monitor = QualityMonitor(profile)
        self._store = typestore()
        self._force: ForceSample | None = None
        self._tracked: TrackedPose | None = None
        self._tool = ToolPose(Pose.identity())  # for its segments alone
        self._anchored_in = 0
        self._squeezes = DoubleSqueeze()
        self._gesture: Gesture | None = None
        self._arrival_ns = 0  # of the message that is being taken
        self._takers: dict[str, Callable[[Any], None]] = {
            "tracker/odometry": self._take_tracked,
            "jaw/state": self._take_jaw,
            "load_cell/force": self._take_force,
            "/tf_static": self._take_transforms,
            "task": self._take_task,
            "cell/status": self._take_status,
            **{f"{name}/image_raw": partial(self._take_picture, name) for name in profile.cameras},
        }

    @property
    def monitor(self) -> QualityMonitor:
        """Of all that came since the last `hand_over`, or of the last moments."""
        return self._monitor

    def take(self, row: Topic, arrival_ns: int, message: bytes | memoryview) -> None:
        """One serialised message; raises EpisodeError when it is none of its type."""
        self._arrival_ns = arrival_ns
        taker = self._takers.get(row.name)
        if taker is not None:
            taker(decode(self._store, row.type, message))

    def gesture(self) -> Gesture | None:
        """The gesture that was completed since this was last asked."""
        found, self._gesture = self._gesture, None
        return found

    def forget(self) -> None:
        """While nothing is recorded: keep the last moments only."""
        self._monitor.forget(self.stamp_ns - _MEMORY_NS)

    def hand_over(self) -> QualityMonitor:
        """The monitor of a recording that has ended; another one goes on."""
        monitor, self._monitor = self._monitor, QualityMonitor(self._profile)
        return monitor

    def conditions(self, *, calibration: str, silent: Mapping[str, float], room: str) -> Conditions:
        """With what only the node knows: unusable calibration, silent topics with their age [s], a full disk."""
        force, tracked = self._force, self._tracked
        return Conditions(
            text=self.text,
            calibration=calibration,
            silent=silent,
            tared=force.tared if force else None,
            saturated=force.saturated if force else None,
            confidence=tracked.confidence if tracked else None,
            anchored=self.T_base_world is not None,
            jumped=self._tool.segment != self._anchored_in,
            room=room,
        )

    # ---- one message each

    def _at(self, stamp_ns: int) -> None:
        self.stamp_ns = max(self.stamp_ns, stamp_ns)

    def _take_picture(self, camera: str, picture: Picture) -> None:
        self._at(picture.stamp_ns)
        if camera == self._profile.cameras[0]:
            height, width, _ = picture.image.shape
            self.image_size = width, height
        self._monitor.image(camera, picture.stamp_ns, picture.image.reshape(-1).data)

    def _take_tracked(self, tracked: TrackedPose) -> None:
        self._at(tracked.stamp_ns)
        self._tracked = tracked
        self._tool.take(tracked)
        self._monitor.odometry(tracked)

    def _take_jaw(self, jaw: JawSample) -> None:
        self._at(jaw.stamp_ns)
        self._monitor.jaw(jaw.stamp_ns, jaw.width, jaw.valid, jaw.tags)
        if jaw.valid:
            self._gesture = self._squeezes.take(jaw.stamp_ns, jaw.width) or self._gesture

    def _take_force(self, force: ForceSample) -> None:
        self._at(force.stamp_ns)
        self._force = force
        self._monitor.force(force)

    def _take_transforms(self, transforms: Transforms) -> None:
        if self._arrival_ns - transforms.stamp_ns > _LATE_NS:
            return
        for parent, child, T in transforms.rows:
            if (parent, child) == (BASE, WORLD):
                self.T_base_world, self._anchored_in = T, self._tool.segment

    def _take_task(self, task: TaskText) -> None:
        self.text = task.text

    def _take_status(self, status: Any) -> None:
        self.status = status
