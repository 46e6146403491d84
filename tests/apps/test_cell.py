import time

import numpy as np
import pytest

from kinema.apps.clients import CellClient
from kinema.clock import Slip
from kinema.devices.virtual import VirtualArm, VirtualGripper, VirtualLoadCell
from kinema.errors import DeviceError, OwnershipError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind
from kinema.ring import RingReader
from kinema.virtual import server
from kinema.virtual.requests import REQUESTS, MoveJaw, Tare
from kinema.virtual.server import BRAKE_AFTER
from kinema.virtual.world_server import CATCH_UP_NS, Pace


def test_an_answered_tick_applies_the_answer_and_the_next_record_shows_it(rig):
    arm = rig.arm()
    q = rig.newest(arm).q
    away = ArmCommand(CommandKind.POSITION, q + 0.05)
    for _ in range(300):
        rig.answered_tick(arm, away)
    state = rig.newest(arm)
    assert state.mode is ArmMode.RUNNING
    assert np.abs(state.q - away.values).max() < 0.01
    assert rig.cell.arm.unanswered == 1  # the last one


def test_the_arm_waits_for_nobody_before_the_first_answer(rig):
    for _ in range(50):
        rig.cell.tick()
    rig.arm()
    assert rig.cell.arm.unanswered == 0 and rig.mode is ArmMode.RUNNING


def test_f17_without_answers_the_arm_holds_the_last_command_and_brakes_at_the_fifteenth_tick(rig):
    arm = rig.arm()
    for _ in range(5):
        rig.answered_tick(arm)
    arm.close()  # what the kernel does for a process that was killed
    for tick in range(1, BRAKE_AFTER + 10):
        rig.cell.tick()
        assert rig.mode is (ArmMode.BRAKED if tick >= BRAKE_AFTER else ArmMode.RUNNING), tick
    assert rig.cell.arm.unanswered == BRAKE_AFTER + 9


def test_f17_the_brake_is_latched_until_a_reset_by_request(rig):
    arm = rig.arm()
    rig.answered_tick(arm)
    arm.close()
    for _ in range(BRAKE_AFTER):
        rig.cell.tick()
    arm = rig.arm()
    for _ in range(20):
        rig.answered_tick(arm)
        assert rig.mode is ArmMode.BRAKED
    arm.reset()
    rig.answered_tick(arm)
    assert rig.mode is ArmMode.RUNNING
    for _ in range(20):
        rig.answered_tick(arm)
    assert rig.mode is ArmMode.RUNNING


def test_a_late_answer_is_applied_but_its_tick_counts_as_unanswered_and_does_not_brake(rig):
    arm = rig.arm()
    rig.answered_tick(arm)
    away = ArmCommand(CommandKind.POSITION, rig.newest(arm).q + 0.05)
    for _ in range(2):
        rig.cell.tick()
    arm.write(rig.cell.k - 1, away)
    rig.cell.tick()
    assert rig.cell.arm.unanswered == 4 and rig.cell.arm.silent == 4
    for _ in range(5):
        rig.answered_tick(arm, away)
    assert rig.cell.arm.silent == 0 and rig.cell.arm.unanswered == 4 and rig.mode is ArmMode.RUNNING


def test_f19_a_stalled_loop_gets_the_newest_record_once_and_the_gap_in_k(rig):
    arm = rig.arm()
    before = rig.newest(arm).k
    for _ in range(10):
        rig.cell.tick()
    assert arm.read(0.0).k - before == 10 and arm.read(0.0) is None


def test_f01_a_command_that_is_not_finite_makes_the_arm_brake(rig):
    arm = rig.arm()
    rig.answered_tick(arm)
    rig.answered_tick(arm, ArmCommand(CommandKind.POSITION, np.full(6, np.nan)))
    assert rig.mode is ArmMode.BRAKED


def test_f21_a_second_owner_of_the_arm_is_refused_naming_the_first(rig):
    arm = rig.arm()
    with pytest.raises(OwnershipError, match=r"arm\.sock belongs to .*\(process \d+\)"):
        rig.arm()
    rig.answered_tick(arm)
    assert rig.cell.arm.unanswered == 0


def test_another_robot_than_the_cells_is_refused(rig):
    with pytest.raises(DeviceError, match="runs a virtual_ur5e, not a virtual_xarm7"):
        rig.during(lambda: VirtualArm("virtual_xarm7", rig.folder))


def test_nobody_there_is_a_device_error(tmp_path):
    with pytest.raises(DeviceError, match="nobody serves there"):
        CellClient(tmp_path)


def test_a_new_scene_leaves_arm_and_time_where_they_are(rig):
    arm, client = rig.arm(), rig.client()
    away = ArmCommand(CommandKind.POSITION, rig.newest(arm).q + 0.2)
    for _ in range(500):
        rig.answered_tick(arm, away)
    before, t_ns = rig.cell.world.data.qpos[:6].copy(), rig.cell.world.t_ns
    text = rig.during(lambda: client.reset("pick_and_place", "unseen_objects", 5))
    now = rig.cell.world.scenario
    assert (now.task, now.split, now.seed, now.text) == ("pick_and_place", "unseen_objects", 5, text)
    assert np.abs(rig.cell.world.data.qpos[:6] - before).max() < 0.02
    assert rig.cell.world.t_ns > t_ns
    assert rig.cell.episode == 1
    with pytest.raises(DeviceError, match="open_drawer"):
        rig.during(lambda: client.reset("juggle", "train", 1))
    assert rig.cell.episode == 1


def test_status_and_truth_reach_the_client(rig):
    client = rig.client()
    for _ in range(100):
        rig.cell.tick()
    status, truth = client.status(), client.truth()
    assert (status.task, status.seed, status.fault, status.success) == ("open_drawer", 1, "", False)
    assert 0 < status.ticks <= rig.cell.k and status.outcome
    assert truth.facts["task"] == "open_drawer" and truth.joints and truth.stamp_ns <= rig.cell.world.t_ns


def test_tare_goes_through_the_cell_and_marks_the_samples(rig):
    client, ring = rig.client(), RingReader(rig.folder / "load_cell.ring", server.records.LOAD_CELL)
    rig.ticks(10)
    assert not ring.latest()[1]["tared"]
    rig.during(client.tare)
    for _ in range(10):
        rig.cell.tick()
    assert ring.latest()[1]["tared"]


# ---- faults


def test_f28_diverging_physics_is_a_fault_with_its_reason_and_only_a_new_scene_ends_it(rig):
    arm, client = rig.arm(), rig.client()
    rig.answered_tick(arm)
    rig.during(lambda: client.inject("diverge", "physics"))
    for _ in range(60):
        rig.cell.tick()
    state = rig.newest(arm)
    assert state.mode is ArmMode.DIVERGED and np.isfinite(state.q).all()
    assert "diverged" in client.status().fault
    arm.reset()
    rig.answered_tick(arm)
    rig.answered_tick(arm)
    later = rig.newest(arm)
    assert later.mode is ArmMode.DIVERGED and later.t_ns > state.t_ns
    rig.during(lambda: client.reset(seed=2))
    for _ in range(60):
        rig.cell.tick()
    assert rig.newest(arm).mode is not ArmMode.DIVERGED and _newest_status(client) == ""


def _newest_status(client):
    return client.status().fault


def test_f16_a_lost_link_closes_the_connection_and_the_arm_brakes_by_itself(rig):
    arm, client = rig.arm(), rig.client()
    rig.answered_tick(arm)
    rig.during(lambda: client.inject("disconnect", "arm", duration=0.5))
    for _ in range(BRAKE_AFTER + 1):
        rig.cell.tick()
    assert rig.mode is ArmMode.BRAKED
    with pytest.raises(DeviceError):
        while arm.read(0.01) is not None:
            pass


def test_a_nan_of_the_arm_reaches_the_reader_and_ends_with_the_fault(rig):
    arm, client = rig.arm(), rig.client()
    rig.during(lambda: client.inject("nan", "arm"))
    assert np.isnan(rig.newest(arm).q).all()
    rig.during(client.clear)
    assert np.isfinite(rig.newest(arm).q).all()


def test_load_cell_faults_show_in_its_samples(rig):
    client, ring = rig.client(), RingReader(rig.folder / "load_cell.ring", server.records.LOAD_CELL)

    def after(name):
        rig.during(lambda: client.inject(name, "load_cell"))
        before = ring.head
        for _ in range(20):
            rig.cell.tick()
        return ring.head - before, ring.latest()[1]

    fresh, sample = after("saturated")
    assert fresh >= 3 and sample["saturated"]
    rig.during(client.clear)
    fresh, sample = after("nan")
    assert fresh >= 3 and np.isnan(sample["force"]) and not sample["saturated"]
    fresh, _ = after("disconnect")
    assert fresh == 0
    rig.during(client.clear)
    fresh, sample = after("frozen")
    assert fresh >= 3 and len({float(r["force"]) for _, r in ring.since(ring.head - 3)}) == 1


def test_an_unknown_fault_is_refused_listing_the_table(rig):
    client = rig.client()
    with pytest.raises(DeviceError, match=r"'flood' is not in the table; allowed: latency .*saturated"):
        rig.during(lambda: client.inject("flood", "arm"))
    with pytest.raises(DeviceError, match="no target 'base'; allowed: load_cell"):
        rig.during(lambda: client.inject("saturated", "base"))
    with pytest.raises(DeviceError, match=r"value is 2.0, allowed is 0\.\.1"):
        rig.during(lambda: client.inject("dropout", "arm", 2.0))
    with pytest.raises(DeviceError, match="value is nan"):
        rig.during(lambda: client.inject("latency", "arm", float("nan")))


# ---- pace


def test_lateness_up_to_20_ms_is_caught_up_and_the_rest_slips(monkeypatch, tmp_path):
    now, slept = [1_000_000_000], []

    def sleep(seconds):
        slept.append(round(seconds * 1e9))
        now[0] += slept[-1]

    monkeypatch.setattr(server.time, "monotonic_ns", lambda: now[0])
    monkeypatch.setattr(server.time, "sleep", sleep)
    pace = Pace(0.002, Slip(tmp_path))
    pace.wait()
    assert slept == [2_000_000]
    now[0] += 12_000_000  # five periods late
    for _ in range(5):
        pace.wait()
    assert slept == [2_000_000] and pace.slipped == 0.0
    pace.wait()
    pace.wait()
    assert len(slept) == 2 and pace.slipped == 0.0
    now[0] += 2_000_000 + CATCH_UP_NS + 300_000_000
    pace.wait()
    assert pace.slipped == pytest.approx(0.300)
    while len(slept) == 2:
        pace.wait()
    assert pace.slipped == pytest.approx(0.300)
    assert time.monotonic_ns() == now[0]


def test_a_request_is_answered_by_the_next_tick_at_whichever_socket(rig):
    """A virtual controller waits for its jaw before it answers the arm's next tick."""
    jaw, load_cell = rig.during(lambda: (VirtualGripper(rig.folder), VirtualLoadCell("", rig.folder)))
    for device, request in ((jaw, MoveJaw(0.05, 0.1, 20.0)), (load_cell, Tare())) * 3:
        link = device._requests._link
        link.send(REQUESTS.encode(request))
        rig.cell.tick()
        assert (packet := link.receive()) is not None and REQUESTS.decode(packet).success
    for device in (jaw, load_cell):
        device.close()
