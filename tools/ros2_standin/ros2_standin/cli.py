"""The `ros2` command: its verbs, and a clear word about those it has not."""

import argparse
import sys
from typing import NoReturn

from ros2_standin.commands import action, launch_file, node, param, run, service, topic
from ros2_standin.errors import CommandError


class _Parser(argparse.ArgumentParser):
    """Says of an unknown verb that the real ros2 may have it."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message:
            message += "; this is a small stand-in for `ros2`, use a full ROS 2 for the rest"
        super().error(message)


def main() -> None:
    parser = _Parser(prog="ros2", description="A small stand-in for the ros2 command; see tools/ros2_standin.")
    verbs = parser.add_subparsers(title="commands", metavar="command", required=True)
    for command in (launch_file, run, topic, node, service, param, action):
        command.add(verbs)
    options = parser.parse_args()
    try:
        sys.exit(options.main(options))
    except CommandError as error:
        sys.exit(f"ros2: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
