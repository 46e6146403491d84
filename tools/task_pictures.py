"""A contact sheet of the virtual cell's tasks: a row a task, its first, a middle and its last moment.

    python tools/task_pictures.py docs/pictures/tasks.png

The scripted expert plays each scenario in lockstep; the left camera looks, without its noise. The veil over the first
picture of push_shape is the goal, which the cell itself does not show.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture

from kinema.apps.lockstep import Watcher, run_episode
from kinema.chunk import Image, Observation, Prediction
from kinema.geometry import Array
from kinema.virtual import goal
from kinema.virtual.demonstrators import Demonstrator
from kinema.virtual.renderer import CellRenderer
from kinema.virtual.tasks import SHIPPED, TASKS
from kinema.virtual.world import World

ROBOT, SEED, CAMERA = "virtual_ur5e", 0, "left"
RENDERED, SHOWN = (640, 480), (240, 180)  # [px]
MIDDLE = 0.55  # [-] of the way from first to last
COLOURS = 224


class Film(Watcher):
    """Snapshots of a world, one a chunk."""

    def begin(self, world: World) -> None:
        self.world, self.frames = world, [world.snapshot()]

    def predicted(self, observation: Observation, prediction: Prediction) -> None:
        self.frames.append(self.world.snapshot())


def _cut(picture: Image) -> Image:
    """The table's part of it, small."""
    height, width = picture.shape[:2]
    part = picture[height // 5 :, width // 8 : width // 8 + 4 * (height - height // 5) // 3]
    return np.asarray(cv2.resize(part, SHOWN, interpolation=cv2.INTER_AREA), np.uint8)


def row(task: str) -> Image:
    """(height, 3 width, 3) of one episode."""
    film = Film()
    result = run_episode(task, "train", SEED, ROBOT, Demonstrator(SEED), watcher=film)
    print(f"{task}: {result.text}: {result.outcome}, {result.duration:.1f} s")
    film.frames.append(film.world.snapshot())
    eyes = CellRenderer(film.world.model, RENDERED)

    def look(snapshot: Array) -> Image:
        return eyes.render(CAMERA, snapshot, 0)

    pictures = [look(film.frames[round(part * (len(film.frames) - 1))]) for part in (0.0, MIDDLE, 1.0)]
    if film.world.scenario.goal is not None:
        pictures[0] = goal.blended(pictures[0], goal.mask(film.world.scenario, CAMERA, RENDERED))
    eyes.close()
    strip = np.hstack([_cut(picture) for picture in pictures])
    cv2.putText(strip, task, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    sheet = np.vstack([row(task) for task in TASKS if task not in SHIPPED])
    out = parser.parse_args().out
    Picture.fromarray(sheet).quantize(COLOURS, kmeans=3, dither=Picture.Dither.NONE).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
