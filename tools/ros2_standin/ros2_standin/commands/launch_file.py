"""`ros2 launch`: run a Python launch file of a package, or by its path."""

import argparse
import os
import tempfile
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from ros2_standin.errors import CommandError
from ros2_standin.launching import modules
from ros2_standin.launching.actions import PythonLaunchDescriptionSource, declared_arguments
from ros2_standin.launching.entities import Context, describe
from ros2_standin.launching.service import launch


def add(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("launch", help="run a launch file")
    parser.add_argument("-s", "--show-args", "--show-arguments", action="store_true", help="show the file's arguments")
    parser.add_argument("-n", "--noninteractive", action="store_true", help="accepted; makes no difference here")
    parser.add_argument("package", metavar="package_or_file", help="the package that has the file, or a path to one")
    parser.add_argument("rest", nargs="*", metavar="[file] name:=value", help="the file in the package; its arguments")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    rest = list(options.rest)
    path = options.package if os.path.isfile(options.package) else _in_package(options.package, rest)
    arguments = dict(_argument(text) for text in rest)
    modules.install()
    if options.show_args:
        _show(path)
        return 0
    return launch(path, arguments)


def _in_package(package: str, rest: list[str]) -> str:
    if not rest or ":=" in rest[0]:
        raise CommandError(f"'{package}' is no file; which launch file of the package '{package}'?")
    name = rest.pop(0)
    try:
        share = Path(get_package_share_directory(package))
    except (PackageNotFoundError, ValueError) as error:
        raise CommandError(str(error)) from error
    found = sorted(path for path in share.rglob(name) if path.is_file())
    if len(found) != 1:
        raise CommandError(
            f"'{name}' was found {len(found)} times in {share}" + "".join(f"\n  {path}" for path in found)
        )
    return str(found[0])


def _argument(text: str) -> tuple[str, str]:
    name, mark, value = text.partition(":=")
    if not (name and mark and value):
        raise CommandError(f"malformed launch argument '{text}', expected '<name>:=<value>'")
    return name, value


def _show(path: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _, description = PythonLaunchDescriptionSource(path).load(Context(Path(scratch)))
    print("Arguments (pass arguments as '<name>:=<value>'):")
    arguments = list(declared_arguments([description]))
    for argument, conditional in arguments:
        print(f"\n    '{argument.name}':{'*' * conditional}\n        {argument.explained}")
        if argument.default_value is not None:
            print(f"        (default: {describe(argument.default_value)})")
    if not arguments:
        print("\n  No arguments.")
    if any(conditional for _, conditional in arguments):
        print("\n* argument(s) which are only used if specific conditions occur")
