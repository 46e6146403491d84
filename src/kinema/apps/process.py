"""What every process of the cell does alike: command line, plain log lines, an orderly end on SIGINT and SIGTERM."""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from kinema import cell_file
from kinema.cell_file import Cell, WorldStart
from kinema.errors import DeviceError, KinemaError, OwnershipError

if TYPE_CHECKING:
    from kinema.virtual.layout import BoardPlace

Connected = TypeVar("Connected")
Body = Callable[[Cell, argparse.Namespace, Callable[[], bool]], None]

_RETRY = 0.2  # [s] between two looks for the cell
_LINGER = 1.0  # [s] at most that a process waits for those whom it serves


def world_arguments(parser: argparse.ArgumentParser) -> None:
    """What the processes that simulate a world take beyond the cell file."""
    parser.add_argument("--task", help="in place of the cell file's")
    parser.add_argument("--split", help="in place of the cell file's")
    parser.add_argument("--seed", type=int, help="in place of the cell file's")


def world(start: WorldStart, arguments: argparse.Namespace) -> "tuple[str, str, int, BoardPlace]":
    """Task, split, seed and place of a calibration board of the scenario to begin with."""
    seed = start.seed if arguments.seed is None else arguments.seed
    return arguments.task or start.task, arguments.split or start.split, seed, start.board


def patiently(connect: Callable[[], Connected], stopped: Callable[[], bool]) -> Connected | None:
    """What `connect` returns as soon as there is a cell; None when the process is to end before that.

    Raises OwnershipError when somebody else has it.
    """
    while not stopped():
        try:
            return connect()
        except OwnershipError:
            raise
        except DeviceError as error:
            logging.debug("%s", error)
            time.sleep(_RETRY)
    return None


def last(stopped: Callable[[], bool], serving: Callable[[], bool]) -> Callable[[], bool]:
    """`stopped` for a process that serves others: true once they have gone, too, or after a second.

    A launch ends all its processes at once, and an arm should be stopped by its driver, not by a controller that left.
    """
    ends: list[float] = []

    def over() -> bool:
        if not stopped():
            return False
        if not ends:
            ends.append(time.monotonic() + _LINGER)
        return not serving() or time.monotonic() > ends[0]

    return over


def main(name: str, body: Body, add_arguments: Callable[[argparse.ArgumentParser], None] | None = None) -> int:
    """Run `body(cell, arguments, stopped)` until it returns; it has to return soon once `stopped()` is true.

    Returns the exit status: 0 after an orderly end, 2 with one line of explanation for a KinemaError.
    """
    parser = argparse.ArgumentParser(prog=f"python -m kinema.apps.{name}")
    parser.add_argument("--cell", default="launch/cells/virtual.yaml", help="the cell file")
    parser.add_argument("--robot", default="", help="a robot that the cell file allows; '': its first")
    if add_arguments is not None:
        add_arguments(parser)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=f"[{name}] %(message)s", force=True)
    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        cell = cell_file.load(arguments.cell)
        arguments.robot = cell.check_robot(arguments.robot or next(iter(cell.robots), ""))
        body(cell, arguments, ending.is_set)
    except KinemaError as error:
        logging.error("%s", error)
        return 2
    return 0
