"""The state table: every state answers every order, and nothing leaves a latched state but a reset."""

import typing
from dataclasses import replace

import numpy as np
import pytest

from kinema.chunk import ActionChunk
from kinema.control.core import TABLE
from kinema.control.messages import (
    Enable,
    Freedrive,
    Hold,
    Home,
    Jog,
    Mode,
    MoveJaw,
    Order,
    PlayChunk,
    RejectObservation,
    Replan,
    Reset,
    StartPolicy,
    State,
    StopPolicy,
)
from kinema.geometry import Pose

ORDERS = typing.get_args(Order)


def order(kind: type) -> Order:
    chunk = ActionChunk(1, "test", 0, Pose.identity(), 0.08, 1 / 30, 0.0, np.tile(np.eye(4), (8, 1, 1)), None, None, 8)
    made: dict[type, Order] = {
        Enable: Enable(),
        Hold: Hold("test"),
        Reset: Reset(),
        Home: Home(),
        Jog: Jog(np.zeros(6), 0.1),
        Freedrive: Freedrive(True),
        MoveJaw: MoveJaw(0.05),
        StartPolicy: StartPolicy(Mode.OVERLAP, 1.0, uses_force=False),
        PlayChunk: PlayChunk(chunk, 0),
        RejectObservation: RejectObservation(0, "test"),
        Replan: Replan(1, 0, "test"),
        StopPolicy: StopPolicy("test"),
    }
    return made[kind]


def bring(rig: object, state: State) -> None:
    """Into a state by the ways that there are."""
    if state is State.FAULT:
        rig.alter = lambda record: type(record)(record.k, record.t_ns, record.q * np.nan, *_rest(record))
        rig.tick()
        rig.alter = lambda record: record
    elif state is State.STOPPED:
        rig.tick(stop=True)
    elif state is not State.IDLE:
        rig.tick(Enable())
        if state is State.EXECUTING:
            rig.tick(Jog(np.array([0.0, 0.0, 0.02, 0, 0, 0]), 1.0))
        elif state is State.HOLDING:
            rig.tick(order(StartPolicy))
    assert rig.core.state is state


def _rest(record: object) -> tuple:
    return record.dq, record.tau, record.wrench, record.mode


@pytest.mark.parametrize("state", State)
def test_every_order_in_every_state_does_what_the_table_says(rig, state: State) -> None:
    for kind in ORDERS:
        cell = rig()
        bring(cell, state)
        begun = len(cell.events)
        cell.tick(order(kind))
        refused = [e for e in cell.events[begun:] if e.kind in ("order_refused", "chunk_rejected")]
        leads_to = TABLE.get((state, kind))
        if leads_to is None:
            assert cell.core.state is state, kind
            assert refused and state.name in refused[0].text, kind
        elif refused:  # allowed by the table, refused for what is under way: a jog, or no chunk was asked for
            assert cell.core.state is state, kind
        else:
            assert cell.core.state in (leads_to, state), kind


def test_the_table_lets_only_a_reset_out_of_fault_and_stopped() -> None:
    for (state, kind), leads_to in TABLE.items():
        assert kind in ORDERS
        if state in (State.FAULT, State.STOPPED):
            assert leads_to is (State.IDLE if kind is Reset else state)
        if leads_to in (State.FAULT, State.STOPPED):
            assert state is leads_to
    assert {state for state, _ in TABLE} == set(State)
    assert {kind for _, kind in TABLE} == set(ORDERS)
    assert [state for (state, kind), to in TABLE.items() if to is State.READY and state is State.IDLE and kind] == [
        State.IDLE
    ]  # by Enable alone


def test_nothing_re_engages_by_itself(rig) -> None:
    for state in (State.FAULT, State.STOPPED):
        cell = rig()
        bring(cell, state)
        cell.run(1.0)
        assert cell.core.state is state
        cell.world.reset_arm()
        cell.tick(Reset())
        assert cell.core.state is State.IDLE
        cell.run(0.5)
        assert cell.core.state is State.IDLE


@pytest.mark.parametrize("state", [s for s in State if s not in (State.FAULT, State.STOPPED)])
def test_a_lost_link_latches_from_every_state(rig, state: State) -> None:
    cell = rig()
    bring(cell, state)
    cell.tick(Hold("the link to the node was lost", latched=True))
    assert cell.core.state is State.STOPPED
    cell.tick(Enable())
    assert cell.core.state is State.STOPPED


def test_a_fault_brakes_and_an_arm_that_stays_braked_faults_again(rig) -> None:
    cell = rig()
    bring(cell, State.FAULT)
    assert cell.last.command.values.size == 0
    cell.tick(Reset())  # the arm itself was not reset
    cell.run(0.2)
    assert cell.core.state is State.FAULT
    cell.world.reset_arm()
    cell.tick(Reset())
    before = cell.pose().position
    cell.run(0.3)
    assert cell.core.state is State.IDLE
    assert np.linalg.norm(cell.pose().position - before) < 1e-3


def test_a_reset_may_take_the_arm_seconds_without_its_next_record_being_late(rig) -> None:
    rig = rig()
    rig.run(0.02, Enable())
    rig.tick(Hold("test", latched=True))
    rig.tick(Reset())
    rig.alter = lambda state: replace(state, k=state.k + 600, t_ns=state.t_ns + 1_200_000_000)
    assert rig.tick().state is State.IDLE
    rig.alter = lambda state: replace(state, k=state.k + 1200, t_ns=state.t_ns + 2_400_000_000)
    assert rig.tick().state is State.STOPPED, "any other gap is a fault"
