"""What the recorder may do when, and what it says when it may not."""

from dataclasses import replace

import pytest

from kinema.episodes.session import REQUIRED, Conditions, Phase, Session, problems, trouble
from kinema.errors import RecordingError
from kinema.topics import TOPICS

FINE = Conditions(
    text="put the cup into the bowl",
    calibration="",
    silent={},
    tared=True,
    saturated=False,
    confidence=3,
    anchored=True,
    jumped=False,
    room="",
)


def test_nothing_is_missing():
    assert problems(FINE) == ()


def test_every_required_topic_is_a_recorded_row_that_can_be_stale():
    assert all(TOPICS[name].recorded and TOPICS[name].stale_after > 0 for name in REQUIRED)


@pytest.mark.parametrize(
    ("change", "cause", "remedy"),
    [
        ({"text": "  "}, "no words", "recorder/set_task"),
        ({"calibration": "jaw.yaml: is missing; make it"}, "jaw.yaml", "make it"),
        ({"silent": {"left/image_raw": float("inf")}}, "left/image_raw has never been heard", "left_camera"),
        ({"silent": {"tracker/odometry": 1.25}}, "silent for 1.2 s", "pose_tracker"),
        ({"silent": {"load_cell/force": float("inf")}}, "load_cell/force", "cable"),
        ({"tared": False}, "not tared", "load_cell/zero"),
        ({"saturated": True}, "saturated", "load_cell/zero"),
        ({"confidence": 1}, "confidence is 1", "light"),
        ({"anchored": False}, "unknown", "pose_tracker/anchor"),
        ({"jumped": True}, "has jumped", "pose_tracker/anchor"),
        ({"room": "0.10 GB are left: free some"}, "0.10 GB", "free some"),
    ],
)
def test_what_is_missing_is_refused_with_its_remedy_before_recording_begins(change, cause, remedy):
    (problem,) = problems(replace(FINE, **change))
    assert cause in problem and remedy in problem
    session = Session().look((problem,))
    with pytest.raises(RecordingError, match=r".*"):
        session.start("episodes/x/1")
    assert session.phase is Phase.IDLE


def test_all_problems_are_named_at_once():
    found = problems(replace(FINE, text="", tared=False, room="full"))
    with pytest.raises(RecordingError) as refusal:
        Session().look(found).may_start()
    assert all(problem in str(refusal.value) for problem in found) and len(found) == 3


def test_an_episode_goes_round():
    session = Session().start("a/1")
    assert session.phase is Phase.RECORDING and session.episode == "a/1"
    session = session.stop("by gesture")
    assert session.phase is Phase.SAVING
    session = session.keep("")
    assert (session.phase, session.saved, session.rejected) == (Phase.IDLE, 1, 0) and "saved a/1" in session.message
    session = session.start("a/2").stop("by key").keep("the tracker jumped")
    assert (session.saved, session.rejected) == (2, 1)
    assert "REJECTED a/2" in session.message and "jumped" in session.message


def test_what_does_not_fit_the_phase_is_refused_and_changes_nothing():
    idle, recording = Session(), Session().start("a/1")
    saving = recording.stop("x")
    for forbidden in (idle.stop, saving.stop):
        with pytest.raises(RecordingError, match="nothing is being recorded"):
            forbidden("x")
    for session in (recording, saving):
        with pytest.raises(RecordingError, match=session.phase.name):
            session.start("a/2")
    for session in (idle, saving):
        with pytest.raises(RecordingError, match="no episode to discard"):
            session.discard()


def test_discard_takes_back_the_running_episode_or_the_last_one_once():
    assert Session().start("a/1").discard().saved == 0
    saved = Session().start("a/1").stop("x").keep("").start("a/2").stop("x").keep("shaky")
    without = saved.discard()
    assert (without.saved, without.rejected, without.episode) == (1, 0, "a/2")
    with pytest.raises(RecordingError):
        without.discard()


def test_a_lost_episode_is_not_counted():
    session = Session().start("a/1").stop("x").lost("the disk is gone")
    assert session.phase is Phase.IDLE and session.saved == 0 and "LOST a/1: the disk is gone" in session.message


def test_what_went_wrong_is_told_apart_from_what_went_well():
    recording = Session().start("a/1")
    saving = recording.stop("by key")
    bad = (saving.keep("shaky"), saving.lost("the disk is gone"), Session().refused("the task has no words"))
    good = (Session(), recording, saving, saving.keep(""), recording.discard())
    assert [trouble(session.message) for session in (*bad, *good)] == [True] * 3 + [False] * 5
