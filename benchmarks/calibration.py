"""Calibration against the virtual cell's truth, beside plain OpenCV on the same samples, and with fewer of them.

    . tools/env.sh; python benchmarks/calibration.py [intrinsics fisheye ...]

What a row is measured on stands in the module that it comes from. OpenCV has nothing for latency and payload: beside
those stands the plain method that people use.
"""

import argparse
from collections.abc import Callable

import calibration_jaw
import calibration_lenses
import calibration_motion
import calibration_transforms
import cv2
from rich.console import Console
from rich.table import Table

ROWS: dict[str, Callable[[], Table]] = {
    **calibration_lenses.ROWS,
    **calibration_transforms.ROWS,
    **calibration_jaw.ROWS,
    **calibration_motion.ROWS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"{', '.join(ROWS)}; none: all")
    wanted = parser.parse_args().rows or list(ROWS)
    if unknown := set(wanted) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; allowed: {', '.join(ROWS)}")
    cv2.setNumThreads(1)
    console = Console(width=170)
    for row in wanted:
        console.print(row)
        console.print(ROWS[row]())


if __name__ == "__main__":
    main()
