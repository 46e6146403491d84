"""`ros2 param`: get, set."""

import argparse
from typing import Any

from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import get_parameter_value, parameter_value_to_python

from ros2_standin.commands.graph import PATIENCE, answer, observer
from ros2_standin.errors import CommandError


def add(verbs: argparse._SubParsersAction) -> None:
    commands = verbs.add_parser("param", help="read and set parameters").add_subparsers(
        metavar="get|set", required=True
    )
    parser = commands.add_parser("get", help="print a parameter's value")
    parser.add_argument("node")
    parser.add_argument("name")
    parser.set_defaults(main=show)
    parser = commands.add_parser("set", help="set a parameter")
    parser.add_argument("node")
    parser.add_argument("name")
    parser.add_argument("value", help="as YAML")
    parser.set_defaults(main=put)


def show(options: argparse.Namespace) -> int:
    with observer() as node:
        request = GetParameters.Request(names=[options.name])
        values = _ask(node, options.node, GetParameters, "get_parameters", request).values
    if not values or parameter_value_to_python(values[0]) is None:
        raise CommandError(f"node '{options.node}' has no parameter '{options.name}', or it is not set")
    print(f"value is: {parameter_value_to_python(values[0])}")
    return 0


def put(options: argparse.Namespace) -> int:
    with observer() as node:
        parameter = Parameter(name=options.name, value=get_parameter_value(options.value))
        request = SetParameters.Request(parameters=[parameter])
        result = _ask(node, options.node, SetParameters, "set_parameters", request).results[0]
    if not result.successful:
        raise CommandError(f"setting '{options.name}' of '{options.node}' failed: {result.reason}")
    print("Set parameter successful")
    return 0


def _ask(node: Node, target: str, kind: Any, leaf: str, request: Any) -> Any:
    client = node.create_client(kind, f"{target if target.startswith('/') else '/' + target}/{leaf}")
    if not client.wait_for_service(PATIENCE):
        raise CommandError(f"node '{target}' did not appear within {PATIENCE:.0f} s, or it has no parameters")
    return answer(node, client.call_async(request), f"node '{target}'")
