"""Export to the LeRobot dataset format, version 3.0: tables as Parquet, images as video.

    meta/info.json, stats.json, tasks.parquet      what there is, its statistics, the texts of the tasks
    meta/episodes/chunk-000/file-000.parquet       one row an episode: where its rows and images are, its statistics
    data/chunk-000/file-000.parquet                one row a step, one row group an episode
    videos/<camera's key>/chunk-000/file-000.mp4   one file an episode

`observation.state` is the step's state as measured, `action` that of the next step (the last step's is its own): where
the tool is to be, absolute, in base_link.

Source: the LeRobot documentation, "LeRobotDataset v3.0"; the layout as lerobot 0.6.1 reads it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinema.chunk import Image
from kinema.episodes.export import Part, place, write_json
from kinema.episodes.rows import Rows
from kinema.episodes.state import STATE
from kinema.episodes.statistics import COUNTED, LEVELS, Counts, Statistics, count_levels, of_levels, of_numbers
from kinema.errors import EpisodeError

VERSION = "v3.0"
PER_FILE = 1000  # episodes in one table, and files in one folder

_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_CODEC, _CODEC_NAME, _PIXELS = "libx264", "h264", "yuv420p"
_GROUP = 2  # every second image can be decoded by itself or its neighbour: training reads at random
_NUMBERS = "numbers.npz"
_INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, slots=True)
class LeRobot:
    """`crf` is H.264's constant rate factor: 0 is lossless, 18 hardly visible, 30 small."""

    crf: int = 20

    @property
    def name(self) -> str:
        return f"lerobot {VERSION}"

    def options(self) -> dict[str, Any]:
        return asdict(self)

    def write_part(self, rows: Rows, folder: Path) -> None:
        numbers: dict[str, np.ndarray] = {"state": rows.state}
        for camera, indices in rows.frames.items():
            images = (rows.episode.image(camera, int(i)) for i in indices)
            levels, shape = _encode(folder / f"{camera}.mp4", images, rows.rate, self.crf)
            numbers |= {f"levels/{camera}": levels, f"size/{camera}": np.array(shape)}
        np.savez(folder / _NUMBERS, allow_pickle=False, **numbers)

    def assemble(self, parts: Sequence[Part], folder: Path, about: Mapping[str, Any]) -> None:
        rate = int(about["rate"])
        tasks = sorted({part.text for part in parts})
        starts = np.cumsum([0, *(part.frames for part in parts)]).tolist()
        entries = [_entry(part, index, starts[index], tasks.index(part.text), rate) for index, part in enumerate(parts)]
        shapes = _shapes(entries)
        for entry in entries:
            for camera in shapes:
                video = _VIDEO.format(video_key=_key(camera), **_at(entry.index))
                place(entry.part.folder / f"{camera}.mp4", folder / video)
        for file in range(0, len(entries), PER_FILE):
            batch, at = entries[file : file + PER_FILE], _at(file // PER_FILE)
            _write(folder / _DATA.format(**at), [_steps(entry) for entry in batch])
            _write(folder / _EPISODES.format(**at), [pa.Table.from_pylist([_record(entry, rate) for entry in batch])])
        _write(folder / "meta/tasks.parquet", [_tasks(tasks)])
        write_json(folder / "meta/stats.json", _statistics(entries))
        write_json(folder / "meta/info.json", _info(shapes, parts, len(tasks), rate, self.crf))


# ---- video


def _encode(file: Path, images: Iterator[Image], rate: int, crf: int) -> tuple[Counts, tuple[int, ...]]:
    """Images (height, width, 3) RGB as H.264; returns the counts of their grey levels, and their shape.

    One thread and no dates, so that the same images make the same bytes.
    """
    levels, shape = np.zeros((3, LEVELS), np.int64), (0, 0, 0)
    options = {"crf": str(crf), "preset": "veryfast", "g": str(_GROUP), "bf": "0"}
    with av.open(file, "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        stream = container.add_stream(_CODEC, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.thread_count = 1
        for index, image in enumerate(images):
            if index == 0:
                shape = image.shape
                stream.width, stream.height, stream.pix_fmt = shape[1], shape[0], _PIXELS
                if shape[0] % 2 or shape[1] % 2:
                    raise EpisodeError(f"images are {shape[1]} x {shape[0]} px; video needs even numbers")
            if index % COUNTED == 0:
                levels += count_levels(image)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return levels, shape


# ---- tables


@dataclass(frozen=True, eq=False, slots=True)
class _Entry:
    """One episode in its place: its columns (n, k), and of each camera the counts of grey levels and images' shape."""

    part: Part
    index: int
    columns: dict[str, np.ndarray]
    levels: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]


def _entry(part: Part, index: int, first: int, task: int, rate: int) -> _Entry:
    with np.load(part.folder / _NUMBERS) as file:
        numbers = {name: file[name] for name in file.files}
    cameras = [name.removeprefix("levels/") for name in numbers if name.startswith("levels/")]
    state = numbers["state"]
    frame = np.arange(len(state), dtype=np.int64)[:, None]
    columns = {
        "observation.state": state,
        "action": np.concatenate([state[1:], state[-1:]]),
        "timestamp": (frame / rate).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full_like(frame, index),
        "index": first + frame,
        "task_index": np.full_like(frame, task),
    }
    levels = {camera: numbers[f"levels/{camera}"] for camera in cameras}
    return _Entry(part, index, columns, levels, {c: tuple(numbers[f"size/{c}"].tolist()) for c in cameras})


def _key(camera: str) -> str:
    return f"observation.images.{camera}"


def _at(index: int) -> dict[str, int]:
    return {"chunk_index": index // PER_FILE, "file_index": index % PER_FILE}


def _shapes(entries: Sequence[_Entry]) -> dict[str, tuple[int, ...]]:
    """The cameras and their images' shapes, which must be the same in every episode."""
    first = entries[0]
    for entry in entries:
        if entry.shapes != first.shapes:
            raise EpisodeError(
                f"{entry.part.name} has images {entry.shapes}, {first.part.name} has {first.shapes}; "
                "a LeRobot data set has one size a camera: export them apart"
            )
    return first.shapes


def _steps(entry: _Entry) -> pa.Table:
    """One row a step; columns of width 1 are plain numbers."""
    columns = {}
    for name, values in entry.columns.items():
        flat, width = pa.array(values.ravel()), values.shape[1]
        columns[name] = flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(columns)


def _record(entry: _Entry, rate: int) -> dict[str, Any]:
    """An episode's row in meta/episodes."""
    table, first = _at(entry.index // PER_FILE), int(entry.columns["index"][0, 0])
    record: dict[str, Any] = {
        "episode_index": entry.index,
        "tasks": [entry.part.text],
        "length": entry.part.frames,
        "dataset_from_index": first,
        "dataset_to_index": first + entry.part.frames,
    }
    record |= {f"{what}/{name}": value for what in ("data", "meta/episodes") for name, value in table.items()}
    for camera in entry.shapes:
        record |= {f"videos/{_key(camera)}/{name}": value for name, value in _at(entry.index).items()}
        record[f"videos/{_key(camera)}/from_timestamp"] = 0.0
        record[f"videos/{_key(camera)}/to_timestamp"] = entry.part.frames / rate
    for feature, values in _statistics([entry]).items():
        record |= {f"stats/{feature}/{name}": value for name, value in values.items()}
    return record


def _tasks(tasks: Sequence[str]) -> pa.Table:
    """One row a task; LeRobot reads it with pandas and wants the text as the index, which the metadata says."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}
        for name, kind, numpy_type in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write(file: Path, groups: Sequence[pa.Table]) -> None:
    """Tables of one schema as a Parquet file, a row group each."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, groups[0].schema, compression="snappy") as writer:
        for table in groups:
            writer.write_table(table)


# ---- what describes it


def _statistics(entries: Sequence[_Entry]) -> dict[str, Statistics]:
    """Of every feature, over all of the entries' steps."""
    result = {
        name: of_numbers(np.concatenate([entry.columns[name] for entry in entries])) for name in entries[0].columns
    }
    frames = sum(entry.part.frames for entry in entries)
    for camera in entries[0].shapes:
        result[_key(camera)] = of_levels(np.sum([entry.levels[camera] for entry in entries], axis=0), frames)
    return result


def _robots(parts: Sequence[Part]) -> str:
    """What carried the tool: the handheld gripper, or the robots by their names."""
    return ", ".join(sorted({part.facts["robot"] or "kinema_handheld_gripper" for part in parts}))


def _info(
    shapes: Mapping[str, tuple[int, ...]], parts: Sequence[Part], tasks: int, rate: int, crf: int
) -> dict[str, Any]:
    features: dict[str, Any] = {}
    for camera, (height, width, channels) in shapes.items():
        features[_key(camera)] = {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": _CODEC_NAME,
                "video.pix_fmt": _PIXELS,
                "video.fps": rate,
                "video.channels": channels,
                "video.g": _GROUP,
                "video.crf": crf,
                "is_depth_map": False,
                "has_audio": False,
            },
        }
    for name in ("observation.state", "action"):
        features[name] = {"dtype": "float32", "shape": [len(STATE)], "names": list(STATE)}
    for name in _INDICES:
        features[name] = {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
    return {
        "codebase_version": VERSION,
        "robot_type": _robots(parts),
        "total_episodes": len(parts),
        "total_frames": sum(part.frames for part in parts),
        "total_tasks": tasks,
        "chunks_size": PER_FILE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": rate,
        "splits": {"train": f"0:{len(parts)}"},
        "data_path": _DATA,
        "video_path": _VIDEO,
        "features": features,
    }
