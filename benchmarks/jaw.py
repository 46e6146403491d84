"""Jaw opening by its tags against the simulator's truth, after calibrate_jaw; and what an image costs.

    . tools/env.sh; python benchmarks/jaw.py [--sessions 2]

The jaw is calibrated as a person does it, by closing and opening once before the camera. Then a simulated person
demonstrates both tasks, gestures included; every image of the noisy gripper camera is read, with both tags and with one
of them covered. Wanted: 0.5 mm RMS, 1.5 mm in 99 % of the images.
"""

import argparse
import datetime
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from kinema import paths
from kinema.calibration.bundle import load_bundle
from kinema.calibration.files import CameraInfo, Jaw
from kinema.calibration.jaw import JawDesign, Sighting, calibrate
from kinema.chunk import Image
from kinema.clock import Every
from kinema.perception.jaw import JawTracker, TagFinder
from kinema.robots import GRIPPER
from kinema.virtual import noise, scenario
from kinema.virtual.cameras import TAG_DICTIONARY
from kinema.virtual.hand import Hand
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.tasks import SHIPPED

SIZES = ((320, 240), (640, 480))
HIDDEN = ("nothing", "left tag", "right tag")
RATE = 30  # [Hz]
DESIGN = JawDesign(TAG_DICTIONARY, 0.016, GRIPPER.stroke)

Moment = tuple[int, np.ndarray, float]  # stamp [ns], snapshot, true opening [m]

BUNDLE = load_bundle(paths.root() / "calibration/virtual", {"gripper": "VIRTUAL-GRIPPER", "jaw": "VIRTUAL-JAW"})


def once_closed_and_opened() -> tuple[HandheldWorld, list[Moment]]:
    world, moments = HandheldWorld(scenario.draw("pick_and_place", "train", 0), seed=0), []
    camera = Every(RATE, world.t_ns)
    ways = ((0.05, -0.002, 350), (-0.002, -0.002, 250), (-0.002, 0.088, 600), (0.088, 0.088, 250))
    for start, end, steps in ways:
        for k in range(steps):
            world.step(T_BASE_TCP_START, start + (k + 1) / steps * (end - start))
            if camera.due(world.t_ns):
                moments.append((world.t_ns, world.snapshot(), world.width()))
    return world, moments


def session(task: str, seed: int) -> tuple[HandheldWorld, list[Moment]]:
    world, moments = HandheldWorld(scenario.draw(task, "train", seed), seed=seed), []
    for _ in range(50):
        world.step(T_BASE_TCP_START, GRIPPER.stroke)
    world.tare()
    hand, camera = Hand(world, seed), Every(RATE, world.t_ns)
    while not hand.done:
        world.step(*hand.goal())
        if camera.due(world.t_ns):
            moments.append((world.t_ns, world.snapshot(), world.width()))
    return world, moments


def images(world: HandheldWorld, moments: list[Moment], size: tuple[int, int]) -> Iterator[tuple[int, Image, float]]:
    renderer = CellRenderer(world.model, size, noise.load().camera, seed=world.scenario.seed)
    for frame, (stamp_ns, snapshot, width) in enumerate(moments):
        yield stamp_ns, renderer.render("gripper", snapshot, frame), width
    renderer.close()


def stops(info: CameraInfo) -> list[Sighting]:
    """The tags in every image of the jaw closed and opened once."""
    finder = TagFinder(TAG_DICTIONARY, info)
    return [finder.find(image) for _, image, _ in images(*once_closed_and_opened(), info.size)]


def calibrated(sightings: Sequence[Sighting], info: CameraInfo) -> Jaw:
    today = datetime.datetime.now(datetime.UTC).date()
    return calibrate(sightings, info, BUNDLE.T_tcp_camera(), DESIGN, "VIRTUAL-JAW", today)


def _covered(image: Image, hidden: str) -> Image:
    """With a grey card before one half, where that tag is."""
    if hidden == HIDDEN[0]:
        return image
    image, half = image.copy(), image.shape[1] // 2
    image[:, :half] = 120 if hidden == HIDDEN[1] else image[:, :half]
    image[:, half:] = 120 if hidden == HIDDEN[2] else image[:, half:]
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2, help="of each task")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sessions = [session(task, seed) for task in SHIPPED for seed in range(arguments.sessions)]
    table = Table()
    for column in ("image", "hidden", "images", "valid", "RMS mm", "p99 mm", "max mm", "CPU ms/image"):
        table.add_column(column, justify="right")
    for size in SIZES:
        info = BUNDLE.camera("gripper").scaled(size)
        jaw = calibrated(stops(info), info)
        errors: dict[str, list[float]] = {hidden: [] for hidden in HIDDEN}
        costs: dict[str, list[float]] = {hidden: [] for hidden in HIDDEN}
        for world, moments in sessions:
            trackers = {hidden: JawTracker(jaw, info, BUNDLE.T_tcp_camera()) for hidden in HIDDEN}
            for stamp_ns, image, width in images(world, moments, size):
                for hidden, tracker in trackers.items():
                    covered = _covered(image, hidden)
                    begin = time.process_time_ns()
                    reading = tracker.measure(stamp_ns, covered)
                    costs[hidden].append((time.process_time_ns() - begin) * 1e-6)
                    errors[hidden].append(1e3 * (reading.width - width))
        for hidden in HIDDEN:
            error = np.array(errors[hidden])
            valid = np.isfinite(error)
            good = np.abs(error[valid])
            table.add_row(
                f"{size[0]}x{size[1]}",
                hidden,
                str(len(error)),
                f"{100 * valid.mean():.2f} %",
                f"{np.sqrt((good**2).mean()):.3f}",
                f"{np.percentile(good, 99):.3f}",
                f"{good.max():.3f}",
                f"{np.mean(costs[hidden]):.2f}",
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
