"""`kinema evaluate video`: what a policy imagines against what then happens, beside simply repeating the first frame.

In rollouts as `kinema evaluate rollouts` has them. A clip begins with an observation; when all the moments that it
imagines have come, the next observation begins another. What happens later in a clip is also the doing of the chunks
that followed: the further ahead, the more the policy is held to its word.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from rich.console import Console
from rich.progress import track

from kinema import cell_file, paths
from kinema.apps import evaluate_rollouts, trials
from kinema.apps.console import console
from kinema.apps.evaluate_table import Sheet
from kinema.apps.lockstep import Watcher
from kinema.apps.rollouts import Player, act
from kinema.apps.trials import Scene, Setting
from kinema.chunk import Image, Observation, Prediction
from kinema.clock import to_ns
from kinema.errors import ConfigError
from kinema.geometry import Array
from kinema.interfaces import Policy
from kinema.perception.align import sized
from kinema.training import videos
from kinema.training.video_quality import feature_distance, psnr, ssim
from kinema.workers import on_all_cores

MEASURES: Mapping[str, Callable[[Image, Image], Array]] = {
    "PSNR [dB]": psnr,
    "SSIM": ssim,
    "feature distance": feature_distance,
}


@runtime_checkable
class Imagines(Policy, Protocol):
    """A policy that has a video to show."""

    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        """The prediction that it made of this observation, with its video finished."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Clip:
    """What was imagined and what happened: (cameras, n, height, width, 3) each, `dt` [s] apart, the first at t0."""

    scene: Scene
    t0_ns: int
    cameras: tuple[str, ...]
    dt: float
    imagined: Image
    happened: Image

    @property
    def name(self) -> str:
        return f"{self.scene.task}_{self.scene.list}_{self.scene.seed}_{self.t0_ns / 1e9:.1f}s"


class Filming(Watcher):
    """Has the policy imagine, and watches what comes; `clips` are those that came to their end."""

    def __init__(self, policy: Imagines, scene: Scene) -> None:
        self.clips: list[Clip] = []
        self._policy, self._scene = policy, scene
        self._clip: Clip | None = None  # `happened` as far as it has
        self._seen: list[Image] = []

    def predicted(self, observation: Observation, prediction: Prediction) -> None:
        if self._clip is not None:
            return
        found, names = self._policy.imagine(observation, prediction), self._policy.spec.cameras
        assert found.video is not None
        imagined = np.stack([found.video[name] for name in names])
        self._seen = [np.stack([observation.images[name][-1] for name in names])]
        self._clip = Clip(self._scene, observation.stamp_ns, names, found.video_dt, imagined, imagined[:, :0])

    def moment(self, stamp_ns: int, look: Callable[[str], Image]) -> None:
        clip = self._clip
        if clip is None or stamp_ns < clip.t0_ns + to_ns(len(self._seen) * clip.dt - 1 / 60):
            return
        size = self._policy.spec.image_size
        self._seen.append(np.stack([sized(look(name), size, name) for name in clip.cameras]))
        if len(self._seen) == clip.imagined.shape[1]:
            self.clips.append(replace(clip, happened=np.stack(self._seen, axis=1)))
            self._clip = None


def film(player: Player, setting: Setting, scene: Scene, cell: Path) -> list[Clip]:
    """The clips of one rollout; raises ConfigError for a policy that imagines nothing."""
    policy = player.make(scene.seed)
    if not isinstance(policy, Imagines):
        raise ConfigError(f"policy {policy.name!r} imagines no video; allowed is one that has `imagine`")
    filming = Filming(policy, scene)
    act(player, policy, setting, scene, cell, filming)
    return filming.clips


def measure(clips: Sequence[Clip]) -> Array:
    """(clips, cameras, n - 1, measures, 2): every frame after the first, as imagined and as the first one repeated."""
    found = []
    for clip in clips:
        later, repeated = clip.happened[:, 1:], np.repeat(clip.happened[:, :1], clip.happened.shape[1] - 1, axis=1)
        pairs = [[(made, later[i]) for made in (clip.imagined[i, 1:], repeated[i])] for i in range(len(later))]
        rows = [[[of(*pair) for pair in camera] for of in MEASURES.values()] for camera in pairs]
        found.append(np.moveaxis(np.array(rows), 3, 1))
    return np.array(found)


def quality_table(values: Array, first: Clip, label: str) -> Sheet:
    """What `measure` found by time ahead, then by camera; the last row has the interval of the difference, by clips."""
    dt, cameras = first.dt, first.cameras

    def cells(part: Array) -> list[str]:
        return [f"{number:.3f}" if i >= 2 else f"{number:.2f}" for i, number in enumerate(part.ravel())]

    rows = [("all", f"{(k + 1) * dt:.1f} s", *cells(values[:, :, k].mean(axis=(0, 1)))) for k in range(values.shape[2])]
    rows += [(name, "all", *cells(values[:, i].mean(axis=(0, 1)))) for i, name in enumerate(cameras)]
    rows.append(("all", "all", *cells(values.mean(axis=(0, 1, 2)))))
    gains = (values[..., 0] - values[..., 1]).mean(axis=(1, 2))  # (clips, measures)
    half = 1.96 * gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.full(len(MEASURES), np.inf)
    spans = [f"{mean:+.3f} ± {h:.3f}" for mean, h in zip(gains.mean(axis=0), half, strict=True)]
    rows.append(("imagined less repeated", "all", *(cell for span in spans for cell in (span, ""))))
    heads = [cell for name in MEASURES for cell in (f"{name}, imagined", "first frame")]
    return Sheet(f"{label}: {len(values)} clips", ("camera", "ahead", *heads), tuple(rows))


def configure(parser: argparse.ArgumentParser) -> None:
    evaluate_rollouts.configure(parser)
    parser.set_defaults(scenarios=5, list=["seen"])
    parser.add_argument("--out", type=Path, default=paths.root() / "runs/imagined", help="of the MP4s: %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Film, write the videos and the numbers, show the table."""
    player = Player.of(arguments.policy, arguments.inference, arguments.like)
    setting, *others = evaluate_rollouts.settings(arguments, player, cell_file.load(arguments.cell).control.execution)
    if others:
        raise ConfigError("one setting can be filmed at a time: give one --executed and one --images")
    scenes = trials.scenes(arguments.task, arguments.list, arguments.purpose, arguments.scenarios)
    rows = [(player, setting, scene, arguments.cell) for scene in scenes]
    filmed = track(on_all_cores(film, rows, arguments.jobs), "filming", len(rows), console=Console(stderr=True))
    clips = sorted((clip for found in filmed for clip in found), key=lambda clip: clip.name)
    if not clips:
        raise ConfigError(f"no rollout lasted as long as what {setting.label} imagines; raise --time-limit")
    for clip in clips:
        frames = videos.side_by_side(clip.happened, clip.imagined)
        videos.write(arguments.out / f"{clip.name}.mp4", frames, 1 / clip.dt)
    values = measure(clips)
    sheet = quality_table(values, clips[0], setting.label)
    file = trials.results_file(arguments.results, setting)
    file = file.with_name(
        "_".join(word for word in (file.stem, setting.inference.replace(":", ""), "video.json") if word)
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"title": sheet.title, "measures": list(MEASURES), "clips": [clip.name for clip in clips]}
    file.write_text(json.dumps({**facts, "values": values.round(4).tolist()}) + "\n")
    out = console()
    sheet.print(out)
    out.print(f"numbers: {file}; side by side, what happened above: {arguments.out}")
    return 0
