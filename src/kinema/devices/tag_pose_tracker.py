"""A pose tracker that is a camera: its own pose in a map of tags (`perception.tag_map`)."""

from kinema.interfaces import Camera, TrackedPose
from kinema.perception.tag_map import TagMapTracker


class TagPoseTracker:
    """Reads the camera, and closes it: who needs its images as well gives them to `TagMapTracker` instead."""

    def __init__(self, camera: Camera, tracker: TagMapTracker) -> None:
        self.serial = camera.serial
        self._camera, self._tracker = camera, tracker

    def read(self, timeout: float) -> TrackedPose | None:
        frame = self._camera.read(timeout)
        return None if frame is None else self._tracker.track(frame.stamp_ns, frame.image)

    def close(self) -> None:
        self._camera.close()
