"""Message types and quality of service of the rows in `kinema.topics`."""

import functools
import importlib

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from kinema.topics import Qos, Topic

QOS = {
    Qos.SENSOR: QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
    Qos.STATE: QoSProfile(depth=10),
    Qos.EVENT: QoSProfile(depth=1000),
    Qos.LATCHED: QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
}


@functools.cache
def message_type(topic: Topic) -> type:
    """The class of 'package/msg/Name', imported when it is first asked for."""
    package, kind, name = topic.type.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)
