"""F22, F23: whatever numbers stand in calibration files, a node that uses them gets a refusal, never another error."""

import shutil

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from kinema.apps.export_virtual_calibration import OTHER_SERIALS
from kinema.calibration.bundle import (
    ALL,
    LATENCY,
    LOAD_CELL,
    PAYLOAD,
    STEREO,
    Bundle,
    fault,
    faults,
    load_bundle,
    load_force_scale,
)
from kinema.calibration.compare import changes, meaning, uncertainty
from kinema.calibration.files import load
from kinema.errors import CalibrationError
from kinema.paths import root
from kinema.perception.jaw import JawTracker
from kinema.perception.tool_pose import ToolPose
from kinema.virtual.cameras import CAMERAS

VIRTUAL = root() / "calibration" / "virtual"
SERIALS = {row.name: row.serial for row in CAMERAS.values()} | OTHER_SERIALS
FILES = sorted(path.name for path in VIRTUAL.glob("*.yaml"))
TOLD = (PAYLOAD.file, STEREO.file)  # what no node loads: `kinema calibration` does
SIZE = (320, 240)

_NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 0.0, -0.0, 1e-308, 1e308, -1e308, 1e19, 2**63, -(2**70), 10**400, 1e6, -1e6]),
    st.floats(),
    st.integers(-1000, 1000),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shutil.copytree(VIRTUAL, tmp_path_factory.mktemp("fuzz") / "calibration")


def _places(node, found):
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list):
            _places(value, found)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((node, key))
    return found


def _devices(name: str) -> dict[str, str]:
    """Those that read the file."""
    if name == LATENCY.file or name == LOAD_CELL.file:
        return {"load_cell": SERIALS["load_cell"]}
    return {device: SERIALS[device] for device in (*ALL[name].device.split(), *(["gripper"] * (name == "jaw.yaml")))}


def _use(bundle: Bundle, devices) -> None:
    """As cameras, jaw tracker and pose tracker do when they are configured, and with the first picture."""
    for name in devices.keys() & CAMERAS.keys():
        camera = bundle.camera(name).scaled(SIZE)
        camera.rays(np.array([[0.0, 0.0], [160.0, 120.0]]))
        camera.project(np.array([[0.0, 0.1, 1.0]]))
        assert (bundle.T_tcp_camera() if name == "gripper" else bundle.T_base_camera(name)).inverse().isfinite()
    for name in devices:
        assert bundle.latency(name) >= 0.0
    if "jaw" in devices:
        picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        JawTracker(bundle.jaw, bundle.camera("gripper").scaled(SIZE), bundle.T_tcp_camera()).measure(0, picture)
    if "tracker" in devices:
        ToolPose(bundle.T_tracker_tcp)
        assert bundle.T_base_world.inverse().isfinite() and bundle.T_base_dock.inverse().isfinite()


def _tell(path, good) -> None:
    """As `kinema calibration show` and `compare` do."""
    kind = ALL[path.name]
    value = load(path, kind.schema, remedy=kind.remedy, override=True)
    assert not changes(value, value)
    assert meaning(load(good, kind.schema, remedy=kind.remedy), value) and uncertainty(value) is not None


@settings(derandomize=True, deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 200), _NUMBERS), min_size=1, max_size=3), st.booleans()
)
def test_f22_f23_any_number_anywhere_is_taken_or_refused(folder, name, edits, override):
    good = (VIRTUAL / name).read_text()
    content = yaml.safe_load(good)
    places = _places(content, [])
    for at, number in edits:
        node, key = places[at % len(places)]
        node[key] = number
    try:
        (folder / name).write_text(yaml.safe_dump(content))
        devices, bridge = _devices(name), SERIALS["load_cell"] if name == LOAD_CELL.file else ""
        if name in TOLD:
            found = fault(folder, ALL[name], devices, override=override)
        else:
            found = faults(folder, devices, bridge=bridge, override=override)
        try:
            _tell(folder / name, VIRTUAL / name)
            if name in TOLD:
                return
            _use(load_bundle(folder, devices, override=override), devices)
            if bridge:
                load_force_scale(folder, bridge, override=override).force(0.0)
            assert not found
        except CalibrationError as refusal:
            assert name in str(refusal)
    finally:
        (folder / name).write_text(good)
