"""From a session's samples to the files that everybody loads: the right solver, names, serial numbers; and back."""

import datetime
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kinema import cell_file
from kinema.calibration import bundle
from kinema.calibration.files import CameraInfo, Latencies, Payload, Transform, load, save
from kinema.calibration.latency import Motion
from kinema.calibration.load_cell import GRAVITY
from kinema.calibration.session import KINDS, Sample, Session
from kinema.calibration.solving import Setting, setting, solve
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance, so3_exp
from kinema.interfaces import TrackedPose
from kinema.paths import root
from kinema.virtual import cameras, noise
from kinema.virtual.board_samples import BOARD, SIZE, arm_samples, look, pair_samples, tracker_samples

TODAY = datetime.date(2026, 11, 20)
CELL = cell_file.load("launch/cells/virtual.yaml")
TRUTH = {path.name: path for path in (root() / "calibration/virtual").glob("*.yaml")}


@pytest.fixture
def place(tmp_path: Path) -> Setting:
    """The virtual cell with a calibration folder of its own."""
    folder = shutil.copytree(root() / "calibration/virtual", tmp_path / "calibration")
    return setting(CELL.model_copy(update={"calibration": str(folder)}), TODAY)


def solved(place: Setting, file: str, schema: type, what: str, devices: list[str], samples: list[Sample], apart=0.0):
    """The file that the session makes, read as everybody reads it."""
    session = Session().start(what, devices, BOARD.name, apart)
    for sample in samples:
        session = session.capture(sample)
    solution = solve(session, place)
    session = session.solve(solution)
    assert list(session.may_accept().files) == [file] and solution.report
    save(place.folder / file, solution.files[file])
    return load(place.folder / file, schema, remedy="", today=TODAY)


def off(file: str, found: Transform) -> tuple[float, float]:
    return distance(load(TRUTH[file], Transform, remedy="").pose, found.pose)


def test_every_kind_has_a_solver_or_its_own_service_and_every_file_a_kind(place):
    for what, kind in KINDS.items():
        if not kind.service:
            devices = kind.allowed[: kind.devices]
            session = Session().start(what, devices, BOARD.name, apart=0.66)
            with pytest.raises(CalibrationError, match="nothing to solve"):
                solve(session, place)
    for row in bundle.ALL.values():
        named = re.search(r"what: (\w+)", row.service)
        assert (named[1] in KINDS) if named else row.service.split(",")[0] in {kind.service for kind in KINDS.values()}


@pytest.mark.parametrize(
    ("what", "camera"), [pytest.param("intrinsics", "left", marks=pytest.mark.slow), ("fisheye", "gripper")]
)
def test_a_lens_goes_to_its_camera_s_file(place, what, camera):
    rng, table, row = np.random.default_rng(0), noise.load(), cameras.camera(camera)
    reach, near = (0.45, 0.4) if camera == "left" else (1.2, 0.25)
    samples, middle = [], np.array([*BOARD.size, 0.0]) / 2
    for k in range(20):
        x, y = reach * np.array([(-1, 1)[k % 2] * (k % 3) / 2, (-1, 1)[k // 2 % 2] * (k % 5) / 4 * 0.75])
        R = so3_exp(0.5 * np.array([math.cos(2.4 * k), math.sin(2.4 * k), 0.0]))
        depth = near + 0.05 * (k % 4)
        T_camera_board = Pose(depth * np.array([x, y, 1.0]) - R @ middle, R)
        corners = look(BOARD, row.info(SIZE), T_camera_board, rng, table, row.max_angle)
        if corners is not None:
            samples.append(Sample(k, {camera: corners}))
    info = solved(place, f"{camera}.yaml", CameraInfo, what, [camera], samples)
    assert (info.camera_name, info.provenance.serial) == (camera, place.serial(camera))
    assert info.matrix[0, 0] == pytest.approx(row.info(SIZE).matrix[0, 0], rel=0.005)


@pytest.mark.parametrize(
    ("what", "camera", "file"),
    [
        ("hand_eye", "gripper", "T_tcp_gripper.yaml"),
        pytest.param("eye_on_base", "right", "T_base_right.yaml", marks=pytest.mark.slow),
    ],
)
def test_a_mount_by_the_arm(place, what, camera, file):
    samples = [
        Sample(k, {camera: sample.corners}, T_base_tcp=sample.T_base_tcp)
        for k, sample in enumerate(arm_samples(camera, 10, 5, joint_noise=math.radians(0.02)))
    ]
    found = solved(place, file, Transform, what, [camera], samples)
    assert (found.parent, found.child) == bundle.FRAMES[file]
    assert found.provenance.serial == place.serial(camera) and found.provenance.board == BOARD.name
    moved, turned = off(file, found)
    assert moved < 0.002 and turned < math.radians(0.2)


def test_two_cameras_to_each_other_and_swapped_they_are_refused(place):
    pairs = pair_samples("left", "right", 8, 1)
    truth = load(TRUTH["T_base_left.yaml"], Transform, remedy="").pose.inverse()
    truth = truth @ load(TRUTH["T_base_right.yaml"], Transform, remedy="").pose
    apart = float(np.linalg.norm(truth.position))
    samples = [Sample(k, {"left": a, "right": b}) for k, (a, b) in enumerate(pairs)]
    found = solved(place, "T_left_right.yaml", Transform, "stereo", ["left", "right"], samples, apart)
    assert distance(found.pose, truth)[0] < 0.002
    assert found.provenance.serial == f"{place.serial('left')} {place.serial('right')}"
    assert not bundle.fault(place.folder, bundle.STEREO, place.serials, today=TODAY)
    swapped = [Sample(k, {"left": b, "right": a}) for k, (a, b) in enumerate(pairs)]
    with pytest.raises(CalibrationError, match="swapped"):
        solved(place, "T_left_right.yaml", Transform, "stereo", ["left", "right"], swapped, apart)


def test_the_tracker_s_mount_then_its_world_by_the_dock(place):
    samples = [
        Sample(k, {"gripper": sample.corners}, tracked=sample.tracked)
        for k, sample in enumerate(tracker_samples(12, 2))
    ]
    found = solved(place, "T_tracker_tcp.yaml", Transform, "tool_mount", ["gripper"], samples)
    assert found.provenance.serial == place.serial("tracker") and off("T_tracker_tcp.yaml", found)[0] < 0.003
    T_base_dock = load(TRUTH["T_base_dock.yaml"], Transform, remedy="").pose
    docks = [Sample(k, T_base_tcp=Pose(T_base_dock.position + 1e-4 * k, T_base_dock.rotation)) for k in range(3)]
    dock = solved(place, "T_base_dock.yaml", Transform, "dock", [], docks)
    T_base_world = Pose.from_rotvec([0.1, 0.2, 0.3], [0.0, 0.0, 1.0])
    still = TrackedPose(0, T_base_world.inverse() @ dock.pose @ found.pose.inverse(), 3, False)
    world = solved(place, "T_base_world.yaml", Transform, "tracker_world", [], [Sample(0, tracked=(still,) * 100)])
    assert distance(world.pose, T_base_world)[0] < 1e-6 and world.provenance.serial == place.serial("tracker")


def test_the_payload_is_the_gripper_s_and_what_else_hangs_on_it(place):
    extra, bias, samples = 0.5, np.array([1.0, -2.0, 0.5, 0.0, 0.0, 0.0]), []
    for k in range(10):
        R = so3_exp(np.array([math.pi + 0.6 * math.sin(k), 0.8 * math.cos(2 * k), 0.3 * k]))
        weight = np.array([0.0, 0.0, -extra * GRAVITY])
        wrench = np.concatenate([weight + R @ bias[:3], np.zeros(3)])  # it hangs in the TCP
        samples.append(Sample(k, T_base_tcp=Pose(np.array([0.5, 0.0, 0.3]), R), wrench=wrench))
    found = solved(place, "payload.yaml", Payload, "payload", ["arm"], samples)
    assert found.mass == pytest.approx(place.gripper.mass + extra, abs=0.01)
    assert not bundle.fault(place.folder, bundle.PAYLOAD, place.serials, today=TODAY)
    assert found.force_bias == pytest.approx(bias[:3], abs=0.01) and found.provenance.serial == place.serial("arm")


def motions(lag: float, seed: int) -> tuple[Motion, Motion]:
    times = np.arange(0.0, 12.0, 0.01)
    phase = np.random.default_rng(seed).uniform(0.0, 6.0, 3)

    def values(t: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(5 * t + phase[0]), np.sin(7.1 * t + phase[1]), np.sin(3.3 * t + phase[2])], axis=1)

    return Motion.of("goal", times, values(times)), Motion.of("arm", times, values(times - lag))


def test_a_latency_is_one_row_and_an_arm_s_is_told_anew_each_time_a_camera_s_on_top(place):
    for device, second in (("arm", 0.045), ("left", 0.090)):
        for expected in (0.045, second):
            samples = [Sample(k, motions=motions(0.045, k)) for k in range(2)]
            found = solved(place, "latency.yaml", Latencies, "latency", [device], samples)
            assert found.devices[device].seconds == pytest.approx(expected, abs=0.001)
            assert found.devices[device].serial == place.serial(device)
    assert found.devices["right"].seconds == 0.0 and len(found.devices) == 7
    samples = [Sample(0, motions=motions(0.03, 0)), Sample(1, motions=motions(0.06, 1))]
    with pytest.raises(CalibrationError, match=r"30\.\d, 60\.\d ms, which differ"):
        solved(place, "latency.yaml", Latencies, "latency", ["arm"], samples)


def test_what_a_solver_builds_upon_is_refused_where_it_is_missing_naming_the_session(place):
    (place.folder / "gripper.yaml").unlink()
    session = Session().start("hand_eye", ["gripper"], BOARD.name)
    for k, sample in enumerate(arm_samples("gripper", 3, 5, joint_noise=0.0)):
        session = session.capture(Sample(k, {"gripper": sample.corners}, T_base_tcp=sample.T_base_tcp))
    with pytest.raises(CalibrationError, match=r"gripper\.yaml.*what: fisheye"):
        solve(session, place)


def test_numbers_that_break_a_solver_are_refused_and_break_nothing_else(place):
    session = Session().start("dock", [], "")
    session = session.capture(Sample(0, T_base_tcp=Pose(np.full(3, np.nan), np.full((3, 3), np.nan))))
    with pytest.raises(CalibrationError, match="no solution is found"):
        solve(session, place)


def test_a_device_that_the_cell_lacks_is_named(place):
    with pytest.raises(CalibrationError, match="cell 'virtual' has no turntable; it has gripper, left, right"):
        place.serial("turntable")
