"""What a policy run is begun with: how many steps of its chunks are played, and whether a person has to let them go."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.control.messages import Hold, Mode, PlayChunk, Replan, StartPolicy, State
from kinema.control.settings import ControlSettings, Execution

SETTINGS = ControlSettings(execution=replace(Execution(), max_age=1.0, settle_time=0.02))
WAY = np.outer(np.arange(1, 17), [0.002, 0.0, 0.0])


def begin(rig, **changes: object) -> object:
    """A cell whose run has asked for its first chunk."""
    cell = rig(settings=SETTINGS)
    cell.enable()
    cell.tick(StartPolicy(**({"mode": Mode.STOP_AND_GO, "speed_scale": 1.0, "uses_force": False} | changes)))
    asked(cell)
    return cell


def asked(cell, seconds: float = 2.0) -> int:
    for _ in range(round(seconds * 500)):
        if cell.tick().request is not None:
            return cell.last.request.id
    raise AssertionError(f"no request; {cell.said()}")


def played(cell) -> list[int]:
    return [event.data["step"] for event in cell.events if event.kind == "step"]


@pytest.mark.parametrize("executable", [6, 16])
def test_a_run_plays_as_many_steps_of_a_chunk_as_it_was_told(rig, executable: int) -> None:
    """More than the chunk allows, too, but never more than it has."""
    cell = begin(rig, executable=executable)
    cell.tick(PlayChunk(cell.chunk(WAY, executable=10), cell.last.request.id))
    cell.until(State.HOLDING)
    assert played(cell) == list(range(executable))


def test_a_run_asks_again_after_as_many_steps_as_it_was_told(rig) -> None:
    cell = begin(rig, mode=Mode.OVERLAP, replan_steps=3)
    cell.tick(PlayChunk(cell.chunk(WAY), cell.last.request.id))
    asked(cell)
    assert max(played(cell)) == 2


def test_replanning_in_stop_and_go_drops_the_rest_and_looks_again_at_rest(rig) -> None:
    cell = begin(rig)
    before = cell.last.request.id
    cell.tick(PlayChunk(cell.chunk(WAY), before))
    cell.run(0.3)
    cell.tick(Replan(1, cell.t_ns, "the mug has moved"))
    assert cell.last.state is State.HOLDING and cell.said("replanned") == ["replanned : the mug has moved"]
    left = {event.data["step"] for event in cell.events if event.kind == "step_dropped" and "moved" in event.text}
    assert left and left.isdisjoint(played(cell))
    assert asked(cell) > before
    cell.tick(Replan(1, cell.t_ns, "the mug has moved"))
    assert len(cell.said("replanned")) == 1, "nothing is being played any more"
    cell.tick(PlayChunk(cell.chunk(WAY), cell.last.request.id))
    assert cell.last.state is State.EXECUTING, "the run goes on"


def test_replanning_in_overlap_neither_stops_nor_ends_the_run(rig) -> None:
    cell = begin(rig, mode=Mode.OVERLAP)
    before = cell.last.request.id
    cell.tick(PlayChunk(cell.chunk(WAY), before))
    cell.run(0.1)
    cell.tick(Replan(1, cell.t_ns, "a hand is in the way"))
    assert cell.last.state is State.EXECUTING and cell.last.chunk == 1
    assert cell.tick().request.id > before
    assert max(played(cell)) < Execution().replan_steps - 1, "it was asked for early"


def test_holding_ends_the_run_and_nothing_asks_again(rig) -> None:
    cell = begin(rig)
    cell.tick(PlayChunk(cell.chunk(WAY), cell.last.request.id))
    cell.run(0.2)
    cell.tick(Hold("what is seen is not what was imagined"))
    assert cell.last.state is State.READY
    assert cell.run(1.0).request is None


def test_every_hold_is_told_even_where_nothing_moves(rig) -> None:
    cell = rig(settings=SETTINGS)
    cell.enable()
    cell.tick(Hold("a person asked for it"))
    assert cell.last.state is State.READY and cell.said("held") == ["held : a person asked for it"]


@pytest.mark.parametrize("mode", list(Mode))
def test_the_last_chunk_of_a_run_is_not_played_on_once_it_is_doubted(rig, mode) -> None:
    cell = begin(rig, mode=mode, chunks=1)
    cell.tick(PlayChunk(cell.chunk(WAY), cell.last.request.id))
    cell.run(0.2)
    cell.tick(Replan(1, cell.t_ns, "the mug has moved"))
    cell.run(0.1)
    assert cell.last.state is State.READY and cell.last.request is None and cell.last.chunk == -1


def test_nothing_moves_before_somebody_has_approved(rig) -> None:
    cell = begin(rig, approval=2.0)
    chunk = cell.chunk(WAY)
    before = cell.last.T_base_goal.position
    cell.tick(PlayChunk(chunk, cell.last.request.id))
    assert cell.last.state is State.HOLDING and "nobody has approved it" in cell.said("chunk_rejected")[0]
    cell.run(0.3)
    np.testing.assert_array_equal(cell.last.T_base_goal.position, before)
    assert not played(cell)
    cell.tick(PlayChunk(chunk, cell.last.request.id, approved=True))
    assert cell.last.state is State.HOLDING, "its observation is older than the request that followed the refusal"
    cell.tick(PlayChunk(cell.chunk(WAY), asked(cell), approved=True))
    assert cell.last.state is State.EXECUTING
    cell.until(State.HOLDING)
    assert cell.last.T_base_goal.position[0] > before[0] + 0.01


def test_a_person_may_look_longer_than_a_chunk_would_else_stay_good(rig) -> None:
    cell = begin(rig, approval=2.0)
    first = cell.chunk(WAY)
    cell.run(2.5)
    assert not cell.said("error"), "who waits for a person is not late"
    cell.tick(PlayChunk(first, cell.last.request.id, approved=True))
    assert cell.last.state is State.EXECUTING
    cell.until(State.HOLDING)
    asked(cell)
    late = cell.chunk(WAY)
    cell.run(3.2)
    assert cell.said("error", "F05")
    cell.tick(PlayChunk(late, cell.last.request.id, approved=True))
    assert "old, allowed are 3.0 s" in cell.said("chunk_rejected", "F04")[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"approval": 2.0, "mode": Mode.OVERLAP}, "allow stop_and_go"),
        ({"approval": -1.0}, "no number below 0"),
        ({"executable": -1}, "no number below 0"),
        ({"replan_steps": -1}, "no number below 0"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(rig, wrong: dict, said: str) -> None:
    cell = rig(settings=SETTINGS)
    cell.enable()
    cell.tick(StartPolicy(**({"mode": Mode.STOP_AND_GO, "speed_scale": 1.0} | wrong)))
    assert cell.last.state is State.READY and said in cell.said("order_refused")[0]
