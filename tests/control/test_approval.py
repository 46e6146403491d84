"""A chunk waits for a person: one at a time, for so long, and no longer than it was wanted."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.chunk import ActionChunk
from kinema.control.approval import Gate
from kinema.control.messages import PlayChunk
from kinema.errors import DecisionError, NonFiniteChunkError
from kinema.geometry import Pose

CHUNK = ActionChunk(3, "test", 0, Pose.identity(), 0.08, 0.1, 0.1, np.tile(np.eye(4), (8, 1, 1)), None, None, 8)
SECOND = 10**9


@pytest.fixture
def gate() -> Gate:
    gate = Gate(20.0)
    gate.propose(CHUNK, request=7, t_ns=5 * SECOND)
    return gate


def test_what_was_approved_goes_on_once(gate) -> None:
    assert gate.waiting.until_ns == 25 * SECOND
    assert gate.follow(7, 6 * SECOND) is None and gate.waiting is not None
    assert gate.approve(3) == PlayChunk(CHUNK, 7, approved=True)
    with pytest.raises(DecisionError, match="chunk 3 does not wait for a decision; no chunk does"):
        gate.approve(3)


def test_what_was_rejected_is_asked_for_again(gate) -> None:
    order = gate.reject(3)
    assert order.request == 7 and "by a person" in order.reason and gate.waiting is None


def test_a_decision_counts_for_the_chunk_that_was_looked_at_alone(gate) -> None:
    gate.propose(replace(CHUNK, id=4), request=8, t_ns=6 * SECOND)
    for decide in (gate.approve, gate.reject):
        with pytest.raises(DecisionError, match="chunk 3 does not wait for a decision; chunk 4 does"):
            decide(3)
    assert gate.approve(4).chunk.id == 4


def test_nobody_decides(gate) -> None:
    assert gate.follow(7, 25 * SECOND - 1) is None
    late = gate.follow(7, 25 * SECOND)
    assert late is not None and late.request == 7 and "nobody decided on chunk 3 within 20 s" in late.reason
    assert gate.waiting is None


@pytest.mark.parametrize("request_now", [0, 8], ids=["the run has ended", "another one is wanted"])
def test_a_withdrawn_request_takes_its_chunk_along(gate, request_now: int) -> None:
    assert gate.follow(request_now, 6 * SECOND) is None and gate.waiting is None
    with pytest.raises(DecisionError):
        gate.approve(3)


def test_f01_what_can_not_be_played_is_not_shown_either(gate) -> None:
    with pytest.raises(NonFiniteChunkError):
        gate.propose(replace(CHUNK, T_rel=CHUNK.T_rel * np.nan), 7, 0)
