"""What a session listens to, while it runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import WrenchStamped
from kinema_interfaces.msg import ExecutorEvent, ExecutorState, GraspForce, JawState
from rclpy.subscription import Subscription

from kinema.calibration.senses import Senses, listens_to, looks_through
from kinema.calibration.session import Session
from kinema.control.messages import State
from kinema.topics import topic
from kinema_ros.convert import pose, time_ns, tracked
from kinema_ros.node import Node
from kinema_ros.topics import QOS, message_type
from stereo_calibration.eyes import Eyes

_EXECUTOR, _EVENTS = "executor/state", "executor/events"


class Ears:
    """`executor` is its state, None until it has been heard. `held` is called when the executor is told to hold."""

    def __init__(self, node: Node, eyes: Eyes, held: Callable[[], None]) -> None:
        self._held = held
        self.executor: State | None = None
        self._node = node
        self._eyes = eyes
        self._subscriptions: list[Subscription] = []

    def open(self, session: Session, senses: Senses) -> None:
        """Hear all that the session's samples need."""
        take: dict[str, Callable[[Any], None]] = {
            "tcp_pose": lambda message: senses.arm(time_ns(message.header.stamp), pose(message.pose)),
            "tcp_wrench": lambda message: senses.wrench(time_ns(message.header.stamp), _wrench(message)),
            "tracker/odometry": lambda message: senses.tracker(tracked(message)),
            "jaw/state": functools.partial(_take_jaw, senses),
            "load_cell/force": functools.partial(_take_force, senses),
            _EXECUTOR: functools.partial(self._take_executor, senses),
            _EVENTS: self._take_event,
        }
        names = {*listens_to(session), *((_EXECUTOR, _EVENTS) if session.kind.about else ())}
        for name in sorted(names):
            self._subscribe(name, take[name])
        for camera in looks_through(session):
            self._subscribe(f"{camera}/image_raw", functools.partial(self._eyes.take, camera))

    def close(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self.executor = None

    def _subscribe(self, name: str, take: Callable[[Any], None]) -> None:
        row = topic(name)
        self._subscriptions.append(self._node.create_subscription(message_type(row), row.name, take, QOS[row.qos]))

    def _take_executor(self, senses: Senses, message: ExecutorState) -> None:
        self.executor = State(message.state)
        senses.goal(time_ns(message.header.stamp), pose(message.goal), message.jaw_goal)

    def _take_event(self, message: ExecutorEvent) -> None:
        if message.kind == "held":
            self._held()


def _take_jaw(senses: Senses, message: JawState) -> None:
    if message.valid:
        senses.jaw(time_ns(message.header.stamp), message.width)


def _take_force(senses: Senses, message: GraspForce) -> None:
    senses.load(time_ns(message.header.stamp), message.force)


def _wrench(message: WrenchStamped) -> np.ndarray:
    """(6,) [N, N m]"""
    force, torque = message.wrench.force, message.wrench.torque
    return np.array([force.x, force.y, force.z, torque.x, torque.y, torque.z])
