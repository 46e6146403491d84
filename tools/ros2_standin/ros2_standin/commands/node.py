"""`ros2 node`: list."""

import argparse

from ros2_standin.commands.graph import observer, settled


def add(verbs: argparse._SubParsersAction) -> None:
    commands = verbs.add_parser("node", help="look at nodes").add_subparsers(metavar="list", required=True)
    parser = commands.add_parser("list", help="names of all nodes")
    parser.set_defaults(main=show)


def show(options: argparse.Namespace) -> int:
    with observer() as node:
        for name, namespace in settled(lambda: sorted(node.get_node_names_and_namespaces())):
            if not name.startswith("_"):
                print(f"{namespace.rstrip('/')}/{name}")
    return 0
