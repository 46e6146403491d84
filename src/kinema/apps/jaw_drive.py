"""The jaw drive process: the gripper's I/O, kept out of the control cycle. `python -m kinema.apps.jaw_drive`.

It reads targets from `jaw_target.ring`, commands the gripper, and writes what the gripper says into `jaw_state.ring`.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kinema import paths, records
from kinema.apps import process
from kinema.apps.drivers import open_gripper
from kinema.cell_file import Cell
from kinema.errors import DeviceError
from kinema.interfaces import Gripper
from kinema.ring import RingReader, RingWriter

_WAIT = 0.010  # [s] for the gripper's next state
_RETRY = 0.5  # [s] between two attempts to reach the gripper


class JawDrive:
    """Between the rings and one gripper. A target is commanded once; one from before the start is not commanded."""

    def __init__(self, folder: Path, connect: Callable[[], Gripper]) -> None:
        self._connect = connect
        self._gripper: Gripper | None = None
        self._reason = ""  # why it can't be reached, as it was last told
        self._targets = RingReader(folder / "jaw_target.ring", records.JAW_TARGET)
        self._last = self._targets.head
        self._states = RingWriter(folder / "jaw_state.ring", records.JAW, 256)

    def _reach(self) -> Gripper | None:
        """The gripper, connected again without being asked: it only ever moves on a new target."""
        if self._gripper is None:
            try:
                self._gripper = self._connect()
                self._reason = ""
                logging.info("the gripper is connected")
            except DeviceError as error:
                if str(error) != self._reason:
                    self._reason = str(error)
                    logging.info("no gripper: %s", error)
                time.sleep(_RETRY)
        return self._gripper

    def step(self) -> None:
        """Command a new target, if there is one; publish the newest state, if one comes soon."""
        gripper = self._reach()
        if gripper is None:
            return
        try:
            newest = self._targets.latest()
            if newest is not None and newest[0] > self._last:
                self._last, target = newest
                gripper.command(float(target["width"]), float(target["speed"]), float(target["force"]))
            state = newest_state = gripper.read(_WAIT)
            while newest_state is not None:
                state, newest_state = newest_state, gripper.read(0.0)
        except DeviceError as error:
            logging.error("the gripper is lost: %s", error)
            gripper.close()
            self._gripper = None
            return
        if state is not None:
            record = np.array((state.stamp_ns, state.width, state.speed, state.force), records.JAW)
            self._states.write(record)

    def close(self) -> None:
        if self._gripper is not None:
            self._gripper.close()
        self._states.close()


def _run(cell: Cell, arguments: argparse.Namespace, stopped: Callable[[], bool]) -> None:
    folder = paths.runtime()
    drive = JawDrive(folder, lambda: open_gripper(cell, folder))
    try:
        while not stopped():
            drive.step()
    finally:
        drive.close()


def main() -> int:
    return process.main("jaw_drive", _run)


if __name__ == "__main__":
    sys.exit(main())
