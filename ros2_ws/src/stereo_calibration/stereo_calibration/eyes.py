"""Looks for the board in the cameras' pictures, in a thread, and shows what it saw."""

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from sensor_msgs.msg import Image as ImageMsg

from kinema.calibration.boards import Board, detect
from kinema.calibration.coverage import Coverage, coverage
from kinema.calibration.overlay import draw
from kinema.calibration.senses import Look
from kinema.errors import CalibrationError
from kinema_ros.convert import ImageBuffer, image, time_ns
from kinema_ros.node import Outlet

_PATIENCE = 0.1  # [s] of one wait for a picture


@dataclass(frozen=True, slots=True)
class Hint:
    """What is drawn into a camera's picture: where samples were, and why there is none to take now; '' if there is."""

    coverage: Coverage
    problem: str


class Eyes:
    """`work` runs in a thread of its own; of each camera the newest picture is looked at, older ones are dropped."""

    def __init__(self, shown: Mapping[str, Outlet]) -> None:
        self.looks: queue.SimpleQueue[tuple[Board, str, Look]] = queue.SimpleQueue()
        self.hints: dict[str, Hint] = {}
        self.board: Board | None = None
        self._shown = shown
        self._buffers = {camera: ImageBuffer(f"{camera}_optical_frame") for camera in shown}
        self._pictures: dict[str, ImageMsg] = {}
        self._new = threading.Event()

    def take(self, camera: str, message: ImageMsg) -> None:
        self._pictures[camera] = message
        self._new.set()

    def work(self) -> None:
        if not self._new.wait(_PATIENCE):
            return
        self._new.clear()
        for camera in tuple(self._pictures):
            message, board = self._pictures.pop(camera), self.board
            if board is not None:
                self._look(camera, message, board)

    def _look(self, camera: str, message: ImageMsg, board: Board) -> None:
        stamp_ns, picture = time_ns(message.header.stamp), image(message)
        try:
            look = Look(stamp_ns, detect(picture, board))
        except CalibrationError as error:
            look = Look(stamp_ns, None, str(error))
        self.looks.put((board, camera, look))
        outlet = self._shown[camera]
        if outlet.wanted:
            hint = self.hints.get(camera) or Hint(coverage([]), look.problem)
            text = look.problem or hint.problem
            drawn = draw(picture, look.corners, hint.coverage, text, fine=not text)
            outlet.publish(self._buffers[camera].fill(drawn, stamp_ns))
