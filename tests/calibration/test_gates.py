"""What may be deployed and recorded with: missing, foreign, old or bad calibration, and what an override lets pass."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from kinema import cell_file
from kinema.apps import launch_plan
from kinema.apps.export_virtual_calibration import OTHER_SERIALS
from kinema.calibration.bundle import ALL, KINDS, LATENCY, LOAD_CELL, PAYLOAD, STEREO, fault, faults, load_bundle
from kinema.calibration.files import MAX_AGE
from kinema.errors import CalibrationError
from kinema.paths import root
from kinema.virtual.cameras import CAMERAS

VIRTUAL = root() / "calibration" / "virtual"
SERIALS = {row.name: row.serial for row in CAMERAS.values()} | OTHER_SERIALS
OLD = {"origin": "measured", "date": "2020-01-01"}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(VIRTUAL, tmp_path / "calibration")


def _edit(path, **changes):
    content = yaml.safe_load(path.read_text())
    content["provenance"].update(changes)
    path.write_text(yaml.safe_dump(content))


def _swap(first, second):
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _cell(folder):
    return cell_file.load(cell_file.VIRTUAL).model_copy(update={"calibration": str(folder)})


@pytest.mark.parametrize("handheld", [True, False])
def test_f23_a_launch_passes_what_is_right_and_names_all_that_is_not(folder, handheld):
    cell = _cell(folder)
    launch_plan.check_calibration(cell, handheld, "")
    (folder / "left.yaml").unlink()
    _edit(folder / "T_base_right.yaml", **OLD)
    _edit(folder / "gripper.yaml", rms=0.9)
    with pytest.raises(CalibrationError) as refusal:
        launch_plan.check_calibration(cell, handheld, "")
    for words in (
        "left.yaml: cannot be read",
        f"allowed are {MAX_AGE.days} days",
        "rms is 0.9",
        "calibration_override:=",
    ):
        assert words in str(refusal.value)
    launch_plan.check_calibration(cell, handheld, "the lab's move")
    with pytest.raises(CalibrationError, match="calibration_override is blank; allowed is a reason"):
        launch_plan.check_calibration(cell, handheld, " ")


def test_f23_swapped_cameras_are_refused_override_or_not(folder):
    """The plugs, the files, or the serial numbers in the cell file: whichever was changed for the other."""
    swapped = SERIALS | {"left": SERIALS["right"], "right": SERIALS["left"]}
    for serials in (SERIALS, swapped):
        if serials is SERIALS:
            _swap(folder / "left.yaml", folder / "right.yaml")
            _swap(folder / "T_base_left.yaml", folder / "T_base_right.yaml")
        for override in (False, True):
            found = faults(folder, serials, override=override)
            assert any("right.yaml" in fault for fault in found) and any("left.yaml" in fault for fault in found)
            with pytest.raises(CalibrationError, match=r"serial is|camera_name is"):
                load_bundle(folder, serials, override=override)
    assert any("latency.yaml: devices.left.serial" in fault for fault in found)
    assert "camera_name is 'right', allowed is 'left'" in "\n".join(found)  # serials fit now, names don't
    assert "parent, child are base_link, right_optical_frame" in "\n".join(found)


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
def test_f23_every_file_is_of_its_devices(folder, kind):
    assert not fault(folder, kind, SERIALS)
    foreign = "\n".join(fault(folder, kind, SERIALS | {device: "1234"}) for device in SERIALS)
    assert "1234" in foreign and kind.remedy in foreign


def test_the_side_cameras_place_to_each_other_is_of_both_and_of_none_where_one_is_gone(folder):
    assert "VIRTUAL-LEFT 1234" in fault(folder, STEREO, SERIALS | {"right": "1234"})
    assert not fault(folder, STEREO, {"left": SERIALS["left"]}) and not fault(folder, PAYLOAD, {})
    _swap(folder / STEREO.file, folder / "T_base_left.yaml")
    assert "parent, child are base_link, left_optical_frame" in fault(folder, STEREO, {})


def test_an_override_takes_old_and_bad_files_and_leaves_missing_ones_out(folder):
    for kind in KINDS:
        _edit(folder / kind.file, **OLD, rms=99.0)
    for file in ("T_base_left.yaml", LATENCY.file):
        (folder / file).unlink()
    with pytest.raises(CalibrationError):
        load_bundle(folder, SERIALS)
    bundle = load_bundle(folder, SERIALS, override=True)
    assert bundle.missing == ("T_base_left.yaml", LATENCY.file)
    assert bundle.camera("left").provenance.rms == 99.0 and bundle.latency("left") == 0.0
    with pytest.raises(CalibrationError, match=r"T_base_left\.yaml: is missing, and no override.*eye_on_base"):
        bundle.T_base_camera("left")
    (folder / "jaw.yaml").write_text("broken: [")
    assert [fault for fault in faults(folder, SERIALS, override=True) if "jaw.yaml" in fault and "YAML" in fault]


def test_a_bridge_needs_its_scale(folder):
    (folder / LOAD_CELL.file).unlink()
    assert not faults(folder, SERIALS)
    assert "load_cell/calibrate" in faults(folder, SERIALS, bridge="LC-1")[0]
    assert cell_file.load(root() / "launch/cells/virtual_ur5e.yaml").bridge
    assert not cell_file.load(cell_file.VIRTUAL).bridge


def test_a_launch_is_told_why(tmp_path):
    content = yaml.safe_load(cell_file.VIRTUAL.read_text()) | {"calibration": str(tmp_path / "nothing")}
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "kinema.apps.launch_plan", "handheld", "--cell", str(path)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.count("cannot be read") == len(KINDS) + 1
    allowed = subprocess.run([*command, "--calibration-override=first pictures"], capture_output=True, text=True)
    assert allowed.returncode == 0 and json.loads(allowed.stdout)["simulated"]
