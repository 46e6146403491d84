"""`ros2 topic`: list, echo, hz."""

import argparse
import time
from collections import deque
from typing import Any

import numpy as np
import rclpy

from ros2_standin.commands.graph import as_yaml, interface, observer, quality, settled, topic_type


def add(verbs: argparse._SubParsersAction) -> None:
    commands = verbs.add_parser("topic", help="look at topics").add_subparsers(metavar="list|echo|hz", required=True)
    parser = commands.add_parser("list", help="names of all topics")
    parser.add_argument("-t", "--show-types", action="store_true")
    parser.set_defaults(main=show)
    parser = commands.add_parser("echo", help="print messages")
    parser.add_argument("topic")
    parser.add_argument("type", nargs="?", help="such as std_msgs/msg/String; found out if it is not given")
    parser.add_argument("--once", action="store_true", help="end after one message")
    parser.set_defaults(main=echo)
    parser = commands.add_parser("hz", help="measure the rate of arrivals")
    parser.add_argument("topic")
    parser.add_argument("-w", "--window", type=int, default=10000, help="arrivals to average over")
    parser.set_defaults(main=hz)


def show(options: argparse.Namespace) -> int:
    with observer() as node:
        for name, types in settled(lambda: sorted(node.get_topic_names_and_types())):
            print(f"{name} [{', '.join(types)}]" if options.show_types else name)
    return 0


def echo(options: argparse.Namespace) -> int:
    with observer() as node:
        topic = _absolute(options.topic)
        messages: deque[Any] = deque()
        kind = interface(options.type or topic_type(node, topic))
        node.create_subscription(kind, topic, lambda message: messages.append(message), quality(node, topic))
        while rclpy.ok():
            rclpy.spin_once(node, timeout_sec=0.1)
            while messages:
                print(as_yaml(messages.popleft()) + "---", flush=True)
                if options.once:
                    return 0
    return 0


def hz(options: argparse.Namespace) -> int:
    with observer() as node:
        topic = _absolute(options.topic)
        arrivals: deque[float] = deque(maxlen=options.window)
        kind = interface(topic_type(node, topic))
        node.create_subscription(
            kind, topic, lambda _: arrivals.append(time.monotonic()), quality(node, topic), raw=True
        )
        reported = time.monotonic()
        while rclpy.ok():
            rclpy.spin_once(node, timeout_sec=0.1)
            if time.monotonic() - reported >= 1.0:
                reported = time.monotonic()
                print(_rate(np.diff(arrivals)), flush=True)
    return 0


def _rate(periods: np.ndarray) -> str:
    """Arrival statistics in the words of the real command; periods in seconds."""
    if not len(periods):
        return "no new messages"
    return (
        f"average rate: {1 / periods.mean():.3f}\n\tmin: {periods.min():.3f}s max: {periods.max():.3f}s "
        f"std dev: {periods.std():.5f}s window: {len(periods) + 1}"
    )


def _absolute(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"
