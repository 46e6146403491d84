"""Alignment against the simulator's truth: late and jittering sensors, without and with the latency file applied.

    python benchmarks/alignment.py [--sessions 6]

Sessions of the simulated person are recorded as episodes whose stamps are moments of arrival: each device is late by
its own 30 to 170 ms and jitters by up to 5 ms, each sample by itself; the calibration in force knows of neither. Then
they are aligned, as recorded and with the true latencies applied as a difference, and each step is held against where
the tool and the jaw really were when the reference camera took its image. In one image of ten no tag is seen, so that
the opening has to be interpolated. "alignment alone" has a tracker without noise or drift; the last rows add the
T265's, which no alignment takes away. Pictures are empty: nobody looks at them.
"""

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kinema import paths
from kinema.calibration.files import Latencies, Latency, load
from kinema.clock import NS, Every, to_ns
from kinema.episodes import messages
from kinema.episodes.aligned import align_episode
from kinema.episodes.facts import Facts, ImageFacts, WorldFacts
from kinema.episodes.messages import CompressedPicture, JawSample
from kinema.episodes.reader import Episode
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.geometry import Pose, distance
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, topic
from kinema.virtual import noise, scenario
from kinema.virtual.hand import Hand, Phase
from kinema.virtual.handheld import T_BASE_WORLD, HandheldWorld
from kinema.virtual.noise import NoiseTable

LATENESS = (0.030, 0.170)  # [s]
JITTER = 0.005  # [s] each way
UNSEEN = 0.1  # of the images that show no tag
GOALS, NO_GOALS = ("2", "0.5", "0.5", ""), ("", "", "", "")
DEVICES = (*CAMERAS, "tracker", "load_cell")
_ORIGIN_NS = 1_000_000_000 * NS
_CALIBRATION = paths.root() / "calibration/virtual"
_TOPICS = (
    *(f"{camera}/image_raw/compressed" for camera in CAMERAS),
    "jaw/state",
    "load_cell/force",
    "tracker/odometry",
)


@dataclass(frozen=True, slots=True)
class Session:
    """What happened: samples with their true stamps, and the tool's pose and the opening [m] at each image's stamp."""

    tracked: tuple[TrackedPose, ...]
    forces: tuple[ForceSample, ...]
    images: tuple[int, ...]
    tool: tuple[Pose, ...]
    width: tuple[float, ...]


def silent() -> NoiseTable:
    """The noise table with a perfect tracker."""
    table = noise.load()
    nothing = {field.name: 0.0 for field in dataclasses.fields(table.tracker)}
    return dataclasses.replace(table, tracker=dataclasses.replace(table.tracker, **nothing))


def steady() -> NoiseTable:
    """The noise table with a tracker that drifts and trembles but never jumps, which would end the episode."""
    table = noise.load()
    return dataclasses.replace(table, tracker=dataclasses.replace(table.tracker, jump_rate=0.0))


def demonstrate(task: str, seed: int, table: NoiseTable) -> Session:
    """A demonstration from the first gesture's end to the second one's begin, read at every sensor's own rate."""
    world = HandheldWorld(scenario.draw(task, "train", seed), seed=seed, origin_ns=_ORIGIN_NS, noise=table)
    world.tare()
    hand = Hand(world, seed)
    tracked, forces, images, tool, width = [], [], [], [], []
    camera, load_cell = Every(30.0, _ORIGIN_NS), Every(80.0, _ORIGIN_NS)
    while hand.phase is not Phase.END:
        world.step(*hand.goal())
        camera_due, force_due = camera.due(world.t_ns), load_cell.due(world.t_ns)
        if hand.phase is not Phase.DEMONSTRATE:
            continue
        if (sample := world.tracked()) is not None:
            tracked.append(sample)
        if force_due:
            forces.append(world.load_cell())
        if camera_due:
            images.append(world.t_ns)
            tool.append(world.T_base_tcp())
            width.append(world.width())
    return Session(tuple(tracked), tuple(forces), tuple(images), tuple(tool), tuple(width))


def _arrivals(stamps_ns: list[int], latency: float, rng: np.random.Generator) -> list[int]:
    """When samples arrive: late, jittering, one after the other."""
    jitter = rng.uniform(-JITTER, JITTER, len(stamps_ns))
    late = np.array(stamps_ns) + np.round((latency + jitter) * NS).astype(np.int64)
    return np.maximum.accumulate(late + np.arange(len(late))).tolist()


def record(folder: Path, session: Session, lateness: Mapping[str, float], rng: np.random.Generator) -> None:
    """The episode that drivers would leave which believe that nothing is late."""
    camera_ns = {camera: _arrivals(list(session.images), lateness[camera], rng) for camera in CAMERAS}
    tracker_ns = _arrivals([sample.stamp_ns for sample in session.tracked], lateness["tracker"], rng)
    force_ns = _arrivals([sample.stamp_ns for sample in session.forces], lateness["load_cell"], rng)
    rows: list[tuple[int, str, object]] = []
    for camera, stamps in camera_ns.items():
        pictures = [CompressedPicture(t, f"{camera}_optical_frame", "jpeg", b"") for t in stamps]
        rows += [(picture.stamp_ns, f"{camera}/image_raw/compressed", picture) for picture in pictures]
    for t, width in zip(camera_ns["gripper"], session.width, strict=True):
        seen = rng.random() > UNSEEN
        rows.append((t, "jaw/state", JawSample(t, width if seen else math.nan, seen, 2 if seen else 0)))
    for t, tracked in zip(tracker_ns, session.tracked, strict=True):
        rows.append((t, "tracker/odometry", dataclasses.replace(tracked, stamp_ns=t)))
    for t, force in zip(force_ns, session.forces, strict=True):
        rows.append((t, "load_cell/force", dataclasses.replace(force, stamp_ns=t)))
    # the first and last 0.3 s are there to interpolate in: streams that are late by less begin earlier
    began, ended = camera_ns["gripper"][0] + to_ns(0.3), camera_ns["gripper"][-1] - to_ns(0.3)
    facts = Facts(
        source="handheld",
        text="benchmark",
        began_ns=began,
        ended_ns=ended,
        simulated=True,
        images=ImageFacts(compression="jpeg"),
        T_base_world=WorldFacts.of(T_BASE_WORLD, "file"),
    )
    copy_calibration(_CALIBRATION, folder)
    store = messages.typestore()
    writer = EpisodeWriter(folder, [topic(name) for name in _TOPICS], store, facts)
    for arrival_ns, name, value in sorted(rows, key=lambda row: row[0]):
        writer.write(name, arrival_ns, messages.encode(store, value))
    writer.close(facts)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of each step: position [mm], rotation [deg], width [mm], the farthest other image [ms]; how many were refused."""

    rows: np.ndarray
    refused: int


def errors(folder: Path, session: Session, latencies: Latencies | None) -> Errors:
    aligned = align_episode(Episode.open(folder), latencies=latencies)
    rows = []
    for i in range(len(aligned)):
        k = int(aligned.frames["gripper"][i])
        moved, turned = distance(session.tool[k], Pose.from_matrix(aligned.T_base_tcp[i]))
        others = [session.images[int(aligned.frames[camera][i])] - session.images[k] for camera in CAMERAS[1:]]
        skew = max(abs(other) for other in others) * 1e-6
        rows.append((moved * 1e3, math.degrees(turned), abs(aligned.width[i] - session.width[k]) * 1e3, skew))
    return Errors(np.array(rows).reshape(-1, 4), len(aligned.rejected))


def measured(lateness: Mapping[str, float]) -> Latencies:
    """The latency file that a perfect measurement would have made."""
    file = load(_CALIBRATION / "latency.yaml", Latencies, remedy="")
    rows = {name: Latency(serial=row.serial, seconds=lateness.get(name, 0.0)) for name, row in file.devices.items()}
    return file.model_copy(update={"devices": rows})


def _show(table: Table, name: str, found: list[Errors], goals: tuple[str, ...]) -> None:
    rows = np.concatenate([one.rows for one in found])
    refused = sum(one.refused for one in found)
    what = ("position [mm]", "rotation [deg]", "width [mm]", "other images [ms]")
    for i, (label, goal) in enumerate(zip(what, goals, strict=True)):
        column = rows[:, i]
        numbers = (np.sqrt((column**2).mean()), *np.quantile(column, (0.5, 0.95, 0.99)), column.max())
        cells = (f"{number:.2f}" for number in numbers)
        table.add_row(name if i == 0 else "", label, *cells, goal, f"{len(rows)}" if i == 0 else "")
    table.add_row("", "steps refused", *[""] * 6, str(refused), end_section=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=6, help="of each kind, half of each task")
    sessions = parser.parse_args().sessions
    table = Table("stamps", "error of", "rms", "p50", "p95", "p99", "max", "goal", "steps")
    kinds: tuple[tuple[str, Callable[[], NoiseTable], bool], ...] = (
        ("as recorded: latency file not applied", silent, False),
        ("latency file applied, alignment alone", silent, True),
        ("latency file applied, T265 noise and drift", steady, True),
    )
    for name, make, applied in kinds:
        found = []
        for seed in range(sessions):
            rng = np.random.default_rng(seed)
            lateness = {device: float(rng.uniform(*LATENESS)) for device in DEVICES}
            session = demonstrate(("pick_and_place", "open_drawer")[seed % 2], seed, make())
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "episode"
                record(folder, session, lateness, rng)
                found.append(errors(folder, session, measured(lateness) if applied else None))
        _show(table, name, found, GOALS if make is silent else NO_GOALS)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
