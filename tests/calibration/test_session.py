"""What a calibration session may do when, and what it says when it may not."""

import datetime
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema import __version__
from kinema.calibration.boards import Corners
from kinema.calibration.files import Provenance, Transform
from kinema.calibration.session import KINDS, Phase, Sample, Session, Solution
from kinema.errors import CalibrationError
from kinema.geometry import Pose

BOARD = "charuco 9x6 30mm 22mm DICT_5X5_100"
SEEN = Corners(np.arange(8), np.zeros((8, 2)), (640, 480))
SAMPLE = Sample(1, {"gripper": SEEN, "left": SEEN, "right": SEEN}, T_base_tcp=Pose.identity())


def solution(rms: float = 0.001) -> Solution:
    provenance = Provenance(
        serial="x", date=datetime.date(2026, 1, 1), origin="measured", software_version=__version__, rms=rms
    )
    file = Transform.of("tcp", "gripper_optical_frame", Pose.identity(), provenance)
    return Solution({"T_tcp_gripper.yaml": file}, (2,), "rms 1 mm")


def collecting(count: int = 3) -> Session:
    session = Session().start("hand_eye", ["gripper"], BOARD)
    for number in range(count):
        session = session.capture(replace(SAMPLE, stamp_ns=number + 1))
    return session


def test_from_start_to_acceptance():
    session = collecting()
    assert (session.phase, session.devices, len(session.samples)) == (Phase.COLLECTING, ("gripper",), 3)
    session = session.solve(solution())
    assert session.phase is Phase.SOLVED and "rms 1 mm" in session.message and "accept it" in session.message
    assert session.may_accept().files.keys() == {"T_tcp_gripper.yaml"}
    session = session.finish("saved")
    assert (session.phase, session.samples, session.message) == (Phase.IDLE, (), "saved")
    assert session.start("dock", [], "").devices == ("tracker",)


@pytest.mark.parametrize("verb", ["may_capture", "may_solve", "may_accept", "cancel", "undo"])
def test_nothing_is_done_before_a_session_starts(verb):
    with pytest.raises(CalibrationError, match="the state is IDLE"):
        getattr(Session(), verb)()
    with pytest.raises(CalibrationError, match="the state is IDLE"):
        Session().capture(SAMPLE)


@pytest.mark.parametrize(
    "session", [collecting(), collecting().solving(), collecting().solve(solution())], ids=lambda s: s.phase.name
)
def test_another_session_is_refused_naming_the_one_that_runs(session):
    with pytest.raises(CalibrationError) as refusal:
        session.start("intrinsics", ["left"], BOARD)
    assert f"the state is {session.phase.name} (hand_eye of gripper, 3 samples)" in str(refusal.value)


def test_while_a_solver_is_at_work_all_but_cancel_is_refused_naming_that():
    session = collecting().solving()
    assert session.phase is Phase.SOLVING and len(session.samples) == 3
    verbs = {
        "captured": session.may_capture,
        "undone": session.undo,
        "solved": session.solving,
        "accepted": session.may_accept,
    }
    for verb, call in verbs.items():
        with pytest.raises(CalibrationError, match=rf"the state is SOLVING .*: nothing is {verb} until"):
            call()
    with pytest.raises(CalibrationError, match="SOLVING"):
        session.start("dock", [], "")
    assert session.cancel().phase is Phase.IDLE
    assert session.solve(solution()).may_accept().files.keys() == {"T_tcp_gripper.yaml"}


def test_a_solver_that_finds_nothing_leaves_the_samples():
    session = collecting().solving().unsolved("parallel axes")
    assert (session.phase, len(session.samples), session.message) == (Phase.COLLECTING, 3, "REFUSED: parallel axes")


def test_cancelled_while_another_node_calibrates_says_that_this_one_goes_on():
    session = Session().start("jaw", [], "").solving()
    assert "jaw_tracker/calibrate_jaw was called already and may write its file" in session.cancel().message
    assert "may write" not in Session().start("jaw", [], "").cancel().message


def test_solving_twice_and_accepting_before_solving_are_refused():
    with pytest.raises(CalibrationError, match=r"COLLECTING .* solve first"):
        collecting().may_accept()
    with pytest.raises(CalibrationError, match="SOLVED"):
        collecting().solve(solution()).may_solve()
    with pytest.raises(CalibrationError, match="nothing to solve"):
        collecting(0).may_solve()


def test_accepting_twice_is_refused():
    done = collecting().solve(solution()).finish("saved")
    with pytest.raises(CalibrationError, match="the state is IDLE"):
        done.may_accept()


def test_a_result_beyond_its_threshold_is_shown_and_not_accepted():
    session = collecting().solve(solution(rms=0.02))
    assert session.phase is Phase.SOLVED and "NOT ACCEPTABLE" in session.message
    with pytest.raises(CalibrationError, match=r"T_tcp_gripper\.yaml: provenance\.rms is 0\.02, allowed is at most"):
        session.may_accept()
    assert session.capture(SAMPLE).phase is Phase.COLLECTING


@pytest.mark.parametrize("change", [lambda s: s.capture(SAMPLE), lambda s: s.undo()], ids=["capture", "undo"])
def test_what_is_solved_is_solved_no_longer_once_the_samples_change(change):
    session = change(collecting().solve(solution()))
    assert session.phase is Phase.COLLECTING and session.solution is None


@pytest.mark.parametrize(("number", "left"), [(0, [1, 2]), (1, [2, 3]), (2, [1, 3]), (3, [1, 2])])
def test_undo_takes_the_last_sample_or_the_one_that_is_named(number, left):
    assert [sample.stamp_ns for sample in collecting().undo(number).samples] == left


@pytest.mark.parametrize("number", [-1, 4])
def test_a_sample_that_is_not_there_cannot_be_undone(number):
    with pytest.raises(CalibrationError, match=rf"sample {number} cannot be undone; allowed: 1\.\.3, 0 the last"):
        collecting().undo(number)


@pytest.mark.parametrize(
    ("what", "devices", "board", "reason"),
    [
        ("handeye", ["gripper"], BOARD, "'handeye'; allowed: intrinsics, fisheye"),
        ("hand_eye", ["left"], BOARD, "allowed: 1 of gripper"),
        ("eye_on_base", [], BOARD, "eye_on_base of nothing; allowed: 1 of left, right"),
        ("stereo", ["left"], BOARD, "allowed: 2 of"),
        ("stereo", ["left", "left"], BOARD, "left, left; allowed: 2 of"),
        ("stereo", ["left", "right"], BOARD, "apart is 0 m"),
        ("intrinsics", ["left"], "a board", "names no board"),
    ],
)
def test_a_session_that_makes_no_sense_does_not_start(what, devices, board, reason):
    with pytest.raises(CalibrationError, match=reason):
        Session().start(what, devices, board)


@pytest.mark.parametrize(
    ("what", "devices", "change", "lacks"),
    [
        ("hand_eye", ["gripper"], {"T_base_tcp": None}, "T_base_tcp"),
        ("stereo", ["left", "right"], {"corners": {"left": SEEN}}, "the board in right"),
        ("tracker_world", ["tracker"], {}, "tracked"),
        ("payload", ["arm"], {}, "wrench"),
        ("latency", ["jaw"], {}, "motions"),
    ],
)
def test_a_sample_that_lacks_something_is_not_captured(what, devices, change, lacks):
    session = Session().start(what, devices, BOARD, apart=0.66)
    with pytest.raises(CalibrationError, match=f"not captured, it lacks {lacks}"):
        session.capture(replace(SAMPLE, **change))


def test_what_was_done_or_refused_last_is_what_the_session_says():
    session = collecting().refused("the arm moves")
    assert session.message == "REFUSED: the arm moves" and len(session.samples) == 3
    assert session.tell("sample 4 is captured").message == "sample 4 is captured"


def test_the_jaw_s_samples_are_its_node_s_own():
    session = Session().start("jaw", [], "")
    with pytest.raises(CalibrationError, match=r"jaw_tracker/calibrate_jaw takes its samples itself; close the jaw"):
        session.capture(SAMPLE)
    session.may_solve()
    assert session.finish("written").phase is Phase.IDLE


def test_a_board_is_asked_for_only_where_one_is_shown():
    for what, kind in KINDS.items():
        for device in kind.allowed:
            devices = [device, *kind.allowed][: kind.devices] if kind.devices == 1 else ["left", "right"]
            if kind.shows_board(devices):
                with pytest.raises(CalibrationError, match="names no board"):
                    Session().start(what, devices, "", apart=0.66)
            else:
                assert Session().start(what, devices, "").board is None


_VERBS = st.sampled_from(["start", "capture", "undo", "solving", "unsolved", "solve", "accept", "cancel"])


@given(st.lists(_VERBS, max_size=30))
def test_in_any_order_of_calls_each_is_done_or_refused_naming_the_state(verbs):
    session = Session()
    for verb in verbs:
        calls = {
            "start": lambda s: s.start("hand_eye", ["gripper"], BOARD),
            "capture": lambda s: s.capture(SAMPLE),
            "undo": lambda s: s.undo(),
            "solving": lambda s: s.solving(),
            "unsolved": lambda s: s.unsolved("too few") if s.phase is Phase.SOLVING else s,
            "solve": lambda s: s.solve(solution()),
            "accept": lambda s: s.may_accept() and s.finish("saved"),
            "cancel": lambda s: s.cancel(),
        }
        before = session
        try:
            session = calls[verb](session)
        except CalibrationError as refusal:
            assert f"the state is {before.phase.name}" in str(refusal)
        assert (session.solution is not None) == (session.phase is Phase.SOLVED)
        assert session.phase is not Phase.IDLE or not session.samples
