"""A board as a PDF page at true scale, with a ruler along either side to check the printer by. Pure.

Everything is drawn as filled rectangles, so what a printer makes of it is as sharp as the printer is. Source: PDF 1.4
reference, Adobe 2001; a page's unit is 1/72 inch, its origin the lower left corner.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from kinema.calibration.boards import Board
from kinema.errors import CalibrationError

PAPERS = {
    "A5": (148, 210),
    "A4": (210, 297),
    "A3": (297, 420),
    "A2": (420, 594),
    "A1": (594, 841),
    "letter": (216, 279),
}

_POINTS = 72 / 25.4  # a millimetre's
_MARGIN = 5.0  # [mm] that printers leave white
_GAP = 3.0  # [mm] between the squares and a ruler
_RULER = 6.0  # [mm] across a ruler
_LINE = 0.2  # [mm]
_TEXT = 3.0  # [mm] height of letters


def page(board: Board, paper: str) -> tuple[float, float]:
    """Width, height [mm] of the paper, turned so that the board fits; CalibrationError naming those that are enough."""
    if paper not in PAPERS:
        raise CalibrationError(f"paper {paper!r} is unknown; allowed: {', '.join(PAPERS)}")
    wanted = 1e3 * np.array(board.size) + 2 * _MARGIN + (_GAP + _RULER) * np.array([1, 2])

    def fits(size: Sequence[float]) -> bool:
        return bool((wanted <= np.array(size)).all())

    turned = {name: [size for size in (sides, sides[::-1]) if fits(size)] for name, sides in PAPERS.items()}
    if not turned[paper]:
        enough = ", ".join(name for name, sizes in turned.items() if sizes) or "none"
        raise CalibrationError(
            f"the board {board.name!r} and its rulers need {wanted[0]:.0f} x {wanted[1]:.0f} mm, more than {paper}; "
            f"allowed: {enough}, or smaller squares"
        )
    width, height = turned[paper][0]
    return float(width), float(height)


def pdf(board: Board, paper: str = "A4") -> bytes:
    """The page; raises CalibrationError for a board that the paper is too small for."""
    width, height = page(board, paper)
    board_width, board_height = 1e3 * np.array(board.size)
    left, top = (width - board_width - _GAP - _RULER) / 2, (height - board_height - 2 * (_GAP + _RULER)) / 2
    black = 1e3 * board.black() + [left, top, 0.0, 0.0]
    across = _ruler(int(board_width // 10) * 10)
    below, beside = top + board_height + _GAP, left + board_width + _GAP
    boxes = [tuple(box) for box in black.tolist()]
    boxes += [(left + along, below, thick, deep) for along, thick, deep in across]
    boxes += [(beside, top + along, deep, thick) for along, thick, deep in _ruler(int(board_height // 10) * 10)]
    words = [
        (left, below + _RULER + _GAP, board.name),
        (left, below + _RULER + _GAP + 1.4 * _TEXT, _advice(board)),
    ]
    return _document(width, height, boxes, words)


def _ruler(length: int) -> list[tuple[float, float, float]]:
    """Ticks of a ruler of `length` [mm], a hairline each: where, how thick, how long."""
    deep = {0: 1.0, 5: 0.7}
    ticks = [(k - _LINE / 2, _LINE, _RULER * deep.get(k % 10, 0.4)) for k in range(length + 1)]
    return [*ticks, (-_LINE / 2, length + _LINE, _LINE)]


def _advice(board: Board) -> str:
    width, height = (int(1e3 * side // 10) * 10 for side in board.size)
    return f"Print at 100 %, glue it to something flat, and measure: the rulers are {width} mm and {height} mm long."


def _document(
    width: float, height: float, boxes: Iterable[Sequence[float]], words: Sequence[tuple[float, float, str]]
) -> bytes:
    """One page of boxes (x, y, width, height) and of words at (x, y of their foot) [mm], y downwards."""
    content = [f"q {_POINTS:.9f} 0 0 {-_POINTS:.9f} 0 {height * _POINTS:.6f} cm"]
    content += [" ".join(f"{value:.5f}" for value in box) + " re" for box in boxes]
    content += ["f Q"]
    for x, y, text in words:
        at = f"{x * _POINTS:.3f} {(height - y) * _POINTS:.3f}"
        content.append(f"BT /F1 {_TEXT * _POINTS:.3f} Tf {at} Td ({text}) Tj ET")
    stream = "\n".join(content).encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width * _POINTS:.4f} {height * _POINTS:.4f}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    document, places = b"%PDF-1.4\n", []
    for number, content_of in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, content_of)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    ending = b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return document + ending % (len(objects) + 1, table, len(objects) + 1, len(document))
