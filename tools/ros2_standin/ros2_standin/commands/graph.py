"""What the commands that look at the ROS graph share: a node of their own, discovery, and messages as YAML."""

import array
import importlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
import yaml
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future

from ros2_standin.errors import CommandError

SETTLED = 3.0  # [s] without news until the graph counts as known
PATIENCE = 10.0  # [s] for something that was named to appear, or to answer
LONGEST = 128  # items of a sequence that are printed


@contextmanager
def observer() -> Iterator[Node]:
    """A node of this command's own, hidden from lists as the real ros2's is."""
    rclpy.init(args=[])
    try:
        yield rclpy.create_node(f"_ros2cli_{os.getpid()}", start_parameter_services=False)
    finally:
        rclpy.try_shutdown()


def settled(look: Callable[[], list]) -> list:
    """What `look` sees once it has seen the same for a while: discovery takes its time."""
    seen, since = look(), time.monotonic()
    while time.monotonic() - since < SETTLED:
        time.sleep(0.1)
        now = look()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def appeared(look: Callable[[], Any], what: str) -> Any:
    """The first true value of `look`; raises CommandError when `what` stays away."""
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > until:
            raise CommandError(
                f"{what} did not appear within {PATIENCE:.0f} s (ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID', '0')})"
            )
        time.sleep(0.05)
    return found


def answer(node: Node, future: Future, what: str, patience: float | None = PATIENCE) -> Any:
    rclpy.spin_until_future_complete(node, future, timeout_sec=patience)
    if not future.done():
        raise CommandError(f"{what} did not answer within {patience:.0f} s")
    return future.result()


def topic_type(node: Node, topic: str) -> str:
    """The type of a topic that somebody publishes or listens to."""
    return appeared(lambda: dict(node.get_topic_names_and_types()).get(topic), f"topic '{topic}'")[0]


def quality(node: Node, topic: str) -> QoSProfile:
    """A quality of service that every present publisher of the topic can serve."""
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    reliable = bool(offered) and all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = bool(offered) and all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        depth=10,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def interface(name: str) -> Any:
    """The class of an interface, such as `std_srvs/srv/Trigger`."""
    try:
        package, kind, leaf = name.split("/")
        return getattr(importlib.import_module(f"{package}.{kind}"), leaf)
    except (ValueError, ImportError, AttributeError) as error:
        raise CommandError(f"interface '{name}' is not to be had here: {error}") from error


def filled(message: Any, values: str) -> Any:
    """`message` with the fields that a YAML text gives."""
    given = yaml.safe_load(values) if values.strip() else {}
    if not isinstance(given, dict):
        raise CommandError(f"expected a YAML dictionary of fields, got {values!r}")
    _fill(message, given)
    return message


def as_yaml(message: Any) -> str:
    return yaml.dump(_plain(message), Dumper=_Dumper, sort_keys=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Fields below each other, plain numbers and texts of a sequence beside each other."""


def _sequence(dumper: yaml.SafeDumper, items: list) -> yaml.Node:
    flat = not any(isinstance(item, dict | list) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(list, _sequence)


def _fill(message: Any, given: dict[str, Any]) -> None:
    types = message.get_fields_and_field_types()
    for name, value in given.items():
        if name not in types:
            raise CommandError(f"{type(message).__name__} has no field '{name}'; it has: {', '.join(types) or 'none'}")
        try:
            setattr(message, name, _converted(types[name], getattr(message, name), value))
        except (AssertionError, TypeError, ValueError) as error:
            raise CommandError(f"{type(message).__name__}.{name} is {types[name]}, not {value!r}: {error}") from error


def _converted(kind: str, present: Any, value: Any) -> Any:
    sequence = re.fullmatch(r"sequence<([^,>]+)(?:, \d+)?>|([^\[]+)\[\d+\]", kind)
    if sequence:
        return [_converted(sequence[1] or sequence[2], None, item) for item in value]
    if kind in ("float", "double"):
        return float(value)
    if "/" in kind:
        part = present if present is not None else interface(kind.replace("/", "/msg/"))()
        _fill(part, value)
        return part
    return value


def _plain(value: Any) -> Any:
    if hasattr(value, "get_fields_and_field_types"):
        return {name: _plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, np.ndarray | array.array | bytes | list | tuple):
        items = [_plain(item) for item in value[:LONGEST]]
        return items if len(value) <= LONGEST else [*items, f"... {len(value) - LONGEST} more"]
    return value.item() if isinstance(value, np.generic) else value
