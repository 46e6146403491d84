"""What the drivers of real cameras share: what a camera says of itself, and one that comes back by itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from kinema.clock import to_ns, to_seconds
from kinema.errors import DeviceError
from kinema.interfaces import Camera, Frame
from kinema.streams import Health, Level


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """What an opened camera says of itself; `problem` is what a person should change, or ''."""

    model: str
    firmware: str
    port: str
    link: str
    problem: str = ""


class DrivenCamera(Camera, Protocol):
    """A camera with an SDK behind it. `read` raises DeviceError once it knows that the camera has gone."""

    facts: CameraFacts


class SteadyCamera:
    """A camera that is opened anew when it is lost, or silent for `patience` [s] (FAULTS F09).

    Silence is what counts: SDKs do not always say that a camera has been pulled. `sequence` goes on across an opening,
    so that a gap is always a drop. One thread reads; any may ask for `health`.
    """

    def __init__(self, name: str, open_camera: Callable[[], DrivenCamera], patience: float) -> None:
        """Opens it; raises DeviceError when it is absent or refuses its settings, OwnershipError naming its owner."""
        self.name = name
        self.dropped, self.reopened = 0, 0
        self._open, self._patience = open_camera, patience
        self._camera: DrivenCamera | None = None
        self._why = ""
        self._last = -1  # sequence of the last frame that was handed out
        self._begin()

    def _begin(self) -> None:
        self._camera = camera = self._open()
        self.serial, self.facts, self._why = camera.serial, camera.facts, ""
        self._shift: int | None = None  # from the camera's own sequence to ours, once its first frame is there
        self._heard_ns = time.monotonic_ns()

    def read(self, timeout: float) -> Frame | None:
        """The next frame, waiting at most `timeout` [s]; opens a lost camera. Raises DeviceError while it is lost."""
        if self._camera is None:
            self._begin()
            self.reopened += 1
        try:
            return self._next(timeout)
        except DeviceError as error:
            self._why = str(error)
            self.close()
            raise

    def _next(self, timeout: float) -> Frame | None:
        assert self._camera is not None
        frame = self._camera.read(timeout)
        now_ns = time.monotonic_ns()
        if frame is None:
            silent = now_ns - self._heard_ns
            if silent > to_ns(self._patience):
                raise DeviceError(
                    f"{self.name} (serial {self.serial}): no image for {to_seconds(silent):.1f} s, allowed are "
                    f"{self._patience} s; it is opened anew"
                )
            return None
        self._heard_ns = now_ns
        if self._shift is None:
            self._shift = self._last + 1 - frame.sequence
        sequence = frame.sequence + self._shift
        self.dropped += sequence - self._last - 1
        self._last = sequence
        return replace(frame, sequence=sequence)

    def health(self) -> Health:
        """One line of /diagnostics."""
        facts = self.facts
        values = {
            "model": facts.model,
            "serial": self.serial,
            "firmware": facts.firmware,
            "port": facts.port,
            "link": facts.link,
            "dropped": str(self.dropped),
            "reopened": str(self.reopened),
        }
        if self._why:
            return Health(Level.ERROR, self._why, values)
        if facts.problem:
            return Health(Level.WARN, facts.problem, values)
        return Health(Level.OK, "open", values)

    def close(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
