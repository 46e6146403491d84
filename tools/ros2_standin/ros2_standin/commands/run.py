"""`ros2 run`: become one of a package's executables."""

import argparse
import os
from typing import NoReturn

from ros2_standin.launching.substitutions import executable_in_package


def add(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("run", help="run a node of a package")
    parser.add_argument("package")
    parser.add_argument("executable")
    parser.add_argument(
        "argv", nargs=argparse.REMAINDER, help="arguments of the node, such as --ros-args -p name:=value"
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> NoReturn:
    path = executable_in_package(options.package, options.executable)
    os.execv(path, [path, *options.argv])
