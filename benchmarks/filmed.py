"""A data set of what two cameras see while a person demonstrates, for the baselines of "Dreamitate" and its generator.

    python benchmarks/filmed.py --task sweep --split plain --films 800 --out data/films

The simulated person demonstrates with the handheld gripper, out of the arm's world, and begins out of the side
cameras' view. Nothing is recorded on the way: images are rendered `--rate` times a second, and the tool's pose is the
simulator's truth, which no tracker gives as well. So a film takes two seconds, not ten, and none is refused for a
tracker. Seeds are taken in their order; a demonstration that fails, or needs a second attempt (`--longest`), leaves
none. Of push-shape, which has a goal's mask in each view, a film shows one push. `--half FOLDER` writes the same films
with images of half that size besides, for the baselines; those take no mask, so the goal's grey veil lies over
theirs, as in the paper.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from films import demonstrate, pictures, truth
from rich.console import Console
from rich.progress import track

from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.episodes import shards
from kinema.episodes.shards import Played
from kinema.virtual import goal, scenario, scene
from kinema.virtual.cameras import TABLE_DATE
from kinema.virtual.objects import SPLITS
from kinema.workers import on_all_cores

SIZE = (256, 192)  # [px]


def filmed(task: str, split: str, seed: int, rate: int, longest: float) -> Played | None:
    """The demonstration of a seed, None where it failed or lasted longer than `longest` [s]."""
    drawn = scenario.draw(task, split, seed)
    goals = {} if drawn.goal is None else {name: goal.mask(drawn, name, SIZE).astype(np.uint8) for name in SIDE_CAMERAS}
    shown = demonstrate(drawn, round(1 / (rate * scene.TIMESTEP)), out_of_view=True, once=bool(goals))
    count = len(shown.snapshots)
    if shown.gave_up or count * shown.dt > longest:
        return None
    seen = pictures(shown, range(count), SIDE_CAMERAS, SIZE)
    images = dict(zip(SIDE_CAMERAS, seen, strict=True))
    return Played(f"{task}_{split}_{seed:06d}", drawn.text, truth(shown).astype(np.float32), images, goals)


def _for_baselines(film: Played) -> Played:
    images = {}
    for name, large in film.images.items():
        seen = goal.blended(large, film.goals[name] > 0) if film.goals else large
        images[name] = np.stack([cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for each in seen])
    return replace(film, images=images, goals={})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", default="sweep")
    parser.add_argument("--split", default="plain", choices=SPLITS)
    parser.add_argument("--films", type=int, default=200, help="seeds tried, default %(default)s")
    parser.add_argument("--first", type=int, default=0, help="seed, default %(default)s")
    parser.add_argument("--rate", type=int, default=4, help="[Hz] of images, default %(default)s")
    parser.add_argument("--longest", type=float, default=11.0, help="[s], default %(default)s")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--half", type=Path)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.films)
    work = [(asked.task, asked.split, seed, asked.rate, asked.longest) for seed in seeds]
    found: dict[str, Played] = {}

    def each() -> Iterator[Played]:
        films = on_all_cores(filmed, work, asked.jobs)
        for film in track(films, "filming", total=len(work), console=Console(stderr=True)):
            if film is not None:
                found[film.name] = _for_baselines(film)
                yield film

    origin = f"simulated person, {asked.task}, {asked.split}"
    shards.write(asked.out, each(), asked.rate, origin, quality=90, placed=TABLE_DATE)
    if asked.half:
        shards.write(asked.half, found.values(), asked.rate, origin, quality=90, placed=TABLE_DATE)
    print(f"{len(found)} of {len(work)} demonstrations stand in {asked.out}")


if __name__ == "__main__":
    main()
