"""`kinema calibration rehearse`: calibrate the virtual cell from nothing, by what its sensors give alone.

Every session that a person holds in a cell is held here, in the same order, by the same code: the session's states,
the senses that make samples of streams, the solvers, the gates of `accept`, the files. What the simulator knows is not
asked for; `kinema calibration judge` does so, afterwards.
"""

import argparse
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema import cell_file
from kinema.apps.calibration import add_cell
from kinema.apps.console import console
from kinema.calibration import jaw, load_cell
from kinema.calibration.boards import DEFAULT
from kinema.calibration.bundle import GRIPPER_CAMERA, JAW, LOAD_CELL, faults
from kinema.calibration.files import Transform, save, save_all
from kinema.calibration.senses import Senses, looks_through
from kinema.calibration.session import Session
from kinema.calibration.solving import Setting, setting, solve
from kinema.cell_file import Cell
from kinema.errors import CalibrationError
from kinema.perception.jaw import TagFinder
from kinema.robots import GRIPPER
from kinema.virtual.board_samples import projected, rendered
from kinema.virtual.calibration_bench import Bench

SESSIONS = (  # lenses first, then mounts, then what stands on them
    *(("intrinsics", ("left",)), ("intrinsics", ("right",)), ("fisheye", ("gripper",)), ("stereo", ("left", "right"))),
    *(("hand_eye", ()), ("eye_on_base", ("left",)), ("eye_on_base", ("right",)), ("tool_mount", ()), ("dock", ())),
    *(("tracker_world", ()), ("payload", ()), ("jaw", ()), ("load_cell", ())),
    *(("latency", (device,)) for device in ("gripper", "left", "right", "arm", "jaw", "tracker", "load_cell")),
)

_TAGS = jaw.JawDesign("DICT_4X4_50", 0.016, GRIPPER.stroke)  # as printed
_CAPACITY = 98.0  # [N] of the load cell, as its data sheet says
_GRAMS = (0.0, 500.0, 1000.0, 2000.0, 4000.0, 2000.0, 1000.0, 0.0)  # hung on one after the other


@dataclass(frozen=True, slots=True)
class Held:
    """One session that was held: what its solver said, and the files that were accepted."""

    what: str
    devices: tuple[str, ...]
    samples: int
    report: str
    files: tuple[str, ...]


def _session(what: str, devices: tuple[str, ...], bench: Bench, place: Setting) -> Held:
    """As `stereo_calibration` holds it: start, capture, solve, accept."""
    apart = bench.tape(*devices) if what == "stereo" else 0.0
    session = Session().start(what, devices, bench.board.name, apart)
    lenses = {name: place.camera(name) for name in looks_through(session)} if what == "latency" else {}
    senses = Senses(session, lenses)
    for now_ns in bench.samples(session, senses):
        session = session.capture(senses.sample(now_ns))
    session = session.solve(solve(session, place))
    solution = session.may_accept()
    save_all(place.folder, solution.files)
    return Held(what, session.devices, len(session.samples), solution.report, tuple(solution.files))


def _jaw(bench: Bench, place: Setting, cell: Cell) -> Held:
    """As `jaw_tracker/calibrate_jaw` does it."""
    camera, mount = place.camera(GRIPPER_CAMERA).scaled(cell.image_size), place.load("T_tcp_gripper.yaml", Transform)
    finder = TagFinder(_TAGS.dictionary, camera)
    seen = [finder.find(image) for image in bench.jaw_pictures(cell.image_size)]
    found = jaw.calibrate(seen, camera, mount.pose, _TAGS, place.serial("jaw"), place.today)
    save(place.folder / JAW.file, found)
    return Held("jaw", ("jaw",), len(seen), f"the tags agree within {1e3 * found.provenance.rms:.2f} mm", (JAW.file,))


def _load_cell(bench: Bench, place: Setting) -> Held:
    """As `load_cell/calibrate` does it."""
    readings = [bench.load_readings(grams) for grams in _GRAMS]
    points = [load_cell.load_point(load_cell.newtons(g), row) for g, row in zip(_GRAMS, readings, strict=True)]
    noise = max(float(np.std(row)) for row in readings)
    found = load_cell.calibrate(points, "count", _CAPACITY, place.serial("load_cell"), place.today, noise)
    save(place.folder / LOAD_CELL.file, found)
    report = f"off the line by {found.provenance.rms:.3f} N"
    return Held("load_cell", ("load_cell",), len(points), report, (LOAD_CELL.file,))


def rehearse(bench: Bench, cell: Cell, today: datetime.date) -> Iterator[Held]:
    """All sessions in their order, into the calibration folder of `cell`, which must not hold a file yet.

    Raises CalibrationError where the folder holds any, a session is refused, or a launch would not take the result.
    """
    folder = cell.calibration_folder
    if any(folder.glob("*.yaml")):
        raise CalibrationError(f"{folder}: holds calibration files; a rehearsal begins with none, name an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    place = setting(cell, today)
    for what, devices in SESSIONS:
        if what == "jaw":
            yield _jaw(bench, place, cell)
        elif what == "load_cell":
            yield _load_cell(bench, place)
        else:
            yield _session(what, devices, bench, place)
    lacks = [*faults(folder, cell.serials(handheld=True)), *faults(folder, cell.serials(handheld=False))]
    if lacks:
        raise CalibrationError("; ".join(dict.fromkeys(lacks)))


def configure(parser: argparse.ArgumentParser) -> None:
    add_cell(parser)
    parser.add_argument("folder", type=Path, help="an empty one for the files")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random, default %(default)s")
    parser.add_argument(
        "--projected",
        action="store_true",
        help="render no boards: corners with a detector's noise, half the time",
    )


def run(arguments: argparse.Namespace) -> int:
    """Hold the sessions, tell what each has found."""
    cell, out = cell_file.load(arguments.cell).calibrated_by(arguments.folder), console()
    today = datetime.datetime.now(datetime.UTC).date()
    eye = projected(DEFAULT) if arguments.projected else rendered(DEFAULT)
    for held in rehearse(Bench(arguments.seed, eye=eye), cell, today):
        out.print(
            f"{held.what} {', '.join(held.devices)}: {held.samples} samples, {', '.join(held.files)}", style="bold"
        )
        out.print(held.report, soft_wrap=True)
    out.print(f"\n{cell.calibration_folder} holds a calibration that launches take; no file of it is simulator truth.")
    return 0
