"""Looks for the board in the cameras' pictures, in a thread, and shows what it saw."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sensor_msgs.msg import Image as ImageMsg

from kinema.calibration.boards import Board
from kinema.calibration.coverage import Coverage, coverage
from kinema.calibration.display_clock import Clock
from kinema.calibration.overlay import draw, trace
from kinema.calibration.senses import Look, look
from kinema.geometry import Array
from kinema_ros.convert import ImageBuffer, image, time_ns
from kinema_ros.node import Outlet

_PATIENCE = 0.1  # [s] of one wait for a picture


@dataclass(frozen=True, slots=True)
class Hint:
    """What is drawn into a camera's picture: where samples were, and why there is none to take now; '' if there is.

    ring  (2,) [px] about the corner that is to be touched
    """

    coverage: Coverage
    problem: str
    ring: Array | None = None


class Eyes:
    """`work` runs in a thread of its own; of each camera the newest picture is looked at, older ones are dropped.

    target   the board or the clock that is looked for
    gripper  its outlines (n, 2) [px] in a picture of a size, where they are to be drawn
    """

    def __init__(self, shown: Mapping[str, Outlet]) -> None:
        self.looks: queue.SimpleQueue[tuple[Board | Clock, str, Look]] = queue.SimpleQueue()
        self.hints: dict[str, Hint] = {}
        self.target: Board | Clock | None = None
        self.gripper: Callable[[tuple[int, int]], Sequence[Array]] = lambda size: ()
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
            message, target = self._pictures.pop(camera), self.target
            if target is not None:
                self._look(camera, message, target)

    def _look(self, camera: str, message: ImageMsg, target: Board | Clock) -> None:
        stamp_ns, picture = time_ns(message.header.stamp), image(message)
        seen = look(stamp_ns, picture, target)
        self.looks.put((target, camera, seen))
        outlet = self._shown[camera]
        if outlet.wanted:
            hint = self.hints.get(camera) or Hint(coverage([]), seen.problem)
            text = hint.problem or seen.problem
            drawn = draw(picture, seen.corners, hint.coverage, text, fine=not text)
            height, width = picture.shape[:2]
            drawn = trace(drawn, self.gripper((width, height)), hint.ring)
            outlet.publish(self._buffers[camera].fill(drawn, stamp_ns))
