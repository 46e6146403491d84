"""The run folder and its report, from real rings: known motion in, the same numbers out."""

import contextlib
import dataclasses
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from kinema import records
from kinema.apps import report, run_folder
from kinema.apps.run_folder import Episode, Facts, Run
from kinema.apps.telemetry import LOOP
from kinema.control.messages import State
from kinema.errors import ConfigError
from kinema.geometry import so3_exp
from kinema.ring import RingWriter
from kinema.topics import CAMERAS

SIZE = (320, 240)
T0 = 1_700_000_000_000_000_000
PERIOD = 2_000_000  # [ns]
TICKS = 1500
PICTURES = 12
COLOURS = {"gripper": (200, 30, 30), "left": (30, 180, 30), "right": (30, 30, 200)}
FACTS = Facts(
    robot="virtual_ur5e",
    task="pick_and_place",
    split="train",
    seed=7,
    policy="demonstrator",
    simulator_truth=True,
    mode="",
    execution="",
    executed=0,
    speed_scale=0.0,
    cell="launch/cells/virtual.yaml",
)


def loop_records(begin_ns: int) -> np.ndarray:
    """Three seconds: executing with 2 mm and 0.01 rad of error, then holding with far more, which must not count."""
    rows = np.zeros(TICKS, LOOP)
    rows["t_ns"] = begin_ns + PERIOD * np.arange(TICKS)
    rows["period_ns"], rows["compute_ns"] = PERIOD, 150_000
    rows["period_ns"][700] = 9_000_000
    rows["state"] = np.where(np.arange(TICKS) < 1000, State.EXECUTING, State.HOLDING)
    rows["T_base_tcp"]["rotation"] = np.eye(3)
    rows["T_base_goal"]["rotation"] = so3_exp(np.array([0.0, 0.0, 0.01]))
    rows["T_base_goal"]["position"][:, 0] = np.where(np.arange(TICKS) < 1000, 0.002, 0.5)
    rows["force"] = 6.0 * np.sin(np.linspace(0, np.pi, TICKS)) ** 2
    rows["force"][:20] = np.nan
    rows["jaw_width"], rows["jaw_goal"], rows["missed"] = 0.05, 0.04, np.where(np.arange(TICKS) < 900, 3, 5)
    return rows


def audit_lines(begin_ns: int) -> list[dict]:
    def line(kind: str, at: float, text: str = "", **data: object) -> dict:
        return {"t_ns": begin_ns + round(at * 1e9), "kind": kind, "text": text, "fault": "", "data": data}

    accepted = [
        line("chunk_accepted", 0.1 + 0.5 * i, chunk=i + 1, t0_ns=begin_ns + round((0.1 + 0.5 * i - latency) * 1e9))
        for i, latency in enumerate((0.080, 0.090, 0.100, 0.110))
    ]
    steps = [
        line("step", 0.5 + 0.5 * i, chunk=i + 1, step=3, t0_ns=begin_ns + round((0.5 * i) * 1e9)) for i in range(4)
    ]
    dropped = [line("step_dropped", 0.2, chunk=1, step=i, reason="its time has passed") for i in range(3)]
    other = [line("chunk_rejected", 1.0, fault="F01"), line("safety", 1.2, "the wrench is | 61 N")]
    return [line("policy_started", -0.004, mode="overlap"), *accepted, *steps, *dropped, *other]


def play(run: Run, number: int, begin_ns: int, rings: dict[str, RingWriter]) -> None:
    """Let an episode pass by, in front of the recorder that `Run` starts."""
    run.begin(number)
    for record in loop_records(begin_ns):
        rings["loop"].write(record)
    frame = np.zeros((), records.frame(SIZE))
    for k in range(PICTURES):
        for camera in reversed(CAMERAS):
            frame["t_ns"], frame["sequence"], frame["image"] = begin_ns + k * 100_000_000, k, COLOURS[camera]
            rings[camera].write(frame)
        recorder = run._recorder
        assert recorder is not None
        deadline = time.monotonic() + 60
        while recorder._tick != k and time.monotonic() < deadline:
            time.sleep(0.005)
    span = (begin_ns - 5_000_000, begin_ns + 3)
    run.end(Episode(number, 6 + number, "put it | away", *span, number == 1, "in it", 4, 0.98, 0.01))


@contextlib.contextmanager
def open_rings(folder: Path) -> Iterator[dict[str, RingWriter]]:
    folder.mkdir()
    writers = {name: RingWriter(folder / f"frames_{name}.ring", records.frame(SIZE), 8) for name in CAMERAS}
    writers["loop"] = RingWriter(folder / "loop.ring", LOOP, 2000)
    try:
        yield writers
    finally:
        for writer in writers.values():
            writer.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two episodes, ten seconds apart."""
    path = tmp_path_factory.mktemp("runs")
    run = Run(path, FACTS, path / "runtime")
    lines = []
    with open_rings(path / "runtime") as rings:
        for number in (1, 2):
            begin_ns = T0 + number * 10_000_000_000
            play(run, number, begin_ns, rings)
            lines += audit_lines(begin_ns)
        run.close()
    (path / "audit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def test_numbers_of_the_summary_are_those_of_the_run(folder):
    summary = report.write(folder)
    assert summary.successes == 1 and [row.episode.number for row in summary.episodes] == [1, 2]
    for row in summary.episodes:
        assert row.duration == pytest.approx((TICKS - 10) * 0.002, abs=0.05)
        assert (
            row.latency is not None
            and row.latency.p50 == pytest.approx(0.095)
            and row.latency.max == pytest.approx(0.11)
        )
        assert row.position_error is not None and row.position_error.max == pytest.approx(0.002)
        assert row.rotation_error is not None and row.rotation_error.p50 == pytest.approx(0.01)
        assert row.force_max == pytest.approx(6.0, rel=1e-3)
        assert row.period is not None and (row.period.p50, row.period.max) == pytest.approx((0.002, 0.009))
        assert row.compute is not None and row.compute.p99 == pytest.approx(150e-6)
        assert (row.missed, row.rejected, row.steps) == (2, 1, 4)
        assert row.dropped == {"its time has passed": 3} and row.safety == {"the wrench is | 61 N": 1}


def test_stop_and_go_counts_to_the_first_step(folder):
    audit = folder / "audit.jsonl"
    audit.write_text(audit.read_text().replace('"overlap"', '"stop_and_go"'))
    latency = report.write(folder).episodes[0].latency
    assert latency is not None and latency.p50 == pytest.approx(0.5)


def test_video_shows_the_three_cameras_side_by_side(folder):
    with av.open(str(folder / "episode_1.mp4")) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        pictures = [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    assert [moment for moment, _ in pictures] == pytest.approx(np.arange(PICTURES) / 10)
    for camera, tile in zip(CAMERAS, np.split(pictures[-1][1], 3, axis=1), strict=True):
        assert np.abs(tile[100:200, 100:200].mean(axis=(0, 1)) - COLOURS[camera]).max() < 12


def test_files_for_people_are_there_and_say_what_the_policy_saw(folder):
    summary = report.write(folder)
    text = (folder / "summary.md").read_text()
    assert "1 of 2 episodes succeeded" in text and "reads the simulator's truth" in text
    assert "the wrench is | 61 N" in text and summary.machine in text and "episode_2.mp4" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4 and "95 / 110" in table[2]
    for name in ("run.png", "episode_1.png", "episode_2.png"):
        picture = np.asarray(Image.open(folder / name).convert("L"))
        assert picture.shape[1] > 1000 and (picture < 100).mean() > 0.002
    printed = io.StringIO()
    report.show(summary, Console(file=printed, width=220))
    for wanted in (
        "success: in it",
        "FAILURE: in it",
        "4, 1 rejected",
        "duration [s]",
        "2.0 / 2.0",
        "0.98",
        "simulator's truth",
    ):
        assert wanted in printed.getvalue()


def test_a_learned_policy_gets_no_such_note(folder):
    facts = dataclasses.replace(FACTS, policy="video_policy", simulator_truth=False)
    (folder / "run.json").write_text(json.dumps(dataclasses.asdict(facts)))
    report.write(folder)
    assert "simulator's truth" not in (folder / "summary.md").read_text()


def test_a_cell_that_fell_behind_real_time_is_told_of(folder):
    def told() -> bool:
        printed = io.StringIO()
        report.show(report.write(folder), Console(file=printed, width=220))
        note = "passed at 0.95 of real time"
        assert (note in printed.getvalue()) == (note in (folder / "summary.md").read_text())
        return note in printed.getvalue()

    assert not told(), "0.98 is kept up"
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    (folder / "episodes.jsonl").write_text(
        "".join(json.dumps(row | {"real_time_factor": 0.92 + 0.06 * i}) + "\n" for i, row in enumerate(rows))
    )
    assert told()


def test_a_folder_is_summed_up_again_by_its_command(folder, capsys):
    report.write(folder)
    first = (folder / "summary.json").read_text()
    assert report.main([str(folder)]) == 0
    assert (folder / "summary.json").read_text() == first
    assert json.loads(first)["successes"] == 1
    assert "pick_and_place" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_refused_by_name(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    with pytest.raises(ConfigError, match="not a readable run folder"):
        report.write(tmp_path)


def test_a_run_that_broke_off_is_still_summed_up(folder):
    """Killed in mid-line, with an episode that never ended."""
    with (folder / "audit.jsonl").open("a") as file:
        file.write('{"t_ns": 1, "kind": "st')
    (folder / "telemetry_2.npz").unlink()
    summary = report.write(folder)
    assert summary.episodes[0].steps == 4
    assert summary.episodes[1].period is None and summary.episodes[1].position_error is None


def test_an_episode_that_is_not_ended_keeps_what_was_seen(tmp_path):
    run = Run(tmp_path / "run", FACTS, tmp_path / "runtime")
    with open_rings(tmp_path / "runtime") as rings:
        run.begin(1)
        for record in loop_records(T0):
            rings["loop"].write(record)
        run.close()
    telemetry = run_folder.read_telemetry(tmp_path / "run", 1)
    assert telemetry is not None and len(telemetry.period) == TICKS
    assert run_folder.read_episodes(tmp_path / "run") == []
    assert not (tmp_path / "run" / "episode_1.mp4").exists(), "no frame was ever seen"
