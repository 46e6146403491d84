"""`kinema calibration`: what there is, what has changed, and the way back."""

import shutil

import numpy as np
import pytest
import yaml

from kinema import cell_file, paths
from kinema.apps import cli
from kinema.calibration.bundle import ALL
from kinema.calibration.compare import changes, meaning
from kinema.calibration.files import CameraInfo, Latencies, Transform, load, save
from kinema.geometry import Pose

VIRTUAL = paths.root() / "calibration" / "virtual"


@pytest.fixture
def cell(tmp_path):
    """A cell file with a calibration folder of its own: --cell."""
    shutil.copytree(VIRTUAL, tmp_path / "calibration", ignore=shutil.ignore_patterns("previous"))
    content = yaml.safe_load(cell_file.VIRTUAL.read_text()) | {"calibration": str(tmp_path / "calibration")}
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "cell.yaml"


@pytest.fixture
def folder(cell):
    return cell.parent / "calibration"


def _kinema(capsys, cell, *words):
    code = cli.main(["calibration", words[0], "--cell", str(cell), *words[1:]])
    told = capsys.readouterr()
    return code, told.out + told.err


def _move(path, metres, turn=0.0):
    old = load(path, Transform, remedy="")
    T = Pose.from_rotvec([metres, 0.0, 0.0], [0.0, 0.0, turn]) @ old.pose
    save(path, Transform.of(old.parent, old.child, T, old.provenance))


def test_list_tells_what_is_there_and_what_is_wrong(capsys, cell, folder):
    code, told = _kinema(capsys, cell, "list")
    assert code == 0 and told.count("good") >= 11 and "simulator truth" in told and "0 of 11 files" in told
    _move(folder / "T_base_left.yaml", 0.01)
    (folder / "left.yaml").unlink()
    (folder / "jaw.yaml").write_text("colour: 3")
    code, told = _kinema(capsys, cell, "list")
    assert code == 1 and "2 of 11 files" in told and "left.yaml: cannot be read" in " ".join(told.split())
    assert next(line for line in told.splitlines() if line.startswith("T_base_left.yaml")).split()[-2:] == ["1", "good"]


@pytest.mark.parametrize("name", sorted(set(ALL) & {path.name for path in VIRTUAL.glob("*.yaml")}))
def test_every_file_is_shown_and_compared_with_itself(capsys, cell, folder, name):
    save(folder / name, load(folder / name, ALL[name].schema, remedy=""))
    code, told = _kinema(capsys, cell, "show", name.removesuffix(".yaml"))
    assert code == 0 and "simulator truth" in told and "previous 1:" in told
    value = load(folder / name, ALL[name].schema, remedy="")
    assert not changes(value, value) and meaning(value, value)
    assert _kinema(capsys, cell, "compare", name)[0] == 0


def test_compare_says_what_a_change_means(capsys, cell, folder):
    _move(folder / "T_base_left.yaml", 0.003, 0.01)
    code, told = _kinema(capsys, cell, "compare", "T_base_left.yaml")
    assert code == 0 and "turned by 0.573 deg" in told and "position.0" in told
    left = load(folder / "left.yaml", CameraInfo, remedy="")
    matrix = left.matrix + np.diag([0.0, 0.0, 0.0]) + [[0, 0, 2.0], [0, 0, 0], [0, 0, 0]]
    other = CameraInfo.of("left", left.size, matrix, left.distortion_model, left.distortion, left.provenance)
    assert meaning(left, other).startswith("pixels move by 2.00 px, at most 2.00 px")
    latency = load(folder / "latency.yaml", Latencies, remedy="")
    rows = {**latency.devices, "left": latency.devices["left"].model_copy(update={"seconds": 0.004})}
    assert meaning(latency, latency.model_copy(update={"devices": rows})) == "left +4.00 ms"


def test_a_rollback_brings_a_file_back_and_can_itself_be_undone(capsys, cell, folder):
    path = folder / "T_base_left.yaml"
    first = load(path, Transform, remedy="")
    _move(path, 0.01)
    second = load(path, Transform, remedy="")
    assert _kinema(capsys, cell, "rollback", "T_base_left.yaml")[0] == 0
    assert load(path, Transform, remedy="") == first
    assert _kinema(capsys, cell, "rollback", "T_base_left.yaml")[0] == 0
    assert load(path, Transform, remedy="") == second
    assert _kinema(capsys, cell, "rollback", "T_base_left.yaml", "1")[0] == 0
    assert load(path, Transform, remedy="") == first


def test_a_broken_file_can_be_rolled_back_from_and_not_to(capsys, cell, folder):
    path = folder / "T_base_left.yaml"
    _move(path, 0.01)
    path.write_text("broken: [")
    assert _kinema(capsys, cell, "rollback", "T_base_left.yaml")[0] == 0
    good = load(path, Transform, remedy="")
    code, told = _kinema(capsys, cell, "rollback", "T_base_left.yaml")  # the newest is the broken one
    assert code == 2 and "is not valid YAML" in told and load(path, Transform, remedy="") == good


def test_the_file_of_another_device_is_not_rolled_back_to(capsys, cell, folder):
    path = folder / "T_base_left.yaml"
    good = load(path, Transform, remedy="")
    save(path, good.model_copy(update={"provenance": good.provenance.model_copy(update={"serial": "ANOTHER"})}))
    save(path, good)
    code, told = _kinema(capsys, cell, "rollback", "T_base_left.yaml")
    assert code == 2 and "provenance.serial is 'ANOTHER'" in told and load(path, Transform, remedy="") == good


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "middle.yaml"), "'middle.yaml' is no calibration file; allowed: gripper.yaml, left.yaml"),
        (("rollback", "left.yaml"), "left.yaml: there is no previous file"),
        (("compare", "left.yaml", "3"), "left.yaml: there is no previous file 3; there are: none"),
        (("rollback", "left.yaml", "3"), "left.yaml: there is no previous file 3; there are: none"),
    ],
)
def test_what_is_not_there_is_said(capsys, cell, words, reason):
    code, told = _kinema(capsys, cell, *words)
    assert code == 2 and reason in told
