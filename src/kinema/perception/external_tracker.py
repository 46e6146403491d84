"""A tool tracker that is a program of its own, in its own environment: MegaPose, FoundationPose, whatever a lab has.

Such estimators want interpreters, GPUs and packages that nobody wants here. So they run behind a few lines of text on
standard input and output; arrays travel as .npz files in a folder that both can see.

    the program, once it has loaded      ready NAME VERSION
    to the program                       track REQUEST.npz ANSWER.npz
    the program, as often as it likes    working TEXT
    the program                          done             (the answer lies there, whole)
                                         failed TEXT      (it waits for the next request)

Standard input's end is the program's end. Lines that begin otherwise are passed over: libraries print.

request  frames (n, height, width, 3) uint8 RGB and background (height, width, 3), the lens' distortion taken out;
         K (3, 3) [px], pixel centres at whole coordinates; vertices (v, 3) [m] and triangles (m, 3) of the tracked
         parts; T_camera_tool (4, 4) in the first frame, or nan; box (4,) x, y, width, height [px], or -1
answer   T_camera_tool (n, 4, 4), nan where there is no pose; scores (n,) 0 to 1; `reasons` (n,) strings, or left out
"""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.errors import TrackingError
from kinema.geometry import Pose
from kinema.perception.tool_mesh import ToolMesh
from kinema.perception.tool_tracker import Sighting, Start, check

_LEADING = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # lead to packages of this environment
_END = 3.0  # [s] that a program may take to end
_TAIL = 400  # characters of its last words that an error repeats
_ROTATION_TOLERANCE = 1e-3


class ExternalTracker:
    """Runs one program for as long as it lives; `name` is what it calls itself."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        loading: float = 180.0,
        per_frame: float = 20.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`loading` [s] that it may take to be ready, `per_frame` [s] to say anything.

        Raises TrackingError with its last words when it doesn't come up.
        """
        self._per_frame, self._requests = per_frame, 0
        self._folder = tempfile.TemporaryDirectory(prefix="kinema-tracker-")
        clean = {key: value for key, value in os.environ.items() if key not in _LEADING}
        self._words = Path(self._folder.name) / "stderr"
        try:
            with open(self._words, "wb") as errors:
                self._program = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=clean | dict(environment or {}),
                    start_new_session=True,
                )
        except OSError as error:
            self._folder.cleanup()
            raise TrackingError(f"tracker {command[0]!r} can't be started: {error}") from error
        self._heard = b""
        try:
            word, text = self._answer(("ready", "failed"), loading, "being loaded")
            if word == "failed":
                raise self._broken(f"could not be loaded: {text}")
        except TrackingError:
            self.close()
            raise
        self.name = text

    def track(self, frames: Sequence[Image], camera: CameraInfo, tool: ToolMesh, start: Start) -> list[Sighting]:
        """As `ToolTracker` says. TrackingError when the program fails, falls silent or answers nonsense."""
        check(frames, camera, start)
        if not frames:
            return []
        self._requests += 1
        request, answer = (Path(self._folder.name) / f"{what}{self._requests}.npz" for what in ("request", "answer"))
        np.savez(request, **_request(frames, camera, tool, start))  # type: ignore[arg-type]
        try:
            self._send(f"track {request} {answer}\n")
            word, text = self._answer(("done", "failed"), self._per_frame * len(frames), "tracking")
            if word == "failed":
                raise TrackingError(f"tracker {self.name!r}: {text}")
            return _sightings(answer, len(frames), self.name)
        finally:
            request.unlink(missing_ok=True)
            answer.unlink(missing_ok=True)

    def close(self) -> None:
        if self._program.stdin is not None and not self._program.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._program.stdin.close()
        try:
            self._program.wait(_END)
        except subprocess.TimeoutExpired:
            os.killpg(self._program.pid, signal.SIGKILL)
            self._program.wait()
        if self._program.stdout is not None:
            self._program.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _send(self, line: str) -> None:
        assert self._program.stdin is not None
        try:
            self._program.stdin.write(line.encode())
            self._program.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._broken("has ended") from error

    def _answer(self, words: tuple[str, ...], patience: float, doing: str) -> tuple[str, str]:
        """The next line that begins with one of these words. Each sign of life renews the patience [s]."""
        until = time.monotonic() + patience
        while True:
            line = self._line(until)
            if line is None:
                raise self._broken(f"said nothing for {patience:.3g} s while {doing}")
            word, _, text = line.partition(" ")
            if word in words:
                return word, text.strip()
            if word == "working":
                until = time.monotonic() + patience

    def _line(self, until: float) -> str | None:
        assert self._program.stdout is not None
        while b"\n" not in self._heard:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._program.stdout], [], [], left)[0]:
                return None
            more = os.read(self._program.stdout.fileno(), 65536)
            if not more:
                raise self._broken("has ended")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace")

    def _broken(self, what: str) -> TrackingError:
        said = self._words.read_text(errors="replace").strip()[-_TAIL:]
        name = getattr(self, "name", None) or Path(str(self._program.args[0])).name  # type: ignore[index]
        return TrackingError(f"tracker {name!r} {what}" + (f"; its last words: {said}" if said else ""))


def _request(frames: Sequence[Image], camera: CameraInfo, tool: ToolMesh, start: Start) -> dict[str, NDArray[Any]]:
    width, height = camera.size
    across, down = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
    matrix = camera.matrix
    rays = np.stack(
        [(across - matrix[0, 2]) / matrix[0, 0], (down - matrix[1, 2]) / matrix[1, 1], np.ones_like(across)], axis=-1
    )
    x, y = np.moveaxis(camera.project(rays).astype(np.float32), -1, 0)
    plain = [cv2.remap(picture, x, y, cv2.INTER_LINEAR) for picture in (start.background, *frames)]
    kept, triangles = np.unique(tool.triangles[tool.seen], return_inverse=True)
    T = np.full((4, 4), np.nan) if start.T_camera_tool is None else start.T_camera_tool.matrix
    return {
        "frames": np.stack(plain[1:]),
        "background": np.asarray(plain[0]),
        "K": matrix,
        "vertices": tool.vertices[kept],
        "triangles": triangles.reshape(-1, 3),
        "T_camera_tool": T,
        "box": np.array(start.box or (-1, -1, -1, -1)),
    }


def _sightings(answer: Path, count: int, name: str) -> list[Sighting]:
    """Checked: a program of somebody else's wrote it."""
    try:
        with np.load(answer, allow_pickle=False) as arrays:
            poses, scores = np.asarray(arrays["T_camera_tool"], float), np.asarray(arrays["scores"], float)
            reasons = [str(r) for r in arrays["reasons"]] if "reasons" in arrays else [""] * count
    except Exception as error:  # numpy and zipfile let many kinds of exception out on what is no .npz
        raise TrackingError(f"tracker {name!r}: its answer can't be read: {error}") from error
    if poses.shape != (count, 4, 4) or scores.shape != (count,) or len(reasons) != count:
        raise TrackingError(
            f"tracker {name!r} answered T_camera_tool {poses.shape}, scores {scores.shape}, {len(reasons)} reasons; "
            f"allowed are {(count, 4, 4)}, {(count,)}, {count}"
        )
    found = []
    for i, (T, score, reason) in enumerate(zip(poses, scores, reasons, strict=True)):
        if not 0.0 <= score <= 1.0:
            raise TrackingError(f"tracker {name!r}: the score of frame {i} is {score}, allowed are 0 to 1")
        if not np.isfinite(T).all():
            found.append(Sighting(None, float(score), reason or "lost"))
            continue
        rotation = T[:3, :3]
        off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if off > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0.0 or T[2, 3] <= 0.0:
            raise TrackingError(
                f"tracker {name!r}: the pose of frame {i} is none before the camera: its rotation is off by {off:.1e}, "
                f"allowed are {_ROTATION_TOLERANCE:.0e}, its distance {T[2, 3]:.3f} m, allowed is above 0"
            )
        found.append(Sighting(Pose.from_matrix(T), float(score), reason))
    return found
