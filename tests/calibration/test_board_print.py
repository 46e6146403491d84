"""The printed board: whoever reads the page finds the board on it, as large as it says."""

import re

import cv2
import numpy as np
import pytest

from kinema.apps import cli
from kinema.calibration import board_print
from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT, Board
from kinema.errors import CalibrationError

POINT = 25.4 / 72  # [mm]
DENSE = 5  # [px/mm]


def _boxes(document: bytes) -> np.ndarray:
    """(n, 4) x, y, width, height [mm] of the page's rectangles, from its upper left corner."""
    page_height = float(re.search(rb"MediaBox \[0 0 \S+ (\S+)\]", document)[1]) * POINT
    scale, a, b, down, x0, y0 = (
        float(v) for v in re.search(rb"q (\S+) (\S+) (\S+) (\S+) (\S+) (\S+) cm", document).groups()
    )
    assert (a, b, x0) == (0, 0, 0)
    assert down == -scale
    boxes = np.array([[float(v) for v in line.split()[:4]] for line in document.split(b"\n") if line.endswith(b" re")])
    boxes *= scale * POINT
    boxes[:, 1] += page_height - y0 * POINT
    return boxes


def _raster(document: bytes) -> np.ndarray:
    width, height = (float(v) * POINT for v in re.search(rb"MediaBox \[0 0 (\S+) (\S+)\]", document).groups())
    image = np.full((round(height * DENSE), round(width * DENSE)), 255, np.uint8)
    for x, y, w, h in np.rint(_boxes(document) * DENSE).astype(int):
        image[y : y + h, x : x + w] = 0
    return image


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        (DEFAULT.name, "A4"),
        ("charuco 6x8 25mm 18mm DICT_4X4_250", "A4"),
        ("chessboard 9x6 30mm", "A3"),
        ("aprilgrid 4x3 50mm 40mm DICT_APRILTAG_36h11", "letter"),
    ],
)
def test_the_board_on_the_page_is_the_board_at_true_scale(name, paper):
    board = Board.parse(name)
    image = cv2.GaussianBlur(_raster(board_print.pdf(board, paper)), (0, 0), 1.0)
    seen = detect(image, board)
    assert len(seen.ids) == len(board.points)
    millimetres = (seen.pixels - seen.pixels[0]) / DENSE
    np.testing.assert_allclose(millimetres, 1e3 * (board.points - board.points[0])[:, :2], atol=0.15)


def test_the_rulers_lie_outside_of_the_squares_and_are_as_long_as_the_page_says():
    document = board_print.pdf(DEFAULT)
    rulers = _boxes(document)[len(DEFAULT.black()) :]
    across, down = rulers[rulers[:, 2] > 100], rulers[rulers[:, 3] > 100]
    assert across[0, 2] == pytest.approx(270, abs=0.5)
    assert down[0, 3] == pytest.approx(180, abs=0.5)
    assert b"270 mm and 180 mm long" in document
    squares = _boxes(document)[: len(DEFAULT.black())]
    assert across[0, 1] > (squares[:, 1] + squares[:, 3]).max() + 2
    assert down[0, 0] > (squares[:, 0] + squares[:, 2]).max() + 2


def test_the_file_is_a_pdf_whose_table_points_at_its_objects():
    document = board_print.pdf(DEFAULT)
    assert document.startswith(b"%PDF-1.4")
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", document)[1])
    assert document[start:].startswith(b"xref")
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", document), 1):
        assert document[int(place) :].startswith(b"%d 0 obj" % number)
    length = int(re.search(rb"/Length (\d+)", document)[1])
    assert document.split(b"stream\n")[1][length:].startswith(b"\nend")


def test_a_paper_that_is_too_small_is_refused_naming_those_that_do():
    with pytest.raises(CalibrationError, match=r"need 289 x 208 mm, more than A5; allowed: A4, A3, A2, A1"):
        board_print.pdf(DEFAULT, "A5")
    with pytest.raises(CalibrationError, match="paper 'B4' is unknown; allowed: A5, A4"):
        board_print.pdf(DEFAULT, "B4")


def test_kinema_board_writes_the_file_and_refuses_what_is_no_board(tmp_path, capsys):
    path = tmp_path / "new" / "board.pdf"
    assert cli.main(["board", "chessboard 9x6 30mm", "--paper", "A3", "--out", str(path)]) == 0
    assert path.read_bytes() == board_print.pdf(Board.parse("chessboard 9x6 30mm"), "A3")
    assert "chessboard 9x6 30mm" in capsys.readouterr().out
    assert cli.main(["board", "a board", "--out", str(path)]) == 2
    assert "names no board" in capsys.readouterr().err
