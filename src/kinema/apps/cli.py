"""The `kinema` command: subcommands from one table, each imported only when it is called."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from kinema.errors import KinemaError

# name -> module with `configure(parser) -> None` and `run(arguments) -> int`, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "lockstep": ("kinema.apps.lockstep", "evaluate a policy in the virtual cell without ROS, as fast as it goes"),
}


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Every command's name and help, and the options of the one that is called."""
    parser = argparse.ArgumentParser(prog="kinema", description="Kinema without ROS.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == command:
            importlib.import_module(module).configure(sub)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an error that Kinema raised on purpose is one line on stderr and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), None)
    parsed = _parser(command).parse_args(words)
    module, _ = COMMANDS[parsed.command]
    try:
        return int(importlib.import_module(module).run(parsed))
    except KinemaError as error:
        print(f"kinema {parsed.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
