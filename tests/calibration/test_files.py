"""Calibration files: what is read back is what was saved, and whatever is wrong is refused by file, key and remedy."""

import datetime
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from kinema.calibration.files import (
    MAX_AGE,
    PREVIOUS,
    CameraInfo,
    Jaw,
    Latencies,
    Provenance,
    Transform,
    load,
    previous,
    save,
    save_all,
)
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.paths import root

TODAY = datetime.date(2026, 11, 20)
VIRTUAL = root() / "calibration" / "virtual"
REMEDY = "make it with the service stereo_calibration/start_session"


def _provenance(**changes) -> Provenance:
    values = {"serial": "A1", "date": TODAY, "origin": "measured", "software_version": "0.1.0", "rms": 0.1}
    return Provenance(**(values | changes))


def _camera(**changes) -> CameraInfo:
    matrix = np.array([[600.0, 0.0, 320.0], [0.0, 601.0, 239.0], [0.0, 0.0, 1.0]])
    return CameraInfo.of(
        "left", (640, 480), matrix, "plumb_bob", (0.06, -0.1, 0.001, -0.001, 0.0), _provenance(**changes)
    )


def _load(path: Path, kind=CameraInfo, serial: str | None = "A1"):
    return load(path, kind, serial=serial, remedy=REMEDY, today=TODAY)


def _edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def test_what_was_saved_is_read_back(tmp_path):
    pose = Pose.from_rotvec([0.1, -0.2, 0.3], [0.4, 0.5, -0.6])
    transform = Transform.of("tcp", "gripper_optical_frame", pose, _provenance(rms=0.0004, samples=15))
    for name, value in (("left.yaml", _camera()), ("T.yaml", transform)):
        save(tmp_path / name, value)
        assert _load(tmp_path / name, type(value)) == value
    np.testing.assert_allclose(_load(tmp_path / "T.yaml", Transform).pose.matrix, pose.matrix, atol=1e-11)


def test_a_camera_that_nobody_has_calibrated_says_so_and_is_refused_where_a_calibration_is_needed(tmp_path):
    info = CameraInfo.uncalibrated("left", (640, 480), "A1")
    assert info.size == (640, 480) and info.matrix[0, 0] == 0.0 and not info.projection_matrix.array[:2].any()
    save(tmp_path / "left.yaml", info)
    with pytest.raises(CalibrationError, match=r"uncalibrated \(K\[0\] = 0\)"):
        load(tmp_path / "left.yaml", CameraInfo, serial="A1", remedy=REMEDY)


def test_camera_file_is_ros_camera_info_yaml(tmp_path):
    save(tmp_path / "left.yaml", _camera())
    content = yaml.safe_load((tmp_path / "left.yaml").read_text())
    assert (content["image_width"], content["image_height"], content["camera_name"]) == (640, 480, "left")
    assert content["camera_matrix"]["rows"] == 3 and len(content["camera_matrix"]["data"]) == 9
    assert content["distortion_model"] == "plumb_bob" and len(content["distortion_coefficients"]["data"]) == 5
    assert len(content["rectification_matrix"]["data"]) == 9 and len(content["projection_matrix"]["data"]) == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour=3), ["'colour'", "allowed here", "camera_matrix"]),
        (lambda c: c["provenance"].update(colour=3), ["'provenance.colour'", "serial", "date"]),
        (lambda c: c.pop("camera_matrix"), ["'camera_matrix'", "missing"]),
        (lambda c: c.update(distortion_model="fov"), ["distortion_model", "plumb_bob", "equidistant"]),
        (lambda c: c["distortion_coefficients"].update(cols=4), ["distortion_coefficients", "4"]),
        (lambda c: c.update(distortion_model="equidistant"), ["distortion_coefficients", "(1, 4)"]),
        (lambda c: c.update(image_width="640"), ["image_width", "integer"]),
        (lambda c: c["camera_matrix"]["data"].__setitem__(0, float("nan")), ["camera_matrix.data.0", "finite"]),
        (lambda c: c["camera_matrix"]["data"].__setitem__(0, 0.0), ["K[0] = 0", "uncalibrated"]),
        (lambda c: c["camera_matrix"]["data"].__setitem__(1, 2.0), ["camera_matrix", "fx 0 cx"]),
        (lambda c: c["provenance"].update(serial="B2"), ["provenance.serial", "'B2'", "'A1'"]),
        (lambda c: c["provenance"].update(date="2020-01-01"), ["2020-01-01", "too old", str(MAX_AGE.days)]),
        (lambda c: c["provenance"].update(date="2030-01-01"), ["2030-01-01", "future"]),
        (lambda c: c["provenance"].update(rms=0.9), ["provenance.rms", "0.9", "0.5 px"]),
    ],
)
def test_f22_f23_refusals_name_file_key_what_is_allowed_and_the_remedy(tmp_path, change, words):
    path = tmp_path / "left.yaml"
    save(path, _camera())
    _edit(path, change)
    with pytest.raises(CalibrationError) as refusal:
        _load(path)
    for word in [str(path), REMEDY, *words]:
        assert word in str(refusal.value)


def test_f23_missing_file_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(CalibrationError, match=r"left\.yaml: cannot be read \(No such file.*start_session"):
        _load(tmp_path / "left.yaml")


def test_f22_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "left.yaml"
    save(path, _camera())
    path.write_text(path.read_text() + "\ncamera_name: right\n")
    with pytest.raises(CalibrationError, match="camera_name' stands twice"):
        _load(path)


def test_simulator_truth_does_not_age(tmp_path):
    save(tmp_path / "left.yaml", _camera(date=datetime.date(2020, 1, 1), origin="simulator truth"))
    assert _load(tmp_path / "left.yaml").provenance.origin == "simulator truth"


def test_quaternion_that_is_no_rotation_is_refused(tmp_path):
    path = tmp_path / "T.yaml"
    save(path, Transform.of("tcp", "camera", Pose.identity(), _provenance(rms=0.0)))
    _edit(path, lambda c: c.update(quaternion=[0.0, 0.0, 0.0, 0.9]))
    with pytest.raises(CalibrationError, match=r"quaternion.*length 0\.9, allowed is 1"):
        _load(path, Transform)


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4)
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_SCALARS, inner, max_size=3)),
    max_leaves=8,
)
_QUICK = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _must_refuse_or_accept(path: Path) -> None:
    for kind in (CameraInfo, Transform, Jaw, Latencies):
        try:
            load(path, kind, remedy=REMEDY, today=TODAY)
        except CalibrationError as refusal:
            assert str(path) in str(refusal)


@_QUICK
@given(st.binary(max_size=200))
def test_f22_fuzzed_bytes_raise_calibration_errors_only(tmp_path, content):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    _must_refuse_or_accept(path)


@_QUICK
@given(
    st.sampled_from(["left.yaml", "gripper.yaml", "T_base_left.yaml", "jaw.yaml", "latency.yaml"]),
    st.integers(0, 2000),
    st.integers(0, 20),
    st.text(max_size=12),
)
def test_f22_fuzzed_edits_of_good_files_raise_calibration_errors_only(tmp_path, name, at, cut, insertion):
    text = (VIRTUAL / name).read_text()
    at %= len(text)
    path = tmp_path / "fuzz.yaml"
    path.write_text(text[:at] + insertion + text[at + cut :], encoding="utf-8", errors="replace")
    _must_refuse_or_accept(path)


@_QUICK
@given(st.sampled_from(["left.yaml", "T_base_left.yaml", "jaw.yaml", "latency.yaml"]), st.integers(0, 50), _TREES)
def test_f22_fuzzed_values_in_good_files_raise_calibration_errors_only(tmp_path, name, at, tree):
    content = yaml.safe_load((VIRTUAL / name).read_text())
    places: list[tuple] = []

    def visit(node) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                visit(value)

    visit(content)
    node, key = places[at % len(places)]
    node[key] = tree
    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.dump(content, Dumper=yaml.SafeDumper))
    _must_refuse_or_accept(path)


@pytest.mark.parametrize(
    "content",
    ["&a [*a]", "a: &a [1]\nb: *a", "2026-13-45", "? [1, 2]\n: 3", "[" * 3000, "!!python/object:os.system {}"],
)
def test_f22_spiteful_yaml_is_refused(tmp_path, content):
    path = tmp_path / "fuzz.yaml"
    path.write_text(content)
    with pytest.raises(CalibrationError):
        _load(path)


def test_f22_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "fuzz.yaml"
    path.write_text("a" * 1_000_001)
    with pytest.raises(CalibrationError, match="larger than"):
        _load(path)


def test_saves_at_one_moment_wait_for_each_other_and_none_is_lost(tmp_path):
    path, savers, failed = tmp_path / "left.yaml", 6, []
    ready = threading.Barrier(savers)

    def saver(number: int) -> None:
        try:
            ready.wait()
            for k in range(4):
                save(path, _camera(samples=10 * number + k))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=saver, args=(number,)) for number in range(savers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    kept = [*previous(path).values(), path]
    assert list(previous(path)) == list(range(1, 4 * savers)), "each has its number"
    assert {_load(file).provenance.samples for file in kept} == {10 * n + k for n in range(savers) for k in range(4)}
    assert {file.name for file in tmp_path.iterdir()} == {"left.yaml", PREVIOUS}, "nothing else is left"


def test_files_are_saved_together_and_each_one_that_is_replaced_is_kept(tmp_path):
    folder = tmp_path / "made" / "anew"
    save_all(folder, {"left.yaml": _camera(samples=1)})
    save_all(folder, {"left.yaml": _camera(samples=2), "right.yaml": _camera(samples=3)})
    assert [_load(folder / name).provenance.samples for name in ("left.yaml", "right.yaml")] == [2, 3]
    assert [_load(kept).provenance.samples for kept in previous(folder / "left.yaml").values()] == [1]
    assert not previous(folder / "right.yaml")


def test_a_save_waits_for_another_process(tmp_path):
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    saver = threading.Thread(target=save, args=(tmp_path / "left.yaml", _camera()))
    saver.start()
    saver.join(timeout=0.2)
    assert saver.is_alive() and not (tmp_path / "left.yaml").exists()
    os.close(other)
    saver.join()
    assert _load(tmp_path / "left.yaml").camera_name == "left"


def test_every_previous_file_is_kept(tmp_path):
    path = tmp_path / "left.yaml"
    save(tmp_path / "left.other.yaml", _camera())
    for rms in (0.1, 0.2, 0.3):
        save(path, _camera(rms=rms))
    save(tmp_path / "left.other.yaml", _camera())
    assert _load(path).provenance.rms == 0.3
    assert {number: _load(kept).provenance.rms for number, kept in previous(path).items()} == {1: 0.1, 2: 0.2}
    assert sorted(p.name for p in tmp_path.glob("*.yaml")) == ["left.other.yaml", "left.yaml"]
    path.unlink()  # by hand
    save(path, _camera(rms=0.4))
    assert list(previous(path)) == [1, 2]


_CRASH = """
import os, sys
from pathlib import Path
from kinema.calibration import files

path, fatal = Path(sys.argv[1]), int(sys.argv[2])
value = files.load(path, files.CameraInfo, remedy="").model_copy(update={"camera_name": "new"})
calls = 0

def dying(call):
    def wrapped(*arguments, **options):
        global calls
        if calls == fatal:
            os._exit(9)
        calls += 1
        return call(*arguments, **options)
    return wrapped

for name in ("fsync", "link", "replace", "open", "close"):
    setattr(os, name, dying(getattr(os, name)))
files.save(path, value)
"""


def test_f24_a_crash_while_saving_leaves_the_old_file_or_the_new_one(tmp_path):
    outcomes = []
    for fatal in range(20):
        path = tmp_path / str(fatal) / "left.yaml"
        save(path, _camera(origin="simulator truth"))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        code = subprocess.run([sys.executable, "-c", _CRASH, str(path), str(fatal)], env=environment).returncode
        outcomes.append((code, _load(path).camera_name))
        assert all(_load(kept).camera_name == "left" for kept in previous(path).values())
        save(path, _camera(origin="simulator truth"))
        assert _load(path).camera_name == "left", "saving goes on after a crash"
        assert [_load(kept).camera_name for kept in previous(path).values()] in (["left"], ["left", "new"])
        if code == 0:
            break
    assert outcomes[0] == (9, "left")
    assert outcomes[-1] == (0, "new")
    names = [name for _, name in outcomes]
    assert names == sorted(names), "once the new file stands it never goes back"


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(["left", "right", "gripper"]), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_rays_undo_project(name, u, v):
    info = load(VIRTUAL / f"{name}.yaml", CameraInfo, remedy=REMEDY)
    pixel = np.array([u * (info.image_width - 1), v * (info.image_height - 1)])
    ray = info.rays(pixel)
    if np.hypot(*ray[:2]) > np.tan(np.radians(70)):
        return  # outside of the image circle
    np.testing.assert_allclose(info.project(3.0 * ray), pixel, atol=1e-3)


def test_scaled_lens_sees_the_same_at_the_same_place():
    info = load(VIRTUAL / "left.yaml", CameraInfo, remedy=REMEDY)
    points = np.array([[0.1, -0.2, 1.0], [-0.3, 0.2, 1.1]])
    half = info.scaled((320, 240))
    np.testing.assert_allclose(half.project(points) + 0.5, (info.project(points) + 0.5) / 2, atol=1e-9)
    with pytest.raises(CalibrationError, match="aspect ratio"):
        info.scaled((320, 200))
