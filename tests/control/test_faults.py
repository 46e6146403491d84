"""FAULTS rows that the control core answers, against the virtual cell's physics; times count in its cycles."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.control.messages import (
    Enable,
    Freedrive,
    Hold,
    Home,
    Jog,
    Mode,
    MoveJaw,
    PlayChunk,
    Reset,
    StartPolicy,
    State,
    StopPolicy,
)
from kinema.control.settings import ControlSettings, Limits
from kinema.interfaces import ArmMode, CommandKind, ForceSample
from kinema.robots import arm

ALONG = np.array([[0.004 * i, 0.0, 0.0] for i in range(1, 33)])  # 0.12 m/s
KINDS = (CommandKind.TORQUE, CommandKind.POSITION)


def playing(rig, kind=CommandKind.TORQUE, way=ALONG, **options):
    """In the middle of a chunk, at 0.12 m/s."""
    cell = rig(kind=kind)
    cell.start(**options)
    cell.tick()
    cell.tick(PlayChunk(cell.chunk(way), cell.last.request.id))
    assert cell.core.state is State.EXECUTING, cell.said()
    cell.run(0.4)
    return cell


def goal_speed(cell) -> np.ndarray:
    """[m/s] of the commanded equilibrium over the last cycles."""
    positions = np.array([tick.T_base_goal.position for tick in cell.ticks[-300:]])
    return np.linalg.norm(np.diff(positions, axis=0), axis=1) / 0.002


@pytest.mark.parametrize("kind", KINDS)
def test_f01_a_chunk_that_is_not_finite_ends_the_running_one_too(rig, kind) -> None:
    cell = playing(rig, kind)
    bad = cell.chunk(ALONG)
    bad.T_rel[20, 0, 3] = np.nan
    before = goal_speed(cell)[-1]
    cell.tick(PlayChunk(bad, cell.last.request.id if cell.last.request else 0))
    assert cell.core.state is State.HOLDING and cell.last.chunk == -1
    cell.tick()
    slower = (before - goal_speed(cell)[-2], before - goal_speed(cell)[-1])  # means over a cycle
    assert slower == pytest.approx((0.5 * 4.0 * 0.002, 1.5 * 4.0 * 0.002), rel=0.05)  # braking began in the first
    assert cell.said("chunk_rejected", "F01")
    cell.run(0.3)
    assert goal_speed(cell)[-1] == 0.0
    assert np.isfinite(cell.last.command.values).all()


def test_f02_a_wrong_dimension_is_refused_and_the_running_chunk_goes_on(rig) -> None:
    cell = playing(rig)
    bad = replace(cell.chunk(ALONG), width_change=np.zeros(31))
    cell.tick(PlayChunk(bad, cell.last.request.id if cell.last.request else 0))
    assert "width_change has shape (31,), T_rel has 32 steps" in cell.said("chunk_rejected", "F02")[0]
    assert cell.core.state is State.EXECUTING and cell.last.chunk == 1


def test_f03_a_jump_is_refused_before_its_first_step(rig) -> None:
    cell = rig()
    cell.start()
    cell.tick()
    cell.tick(PlayChunk(cell.chunk(ALONG + np.array([0.3, 0.0, 0.0])), cell.last.request.id))
    assert cell.said("chunk_rejected", "F03") and cell.core.state is State.HOLDING
    cell.run(0.2)
    assert not cell.said("step") and goal_speed(cell).max() == 0.0


def test_f04_elapsed_steps_are_dropped_and_too_few_left_are_refused(rig) -> None:
    cell = rig()
    cell.start()
    cell.tick()
    request, late = cell.last.request, cell.chunk(ALONG * 0.2)
    cell.run(0.25)
    cell.tick(PlayChunk(replace(late, t0_ns=request.not_before_ns), request.id))
    dropped = [e.data["step"] for e in cell.events if e.kind == "step_dropped" and "passed" in e.text]
    assert dropped == list(range(7))
    cell = rig()
    cell.start()
    cell.tick()
    request, late = cell.last.request, cell.chunk(ALONG * 0.2)
    cell.run(0.8)
    cell.tick(PlayChunk(replace(late, t0_ns=request.not_before_ns), request.id))
    assert cell.said("chunk_rejected", "F04") and cell.core.state is State.HOLDING


@pytest.mark.parametrize("kind", KINDS)
def test_f05_without_a_new_chunk_the_arm_slows_down_and_holds(rig, kind) -> None:
    cell = playing(rig, kind)
    last = cell.ticks[-1].T_base_goal  # a bound on how far it may still go: all executable steps
    cell.run(4.5)
    assert cell.core.state is State.HOLDING
    kinds = [e.kind for e in cell.events if e.fault == "F05"]
    assert kinds == ["warning", "error"]
    ends = [t.T_base_goal.position[0] for t in cell.ticks]
    assert max(ends) - cell.ticks[0].T_base_goal.position[0] < 24 * 0.004 + 0.002  # never past executable
    assert np.abs(np.diff(goal_speed(cell))).max() < 1e-6 and last is not None
    steps = np.diff([np.linalg.norm(t.T_base_goal.position - cell.ticks[0].T_base_goal.position) for t in cell.ticks])
    assert np.abs(np.diff(steps)).max() / 0.002**2 < 4.0 * 1.05  # [m/s^2], all the way


def test_f13_a_silent_load_cell_holds_a_policy_that_needs_it(rig) -> None:
    cell = playing(rig, uses_force=True)
    frozen = cell.world.load_cell()
    cell.force = lambda: frozen
    cell.run(0.3)
    warned = [e for e in cell.events if e.fault == "F13" and e.kind == "warning"]
    assert len(warned) == 1 and (warned[0].t_ns - frozen.stamp_ns) / 1e9 <= 0.254
    assert cell.core.state is State.HOLDING and cell.last.request is None
    cell.force = cell.world.load_cell
    cell.run(0.1)
    assert cell.last.request is not None  # it asks again, and nothing more


def test_f14_a_saturated_load_cell_freezes_the_correction_and_stops_closing(rig) -> None:
    cell = rig()
    cell.start(uses_force=True)
    cell.tick()
    closing = replace(cell.chunk(ALONG * 0), width_change=-0.002 * np.arange(32), force=np.full(32, 10.0))
    cell.tick(PlayChunk(closing, cell.last.request.id))
    cell.run(0.3)
    width, correction = cell.last.jaw.width, cell.last.correction
    assert correction > 0.0
    cell.force = lambda: ForceSample(cell.t_ns, 98.0, True, True)
    cell.run(0.3)
    assert cell.last.jaw.width == width and cell.said("error", "F14") and cell.core.state is State.HOLDING


@pytest.mark.parametrize("kind", KINDS)
def test_f15_contact_stops_within_two_cycles_at_the_measured_pose(rig, kind) -> None:
    cell = playing(rig, kind)
    cell.push(np.array([-90.0, 0, 0, 0, 0, 0]))
    for _ in range(20):
        felt = np.linalg.norm(cell.world.arm_state().wrench[:3]) > 60.0
        measured = cell.core._model.T_base_tcp
        cell.tick()
        if felt:
            break
    assert felt and cell.core.state is State.STOPPED  # in the cycle that brought the sample
    assert np.linalg.norm(cell.last.T_base_goal.position - cell.last.T_base_tcp.position) < 1e-9
    assert cell.said("safety", "F15") and measured is not None
    cell.push(np.zeros(6))
    cell.run(1.0)
    stopped = [e for e in cell.events if e.kind == "stopped"]
    assert stopped and stopped[0].data["time"] < 0.8 and stopped[0].data["distance"] < 0.15
    cell.tick(Enable())
    assert cell.core.state is State.STOPPED  # latched


def test_f15_the_jaw_stays_at_its_ceiling(rig) -> None:
    cell = rig()
    cell.enable()
    cell.tick(MoveJaw(0.03))
    cell.run(0.2)
    cell.force = lambda: ForceSample(cell.t_ns, 51.0, False, True)
    cell.tick(MoveJaw(0.0))
    held = cell.last.jaw.width
    cell.run(0.1)
    assert cell.last.jaw.width == held and held > 0.0 and cell.said("safety", "F15")
    cell.force = cell.world.load_cell
    cell.tick(MoveJaw(0.06))
    assert cell.last.jaw.width == 0.06


def test_f19_missed_records_are_skipped_counted_and_reported(rig) -> None:
    cell = playing(rig)
    shift = 0
    cell.alter = lambda state: replace(state, k=state.k + shift, t_ns=state.t_ns)
    before = cell.last.T_base_goal.position
    for _ in range(9):  # nine records pass unanswered: the arm keeps its last command
        cell.world.step(None)
    cell.tick()
    assert cell.said("error", "F19")
    moved = np.linalg.norm(cell.last.T_base_goal.position - before)
    assert moved == pytest.approx(0.12 * 0.020, rel=0.1)  # where the time is, in one step
    cell.run(0.1)
    assert goal_speed(cell)[-40:].max() < 0.14  # and no burst afterwards
    assert cell.core.state is State.EXECUTING


def test_f19_a_long_gap_stops(rig) -> None:
    cell = playing(rig)
    for _ in range(60):
        cell.world.step(None)
    cell.tick()
    assert cell.core.state is State.STOPPED and cell.said("safety", "F19")


def _starve(cell, unanswered: int, cycles: int) -> float:
    """Every time, so many records pass before one is answered; the fastest [rad/s] that a joint turned."""
    fastest = 0.0
    for _ in range(cycles):
        for _ in range(unanswered):
            cell.world.step(None)
            fastest = max(fastest, np.abs(cell.world.arm_state().dq).max())
        cell.tick()
    return fastest


@pytest.mark.parametrize("kind", KINDS)
def test_f19_a_starved_loop_lets_the_arm_brake_and_stays_so_until_reset(rig, kind) -> None:
    cell = playing(rig, kind)
    _starve(cell, 28, 1)
    assert cell.core.state is State.EXECUTING and cell.said("error", "F19")
    assert _starve(cell, 28, 1) < 1.0
    assert cell.core.state is State.FAULT and cell.last.command.kind is CommandKind.BRAKE
    assert "58 ms" in cell.said("safety", "F19")[0]
    assert _starve(cell, 28, 10) < 1.0 and np.abs(cell.world.arm_state().dq).max() < 0.02
    cell.run(0.2)  # in time again: nothing comes back by itself
    assert cell.core.state is State.FAULT
    cell.world.reset_arm()
    cell.run(0.1, Reset())
    cell.run(0.1, Enable())
    assert cell.core.state is State.READY


def test_f19_one_late_cycle_is_no_starvation(rig) -> None:
    cell = playing(rig)
    for _ in range(3):
        _starve(cell, 28, 1)
        cell.run(0.05)
    assert cell.core.state is State.EXECUTING


def test_f28_a_diverged_arm_is_a_fault(rig) -> None:
    cell = playing(rig)
    cell.alter = lambda state: replace(state, mode=ArmMode.DIVERGED)
    cell.tick()
    assert cell.core.state is State.FAULT and cell.last.command.kind is CommandKind.BRAKE
    assert cell.said("safety", "F28")


def test_f29_targets_outside_are_clamped_and_reported(rig) -> None:
    cell = playing(rig, way=np.array([[0.0, 0.0, -0.014 * i] for i in range(1, 33)]))
    cell.run(2.0)
    clamped = cell.said("clamped", "F29")
    assert clamped and "z = " in clamped[0]
    assert min(t.T_base_goal.position[2] for t in cell.ticks) >= 0.005 - 1e-9


def test_f29_targets_outside_are_refused_where_configured(rig) -> None:
    cell = rig(settings=ControlSettings(limits=Limits(on_workspace="refuse")))
    cell.start()
    cell.tick()
    cell.tick(PlayChunk(cell.chunk([[0.0, 0.0, -0.014 * i] for i in range(1, 33)]), cell.last.request.id))
    assert "z = " in cell.said("chunk_rejected", "F29")[0] and cell.core.state is State.HOLDING


def test_f29_a_jog_into_the_edge_stays_at_it(rig) -> None:
    cell = rig()
    cell.enable()
    cell.run(4.0, Jog(np.array([-0.2, 0, 0, 0, 0, 0]), 3.0))
    assert cell.last.T_base_goal.position[0] >= 0.15 - 1e-9
    assert cell.said("", "F29") and cell.core.state is State.READY


@pytest.mark.parametrize("kind", KINDS)
def test_f30_the_software_stop_brakes_at_the_configured_deceleration(rig, kind) -> None:
    cell = playing(rig, kind)
    speed = goal_speed(cell)[-1]
    cell.tick(MoveJaw(0.02))  # refused in a run: the grip is the policy's
    jaw = cell.last.jaw
    cell.tick(stop=True)
    assert cell.core.state is State.STOPPED and cell.said("safety", "F30")
    assert goal_speed(cell)[-1] == pytest.approx(speed - 4.0 * 0.002, rel=0.05)
    cell.run(1.0)
    assert cell.last.jaw == jaw and goal_speed(cell)[-1] == 0.0
    report = next(e for e in cell.events if e.kind == "stopped")
    assert 0.03 <= report.data["time"] < 0.7 and 0.5 * speed**2 / 8 < report.data["distance"] < 0.03


def _free(cell) -> None:
    cell.tick(Freedrive(True))


def _home(cell) -> None:
    cell.tick(Jog(np.array([0.1, 0, 0, 0, 0, 0]), 0.5))
    cell.run(0.8)
    cell.tick(Home())
    cell.run(0.2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "activity",
    [
        lambda cell: None,
        _free,
        _home,
        lambda cell: cell.tick(Jog(np.array([0.1, 0, 0, 0, 0.2, 0]), 1.0)),
        lambda cell: cell.tick(StartPolicy(Mode.STOP_AND_GO, 1.0, uses_force=False)),
    ],
    ids=["ready", "freedrive", "home", "jog", "policy"],
)
def test_f30_stops_from_whatever_is_under_way(rig, kind, activity) -> None:
    cell = rig(kind=kind)
    cell.enable()
    activity(cell)
    cell.tick(stop=True)
    assert cell.core.state is State.STOPPED
    cell.run(0.5)
    assert goal_speed(cell)[-50:].max() == 0.0 and any(e.kind == "stopped" for e in cell.events)
    cell.tick(Reset())
    assert cell.core.state is State.IDLE


def test_stop_and_go_plays_settles_and_asks_again(rig) -> None:
    cell = rig()
    cell.start(Mode.STOP_AND_GO, chunks=2)
    for number in (1, 2):
        for _ in range(2000):
            cell.tick()
            if cell.last.request is not None:
                break
        assert cell.core.state is State.HOLDING and cell.last.request.id == number
        cell.tick(PlayChunk(cell.chunk(ALONG * 0.3), cell.last.request.id))
        cell.until(State.HOLDING if number == 1 else State.READY, 4.0)
    assert len([e for e in cell.events if e.kind == "step"]) == 48
    reached = cell.last.T_base_goal.position[0] - cell.ticks[100].T_base_goal.position[0]
    assert reached == pytest.approx(2 * 24 * 0.0012, abs=0.002)


def test_home_comes_back(rig) -> None:
    for robot in ("virtual_ur5e", "virtual_xarm7"):
        for kind in KINDS:
            cell = rig(robot, kind)
            cell.enable()
            cell.run(1.3, Jog(np.array([0.1, 0.05, 0.05, 0, 0, 0.3]), 1.0))
            assert np.abs(cell.world.arm_state().q - cell.world.arm.home).max() > 0.05
            cell.tick(Home())
            cell.until(State.READY, 5.0)
            cell.run(0.5)
            assert np.abs(cell.world.arm_state().q - cell.world.arm.home).max() < 0.03, (robot, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("robot", "turned"),
    [("virtual_ur5e", {4: 0.6}), ("virtual_xarm7", {0: 0.28, 1: 0.38, 2: -0.23, 4: 1.76, 5: -0.5, 6: -0.35})],
)
def test_f29_the_way_home_leads_through_a_singularity(rig, robot, turned, kind) -> None:
    """A wrist that is bent the other way: the tool's way alone would be held there, or end in another posture."""
    q = np.array(arm(robot).home)
    q[list(turned)] = list(turned.values())
    cell = rig(robot, kind, q=q)
    least = lambda: cell.core._model.min_singular_value()  # noqa: E731
    cell.enable()
    cell.tick(Home())
    values = []
    while cell.core.state is State.EXECUTING:
        cell.tick()
        values.append(least())
    cell.run(1.0)
    assert min(values) < Limits().min_singular_value < least(), "it leads through"
    assert np.abs(cell.world.arm_state().q - cell.world.arm.home).max() < 0.03
    assert cell.said()[-1].endswith("the way home is over"), cell.said()


def test_hold_ends_a_run_and_keeps_the_grip(rig) -> None:
    cell = playing(rig)
    cell.tick(Hold("a person"))
    assert cell.core.state is State.READY and cell.said("policy_ended")
    cell.tick(StopPolicy("again"))
    assert cell.core.state is State.READY
