"""A recorded episode as it would have been recorded with other calibration files.

What the sensors said stands in the bag: the tracker's poses, the gripper camera's pictures. What calibration made of
it is made anew: the tool's pose by the tracker's mount, the tracker's world by the same rest in the dock, the jaw's
opening by the tags in the pictures. Stamps are shifted at alignment, by the latencies' differences.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kinema.calibration.bundle import GRIPPER_CAMERA, Bundle, load_bundle
from kinema.episodes.aligned import Aligned, align_episode
from kinema.episodes.facts import WorldFacts
from kinema.episodes.reader import Episode, JawStream, Streams
from kinema.errors import EpisodeError
from kinema.perception.jaw import JawTracker


class _Reread(Episode):
    """`streams` has the jaw's opening of the pictures, `calibration` the new files, with the latencies of the old."""

    def streams(self) -> Streams:
        streams, bundle = super().streams(), self.calibration
        stamps = streams.images.get(GRIPPER_CAMERA, np.empty(0, np.int64))
        size = self.image(GRIPPER_CAMERA, 0).shape[1::-1] if len(stamps) else (0, 0)
        tracker = JawTracker(bundle.jaw, bundle.camera(GRIPPER_CAMERA).scaled(size), bundle.T_tcp_camera())
        readings = [
            tracker.measure(stamp_ns, self.image(GRIPPER_CAMERA, i)) for i, stamp_ns in enumerate(stamps.tolist())
        ]
        jaw = JawStream(
            stamps,
            np.array([reading.width for reading in readings], float),
            np.array([reading.valid for reading in readings], bool),
            np.array([reading.tags for reading in readings], np.int64),
        )
        return replace(streams, jaw=jaw)


def _world(episode: Episode, bundle: Bundle) -> WorldFacts:
    """`T_base_world` by the new files; where the dock told it, by what the tracker said in the dock then."""
    told, old = episode.facts.T_base_world, episode.calibration
    if told is None or told.source == "file":
        return WorldFacts.of(bundle.T_base_world, "file")
    T_world_tracker = told.pose.inverse() @ old.T_base_dock @ old.T_tracker_tcp.inverse()
    return WorldFacts.of(bundle.T_base_dock @ (T_world_tracker @ bundle.T_tracker_tcp).inverse(), "dock")


def reread(folder: Path, calibration: Path) -> Aligned:
    """A demonstration by hand, aligned as if the files in `calibration` had been in force.

    Raises EpisodeError for an episode of the robot, CalibrationError for files that are not those of its devices.
    """
    then = Episode.open(folder)
    if then.facts.source != "handheld":
        raise EpisodeError(f"{folder}: was recorded by the {then.facts.source}, whose arm tells the tool's pose itself")
    old = then.calibration
    serials = {name: row.serial for name, row in old.latencies.devices.items() if name != "arm"}
    bundle = load_bundle(calibration, serials)
    facts = then.facts.replace(T_base_world=_world(then, bundle))
    episode = _Reread.open(folder, facts)
    episode.__dict__["calibration"] = replace(bundle, latencies=old.latencies)
    return align_episode(episode, latencies=bundle.latencies)
