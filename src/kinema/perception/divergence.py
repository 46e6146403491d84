"""Where imagination and reality part: imagined frames against what the cameras saw at the moments they stand for. Pure.

Two measures of each pair of images, both of places rather than of pixels, so that neither blur nor sensor noise counts:
edges (histograms of oriented gradients, Dalal and Triggs 2005; the tenth of the places that differ most: a thing that
is not where it should be) and colours (CIELAB means; what three quarters of the places do not exceed: a hand, a camera
that was knocked). Neither is blown up by an arm that is a little early, which happens in every rollout.

What is usual of a policy is learned from rollouts that succeeded, for each camera and time ahead; a difference is told
in that unit, and the threshold is the 99th percentile of what those rollouts show.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydantic

from kinema import yaml_file
from kinema.chunk import Image, Prediction
from kinema.clock import to_ns, to_seconds
from kinema.errors import CheckpointError
from kinema.geometry import Array
from kinema.perception.align import AlignmentError, StampedBuffer, within

NAME = "divergence.yaml"  # in the checkpoint's folder
MEASURES = ("edges", "colours")
QUANTILE = 0.99  # of a moment's value over successful rollouts
MAX_SKEW = 0.020  # [s] that an image may lie from the moment that was imagined

_WIDTH = 128  # [px] of images when they are compared
_CELL, _BLOCK, _BINS = 8, 16, 9  # [px] of a place, of a histogram's block, orientations
_WORST = 0.1  # of the places, those whose edges differ most
_MOST = 75  # [%] of the places, whose colours differ by so much or less
_LEAST_SPREAD = 0.1  # of the mean: nothing is so regular that less would be unusual


@dataclass(frozen=True, eq=False, slots=True)
class Appearance:
    """What is compared of an image: edges (blocks, 36), colours (rows, columns, 3) in CIELAB."""

    edges: Array
    colours: Array


def appearance(image: Image) -> Appearance:
    """Of an image (height, width, 3) RGB of at least 16 pixels either way."""
    height = max(round(image.shape[0] * _WIDTH / image.shape[1] / _CELL) * _CELL, _BLOCK)
    shrinks = image.shape[1] > _WIDTH
    small = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    blocks = cv2.HOGDescriptor((_WIDTH, height), (_BLOCK, _BLOCK), (_CELL, _CELL), (_CELL, _CELL), _BINS)
    edges = np.asarray(blocks.compute(small), float).reshape(-1, _BINS * (_BLOCK // _CELL) ** 2)
    lab = cv2.cvtColor(np.asarray(small, np.float32) / 255, cv2.COLOR_RGB2LAB)
    means = cv2.resize(lab, (_WIDTH // _CELL, height // _CELL), interpolation=cv2.INTER_AREA)
    return Appearance(edges, np.asarray(means, float))


def difference(imagined: Appearance, seen: Appearance) -> Array:
    """(2,) as in MEASURES; 0 where the images are alike. Light that changes everywhere alike does not count."""
    edges = np.sort(np.linalg.norm(imagined.edges - seen.edges, axis=1))
    apart = imagined.colours - seen.colours
    colours = np.linalg.norm(apart - np.median(apart, axis=(0, 1)), axis=-1)
    return np.array([edges[-max(round(_WORST * len(edges)), 1) :].mean(), np.percentile(colours, _MOST)])


class Usual(pydantic.BaseModel):
    """What a policy's imagination usually differs by, as `kinema evaluate divergence` found in rollouts that succeeded.

    checkpoint, mode  hash of the policy, and its mode of inference, '' where there is but one
    dt         [s] between imagined frames, the first at the observation
    mean       camera -> measure -> of every frame after the first
    spread     likewise; that of a measure is so scaled that one moment in a hundred comes to 1 by it
    threshold  of a moment's value: the 99th percentile; moments, rollouts: of how many
    """

    model_config = yaml_file.STRICT

    checkpoint: str
    mode: str
    dt: float = pydantic.Field(gt=0.0)
    mean: dict[str, dict[str, tuple[float, ...]]]
    spread: dict[str, dict[str, tuple[float, ...]]]
    threshold: float
    moments: int = pydantic.Field(ge=1)
    rollouts: int = pydantic.Field(ge=1)

    @pydantic.model_validator(mode="after")
    def _complete(self) -> "Usual":
        lengths = set()
        for name, table in (("mean", self.mean), ("spread", self.spread)):
            if table.keys() != self.mean.keys() or not table:
                raise ValueError(f"{name} has the cameras {', '.join(table) or 'none'}; allowed: those of mean")
            for camera, rows in table.items():
                if tuple(rows) != MEASURES:
                    raise ValueError(f"{name}.{camera} has {', '.join(rows)}; allowed: {', '.join(MEASURES)}")
                lengths |= {len(row) for row in rows.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError("mean and spread must be given for the same frames everywhere, one at the least")
        if any(value <= 0.0 for rows in self.spread.values() for row in rows.values() for value in row):
            raise ValueError("spread must be above 0")
        return self

    @property
    def frames(self) -> int:
        """How many imagined frames after the first it knows of."""
        return len(next(iter(self.mean.values()))[MEASURES[0]])

    def values(self, differences: Array, cameras: Sequence[str], first: int = 1) -> Array:
        """How unusual the worse of the two measures is, by camera (..., cameras, frames).

        Of differences (..., cameras, frames, 2) of frames from the `first` after the observation's on.
        """
        kept = slice(first - 1, first - 1 + differences.shape[-2])
        mean, spread = (
            np.array([[table[c][m][kept] for m in MEASURES] for c in cameras]).swapaxes(1, 2)
            for table in (self.mean, self.spread)
        )
        return ((differences - mean) / spread).max(axis=-1)

    @staticmethod
    def of(rollouts: Sequence[Array], cameras: Sequence[str], dt: float, checkpoint: str, mode: str) -> "Usual":
        """From the differences (clips, cameras, frames, 2) of each rollout.

        Raises CheckpointError where there are fewer clips than a 99th percentile needs: a hundred moments.
        """
        clips = np.concatenate(rollouts) if rollouts else np.zeros((0, len(cameras), 1, 2))
        moments = len(clips) * clips.shape[2]
        if moments < 1 / (1 - QUANTILE) - 1e-6:
            raise CheckpointError(
                f"{moments} moments of {len(rollouts)} successful rollouts are too few for a threshold at the "
                f"{100 * QUANTILE:.0f}th percentile; needed are 100: roll out more scenarios"
            )
        mean, spread = clips.mean(axis=0), clips.std(axis=0, ddof=1)
        spread = np.maximum(spread, np.maximum(_LEAST_SPREAD * mean, 1e-9))
        spread = spread * np.quantile(((clips - mean) / spread).max(axis=1), QUANTILE, axis=(0, 1))
        found = ((clips - mean) / spread).max(axis=(1, 3))  # of a moment: the worst of cameras and measures
        tables = [
            {c: {m: tuple(part[i, :, j].tolist()) for j, m in enumerate(MEASURES)} for i, c in enumerate(cameras)}
            for part in (mean, spread)
        ]
        return Usual(
            checkpoint=checkpoint,
            mode=mode,
            dt=dt,
            mean=tables[0],
            spread=tables[1],
            threshold=float(np.quantile(found, QUANTILE)),
            moments=moments,
            rollouts=len(rollouts),
        )


def load(folder: Path, checkpoint: str, mode: str) -> Usual | None:
    """What stands in a checkpoint's folder, None where nothing does of this mode.

    Raises CheckpointError for a file of another checkpoint, or one that is no such file.
    """
    file, remedy = folder / NAME, f"`kinema evaluate divergence {folder}` makes it anew"
    if not file.exists():
        return None
    usual = yaml_file.read(file, Usual, CheckpointError, remedy)
    if usual.checkpoint != checkpoint:
        raise CheckpointError(f"{file}: is of checkpoint {usual.checkpoint[:12]}, here is {checkpoint[:12]}; {remedy}")
    return usual if usual.mode == mode else None


@dataclass(frozen=True, slots=True)
class Moment:
    """One imagined moment held against what was seen.

    stamp_ns  the moment [ns, Kinema time]; chunk: whose video; ahead [s] of its observation
    cameras   camera -> how unusual the difference is, as `Usual` has it; where nothing is known of the policy, the
              larger of the two measures as it is
    threshold of the worst camera's; infinite where none is known
    """

    stamp_ns: int
    chunk: int
    ahead: float
    cameras: Mapping[str, float]
    threshold: float

    @property
    def camera(self) -> str:
        """The one that differs most."""
        return max(self.cameras, key=self.cameras.__getitem__)

    @property
    def value(self) -> float:
        return self.cameras[self.camera]

    @property
    def diverged(self) -> bool:
        return self.value > self.threshold

    @property
    def text(self) -> str:
        """For people."""
        limit = f", allowed are {self.threshold:.2f}" if np.isfinite(self.threshold) else ""
        return (
            f"what {self.camera} sees is not what chunk {self.chunk} imagined {self.ahead:.1f} s ahead: the difference "
            f"is {self.value:.2f}{limit}"
        )


@dataclass(frozen=True, eq=False, slots=True)
class Expected:
    """What a video shows at one moment, by camera; the fields are those of a `Moment`, `frame` counts from 0."""

    stamp_ns: int
    chunk: int
    frame: int
    ahead: float
    cameras: Mapping[str, Appearance]


def expected(prediction: Prediction) -> tuple[Expected, ...]:
    """Of every frame after the first, none of a prediction without a video. Takes some 2 ms an image."""
    if prediction.video is None:
        return ()
    ahead = [to_ns(k * prediction.video_dt) for k in range(min(len(clip) for clip in prediction.video.values()))]
    return tuple(
        Expected(
            stamp_ns=prediction.chunk.t0_ns + ahead[k],
            chunk=prediction.chunk.id,
            frame=k,
            ahead=to_seconds(ahead[k]),
            cameras={camera: appearance(clip[k]) for camera, clip in prediction.video.items()},
        )
        for k in range(1, len(ahead))
    )


class Watch:
    """Holds the newest video of a policy, and compares each of its frames once all cameras have come so far.

    `usual` None: differences are told as they are, and nothing is above a threshold.
    """

    def __init__(self, usual: Usual | None = None) -> None:
        self.usual = usual
        self._expected: deque[Expected] = deque()

    def expect(self, video: Sequence[Expected]) -> None:
        """From now on this is what should happen; nothing at all changes nothing."""
        if video:
            self._expected = deque(video)

    def forget(self) -> None:
        """Nothing is expected any more."""
        self._expected.clear()

    def compare(self, images: Mapping[str, StampedBuffer[Image]]) -> list[Moment]:
        """The moments that have come since the last call, oldest first.

        A moment that a camera has not seen, within 20 ms, is left out.
        """
        found = []
        while self._expected:
            due = self._expected[0]
            newest = [images[camera].latest_ns() for camera in due.cameras]
            if any(latest is None or latest < due.stamp_ns for latest in newest):
                break
            self._expected.popleft()
            try:
                seen = {c: appearance(within(images[c], due.stamp_ns, MAX_SKEW)[1]) for c in due.cameras}
            except AlignmentError:
                continue
            found.append(self._judge(due, np.array([difference(due.cameras[c], seen[c]) for c in due.cameras])))
        return found

    def _judge(self, due: Expected, differences: Array) -> Moment:
        usual, cameras = self.usual, tuple(due.cameras)
        if usual is None or due.frame > usual.frames or set(cameras) - usual.mean.keys():
            values, threshold = differences.max(axis=1), float("inf")
        else:
            values, threshold = usual.values(differences[:, None], cameras, due.frame)[:, 0], usual.threshold
        return Moment(due.stamp_ns, due.chunk, due.ahead, dict(zip(cameras, values.tolist(), strict=True)), threshold)


@dataclass(frozen=True, eq=False, slots=True)
class Roc:
    """Receiver operating characteristic: shares of usual and of unusual moments above falling thresholds."""

    thresholds: Array
    false_alarms: Array
    found: Array

    @property
    def area(self) -> float:
        """Below the curve: the chance that an unusual moment has the higher value; 0.5 is guessing."""
        return float(np.trapezoid(self.found, self.false_alarms))


def roc(usual: Array, unusual: Array) -> Roc:
    """Of values of moments in which nothing happened, and of such in which something did."""
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([usual, unusual]))[::-1]])
    shares = [np.array([(values >= t).mean() for t in thresholds]) for values in (usual, unusual)]
    return Roc(thresholds, *shares)
