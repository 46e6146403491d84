"""`kinema board`: a calibration board to print, at true scale."""

import argparse
from pathlib import Path

from kinema.apps.console import console
from kinema.calibration import board_print
from kinema.calibration.boards import DEFAULT, Board


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", default=DEFAULT.name, help="kind, squares, sizes, dictionary; default '%(default)s'"
    )
    parser.add_argument("--paper", default="A4", help=f"{', '.join(board_print.PAPERS)}; default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("board.pdf"), metavar="FILE", help="default %(default)s")


def run(arguments: argparse.Namespace) -> int:
    board = Board.parse(arguments.name)
    page = board_print.pdf(board, arguments.paper)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(page)
    console().print(f"{arguments.out}: {board.name}; print it at 100 %, then measure the rulers", soft_wrap=True)
    return 0
