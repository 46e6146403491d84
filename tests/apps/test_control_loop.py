"""The control loop as a real process at a cell that the test ticks: everything is counted in ticks."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from kinema.apps.clients import LoopClient, LoopObserver
from kinema.control.messages import Enable, Freedrive, Hold, Home, Jog, Mode, Reset, StartPolicy, State
from kinema.errors import DeviceError, OwnershipError
from kinema.interfaces import ArmMode, CommandKind
from kinema.virtual import server
from kinema.virtual.server import BRAKE_AFTER

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
JOG = Jog(np.array([0.05, 0.0, 0.02, 0.0, 0.0, 0.1]), 1.0)


@pytest.mark.parametrize(
    ("robot", "kind"),
    [
        ("virtual_ur5e", CommandKind.TORQUE),
        ("virtual_ur5e", CommandKind.POSITION),
        ("virtual_xarm7", CommandKind.TORQUE),
    ],
)
def test_orders_move_the_arm_and_events_come_back(make_loop_rig, robot, kind):
    loop_rig = make_loop_rig(kind, robot)
    loop_rig.start_loop()
    before = loop_rig.order(Enable())
    assert before.state is State.READY and before.owner and before.connected
    loop_rig.order(JOG, 600)
    moved = loop_rig.seen().T_base_tcp.position - before.T_base_tcp.position
    assert np.abs(moved - [0.05, 0.0, 0.02]).max() < 0.01
    assert [event.text.partition(":")[0] for event in loop_rig.heard(kind="state")][-3:] == [
        "IDLE to READY",
        "READY to EXECUTING",
        "EXECUTING to READY",
    ]
    assert loop_rig.cell.arm.silent == 0


def test_f17_a_killed_loop_leaves_a_braked_arm_after_fifteen_ticks_and_the_next_one_needs_a_reset(loop_rig):
    process = loop_rig.start_loop()
    loop_rig.order(Enable(), 20)
    loop_rig.order(JOG, 20)
    process.kill()
    process.wait()
    for tick in range(1, BRAKE_AFTER + 5):
        loop_rig.cell.tick()
        assert loop_rig.mode is (ArmMode.BRAKED if tick >= BRAKE_AFTER else ArmMode.RUNNING), tick
    with pytest.raises(DeviceError, match="has gone"):
        while True:
            loop_rig.node.events()
    assert not loop_rig.node.connected

    loop_rig.start_loop()
    loop_rig.ticks(5)
    seen = loop_rig.seen()
    assert seen.state is State.FAULT and seen.mode is ArmMode.BRAKED and "BRAKED" in seen.reason
    assert loop_rig.order(Enable()).state is State.FAULT
    loop_rig.order(Reset(), 5)
    seen = loop_rig.seen()
    assert seen.state is State.IDLE and seen.mode is ArmMode.RUNNING and seen.reason == ""


_ROADS = {
    State.IDLE: (),
    State.READY: (Enable(),),
    State.EXECUTING: (Enable(), JOG),
    State.HOLDING: (Enable(), StartPolicy(Mode.OVERLAP, 1.0, uses_force=False)),
}


def test_f30_the_stop_byte_stops_within_two_ticks_from_every_state_latched(loop_rig):
    loop_rig.start_loop()
    roads = [*_ROADS.items(), (State.EXECUTING, (Enable(), Home())), (State.EXECUTING, (Enable(), Freedrive(True)))]
    for state, orders in roads:
        for order in orders:
            loop_rig.order(order, 3)
        loop_rig.ticks(30)
        assert loop_rig.seen().state is state
        LoopObserver(loop_rig.folder).request_stop()
        loop_rig.ticks(2)
        seen = loop_rig.seen()
        assert seen.state is State.STOPPED and "stop" in seen.reason, state
        assert loop_rig.order(Enable(), 3).state is State.STOPPED
        loop_rig.ticks(300)
        assert np.abs(loop_rig.seen().dq).max() < 0.02
        assert loop_rig.order(Reset()).state is State.IDLE
    assert loop_rig.cell.arm.silent == 0 and len(loop_rig.heard("F30")) == len(roads)


def test_the_end_of_the_node_is_a_latched_hold_and_the_next_node_starts_from_there(loop_rig):
    loop_rig.start_loop()
    loop_rig.order(Enable(), 5)
    loop_rig.order(JOG, 50)
    loop_rig.node.close()
    loop_rig.ticks(2)
    loop_rig.connect_node()
    seen = loop_rig.seen()
    assert seen.state is State.STOPPED and "connection" in seen.reason
    assert loop_rig.order(Enable(), 200).state is State.STOPPED
    assert np.abs(loop_rig.seen().dq).max() < 0.02
    assert loop_rig.order(Reset()).state is State.IDLE


def test_f21_a_second_node_and_a_second_loop_are_refused_naming_the_owner(loop_rig, start):
    first = loop_rig.start_loop()
    with pytest.raises(OwnershipError, match=r"loop\.sock belongs to .*\(process \d+\)"):
        loop_rig.during(lambda: LoopClient(loop_rig.folder))
    environment = {**os.environ, "KINEMA_CELL": loop_rig.folder.name}
    second = start(first.args, env=environment, stdout=-1, text=True)
    out, _ = loop_rig.during(lambda: second.communicate(timeout=60))
    assert second.returncode == 2 and f"served by process {first.pid}" in out
    assert loop_rig.order(Enable()).state is State.READY


def test_f16_a_lost_arm_is_reported_and_found_again_on_reset_only(loop_rig):
    process = loop_rig.start_loop()
    loop_rig.order(Enable(), 20)
    loop_rig.cell.board.inject("disconnect", "arm", 0.0, 0.0, 0.0, loop_rig.cell.world.t_ns)
    seen = loop_rig.until_lost()
    assert seen.state is State.FAULT and "link to the arm is lost" in seen.reason
    assert [event.fault for event in loop_rig.heard("F16")] and process.poll() is None
    loop_rig.ticks(BRAKE_AFTER)
    assert loop_rig.mode is ArmMode.BRAKED
    loop_rig.cell.board.clear()
    loop_rig.ticks(50)
    assert not loop_rig.node.telemetry().connected
    loop_rig.node.send(Enable())
    loop_rig.node.send(Reset())
    loop_rig.until(lambda seen: seen.connected and seen.state is State.IDLE and seen.mode is ArmMode.RUNNING)
    assert any("there is no arm" in event.text for event in loop_rig.heard(kind="order_refused"))
    assert loop_rig.order(Enable(), 3).state is State.READY


def test_the_loop_outlives_its_cell(loop_rig, make_loop_rig):
    process = loop_rig.start_loop()
    loop_rig.order(Enable(), 20)
    loop_rig.close()
    loop_rig.restart()
    loop_rig.ticks(20)
    assert loop_rig.node.telemetry().state is State.FAULT and process.poll() is None
    loop_rig.node.send(Reset())
    assert loop_rig.until(lambda seen: seen.connected and seen.state is State.IDLE).mode is ArmMode.RUNNING
    assert loop_rig.order(Enable(), 3).state is State.READY


def test_f19_a_stalled_loop_skips_to_the_newest_record_without_a_burst_and_counts(loop_rig, monkeypatch, wait_for):
    process = loop_rig.start_loop()
    before = loop_rig.order(Enable(), 20)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T", what="the stop")
    monkeypatch.setattr(server, "ANSWER_WAIT", 0.001)
    loop_rig.ticks(8)
    assert loop_rig.cell.arm.unanswered == 8
    stalled = loop_rig.cell.k - 1
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: loop_rig.node.telemetry().k == stalled, what="the newest record")
    seen = loop_rig.node.telemetry()
    assert seen.ticks == before.ticks + 1 and seen.missed == before.missed + 7
    monkeypatch.setattr(server, "ANSWER_WAIT", 30.0)
    loop_rig.ticks(10)
    assert loop_rig.seen().state is State.READY and loop_rig.mode is ArmMode.RUNNING
    assert loop_rig.heard("F19", "error")


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
def test_f20_steps_of_the_wall_clock_have_no_effect_on_motion(make_loop_rig, tmp_path):
    def run(steps, **environment):
        rig = make_loop_rig()
        process = rig.start_loop(**environment)
        path = []
        for tick in range(rig.cell.k, 400):
            if tick in steps:
                (tmp_path / "step").write_text(steps[tick])
            if tick in (50, 60):
                rig.node.send({50: Enable(), 60: JOG}[tick])
            rig.cell.tick()
            path.append(rig.cell.world.data.qpos[:6].copy())
        assert process.poll() is None
        return np.array(path[-350:]), rig.seen()

    plain, _ = run({})
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "step"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    (tmp_path / "step").write_text("+0")
    stepped, seen = run({100: "+1h", 200: "-1h", 300: "+0"}, **environment)
    assert seen.missed == 0
    assert np.ptp(plain[:, 1]) > 0.05  # it moved
    assert np.array_equal(plain, stepped)


def test_f28_diverged_physics_reaches_the_node_with_its_fault(loop_rig):
    loop_rig.start_loop()
    loop_rig.order(Enable(), 20)
    loop_rig.cell.board.inject("diverge", "physics", 0.0, 0.0, 0.0, loop_rig.cell.world.t_ns)
    loop_rig.ticks(3)
    seen = loop_rig.seen()
    assert seen.state is State.FAULT and seen.mode is ArmMode.DIVERGED
    assert loop_rig.heard("F28") and "diverged" in loop_rig.cell.fault
    assert loop_rig.order(Reset(), 60).state is State.FAULT


def test_a_node_that_does_not_read_never_blocks_the_loop(loop_rig):
    loop_rig.start_loop()
    for _ in range(60):
        for _ in range(10):
            loop_rig.node.send(JOG)  # refused in IDLE: one event each
        loop_rig.cell.tick()
    seen = loop_rig.seen()
    assert seen.events_dropped > 0 and loop_rig.cell.arm.silent == 0 and seen.state is State.IDLE


def test_what_is_not_an_order_is_refused_and_the_loop_goes_on(loop_rig):
    loop_rig.start_loop()
    loop_rig.node._link.send(b"\x93nonsense")
    assert loop_rig.order(Hold("x"), 2).state is State.IDLE
    assert any("malformed" in event.text for event in loop_rig.heard(kind="order_refused"))
