"""A recorded episode measured again, from its files alone: quality, and how much of it can be aligned."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kinema.episodes import facts as facts_file
from kinema.episodes.aligned import Aligned, align_episode
from kinema.episodes.facts import Facts
from kinema.episodes.messages import CompressedPicture
from kinema.episodes.quality import LIMITS, Limits, Quality
from kinema.episodes.quality_monitor import DEPLOYED, QualityMonitor, handheld, image_topic
from kinema.episodes.reader import Episode
from kinema.episodes.rows import LOST, apart
from kinema.errors import KinemaError
from kinema.interfaces import ForceSample, TrackedPose


@dataclass(frozen=True, eq=False, slots=True)
class Check:
    """`faults`: why the episode must not be used, by what is in it, whatever episode.yaml says."""

    quality: Quality
    aligned: Aligned
    faults: tuple[str, ...]


def measure(episode: Episode, limits: Limits = LIMITS) -> Quality:
    """The quality of the useful interval, from the messages in the bag and the drops that were counted."""
    by_hand = episode.facts.source == "handheld"
    monitor = QualityMonitor(handheld(episode.facts.tracker) if by_hand else DEPLOYED)
    topics = {name: name.removesuffix("/compressed") for name in episode.topics}
    cameras = {image_topic(camera): camera for camera in monitor.profile.cameras}
    for name, _, value in episode.read(name for name in topics if topics[name] in monitor.profile.rates):
        if isinstance(value, TrackedPose):
            monitor.odometry(value)
        elif isinstance(value, ForceSample):
            monitor.force(value)
        elif topics[name] in cameras:
            data = value.data if isinstance(value, CompressedPicture) else value.image.reshape(-1).data
            monitor.image(cameras[topics[name]], value.stamp_ns, data)
        else:
            monitor.jaw(value.stamp_ns, value.width, value.valid, value.tags)
    for name, count in episode.facts.dropped.items():
        monitor.drop(name, count)
    return monitor.report(episode.facts.began_ns, episode.facts.ended_ns, limits)


def _unaligned(aligned: Aligned) -> tuple[str, ...]:
    """The stream at fault most often, and its first reason, when a data set would not take so many lost moments."""
    total = len(aligned) + len(aligned.rejected)
    if total == 0:
        return ("alignment: the useful interval holds no image of the reference camera",)
    if len(aligned.rejected) <= LOST * len(aligned):
        return (f"alignment: {hole}",) if (hole := apart(aligned)) else ()
    stream, count = Counter(reason.partition(":")[0] for _, reason in aligned.rejected).most_common(1)[0]
    reason = next(reason for _, reason in aligned.rejected if reason.startswith(stream))
    return (
        f"alignment: {len(aligned.rejected)} of {total} moments are rejected, at most {LOST:.0%} are allowed; "
        f"{count} of them for {reason}",
    )


def hold_to_alignment(folder: Path, facts: Facts) -> Facts:
    """The facts of an episode that was just closed, rejected if no data set would take it; episode.yaml says so then.

    The rest was judged from the streams as they came; two lost images in a row show only when all are put together.
    """
    if facts.rejected or facts.source != "handheld":
        return facts
    try:
        faults = _unaligned(align_episode(Episode.open(folder)))
    except KinemaError as error:
        faults = (f"alignment: {error}",)
    if not faults:
        return facts
    judged = facts.replace(rejected="; ".join(faults))
    facts_file.save(folder, judged)
    return judged


def check(episode: Episode, limits: Limits = LIMITS) -> Check:
    """Raises EpisodeError or CalibrationError when the episode can't be aligned at all."""
    quality, aligned = measure(episode, limits), align_episode(episode)
    return Check(quality, aligned, (*quality.faults(limits), *_unaligned(aligned)))
