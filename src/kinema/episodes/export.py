"""Recorded episodes into a data set for training: which of them, aligned at one rate, in any format. Resumable.

    OUT            the data set: it appears when it is complete, and is replaced as a whole
    OUT.parts      what each episode has become; an export that was cut short goes on from there, and one with more
                   episodes does only those. It may be deleted.

Each part carries a fingerprint of all that it was made of. Nothing of a data set depends on the clock, the number of
processes or the order of their work: the same input makes the same bytes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2

import kinema
from kinema.calibration.files import Latencies
from kinema.episodes.facts import Facts
from kinema.episodes.rows import RATE, Rows, read_rows
from kinema.episodes.state import STATE
from kinema.errors import EpisodeError, KinemaError
from kinema.workers import on_all_cores

_PART = "part.json"
_MARK = "kinema.json"  # in a finished data set: where it comes from


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one episode; `left_out` says why it isn't in the data set, '' where it is.

    source        SHA-256 over the episode's files
    fingerprint   SHA-256 over these and all that the export was told
    frames, lost  how many steps it has, and how many are missing between them
    """

    name: str
    folder: Path
    source: str
    fingerprint: str
    left_out: str
    frames: int
    lost: int
    text: str
    facts: dict[str, Any]


class Format(Protocol):
    """A format of data sets, one value a set of options."""

    @property
    def name(self) -> str:
        """Short, with the version of the layout."""
        ...

    def options(self) -> dict[str, Any]:
        """As JSON; they belong to the fingerprint."""
        ...

    def write_part(self, rows: Rows, folder: Path) -> None:
        """Make of one episode whatever `assemble` needs, in a folder of its own; runs in any process."""
        ...

    def assemble(self, parts: Sequence[Part], folder: Path, about: Mapping[str, Any]) -> None:
        """Make the data set of parts that are in it, in their order. `about` is where they come from, as JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Summary:
    """Every episode that was asked for, in order: exported (`left_out` empty) or left out with the reason."""

    parts: tuple[Part, ...]
    fingerprint: str

    @property
    def exported(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if not part.left_out)

    @property
    def left_out(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.left_out)


# ---- parts


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    folder: Path
    part: Path
    form: Format
    rate: int
    latencies: Latencies | None


def _digest(job: _Job) -> tuple[str, str]:
    """SHA-256 of the episode's files, and of everything that its part depends on."""
    source = hashlib.sha256()
    for file in sorted(path for path in job.folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256")
        source.update(f"{file.relative_to(job.folder).as_posix()}\0{content.hexdigest()}\n".encode())
    latencies = job.latencies.model_dump(mode="json") if job.latencies else None
    told = [kinema.__version__, job.name, job.form.name, job.form.options(), job.rate, latencies, source.hexdigest()]
    return source.hexdigest(), hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _read_part(folder: Path) -> Part | None:
    try:
        row = json.loads((folder / _PART).read_text())
        return Part(**row | {"folder": folder})
    except (OSError, ValueError, TypeError):
        return None  # cut short, or made by another version: it is made anew


def _write_part(part: Part) -> None:
    row = {name: value for name, value in asdict(part).items() if name != "folder"}
    (part.folder / _PART).write_text(json.dumps(row, indent=1))


def _label(facts: Facts) -> dict[str, Any]:
    """What a data set says of each of its episodes."""
    names = {"source", "task", "operator", "scenario", "robot", "success", "simulated", "calibration_origin"}
    return facts.model_dump(mode="json", include=names)


def _one(job: _Job) -> Part:
    """The part of one episode: the one that is there already if nothing has changed, else a new one."""
    cv2.setNumThreads(1)
    source, fingerprint = _digest(job)
    there = _read_part(job.part)
    if there is not None and there.fingerprint == fingerprint:
        return there
    shutil.rmtree(job.part, ignore_errors=True)
    job.part.mkdir(parents=True)
    left_out, frames, lost, text, label = "", 0, 0, "", {}
    try:
        rows = read_rows(job.name, job.folder, job.rate, job.latencies)
        job.form.write_part(rows, job.part)
        frames, lost = len(rows.state), rows.lost
        text, label = rows.facts.text, _label(rows.facts)
    except KinemaError as error:
        left_out = str(error)
    part = Part(job.name, job.part, source, fingerprint, left_out, frames, lost, text, label)
    _write_part(part)
    return part


def _work(jobs: Sequence[_Job], processes: int) -> Iterator[Part]:
    if processes == 1:
        yield from map(_one, jobs)
        return
    yield from on_all_cores(_one, [(job,) for job in jobs], processes)


# ---- the data set


def _about(parts: Sequence[Part], form: Format, rate: int, latencies: Latencies | None) -> dict[str, Any]:
    exported = [part for part in parts if not part.left_out]
    about: dict[str, Any] = {
        "kinema": kinema.__version__,
        "format": form.name,
        "options": form.options(),
        "rate": rate,
        "calibration_origin": sorted({part.facts["calibration_origin"] for part in exported}),
        "simulated": sorted({part.facts["simulated"] for part in exported}),
        "latencies": latencies.model_dump(mode="json") if latencies else "as recorded",
        "state": list(STATE),
        "episodes": [
            {"name": part.name, "text": part.text, "frames": part.frames, "lost": part.lost, "sha256": part.source}
            | part.facts
            for part in exported
        ],
        "left_out": [{"name": part.name, "reason": part.left_out} for part in parts if part.left_out],
    }
    told = json.dumps([about, [part.fingerprint for part in exported]], sort_keys=True)
    return about | {"fingerprint": hashlib.sha256(told.encode()).hexdigest()}


def write_json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def place(source: Path, target: Path) -> None:
    """The same file under a second name, so that a part and the data set don't take twice the room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def export(
    episodes: Mapping[str, Path],
    out: Path,
    form: Format,
    *,
    rate: int = RATE,
    latencies: Latencies | None = None,
    jobs: int = 1,
    done: Callable[[Part], None] = lambda part: None,
) -> Summary:
    """Make the data set `out` of episodes by name; `done` is called for each of them as soon as it has been dealt with.

    `latencies` is a better measurement than those in force at the recording. Raises EpisodeError when `out` holds
    something else than a data set made by this, or when no episode is left.
    """
    out = out.resolve()  # a data set behind a link is replaced where it is
    if out.exists() and not (out / _MARK).is_file():
        raise EpisodeError(
            f"{out}: is there already and is no data set of `kinema episodes export`; give another --out"
        )
    work = out.with_name(out.name + ".parts")
    rows = [
        _Job(name, folder, work / name.replace("/", "__"), form, rate, latencies) for name, folder in episodes.items()
    ]
    found = {}
    for part in _work(rows, jobs):
        found[part.name] = part
        done(part)
    parts = [found[name] for name in episodes]
    exported = [part for part in parts if not part.left_out]
    if not exported:
        raise EpisodeError(f"no episode is left to export; the first, {parts[0].name}: {parts[0].left_out}")
    about = _about(parts, form, rate, latencies)
    new = out.with_name(out.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    form.assemble(exported, new, about)
    write_json(new / _MARK, about)
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return Summary(tuple(parts), about["fingerprint"])
