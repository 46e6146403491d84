"""The handheld gripper's process: the person demonstrates on request, the tracker's ring breaks as the board says."""

import itertools

import numpy as np
import pytest

from kinema import records
from kinema.calibration.bundle import load_bundle
from kinema.devices.virtual import VirtualLoadCell, VirtualPoseTracker
from kinema.errors import DeviceError
from kinema.geometry import distance
from kinema.paths import root
from kinema.perception.tool_pose import ToolPose, anchor
from kinema.ring import RingReader
from kinema.virtual import scenario, scene
from kinema.virtual.handheld import T_BASE_TCP_START, TRACKER_RATE
from kinema.virtual.handheld_server import HandheldServer

from .conftest import Rig

BUNDLE = load_bundle(root() / "calibration" / "virtual", {"tracker": "VIRTUAL-TRACKER"})


class HandheldRig(Rig):
    def __init__(self, folder) -> None:
        self.folder = folder
        self.cell = HandheldServer(folder, scenario.draw("pick_and_place", "train", 2))


@pytest.fixture
def rig(tmp_path):
    rig = HandheldRig(tmp_path)
    yield rig
    rig.close()
    assert [path.name for path in tmp_path.iterdir()] == ["slip"], "which outlives a cell on purpose"


def _tracked(rig: HandheldRig, tracker: VirtualPoseTracker, ticks: int) -> list:
    samples = []
    for _ in range(ticks):
        rig.cell.tick()
        if (sample := tracker.read(0.0)) is not None:
            samples.append(sample)
    return samples


def test_the_person_demonstrates_and_the_sensors_tell_of_it(rig):
    client, tracker = rig.client(), VirtualPoseTracker("VIRTUAL-TRACKER", rig.folder)
    load_cell = rig.during(lambda: VirtualLoadCell("VIRTUAL-LOAD-CELL", rig.folder))
    while tracker.read(0.0) is not None:  # what came meanwhile
        pass
    rest = _tracked(rig, tracker, 400)
    assert len(rest) == pytest.approx(0.8 * TRACKER_RATE, abs=2)
    T_base_world = anchor(BUNDLE.T_base_dock, rest, BUNDLE.T_tracker_tcp)
    rig.during(load_cell.tare)
    assert rig.during(client.demonstrate) == client.status().text
    phases, widths, forces = [], [], []
    with pytest.raises(DeviceError, match="busy"):
        rig.during(client.demonstrate)
    with pytest.raises(DeviceError, match="busy"):
        rig.during(lambda: client.reset(seed=3))
    while not phases or phases[-1]:
        rig.cell.tick()
        widths.append(rig.cell.world.width())
        if (sample := load_cell.read(0.0)) is not None:
            forces.append(sample.force)
        phases.append(rig.cell.status().hand)
        assert len(phases) < 30_000, phases[-1]
    assert [phase for phase, _ in itertools.groupby(phases)] == [
        *("in the dock", "squeezes to begin", "demonstrates", "squeezes to end", "back to the dock", "")
    ]
    assert rig.cell.status().success, rig.cell.status().outcome
    assert max(forces) > 5.0 and min(widths) < 0.05
    assert distance(rig.cell.world.T_base_tcp(), T_BASE_TCP_START)[0] < 0.003, "in its dock again"
    while tracker.read(0.0) is not None:  # what came meanwhile
        pass
    seen = T_base_world @ _tracked(rig, tracker, 10)[-1].T_world_tracker @ BUNDLE.T_tracker_tcp
    assert distance(seen, T_BASE_TCP_START)[0] < 0.1, "drift and jumps, but no other frame"


def test_a_new_scene_leaves_gripper_tracker_taring_and_time_where_they_are(rig):
    client, tracker = rig.client(), VirtualPoseTracker("VIRTUAL-TRACKER", rig.folder)
    rig.during(client.tare)
    tool = ToolPose(BUNDLE.T_tracker_tcp)
    before = [tool.take(sample) for sample in _tracked(rig, tracker, 200)]
    t_ns = rig.cell.world.t_ns
    text = rig.during(lambda: client.reset("open_drawer", "train", 4))
    after = [tool.take(sample) for sample in _tracked(rig, tracker, 200)]
    assert rig.cell.status().text == text and rig.cell.episode == 1
    assert rig.cell.world.t_ns > t_ns and rig.cell.world.load_cell().tared
    assert tool.segment == 0 and None not in before and None not in after


def test_the_renderer_can_build_the_scene_from_the_ring(rig):
    rig.ticks(10)
    world = RingReader(rig.folder / "world.ring", records.WORLD).latest()[1]
    assert b'"robot":null' in bytes(world["scenario"])
    model = scene.build(rig.cell.world.scenario, None, handheld=True)
    assert int(world["size"]) == model.nq + 7 * model.nmocap


def test_f12_a_silent_tracker_gives_nothing_and_one_that_comes_back_is_judged_by_its_motion(rig):
    client, tracker = rig.client(), VirtualPoseTracker("VIRTUAL-TRACKER", rig.folder)
    tool = ToolPose(BUNDLE.T_tracker_tcp)
    assert all(tool.take(sample) for sample in _tracked(rig, tracker, 100))
    rig.during(lambda: client.inject("disconnect", "tracker"))
    while tracker.read(0.0) is not None:
        pass
    assert _tracked(rig, tracker, 200) == []
    rig.during(client.clear)
    assert all(tool.take(sample) for sample in _tracked(rig, tracker, 100)) and tool.segment == 0


def test_f12_a_tracker_that_says_nan_gives_no_pose(rig):
    client, tracker = rig.client(), VirtualPoseTracker("VIRTUAL-TRACKER", rig.folder)
    rig.during(lambda: client.inject("nan", "tracker"))
    while tracker.read(0.0) is not None:
        pass
    samples = _tracked(rig, tracker, 50)
    assert samples and all(np.isnan(sample.T_world_tracker.position).all() for sample in samples)
    tool = ToolPose(BUNDLE.T_tracker_tcp)
    assert [tool.take(sample) for sample in samples] == [None] * len(samples)


def test_f28_a_diverged_hand_is_a_fault_until_the_scene_is_changed(rig):
    client = rig.client()
    rig.during(client.demonstrate)
    rig.during(lambda: client.inject("diverge", "physics"))
    rig.ticks(100)
    assert "diverged" in client.status().fault and client.status().hand == ""
    with pytest.raises(DeviceError, match="diverged"):
        rig.during(client.demonstrate)
    rig.during(lambda: client.reset(seed=5))
    rig.ticks(100)
    assert client.status().fault == ""
    assert rig.during(client.demonstrate)
