"""The `kinema` command: subcommands from one table, each imported only when it is called."""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kinema.errors import KinemaError

# name -> module with `configure(parser) -> None` and, without commands of its own, `run(arguments) -> int`; its help
COMMANDS: dict[str, tuple[str, str]] = {
    "lockstep": ("kinema.apps.lockstep", "evaluate a policy in the virtual cell without ROS, as fast as it goes"),
    "episodes": ("kinema.apps.episodes", "what to do with recorded episodes"),
    "demonstrations": ("kinema.apps.demonstrations", "record demonstrations of a simulated person in lockstep"),
    "scenes": ("kinema.apps.scenes", "pictures of the virtual cell with captions, to learn words from"),
    "ground": ("kinema.apps.ground", "learn from captioned pictures what words mean, before a policy is trained"),
    "train": ("kinema.apps.train", "train a policy on exported demonstrations"),
    "build-engine": ("kinema.apps.build_engine", "build a trained policy's engines for this machine"),
    "doctor": ("kinema.apps.doctor", "is this machine fit for a cell, and what to do where it is not"),
    "calibration": ("kinema.apps.calibration", "a cell's calibration files, those in force and the previous ones"),
    "board": ("kinema.apps.board", "a calibration board to print, as a PDF at true scale"),
    "clock": ("kinema.apps.clock", "a page that shows the time to cameras, by which their latency is measured"),
    "pusht": ("kinema.apps.pusht", "the PushT benchmark: demonstrations, evaluation, table"),
    "evaluate": ("kinema.apps.evaluate", "what a policy can do in the virtual cell"),
}


class LazyParser(argparse.ArgumentParser):
    """A command that imports its module only when it is called."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module:
            command = importlib.import_module(self.module)
            command.configure(self)
            if hasattr(command, "run"):
                self.set_defaults(run=command.run, prog=self.prog)
        return super().parse_known_args(args, namespace)


def add_commands(parser: argparse.ArgumentParser, table: Mapping[str, tuple[str, str]]) -> None:
    """One subcommand a row; the parsed arguments' `run` is that of the command called."""
    commands = parser.add_subparsers(required=True, metavar="command", parser_class=LazyParser)
    for name, (module, text) in table.items():
        commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.").module = module


def positive(text: str) -> int:
    """An argument that is 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error that Kinema raised on purpose is one line on stderr and exit status 2."""
    parser = argparse.ArgumentParser(prog="kinema", description="Kinema without ROS.")
    add_commands(parser, COMMANDS)
    parsed = parser.parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KinemaError as error:
        print(f"{parsed.prog}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
