"""The folder of one run: what it was, how its episodes ended, and what loop and cameras saw meanwhile.

- run.json            what was run: robot, task, policy, how it was run
- audit.jsonl         every event of the control core, one a line (written by the executor)
- episodes.jsonl      how every episode ended
- telemetry_<n>.npz   the control loop's telemetry during episode n
- episode_<n>.mp4     what the cameras saw: gripper, left, right

`kinema.apps.report` adds its summary and plots.
"""

import json
import threading
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np

from kinema import cell_file, paths, records
from kinema.apps import lines
from kinema.apps.pictures import caption
from kinema.apps.telemetry import LOOP
from kinema.chunk import Image
from kinema.clock import NS, to_seconds
from kinema.control.messages import Event
from kinema.geometry import Array
from kinema.ring import RingReader
from kinema.topics import CAMERAS

_VIDEO_RATE = 10  # [frames/s] of the arm's time
_LOOK = 0.05  # [s] between two looks at the rings, which hold 4 s of telemetry and 0.27 s of frames
THINNED = 10  # ticks of which one row is kept; periods are kept of all

ROW = np.dtype(
    [
        *(("t_ns", "i8"), ("state", "u4"), ("chunk", "i4"), ("step", "i4"), ("missed", "u8")),
        *(("position_error", "f8"), ("rotation_error", "f8"), ("wrench", "f8")),
        *(("force", "f8"), ("correction", "f8"), ("jaw_width", "f8"), ("jaw_goal", "f8")),
    ]
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was run.

    simulator_truth  the policy saw what only the simulator knows
    mode             of inference, '': the policy's own
    execution        '': as fits the policy; executed: steps between two observations, 0: the policy's own number
    calibration_override  why calibration that is missing, old or bad was taken nonetheless
    """

    robot: str
    task: str
    split: str
    seed: int
    policy: str
    simulator_truth: bool
    mode: str
    execution: str
    executed: int
    speed_scale: float
    cell: str
    calibration_override: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    """How one episode ended; `start_ns` and `end_ns` in Kinema time, success as marked by physics or operator."""

    number: int
    seed: int
    text: str
    start_ns: int
    end_ns: int
    success: bool
    outcome: str
    chunks: int
    real_time_factor: float
    slipped: float


@dataclass(frozen=True, eq=False, slots=True)
class Telemetry:
    """`rows` (n,) of ROW, every THINNED-th tick; `period` and `compute` (ticks,) [s] of every tick."""

    rows: np.ndarray
    period: Array
    compute: Array

    @property
    def span_ns(self) -> tuple[int, int]:
        return int(self.rows["t_ns"][0]), int(self.rows["t_ns"][-1])


def _to_row(record: np.void) -> np.ndarray:
    measured, goal = record["T_base_tcp"], record["T_base_goal"]
    turn = (np.trace(measured["rotation"].T @ goal["rotation"]) - 1) / 2
    row = np.zeros((), ROW)
    for name in ("t_ns", "state", "chunk", "step", "missed", "force", "correction", "jaw_width", "jaw_goal"):
        row[name] = record[name]
    row["position_error"] = np.linalg.norm(measured["position"] - goal["position"])
    row["rotation_error"] = np.arccos(np.clip(turn, -1.0, 1.0))
    row["wrench"] = np.linalg.norm(record["wrench"][:3])
    return row


class _Film:
    """An MP4 that is readable up to the last second even when its writer dies."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path = path
        self._container = av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"})
        options = {"preset": "ultrafast", "crf": "23", "threads": "1"}
        self._stream = self._container.add_stream("libx264", rate=_VIDEO_RATE, options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.gop_size = _VIDEO_RATE
        self._stream.codec_context.time_base = Fraction(1, _VIDEO_RATE)

    def add(self, image: Image, tick: int) -> None:
        """One picture at `tick` / _VIDEO_RATE seconds."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, _VIDEO_RATE)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


class _Recorder:
    """A thread that copies telemetry and pictures of one episode out of the cell's rings, at a low rate."""

    def __init__(self, folder: Path, number: int, size: tuple[int, int], runtime: Path) -> None:
        self._folder, self._number, self._size = folder, number, size
        self._loop = RingReader(runtime / "loop.ring", LOOP)
        self._frames = {name: RingReader(runtime / f"frames_{name}.ring", records.frame(size)) for name in CAMERAS}
        self._sequence = self._loop.head
        self._rows: list[np.ndarray] = []
        self._periods: list[tuple[int, int]] = []
        self._film: _Film | None = None
        self._first_ns, self._tick = 0, -1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-recorder", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK):
            self._take_telemetry()
            self._take_picture()

    def _take_telemetry(self) -> None:
        for sequence, record in self._loop.since(self._sequence):
            self._sequence = sequence
            self._periods.append((int(record["period_ns"]), int(record["compute_ns"])))
            if sequence % THINNED == 0:
                self._rows.append(_to_row(record))

    def _take_picture(self) -> None:
        found = {name: ring.latest() for name, ring in self._frames.items()}
        reference = found[CAMERAS[0]]
        if reference is None:
            return
        t_ns = int(reference[1]["t_ns"])
        self._first_ns = self._first_ns or t_ns
        tick = (t_ns - self._first_ns) * _VIDEO_RATE // NS
        if tick <= self._tick:
            return
        self._tick = tick
        width, height = self._size
        tiles = [frame[1]["image"] if frame else np.zeros((height, width, 3), np.uint8) for frame in found.values()]
        picture = np.ascontiguousarray(np.hstack(tiles))
        caption(picture, f"episode {self._number}, {to_seconds(t_ns - self._first_ns):.1f} s")
        if self._film is None:
            self._film = _Film(self._folder / f"episode_{self._number}.mp4", (width * len(tiles), height))
        self._film.add(picture, tick)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._take_telemetry()
        if self._film is not None:
            self._film.close()
        rows, times = np.array(self._rows, ROW), np.array(self._periods, float).reshape(-1, 2) / NS
        path = self._folder / f"telemetry_{self._number}.npz"
        np.savez_compressed(path, rows=rows, period=times[:, 0], compute=times[:, 1])


class Run:
    """One run and its folder, while it goes on. `begin` and `end` frame an episode; `close` may come at any time."""

    def __init__(self, folder: Path, facts: Facts, runtime: Path | None = None) -> None:
        self.folder = folder
        self._runtime = runtime or paths.runtime()
        self._size = cell_file.load(facts.cell).image_size
        self._recorder: _Recorder | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(asdict(facts), indent=1) + "\n")

    def begin(self, number: int) -> None:
        """Start to record episode `number`."""
        self.close()
        self._recorder = _Recorder(self.folder, number, self._size, self._runtime)

    def end(self, episode: Episode) -> None:
        """The episode that was begun last is over."""
        self.close()
        lines.append(self.folder / "episodes.jsonl", json.dumps(asdict(episode)).encode())

    def close(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()


def read_facts(folder: Path) -> Facts:
    return msgspec.json.decode((folder / "run.json").read_bytes(), type=Facts)


def read_episodes(folder: Path) -> list[Episode]:
    """The episodes that ended, in order; a last line that its writer's death cut short is left out."""
    return [msgspec.json.decode(line, type=Episode) for line in lines.read(folder / "episodes.jsonl")]


def read_audit(folder: Path) -> list[Event]:
    """The events of a run, in order; a last line that its writer's death cut short is left out."""
    return [msgspec.json.decode(line, type=Event) for line in lines.read(folder / "audit.jsonl")]


def read_telemetry(folder: Path, number: int) -> Telemetry | None:
    """The telemetry of episode `number`; None where there is none."""
    path = folder / f"telemetry_{number}.npz"
    if not path.exists():
        return None
    with np.load(path) as content:
        telemetry = Telemetry(content["rows"], content["period"], content["compute"])
    return telemetry if len(telemetry.rows) else None
