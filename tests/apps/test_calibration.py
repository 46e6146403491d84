"""`kinema calibration`: what there is, what has changed, and the way back."""

import shutil

import numpy as np
import pytest
import yaml

from kinema import cell_file, paths
from kinema.apps import cli, launch_plan
from kinema.apps.calibration import serials
from kinema.calibration.bundle import ALL, fault, stuck
from kinema.calibration.compare import changes, meaning
from kinema.calibration.files import CameraInfo, Latencies, Transform, load, previous, save, save_all
from kinema.errors import CalibrationError
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


def _replaced(cell, camera, serial):
    """The camera in the cell file is another one now."""
    content = yaml.safe_load(cell.read_text())
    content["devices"]["cameras"][camera]["serial"] = serial
    cell.write_text(yaml.safe_dump(content))
    return cell_file.load(cell)


def test_after_a_camera_was_replaced_its_files_are_retired_and_an_override_lets_it_begin(capsys, cell, folder):
    before = load(folder / "latency.yaml", Latencies, remedy="")
    replaced = _replaced(cell, "left", "NEW-LEFT")
    with pytest.raises(CalibrationError, match=r"no override lets it pass; .* `kinema calibration retire`"):
        launch_plan.check_calibration(replaced, False, "a new camera")
    code, told = _kinema(capsys, cell, "list")
    assert code == 1 and f"kinema calibration retire --cell {cell}" in told

    code, told = _kinema(capsys, cell, "retire")
    assert code == 0 and "left.yaml: provenance.serial is 'VIRTUAL-LEFT', the device's is 'NEW-LEFT'" in told
    gone = {"left.yaml", "T_base_left.yaml", "T_left_right.yaml"}
    assert not any((folder / name).exists() for name in gone)
    assert all(list(previous(folder / name)) == [1] for name in (*gone, "latency.yaml"))
    assert {path.name for path in folder.glob("*.yaml")} == {path.name for path in VIRTUAL.glob("*.yaml")} - gone
    after = load(folder / "latency.yaml", Latencies, remedy="")
    assert after.devices == {name: row for name, row in before.devices.items() if name != "left"}
    launch_plan.check_calibration(replaced, False, "a new camera")
    with pytest.raises(CalibrationError, match=r"left\.yaml: cannot be read"):
        launch_plan.check_calibration(replaced, False, "")

    code, told = _kinema(capsys, cell, "retire")
    assert code == 0 and "no file is broken, or of another device" in told
    assert list(previous(folder / "left.yaml")) == [1], "nothing is left to do"


def test_what_was_retired_by_mistake_is_rolled_back_to(capsys, cell, folder):
    _replaced(cell, "left", "A-TYPO")
    assert _kinema(capsys, cell, "retire")[0] == 0
    cell_of = _replaced(cell, "left", "VIRTUAL-LEFT")
    for name in ("left.yaml", "T_base_left.yaml", "T_left_right.yaml", "latency.yaml"):
        assert _kinema(capsys, cell, "rollback", name)[0] == 0
    launch_plan.check_calibration(cell_of, False, "")


def test_broken_files_are_retired_and_old_or_bad_ones_stay(capsys, cell, folder):
    for name in ("jaw.yaml", "latency.yaml"):
        (folder / name).write_text("broken: [")
    content = yaml.safe_load((folder / "left.yaml").read_text())
    content["provenance"] |= {"origin": "measured", "date": "2020-01-01"}
    (folder / "left.yaml").write_text(yaml.safe_dump(content))
    assert _kinema(capsys, cell, "retire")[0] == 0
    assert not (folder / "jaw.yaml").exists() and not (folder / "latency.yaml").exists()
    assert (folder / "left.yaml").exists() and not previous(folder / "left.yaml")


def test_a_session_s_files_replace_those_of_another_device_and_keep_them(cell, folder):
    replaced = _replaced(cell, "left", "NEW-LEFT")
    old = load(folder / "left.yaml", CameraInfo, remedy="")
    new = old.model_copy(update={"provenance": old.provenance.model_copy(update={"serial": "NEW-LEFT"})})
    devices = serials(replaced)
    assert stuck(folder, ALL["left.yaml"], devices)
    save_all(folder, {"left.yaml": new})
    assert not fault(folder, ALL["left.yaml"], devices)
    assert load(previous(folder / "left.yaml")[1], CameraInfo, remedy="") == old


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
