"""Sessions that check what others have made, by touched corners; and cameras that are timed by the displayed clock."""

import datetime
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from kinema import cell_file
from kinema.calibration.files import Latencies, Transform, load, save
from kinema.calibration.progress import progress
from kinema.calibration.senses import Look, Senses, look, looks_through, ring
from kinema.calibration.session import Sample, Session, to_touch
from kinema.calibration.solving import Setting, setting, solve
from kinema.clock import NS
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.paths import root
from kinema.robots import GRIPPER
from kinema.virtual import board_samples, noise
from kinema.virtual.board_samples import BOARD, SIZE
from kinema.virtual.board_view import board_on_the_table
from kinema.virtual.cameras import camera

TODAY = datetime.date(2026, 11, 20)
START = 1_000 * NS
LEFT = camera("left")
AWAY = Pose.from_rotvec([0.4, 0.0, 0.4], [math.pi, 0.0, 0.0])
SCREEN = "clock 59.94Hz 12ms"


@pytest.fixture
def place(tmp_path: Path) -> Setting:
    folder = shutil.copytree(root() / "calibration/virtual", tmp_path / "calibration")
    cell = cell_file.load("launch/cells/virtual.yaml")
    return setting(cell.model_copy(update={"calibration": str(folder)}), TODAY)


def seen():
    T_camera_board = LEFT.T_mount_camera.inverse() @ board_on_the_table(BOARD)
    found = board_samples.look(
        BOARD, LEFT.info(SIZE), T_camera_board, np.random.default_rng(0), noise.load(), LEFT.max_angle
    )
    assert found is not None
    return found


def touching(number: int) -> Pose:
    """`T_base_tcp` while the closed fingers, which reach beyond the TCP, point down at a corner."""
    tip = Pose(board_on_the_table(BOARD).apply(BOARD.points[number]), np.diag([1.0, -1.0, -1.0]))
    return tip @ Pose(np.array([0.0, 0.0, -GRIPPER.tip]), np.eye(3))


def touched() -> Session:
    session = Session().start("verify", ["left"], BOARD.name)
    session = session.capture(Sample(1, {"left": seen()}, T_base_tcp=AWAY))
    while session.corner is not None:
        session = session.capture(Sample(1, T_base_tcp=touching(session.corner)))
    return session


def test_the_board_is_looked_at_first_then_the_outermost_corners_are_touched():
    session = Session().start("verify", ["left"], BOARD.name)
    assert "in view of it" in progress(session).show_next and session.corner is None
    with pytest.raises(CalibrationError, match="lacks the board in left"):
        session.capture(Sample(1, T_base_tcp=AWAY))
    session = session.capture(Sample(1, {"left": seen()}, T_base_tcp=AWAY))
    assert session.corner == 0 and "corner 0, ringed" in session.message
    assert "corner 0, ringed" in progress(session).show_next
    session = session.capture(Sample(2, T_base_tcp=touching(0)))
    assert session.corner == 7 and session.samples[-1].touched == 0
    assert session.undo(2).corner == 0
    assert session.undo(1).corner is None and "corners" in session.undo(1).needs
    assert to_touch(BOARD)[:4] == (0, 7, 39, 32)
    with pytest.raises(CalibrationError, match="all corners are touched: solve"):
        touched().may_capture()


def test_where_the_next_corner_is_is_ringed_also_when_the_arm_hides_it():
    session = Session().start("verify", ["left"], BOARD.name)
    assert ring(session, "left", Look(START, seen())) is None
    session = session.capture(Sample(1, {"left": seen()}, T_base_tcp=AWAY))
    assert ring(session, "left", Look(START, problem="no board")) == pytest.approx(seen().pixels[0])


def test_a_right_calibration_is_told_from_a_knocked_camera_and_nothing_is_written(place):
    solution = solve(touched(), place)
    assert "good enough" in solution.report and "NOT" not in solution.report and not solution.files
    assert "accept ends it" in touched().solve(solution).message
    path = place.folder / "T_base_left.yaml"
    file = load(path, Transform, remedy="")
    knocked = Pose.from_rotvec([0.004, 0.0, 0.0], [0.0, 0.01, 0.0]) @ file.pose
    save(path, Transform.of(file.parent, file.child, knocked, file.provenance))
    assert "NOT GOOD ENOUGH" in solve(touched(), place).report


def test_a_board_that_was_never_touched_checks_nothing(place):
    session = Session().start("verify", ["left"], BOARD.name)
    with pytest.raises(CalibrationError, match="no corner was touched"):
        solve(session.capture(Sample(1, {"left": seen()}, T_base_tcp=AWAY)), place)


def clocked(late: float, count: int = 400) -> Session:
    """A camera that is `late` [s], before a screen that is 12 ms late."""
    session = Session().start("latency", ["left"], SCREEN)
    heard, period, rng = Senses(session, {}), 1 / 59.94, np.random.default_rng(0)
    for k in range(count):
        moment = k / 30 + 3e-4 * rng.standard_normal()
        shown = math.floor((moment - 0.012) / period) * period
        heard.look("left", Look(START + round((moment + late) * NS), shown_ns=START + round(shown * NS)))
    return session.capture(heard.sample(START + round((count / 30 + late) * NS), session.needs))


def test_a_camera_is_timed_by_the_clock_that_the_session_names(place):
    before = load(place.folder / "latency.yaml", Latencies, remedy="").devices["left"].seconds
    solution = solve(clocked(0.031), place)
    assert solution.files["latency.yaml"].devices["left"].seconds == pytest.approx(before + 0.031, abs=0.002)


def test_a_clock_that_is_not_this_machine_s_is_refused(place):
    with pytest.raises(CalibrationError, match="not this machine's Kinema time"):
        solve(clocked(3.0), place)


def test_a_session_by_the_clock_looks_for_it_and_says_what_is_not_seen():
    session = Session().start("latency", ["left"], SCREEN)
    assert session.board is None and session.target == session.clock and looks_through(session) == ("left",)
    heard = Senses(session, {})
    heard.look("left", look(START, np.full((120, 160, 3), 90, np.uint8), session.clock))
    with pytest.raises(CalibrationError, match=r"left has not read the clock for 1 s: of the clock's four tags 0"):
        heard.sample(START)
    with pytest.raises(CalibrationError, match="names no clock"):
        Session().start("latency", ["left"], "clock")
    with pytest.raises(CalibrationError):
        Session().start("latency", ["tracker"], SCREEN)
