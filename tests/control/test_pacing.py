"""How chunks are played: by what is known of a policy, before it acts."""

import pytest

from kinema.control.messages import Mode
from kinema.control.pacing import Pace, Tempo, pace
from kinema.control.settings import Execution
from kinema.errors import ConfigError

EXECUTION = Execution(min_steps=4)
QUICK, SLOW = Tempo(0.12, 0.1, 24), Tempo(2.5, 0.1, 24)


def test_a_policy_slower_than_its_chunk_stops_and_goes() -> None:
    assert pace(QUICK, EXECUTION).mode is Mode.OVERLAP
    assert pace(SLOW, EXECUTION).mode is Mode.STOP_AND_GO
    assert pace(Tempo(0.5, 0.1, 24), EXECUTION).mode is Mode.OVERLAP
    assert pace(Tempo(0.5, 0.1, 24), EXECUTION, 8).mode is Mode.STOP_AND_GO, (
        "eight steps are over before the next chunk"
    )


def test_whoever_says_how_is_obeyed() -> None:
    assert pace(SLOW, EXECUTION, mode=Mode.OVERLAP) == Pace(Mode.OVERLAP)
    assert pace(QUICK, EXECUTION, 8, Mode.STOP_AND_GO) == Pace(Mode.STOP_AND_GO, executable=8)


def test_in_overlap_a_chunk_goes_on_until_the_next_one_joins() -> None:
    found = pace(QUICK, EXECUTION, 8)
    thinking, waiting = 2, 2  # of 0.12 s, and of an image's 0.06 s more
    assert found == Pace(Mode.OVERLAP, 8 - thinking, QUICK.executable), "as long as it may, if the next one is late"
    assert pace(QUICK, EXECUTION, 24).executable == 24 + waiting + EXECUTION.min_steps, "the next can't be there before"
    assert pace(QUICK, EXECUTION, 1, Mode.OVERLAP).replan_steps == 1, "an observation needs a step to be played"


@pytest.mark.parametrize("executed", [25, -1])
def test_more_steps_than_may_be_executed_are_refused(executed: int) -> None:
    with pytest.raises(ConfigError, match=f"{executed} executed steps; allowed: up to 24"):
        pace(QUICK, EXECUTION, executed)
