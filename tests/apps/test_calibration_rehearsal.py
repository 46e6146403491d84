"""The virtual cell calibrated by its sensors alone, and demonstrations recorded and replayed by what came of it."""

import datetime
import math
from pathlib import Path

import numpy as np
import pytest

from kinema import cell_file, paths, yaml_file
from kinema.apps import calibration_rehearse, cli
from kinema.apps.calibration_rehearse import rehearse
from kinema.apps.episodes_replay import replay_folder
from kinema.apps.export_virtual_calibration import virtual_calibration as truths
from kinema.apps.lockstep_recording import Recipe, record
from kinema.calibration.bundle import ALL, faults
from kinema.calibration.files import load, save
from kinema.calibration.solving import setting
from kinema.episodes import facts as facts_file
from kinema.episodes.aligned import align_episode
from kinema.episodes.reader import Episode, find
from kinema.episodes.reread import reread
from kinema.errors import CalibrationError
from kinema.geometry import distance
from kinema.virtual.calibration_bench import Bench

TODAY = datetime.datetime.now(datetime.UTC).date()
TRUTH = paths.root() / "calibration/virtual"
RECORDED = find(paths.root() / "tests/data/episodes")
LATE = 0.043  # [s]


def session(folder: Path, bench: Bench, what: str, *devices: str) -> calibration_rehearse.Held:
    cell = cell_file.load(cell_file.VIRTUAL).calibrated_by(folder)
    return calibration_rehearse._session(what, devices, bench, setting(cell, TODAY))


@pytest.fixture
def no_truth(monkeypatch):
    """Whoever opens a file of the simulator's truth fails."""
    read = yaml_file.read

    def guarded(path, *rest, **more):
        value = read(path, *rest, **more)
        told = getattr(value, "provenance", None)
        assert told is None or told.origin == "measured", f"{path} is the simulator's truth"
        return value

    monkeypatch.setattr(yaml_file, "read", guarded)


def test_the_guard_of_these_tests_sees_the_truth_being_read(no_truth):
    with pytest.raises(AssertionError, match="is the simulator's truth"):
        load(TRUTH / "jaw.yaml", ALL["jaw.yaml"].schema, remedy="")


def test_sessions_by_sensors_alone_find_the_dock_the_payload_and_a_late_load_cell(tmp_path, no_truth):
    bench = Bench(seed=1, late={"load_cell": LATE})
    assert session(tmp_path, bench, "dock").samples == 3
    session(tmp_path, bench, "payload")
    session(tmp_path, bench, "latency", "load_cell")
    made = {name: load(tmp_path / name, ALL[name].schema, remedy="") for name in ("T_base_dock.yaml", "payload.yaml")}
    moved, turned = distance(made["T_base_dock.yaml"].pose, truths()["T_base_dock.yaml"].pose)
    assert 0.0 < moved < 0.002 and turned < math.radians(0.1)
    assert made["payload.yaml"].mass == pytest.approx(0.9, abs=0.05)
    latencies = load(tmp_path / "latency.yaml", ALL["latency.yaml"].schema, remedy="")
    assert latencies.devices["load_cell"].seconds == pytest.approx(LATE, abs=0.002)


def test_a_rehearsal_begins_with_an_empty_folder(tmp_path):
    save(tmp_path / "jaw.yaml", truths()["jaw.yaml"])
    cell = cell_file.load(cell_file.VIRTUAL).calibrated_by(tmp_path)
    with pytest.raises(CalibrationError, match="holds calibration files; a rehearsal begins with none"):
        next(rehearse(Bench(), cell, TODAY))


def test_an_episode_reread_by_its_own_files_is_the_same(tmp_path):
    folder = next(iter(RECORDED.values()))
    was, now = align_episode(Episode.open(folder)), reread(folder, TRUTH)
    np.testing.assert_array_equal(now.stamps_ns, was.stamps_ns)
    np.testing.assert_allclose(now.T_base_tcp, was.T_base_tcp, atol=1e-9)
    assert np.sqrt(np.mean((now.width - was.width) ** 2)) < 0.001  # from pictures that are JPEGs by now


def test_another_mount_and_another_dock_move_the_recorded_tool(tmp_path):
    """5 mm of the dock are 5 mm of the tool; the mount cancels in the dock."""
    folder = next(iter(RECORDED.values()))
    files = truths()
    dock = files["T_base_dock.yaml"]
    x, y, z = dock.position
    files["T_base_dock.yaml"] = dock.model_copy(update={"position": (x, y + 0.005, z)})
    for name, value in files.items():
        save(tmp_path / name, value)
    was, now = align_episode(Episode.open(folder)), reread(folder, tmp_path)
    np.testing.assert_allclose(
        now.T_base_tcp[:, :3, 3] - was.T_base_tcp[:, :3, 3], [[0.0, 0.005, 0.0]] * len(was), atol=1e-6
    )


def test_judge_measures_the_truth_against_itself_as_nothing(capsys):
    assert cli.main(["calibration", "judge"]) == 0
    assert "moved by 0.00 mm, turned by 0.000 deg" in capsys.readouterr().out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All sessions, boards in rendered pictures."""
    folder = tmp_path_factory.mktemp("made")
    list(rehearse(Bench(), cell_file.load(cell_file.VIRTUAL).calibrated_by(folder), TODAY))
    return folder


@pytest.mark.slow
def test_the_files_made_are_those_that_launches_want_and_near_the_truth(made):
    cell = cell_file.load(cell_file.VIRTUAL).calibrated_by(made)
    assert {path.name for path in made.glob("*.yaml")} == ALL.keys()
    assert not faults(made, cell.serials(handheld=True), bridge="VIRTUAL-LOAD-CELL")
    for name, limit, turn in (
        ("T_left_right.yaml", 0.002, 0.1),  # upon lenses that were measured, too
        ("T_tcp_gripper.yaml", 0.001, 0.1),
        ("T_base_left.yaml", 0.002, 0.1),
        ("T_base_right.yaml", 0.002, 0.1),
        ("T_tracker_tcp.yaml", 0.002, 0.2),
        ("T_base_dock.yaml", 0.001, 0.1),
    ):
        moved, turned = distance(load(made / name, ALL[name].schema, remedy="").pose, truths()[name].pose)
        assert moved < limit and turned < math.radians(turn), (
            f"{name}: {1e3 * moved:.2f} mm, {math.degrees(turned):.3f}"
        )
    latencies = load(made / "latency.yaml", ALL["latency.yaml"].schema, remedy="")
    assert all(row.seconds < 0.002 for row in latencies.devices.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_demonstrations_do_their_task_again_as_the_made_files_read_them(made, name):
    result = replay_folder(RECORDED[name], "virtual_ur5e", calibration=made)
    assert result.success and not result.refused, result.outcome


@pytest.mark.slow
def test_a_demonstration_recorded_by_the_made_files_does_its_task_again(made, tmp_path, no_truth):
    recipe = Recipe("pick_and_place", "train", tmp_path, cell_file.VIRTUAL, (320, 240), 90, calibration=made)
    recorded = next(found for seed in range(10) if (found := record(recipe, seed)).folder is not None)
    assert facts_file.load(recorded.folder).calibration_origin == "measured"
    result = replay_folder(recorded.folder, "virtual_ur5e")
    assert result.success, result.outcome
