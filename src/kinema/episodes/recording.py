"""One episode while it is being recorded: folder, bag, calibration; at its end the quality report and the verdict."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from kinema.episodes import facts as facts_file
from kinema.episodes.check import hold_to_alignment
from kinema.episodes.facts import Facts
from kinema.episodes.messages import typestore
from kinema.episodes.pipeline import Encoding, Failure, Pipeline
from kinema.episodes.quality import Limits, Quality
from kinema.episodes.quality_monitor import QualityMonitor
from kinema.episodes.writer import EpisodeWriter, being_written, copy_calibration
from kinema.errors import RecordingError
from kinema.topics import Topic, topic

METADATA = "metadata.yaml"  # what rosbag2 knows a bag by; the last that closing it writes


class Recording:
    """Records into `folder`, which is new; `capacity` [bytes] may wait for encoders and disk.

    Raises RecordingError when the disk has no room even to begin.
    """

    def __init__(
        self,
        folder: Path,
        rows: Iterable[Topic],
        facts: Facts,
        *,
        encoding: Encoding,
        capacity: int,
        calibration: Path,
    ) -> None:
        self.folder, self.facts = folder, facts
        store = typestore()
        try:
            copy_calibration(calibration, folder)
            self._writer = EpisodeWriter(folder, [topic(encoding.topic(row)) for row in rows], store, facts)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RecordingError(f"{folder}: {error.strerror}; free some room, or record to another disk") from error
        self._pipeline = Pipeline(self._writer, store, encoding, capacity)

    @property
    def failure(self) -> Failure | None:
        """Set once the disk takes no more (FAULTS F25)."""
        return self._pipeline.failure

    @property
    def dropped(self) -> dict[str, int]:
        """Messages by topic that came faster than they could be written (FAULTS F27)."""
        return self._pipeline.dropped

    def put(self, row: Topic, arrival_ns: int, message: bytes) -> None:
        """One serialised message; returns at once."""
        self._pipeline.put(row, arrival_ns, message)

    def finish(self, facts: Facts, monitor: QualityMonitor, limits: Limits, interrupted: str = "") -> Facts:
        """Write all that is left and close the episode; returns its facts with report and verdict. Takes its time.

        `monitor` has seen the streams; `interrupted` says why the demonstration is not whole, '' if it is. Raises
        RecordingError when the disk does not take the end either.
        """
        self._pipeline.close()
        for name, count in self.dropped.items():
            monitor.drop(name, count)
        quality = monitor.report(facts.began_ns, facts.ended_ns, limits)
        verdict = "; ".join(filter(None, (interrupted, quality.verdict(limits), self._lost(quality, limits))))
        final = facts.replace(dropped=self.dropped, quality=quality, rejected=verdict)
        try:
            return hold_to_alignment(self.folder, self._writer.close(final))
        except OSError as error:
            raise RecordingError(
                f"{self.folder}: {error.strerror}; free some room, then `kinema episodes recover {self.folder}`"
            ) from error

    def discard(self) -> None:
        """End without a trace."""
        self._pipeline.close()
        shutil.rmtree(self.folder)

    def _lost(self, quality: Quality, limits: Limits) -> str:
        """Drops beyond the limit in topics that the quality report does not watch."""
        written = self._writer.counts
        return "; ".join(
            f"{name}: {count} messages were dropped, {written.get(name, 0)} written"
            for name, count in self.dropped.items()
            if name not in quality.streams and count > limits.lost * (count + written.get(name, 0))
        )


def unfinished(root: Path) -> list[Path]:
    """Folders below `root` of episodes whose recorder is gone and did not come to close the bag (FAULTS F26)."""
    folders = sorted(file.parent for file in root.glob(f"*/*/{facts_file.FILE}"))
    return [folder for folder in folders if not (folder / METADATA).exists() and not being_written(folder)]
