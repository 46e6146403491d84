"""The bundle of one cell: complete or refused, and the committed one is what the tables say."""

import shutil

import numpy as np
import pytest

from kinema.apps.export_virtual_calibration import OTHER_SERIALS, export, virtual_calibration
from kinema.calibration.bundle import KINDS, LATENCY, LOAD_CELL, load_bundle, load_force_scale
from kinema.errors import CalibrationError
from kinema.paths import root
from kinema.virtual.cameras import CAMERAS, TAGS

VIRTUAL = root() / "calibration" / "virtual"
SERIALS = {row.name: row.serial for row in CAMERAS.values()} | OTHER_SERIALS


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(VIRTUAL, tmp_path / "virtual")


def test_committed_files_are_current(folder):
    """When this fails: python -m kinema.apps.export_virtual_calibration."""
    assert not any(export(folder).values())
    assert {path.name for path in VIRTUAL.glob("*.yaml")} == set(virtual_calibration())


def test_every_committed_file_says_that_it_is_simulator_truth():
    bundle = load_bundle(VIRTUAL, SERIALS)
    for value in (*bundle.files.values(), bundle.latencies):
        assert value.provenance.origin == "simulator truth"


def test_bundle_gives_what_the_tables_hold():
    bundle = load_bundle(VIRTUAL, SERIALS)
    for name in ("left", "right"):
        np.testing.assert_allclose(bundle.T_base_camera(name).matrix, CAMERAS[name].T_mount_camera.matrix, atol=1e-9)
    np.testing.assert_allclose(bundle.T_tcp_camera().matrix, CAMERAS["gripper"].T_mount_camera.matrix, atol=1e-9)
    assert bundle.camera("gripper").scaled((320, 240)) == CAMERAS["gripper"].info((320, 240))
    for row, tag in zip(TAGS, (bundle.jaw.left, bundle.jaw.right), strict=True):
        np.testing.assert_allclose(tag.T_tcp_tag(0.031).matrix, row.T_tcp_tag(0.031).matrix, atol=1e-9)
    assert bundle.latency("left") == CAMERAS["left"].latency


def test_f23_another_serial_number_is_refused():
    with pytest.raises(
        CalibrationError, match=r"left\.yaml: provenance\.serial is 'VIRTUAL-LEFT'.*'1234'.*start_session"
    ):
        load_bundle(VIRTUAL, SERIALS | {"left": "1234"})


@pytest.mark.parametrize("name", [kind.file for kind in (*KINDS, LATENCY)])
def test_f23_each_missing_file_is_refused_with_the_service_that_makes_it(folder, name):
    (folder / name).unlink()
    service = "jaw_tracker/calibrate_jaw" if name == "jaw.yaml" else r"stereo_calibration/start_session \(what: \w+\)"
    with pytest.raises(CalibrationError, match=rf"{name}.*the service {service}"):
        load_bundle(folder, SERIALS)


def test_f23_a_load_cell_that_reads_a_bridge_needs_its_scale(folder):
    serial = OTHER_SERIALS["load_cell"]
    assert load_force_scale(folder, serial) == virtual_calibration()[LOAD_CELL.file]
    (folder / LOAD_CELL.file).unlink()
    with pytest.raises(CalibrationError, match=r"load_cell\.yaml: .*the service load_cell/calibrate"):
        load_force_scale(folder, serial)


def test_f23_swapped_cameras_are_refused(folder):
    left, right = (folder / f"T_base_{side}.yaml" for side in ("left", "right"))
    text = left.read_text().replace("VIRTUAL-LEFT", "VIRTUAL-RIGHT")
    right.write_text(text)
    with pytest.raises(CalibrationError, match=r"T_base_right\.yaml: parent, child are base_link, left_optical_frame"):
        load_bundle(folder, SERIALS)


def test_a_device_without_latency_is_refused():
    with pytest.raises(CalibrationError, match=r"latency\.yaml: devices\.microphone is missing"):
        load_bundle(VIRTUAL, SERIALS | {"microphone": "M1"})


def test_what_was_not_asked_for_is_not_there():
    bundle = load_bundle(VIRTUAL, {"left": "VIRTUAL-LEFT"})
    assert bundle.camera("left").camera_name == "left"
    with pytest.raises(CalibrationError, match=r"right\.yaml: was not loaded"):
        bundle.camera("right")
