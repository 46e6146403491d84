"""The project's own training format: one file an episode, mapped into memory, any frame at once.

    index.json           what there is: rate, image size, statistics, one row an episode with its file and SHA-256
    episodes/*.shard     KINSHARD, length of the header (u64, little endian), header (JSON), arrays

The header names each array's dtype, shape and offset, counted from the file's first array; arrays begin at multiples of
64 bytes. Of each camera there are `<camera>/jpeg`, all JPEG files behind each other, and `<camera>/offsets` (n + 1),
where each begins. `state` (n, 11) float32 and `stamps_ns` (n,) are as in `kinema.episodes.rows.Rows`. An episode with a
goal has `<camera>/goal` (height, width) uint8: 1 where the thing is to lie in the end, of the images' size, taken from
goal/<camera>.png beside the recording.

Two kinds of statistics are in the index. `state`: as recorded. `action`: of an action chunk's steps, relative to the
pose and opening at its observation ("Video Generators are Robot Policies", appendix A.4), over every observation and
all of its next HORIZON steps that the episode still has.
"""

import datetime
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.chunk import Image
from kinema.clock import NS
from kinema.episodes.export import Part, place, write_json
from kinema.episodes.messages import CompressedPicture, Picture, compress
from kinema.episodes.reader import load_calibration
from kinema.episodes.rows import Rows
from kinema.episodes.state import STATE, relative
from kinema.episodes.statistics import Statistics, of_numbers
from kinema.errors import EpisodeError
from kinema.geometry import Array
from kinema.perception.align import sized

VERSION = 1
HORIZON = 32  # steps of an action chunk
INDEX = "index.json"

_MAGIC = b"KINSHARD"
_ALIGN = 64
_FILE = "episode.shard"
_GOAL = "goal"  # folder beside a recording

Array32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shards:
    """`size` width, height [px] of all images, of the recorded aspect ratio, or None: as recorded; `quality` of JPEG.

    Images that were recorded as JPEG in that size are taken over as they are, whatever the quality.
    """

    size: tuple[int, int] | None = None
    quality: int = 90

    @property
    def name(self) -> str:
        return f"shards {VERSION}"

    def options(self) -> dict[str, Any]:
        return asdict(self)

    def write_part(self, rows: Rows, folder: Path) -> None:
        arrays: dict[str, np.ndarray] = {"state": rows.state, "stamps_ns": rows.stamps_ns}
        sizes = {}
        for camera, indices in rows.frames.items():
            files, sizes[camera] = self._files(rows, camera, indices.tolist())
            arrays[f"{camera}/offsets"] = np.cumsum([0, *map(len, files)]).astype(np.int64)
            arrays[f"{camera}/jpeg"] = np.frombuffer(b"".join(files), np.uint8)
            if (mask := _goal(rows.episode.folder, camera, sizes[camera])) is not None:
                arrays[f"{camera}/goal"] = mask
        facts = {
            "name": rows.name,
            "text": rows.facts.text,
            "rate": rows.rate,
            "sizes": sizes,
            "placed": _placed(rows).isoformat(),
        }
        _write(folder / _FILE, facts, arrays)

    def _files(self, rows: Rows, camera: str, indices: Sequence[int]) -> tuple[list[bytes], tuple[int, int]]:
        """Each step's image as a JPEG file, and their size."""
        files, size = [], self.size
        for index in indices:
            recorded = rows.episode.picture(camera, index)
            image = recorded.image
            size = size or (image.shape[1], image.shape[0])
            if not isinstance(recorded, Picture) and "jpeg" in recorded.format and image.shape[1::-1] == size:
                files.append(bytes(recorded.data))
                continue
            scaled = Picture(recorded.stamp_ns, recorded.frame_id, sized(image, size, camera))
            files.append(bytes(compress(scaled, "jpeg", self.quality).data))
        assert size is not None
        return files, size

    def assemble(self, parts: Sequence[Part], folder: Path, about: Mapping[str, Any]) -> None:
        rows, states = [], []
        for part in parts:
            file = f"episodes/{part.folder.name}.shard"
            place(part.folder / _FILE, folder / file)
            facts, arrays = _read(folder / file)
            states.append(np.asarray(arrays["state"]))
            rows.append({"file": file, "sha256": _sha256(folder / file), "frames": part.frames, **facts})
        index = {
            "version": VERSION,
            "fingerprint": about["fingerprint"],
            "rate": about["rate"],
            "state": about["state"],
            "calibration_origin": about["calibration_origin"],
            "horizon": HORIZON,
            "statistics": _statistics(states),
            "episodes": rows,
        }
        write_json(folder / INDEX, index)


def _goal(folder: Path, camera: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The mask beside a recording; raises EpisodeError for a file that is no image."""
    file = folder / _GOAL / f"{camera}.png"
    if not file.is_file():
        return None
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise EpisodeError(f"{file}: cannot be read as an image; a goal is a mask, white where the thing is to lie")
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 127, np.uint8)


def _placed(rows: Rows) -> datetime.date:
    """Up to when the side cameras may have been placed for the images to show the scene as a calibration says: the day
    of the recording, or of the files in force then, which a simulated recording may be older than."""
    day = datetime.datetime.fromtimestamp(int(rows.stamps_ns[0]) / NS, datetime.UTC).date()
    files = load_calibration(rows.episode.folder, override=True).files
    placed = (
        files[name].provenance.date for name in (f"T_base_{camera}.yaml" for camera in SIDE_CAMERAS) if name in files
    )
    return max(day, *placed)


def _statistics(states: Sequence[np.ndarray], horizon: int = HORIZON) -> dict[str, Statistics]:
    return {
        "state": of_numbers(np.concatenate(states)),
        "action": of_numbers(np.concatenate([step for state in states for step in _relative(state, horizon)])),
    }


def _relative(state: Array32, horizon: int) -> Iterator[Array]:
    """Of each lead 1..horizon, rows (m, 11): the step as seen from the observation."""
    exact = state.astype(np.float64)
    for lead in range(1, min(horizon, len(state) - 1) + 1):
        yield relative(exact[:-lead], exact[lead:])


# ---- files


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(file: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    rows: dict[str, dict[str, Any]] = {}
    end = 0
    for name, values in arrays.items():
        rows[name] = {"dtype": values.dtype.str, "shape": values.shape, "offset": end}
        end = -(-(end + values.nbytes) // _ALIGN) * _ALIGN
    header = json.dumps({"version": VERSION, **facts, "arrays": rows}, ensure_ascii=False).encode()
    header += b" " * (-(len(_MAGIC) + 8 + len(header)) % _ALIGN)
    with file.open("wb") as stream:
        stream.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        begin = stream.tell()
        for name, values in arrays.items():
            stream.seek(begin + rows[name]["offset"])
            stream.write(np.ascontiguousarray(values).tobytes())
        stream.truncate(begin + end)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header's facts and the arrays, mapped; raises EpisodeError for what is no whole shard."""
    try:
        data = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise EpisodeError(f"{file}: cannot be read: {error}") from error
    begin = len(_MAGIC) + 8
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise EpisodeError(f"{file}: is no shard")
    length = int.from_bytes(bytes(data[len(_MAGIC) : begin]), "little")
    if begin + length > len(data):
        raise EpisodeError(f"{file}: is cut short in its header; export it again")
    header = json.loads(bytes(data[begin : begin + length]))
    if header.pop("version") != VERSION:
        raise EpisodeError(f"{file}: is of another version, allowed is {VERSION}; export it again")
    arrays = {}
    for name, row in header.pop("arrays").items():
        start, dtype = begin + length + row["offset"], np.dtype(row["dtype"])
        stop = start + dtype.itemsize * int(np.prod(row["shape"]))
        if stop > len(data):
            raise EpisodeError(f"{file}: is cut short, {name} ends at byte {stop} of {len(data)}; export it again")
        arrays[name] = data[start:stop].view(dtype).reshape(row["shape"])
    return header, arrays


# ---- reading


class ShardDataset:
    """A data set of shards: states, texts and any images of any episode. May be pickled to other processes."""

    def __init__(self, folder: Path) -> None:
        """Raises EpisodeError when there is no index of this version."""
        self.folder = Path(folder)
        try:
            self.index: dict[str, Any] = json.loads((self.folder / INDEX).read_text())
        except (OSError, ValueError) as error:
            raise EpisodeError(f"{self.folder / INDEX}: cannot be read: {error}") from error
        if self.index.get("version") != VERSION:
            raise EpisodeError(f"{self.folder / INDEX}: version is {self.index.get('version')}, allowed is {VERSION}")
        self._open: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        """How many episodes."""
        return len(self.index["episodes"])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # a mapped file is opened again, not copied

    @property
    def fingerprint(self) -> str:
        """Of everything that the data set was made of."""
        return str(self.index["fingerprint"])

    @property
    def statistics(self) -> dict[str, Statistics]:
        return dict(self.index["statistics"])

    @property
    def rate(self) -> int:
        """[Hz] steps a second."""
        return int(self.index["rate"])

    def name(self, episode: int) -> str:
        return str(self._row(episode)["name"])

    def frames(self, episode: int) -> int:
        return int(self._row(episode)["frames"])

    def text(self, episode: int) -> str:
        return str(self._row(episode)["text"])

    def state(self, episode: int) -> Array32:
        """(n, 11), not to be written to; columns as in `index["state"]`."""
        return self._arrays(episode)["state"]

    def goal(self, episode: int, camera: str) -> NDArray[np.uint8]:
        """(height, width) 1 where the thing is to lie in the end; raises EpisodeError for an episode without a goal."""
        mask = self._arrays(episode).get(f"{camera}/goal")
        if mask is None:
            raise EpisodeError(
                f"{self.folder}: {self.name(episode)} has no goal for camera {camera!r}; put {_GOAL}/{camera}.png "
                "beside the recording, white where the thing is to lie, and export it again"
            )
        return mask

    @property
    def placed(self) -> datetime.date | None:
        """The day after which no side camera may have been placed for a calibration to fit all of these images; None
        where the data set doesn't say."""
        found = [row.get("placed") for row in self.index["episodes"]]
        return min(map(datetime.date.fromisoformat, found)) if all(found) else None

    def stamps_ns(self, episode: int) -> NDArray[np.int64]:
        """(n,) acquisition of the reference camera's images [ns, Kinema time]."""
        return self._arrays(episode)["stamps_ns"]

    def size(self, episode: int, camera: str) -> tuple[int, int]:
        """Width, height [px] of a camera's images; raises EpisodeError where there are none."""
        sizes = self._row(episode)["sizes"]
        if camera not in sizes:
            raise EpisodeError(f"camera {camera!r} is not in the data set; there are: {', '.join(sizes)}")
        width, height = sizes[camera]
        return width, height

    def jpeg(self, episode: int, camera: str, frame: int) -> NDArray[np.uint8]:
        """The JPEG file of one image, not to be written to."""
        arrays = self._arrays(episode)
        self.size(episode, camera)
        if not 0 <= frame < self.frames(episode):
            raise EpisodeError(f"frame {frame} of {self.name(episode)}: there are 0..{self.frames(episode) - 1}")
        offsets = arrays[f"{camera}/offsets"]
        return arrays[f"{camera}/jpeg"][offsets[frame] : offsets[frame + 1]]

    def images(self, episode: int, camera: str, frames: Sequence[int]) -> Image:
        """(k, height, width, 3) uint8 RGB of the frames asked for, in that order."""
        name = f"{self.name(episode)}, {camera}"
        files = [self.jpeg(episode, camera, frame).data for frame in frames]
        return np.stack([CompressedPicture(0, name, "jpeg", file).image for file in files])

    def window(self, episode: int, cameras: Sequence[str], frames: Sequence[int]) -> dict[str, Image]:
        """The images (k, height, width, 3) of several cameras at the same frames."""
        return {camera: self.images(episode, camera, frames) for camera in cameras}

    def verify(self) -> None:
        """Read every file; raises EpisodeError naming the first one whose content is not what the index says."""
        for row in self.index["episodes"]:
            file = self.folder / row["file"]
            if not file.is_file() or _sha256(file) != row["sha256"]:
                raise EpisodeError(f"{file}: is missing or damaged; export it again")

    def _row(self, episode: int) -> dict[str, Any]:
        return self.index["episodes"][episode]

    def _arrays(self, episode: int) -> dict[str, np.ndarray]:
        if episode not in self._open:
            self._open[episode] = _read(self.folder / self._row(episode)["file"])[1]
        return self._open[episode]


@dataclass(frozen=True, eq=False, slots=True)
class Played:
    """An episode that no MCAP file holds: (n, 11) states, and each camera's images (n, height, width, 3) uint8 RGB.

    goals  camera -> (height, width) uint8, 1 where the thing is to lie in the end; none: nobody says
    """

    name: str
    text: str
    state: Array32
    images: Mapping[str, Image]
    goals: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def still(count: int) -> Array32:
    """(count, 11) states for a video that nobody knows the actions of: a tool that doesn't move."""
    return np.tile(np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], np.float32), (count, 1))


def write(
    out: Path,
    episodes: Iterable[Played],
    rate: int,
    origin: str,
    horizon: int = HORIZON,
    quality: int = 95,
    placed: datetime.date | None = None,
) -> None:
    """A data set in a folder `out` of episodes as they come, `rate` [Hz]; `origin`: where they come from.

    horizon  steps of the chunks that its statistics are of
    placed   as `ShardDataset.placed`, where calibrated cameras matter

    Raises EpisodeError where `out` is there already, or there is no episode.
    """
    if out.exists():
        raise EpisodeError(f"{out}: is there already; give another --out")
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "episodes").mkdir(parents=True)
    content, states, rows = hashlib.sha256(f"{VERSION}\0{origin}\0{rate}\0{horizon}\0{placed}".encode()), [], []
    for number, episode in enumerate(episodes):
        state = np.ascontiguousarray(episode.state, np.float32)
        arrays: dict[str, np.ndarray] = {"state": state}
        arrays["stamps_ns"] = np.arange(len(state), dtype=np.int64) * (NS // rate)
        sizes = {}
        for camera, images in episode.images.items():
            files = [bytes(compress(Picture(0, camera, image), "jpeg", quality).data) for image in images]
            arrays[f"{camera}/offsets"] = np.cumsum([0, *map(len, files)]).astype(np.int64)
            arrays[f"{camera}/jpeg"] = np.frombuffer(b"".join(files), np.uint8)
            sizes[camera] = (images.shape[2], images.shape[1])
        arrays |= {f"{camera}/goal": np.asarray(mask, np.uint8) for camera, mask in episode.goals.items()}
        facts: dict[str, Any] = {"name": episode.name, "text": episode.text, "rate": rate, "sizes": sizes}
        facts |= {} if placed is None else {"placed": placed.isoformat()}
        file = f"episodes/{number:06d}.shard"
        _write(new / file, facts, arrays)
        digest = _sha256(new / file)
        content.update(digest.encode())
        states.append(state)
        rows.append({"file": file, "sha256": digest, "frames": len(state), **facts})
    if not rows:
        raise EpisodeError(f"{out}: there is not one episode to write")
    index = {
        "version": VERSION,
        "fingerprint": content.hexdigest(),
        "rate": rate,
        "state": list(STATE),
        "calibration_origin": [origin],
        "horizon": horizon,
        "statistics": _statistics(states, horizon),
        "episodes": rows,
    }
    write_json(new / INDEX, index)
    new.rename(out)


def relabel(data: ShardDataset, out: Path, states: Iterator[Array32], origin: str) -> None:
    """The same data set in a folder `out` with other states, an (n, 11) of each episode in turn; images as they are.

    `origin`: where the states come from; it stands in the place of the calibrations' origin, and enters the
    fingerprint with them. Raises EpisodeError where `out` is there already, or a state has another length.
    """
    if out.exists():
        raise EpisodeError(f"{out}: is there already; give another --out")
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "episodes").mkdir(parents=True)
    content, kept, rows = hashlib.sha256(f"{data.fingerprint}\0{origin}".encode()), [], []
    for row, state in zip(data.index["episodes"], states, strict=True):
        facts, arrays = _read(data.folder / row["file"])
        if state.shape != arrays["state"].shape:
            raise EpisodeError(f"{row['name']}: a state of shape {state.shape}, needed is {arrays['state'].shape}")
        exact = np.ascontiguousarray(state, np.float32)
        _write(new / row["file"], facts, arrays | {"state": exact})
        content.update(exact.tobytes())
        kept.append(exact)
        rows.append(row | {"sha256": _sha256(new / row["file"])})
    index = data.index | {
        "fingerprint": content.hexdigest(),
        "calibration_origin": [origin],
        "statistics": _statistics(kept),
        "episodes": rows,
    }
    write_json(new / INDEX, index)
    new.rename(out)
