"""Boards: their points and print, and what is found of them, or refused, in pictures."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT, Board
from kinema.errors import CalibrationError
from kinema.geometry import Pose, so3_exp
from kinema.virtual.board_view import BoardView, picture
from kinema.virtual.cameras import camera

BOARDS = {
    "charuco": DEFAULT,
    "chessboard": Board.parse("chessboard 9x6 30mm"),
    "aprilgrid": Board.parse("aprilgrid 6x4 45mm 35mm DICT_APRILTAG_36h11"),
}
QUICK = ["charuco", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("chessboard", "aprilgrid"))]
SIDE, FISHEYE = (camera(name).info((640, 480)) for name in ("left", "gripper"))


def _pose(board: Board, distance: float, turn=(0.2, -0.3, 0.1), offset=(0.02, -0.01)) -> Pose:
    rotation = so3_exp(np.array(turn))
    return Pose(np.array([*offset, distance]) - rotation @ np.array([*board.size, 0.0]) / 2, rotation)


@pytest.fixture(scope="module")
def views():
    return {kind: BoardView(board, SIDE) for kind, board in BOARDS.items()}


@pytest.fixture(scope="module")
def seen(views):
    """One noisy picture of each board."""
    rng = np.random.default_rng(0)
    return {kind: view.render(_pose(BOARDS[kind], 0.55), rng) for kind, view in views.items()}


@st.composite
def boards(draw):
    kind = draw(st.sampled_from(["charuco", "chessboard", "aprilgrid"]))
    columns, rows = draw(st.integers(3, 9)), draw(st.integers(3, 9))
    square = draw(st.integers(5_000, 100_000)) / 1e6
    if kind == "chessboard":
        return Board(kind, columns, rows + (columns + rows + 1) % 2, square)
    dictionary = draw(st.sampled_from(["DICT_5X5_100", "DICT_6X6_250", "DICT_APRILTAG_36h11"]))
    return Board(kind, columns, rows, square, square * draw(st.integers(40, 90)) / 100, dictionary)


@settings(max_examples=40)
@given(boards())
def test_a_boards_name_says_all_of_it(board):
    assert Board.parse(board.name) == board


@settings(max_examples=40)
@given(boards())
def test_points_and_print_lie_within_the_squares_and_the_tags_on_white(board):
    width, height = board.size
    assert (board.points >= 0).all()
    assert (board.points <= [width, height, 0.0]).all()
    black = board.black()
    assert (black[:, :2] >= -1e-9).all()
    assert (black[:, :2] + black[:, 2:] <= np.array([width, height]) + 1e-9).all()
    area = (black[:, 2] * black[:, 3]).sum() / (width * height)
    assert 0.1 < area < 0.95
    if board.kind == "aprilgrid":
        np.testing.assert_allclose(board.points.reshape(-1, 4, 3), [board.tag(i) for i in range(board.tags)])


def test_the_print_is_opencvs_own():
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    board = cv2.aruco.CharucoBoard((9, 6), DEFAULT.square, DEFAULT.marker, dictionary)
    np.testing.assert_allclose(DEFAULT.points, board.getChessboardCorners(), atol=1e-7)
    np.testing.assert_allclose([DEFAULT.tag(i) for i in range(DEFAULT.tags)], board.getObjPoints(), atol=1e-7)
    drawn = board.generateImage((9 * 60, 6 * 60)) / 255
    assert np.abs(drawn - picture(DEFAULT, 60)).mean() < 0.02


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("circles 9x6 30mm", "names no board; allowed is a kind"),
        ("charuco 9x6 30 mm", "names no board"),
        ("charuco 9x6 30mm", "0 < marker < square"),
        ("charuco 9x6 30mm 30mm DICT_5X5_100", "0 < marker < square"),
        ("charuco 9x6 30mm 22mm DICT_PLAIN", "dictionary 'DICT_PLAIN' is unknown"),
        ("charuco 20x20 30mm 22mm DICT_5X5_100", "needs 200 tags, DICT_5X5_100 has 100"),
        ("charuco 2x6 30mm 22mm DICT_5X5_100", "allowed are 3 to 40"),
        ("chessboard 9x7 30mm", "looks the same upside down"),
        ("chessboard 9x6 30mm 22mm DICT_5X5_100", "has no tags"),
        ("chessboard 9x6 3000mm", "allowed are 0 < square <= 2.0 m"),
    ],
)
def test_what_is_no_board_is_refused(name, words):
    with pytest.raises(CalibrationError, match=words):
        Board.parse(name)


@pytest.mark.parametrize("kind", BOARDS)
def test_corners_are_found_where_they_are(seen, kind):
    board = BOARDS[kind]
    corners = detect(seen[kind], board)
    np.testing.assert_array_equal(corners.ids, np.arange(len(board.points)))
    off = corners.pixels - SIDE.project(_pose(board, 0.55).apply(board.points))
    assert np.sqrt((off**2).sum(axis=1).mean()) < 0.12
    assert np.abs(off.mean(axis=0)).max() < 0.03
    assert corners.size == (640, 480)
    assert 0.4 < corners.blur < 1.1


@pytest.mark.parametrize("kind", BOARDS)
def test_a_board_upside_down_keeps_its_numbers(seen, kind):
    board = BOARDS[kind]
    corners = detect(np.ascontiguousarray(seen[kind][::-1, ::-1]), board)
    expected = np.array([639, 479]) - SIDE.project(_pose(board, 0.55).apply(board.points[corners.ids]))
    assert np.abs(corners.pixels - expected).max() < 0.5


@pytest.mark.parametrize("kind", ["charuco", "aprilgrid"])
def test_a_fisheyes_bent_sides_and_a_board_that_is_partly_outside_are_no_hindrance(kind):
    board = BOARDS[kind]
    pose = _pose(board, 0.13, offset=(0.09, 0.02))
    corners = detect(BoardView(board, FISHEYE).render(pose, np.random.default_rng(1)), board)
    assert 12 <= len(corners.ids) < len(board.points)
    off = corners.pixels - FISHEYE.project(pose.apply(board.points[corners.ids]))
    assert np.sqrt((off**2).sum(axis=1).mean()) < 0.2


@pytest.mark.parametrize("kind", QUICK)
def test_blur_is_measured_and_grows(views, kind):
    board, pose = BOARDS[kind], _pose(BOARDS[kind], 0.4, turn=(0.0, 0.0, 0.0))
    measured = [detect(views[kind].render(pose, None, blur), board).blur for blur in (0.5, 1.0, 1.5)]
    assert measured == sorted(measured)
    assert measured[2] == pytest.approx(math.hypot(1.5, 0.5), abs=0.35)


@pytest.mark.parametrize(
    ("kind", "motion"),
    [
        ("charuco", (9.0, 0.0)),
        pytest.param("aprilgrid", (0.0, 9.0), marks=pytest.mark.slow),
        pytest.param("chessboard", (9.0, 0.0), marks=pytest.mark.slow),
    ],
)
def test_a_moving_board_is_blurred(views, kind, motion):
    image = views[kind].render(_pose(BOARDS[kind], 0.4, turn=(0.0, 0.0, 0.0)), np.random.default_rng(2), 0.5, motion)
    with pytest.raises(CalibrationError, match=r"is blurred|sharp"):
        detect(image, BOARDS[kind])


@pytest.mark.parametrize("kind", QUICK)
def test_an_unsharp_board_says_so_or_is_none(views, kind):
    image = views[kind].render(_pose(BOARDS[kind], 0.5), np.random.default_rng(3), 3.5)
    with pytest.raises(CalibrationError, match=r"is blurred|sharp"):
        detect(image, BOARDS[kind])


@pytest.mark.parametrize("kind", BOARDS)
def test_no_board_is_refused(kind):
    noise = np.random.default_rng(4).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    for image in (np.full((480, 640, 3), 127, np.uint8), noise):
        with pytest.raises(CalibrationError, match=r"no board '|squares are seen, none is a tag"):
            detect(image, BOARDS[kind])


@pytest.mark.parametrize("kind", ["charuco", "aprilgrid"])
def test_a_mirrored_board_is_refused(seen, kind):
    with pytest.raises(CalibrationError, match="mirrored"):
        detect(np.ascontiguousarray(seen[kind][:, ::-1]), BOARDS[kind])


@pytest.mark.parametrize(
    ("kind", "wanted", "words"),
    [
        ("charuco", "charuco 9x6 30mm 22mm DICT_6X6_250", r"2\d tags of DICT_5X5_1000: it is another board"),
        ("charuco", "charuco 8x6 30mm 22mm DICT_5X5_100", "stand elsewhere than|it is another board"),
        ("charuco", "charuco 10x6 30mm 22mm DICT_5X5_100", "stand elsewhere than"),
        (
            "charuco",
            "charuco 5x4 30mm 22mm DICT_5X5_100",
            r"tag 10 is seen, the board .* has 0\.\.9: it is another board",
        ),
        (
            "charuco",
            "charuco 9x6 33mm 22mm DICT_5X5_100",
            r"edge is 0\.7\d\d of the squares', .* it is 0\.667: measure",
        ),
        ("aprilgrid", "aprilgrid 6x4 40mm 35mm DICT_APRILTAG_36h11", r"edge is 0\.7\d\d of the squares'"),
        ("aprilgrid", DEFAULT.name, r"tags of DICT_APRILTAG_36h11: it is another board"),
        ("chessboard", "chessboard 8x7 30mm", "no board"),
        ("chessboard", DEFAULT.name, "no board|none is a tag"),
    ],
)
def test_another_board_than_said_is_refused(seen, kind, wanted, words):
    with pytest.raises(CalibrationError, match=words):
        detect(seen[kind], Board.parse(wanted))


@pytest.mark.parametrize("kind", QUICK)
def test_two_boards_are_refused(views, kind):
    small = [cv2.resize(views[kind].render(_pose(BOARDS[kind], d), None), (420, 420)) for d in (0.62, 0.7)]
    with pytest.raises(CalibrationError, match="show one board"):
        detect(np.hstack(small), BOARDS[kind])


def test_too_few_corners_are_refused(seen):
    covered = seen["charuco"].copy()
    corners = detect(covered, DEFAULT)
    edge = int(corners.pixels[corners.ids % 8 == 2][:, 0].max()) - 20
    covered[:, edge:] = 127
    with pytest.raises(CalibrationError, match=r"\d corners of the board .* are seen, needed are 8"):
        detect(covered, DEFAULT)
