"""`ros2 service`: list, call."""

import argparse

from ros2_standin.commands.graph import PATIENCE, answer, as_yaml, filled, interface, observer, settled
from ros2_standin.errors import CommandError


def add(verbs: argparse._SubParsersAction) -> None:
    commands = verbs.add_parser("service", help="look at and call services").add_subparsers(
        metavar="list|call", required=True
    )
    parser = commands.add_parser("list", help="names of all services")
    parser.add_argument("-t", "--show-types", action="store_true")
    parser.set_defaults(main=show)
    parser = commands.add_parser("call", help="call a service and print its answer")
    parser.add_argument("service")
    parser.add_argument("type", help="such as std_srvs/srv/Trigger")
    parser.add_argument("values", nargs="?", default="{}", help="the request's fields as YAML")
    parser.set_defaults(main=call)


def show(options: argparse.Namespace) -> int:
    with observer() as node:
        for name, types in settled(lambda: sorted(node.get_service_names_and_types())):
            print(f"{name} [{', '.join(types)}]" if options.show_types else name)
    return 0


def call(options: argparse.Namespace) -> int:
    kind = interface(options.type)
    request = filled(kind.Request(), options.values)
    with observer() as node:
        client = node.create_client(kind, options.service)
        if not client.wait_for_service(PATIENCE):
            raise CommandError(f"service '{options.service}' did not appear within {PATIENCE:.0f} s")
        print(f"requester: making request: {request}\n\nresponse:")
        response = answer(node, client.call_async(request), f"service '{options.service}'", patience=None)
        print(as_yaml(response), end="")
    return 0
