"""The renderer process: what the virtual cell's cameras see, 30 frames per second of the cell's time, one ring each.

`python -m kinema.apps.renderer`. It reads the cell's state from `world.ring` and disturbs nobody when it is slow: a
moment that it cannot render in time is left out, and shows as a gap in the frames' sequence.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from kinema import paths, records
from kinema.apps import process
from kinema.cell_file import Cell
from kinema.clock import NS
from kinema.ring import RingReader, RingWriter
from kinema.topics import CAMERAS
from kinema.virtual import noise, scenario, scene
from kinema.virtual.faults import Fault, FaultBoard, FaultyStream
from kinema.virtual.renderer import CellRenderer

RATE = 30  # [Hz] of the cell's time
_LOOK = 0.001  # [s] between two looks at the world
_KEPT = 8  # frames a ring holds
_STATES = 20  # of the world, that cover more than 1/30 s


def _moment(world: np.void) -> int:
    """Which frame of a camera that runs from the beginning of time a state belongs to."""
    return int(world["t_ns"]) * RATE // NS


class FrameSource:
    """Turns the newest state of the world into frames, one set whenever the next 1/30 s has begun."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._size = size
        self._world = RingReader(folder / "world.ring", records.WORLD)
        layout = records.frame(size)
        self._rings = {name: RingWriter(folder / f"frames_{name}.ring", layout, _KEPT) for name in CAMERAS}
        self._rendered = RingWriter(folder / "rendered.ring", records.RENDERED, _KEPT)
        self._frame = np.zeros((), layout)
        self._board, self._faults = FaultBoard(), b"[]"
        self._streams = {name: FaultyStream(self._board, name, fresh=("t_ns", "sequence")) for name in CAMERAS}
        self._renderer: CellRenderer | None = None
        self._scenario = b""
        self._moment = -1

    def _follow(self, world: np.void) -> CellRenderer:
        """The renderer for the scene in force, and the faults in force."""
        if world["faults"] != self._faults:
            self._faults = bytes(world["faults"])
            self._board.faults = tuple(msgspec.json.decode(self._faults, type=list[Fault]))
        if self._renderer is None or world["scenario"] != self._scenario:
            self._scenario = bytes(world["scenario"])
            key = msgspec.json.decode(self._scenario)
            if self._renderer is not None:
                self._renderer.close()
            robot = key["robot"]  # none: the handheld gripper
            drawn = scenario.draw(key["task"], key["split"], key["seed"], key["board"])
            model = scene.build(drawn, robot, handheld=robot is None)
            self._renderer = CellRenderer(model, self._size, noise.load().camera, key["seed"])
            logging.info("%s, seed %d", key["task"], key["seed"])
        return self._renderer

    def step(self) -> bool:
        """Render one set of frames if it is due; whether it was."""
        found = self._world.latest()
        if found is None:
            return False
        world = found[1]
        moment = _moment(world)
        due = moment != self._moment
        if due:
            self._moment = moment
            # the first state of the moment, so that frames are evenly spaced however late it is looked at
            world = next((state for _, state in self._world.since(0, _STATES) if _moment(state) == moment), world)
        t_ns = int(world["t_ns"])
        if due:
            renderer, snapshot = self._follow(world), world["snapshot"][: world["size"]]
        for name, stream in self._streams.items():
            if due:
                self._frame["t_ns"], self._frame["sequence"] = t_ns, moment
                self._frame["image"] = renderer.render(name, snapshot, moment)
            for frame in stream.offer(self._frame if due else None, t_ns):
                self._rings[name].write(frame)
        if due:
            self._rendered.write(np.array((t_ns,), records.RENDERED))
        return due

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        for ring in (*self._rings.values(), self._rendered):
            ring.close()


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    cv2.setNumThreads(1)  # its pool costs more than it gains on images of this size, and takes the other cores
    frames = FrameSource(paths.runtime(), cell.image_size)
    try:
        while not stopped():
            if not frames.step():
                time.sleep(_LOOK)
    finally:
        frames.close()


def main() -> int:
    return process.main("renderer", _run)


if __name__ == "__main__":
    sys.exit(main())
