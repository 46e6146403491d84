"""Three cameras at 30 Hz, received as the policy node receives them, while a policy runs in the virtual cell.

    . tools/env.sh; python benchmarks/cameras.py [--seconds 30]

Rendered, received and lost frames are counted by the moments that the renderer's rings and the messages carry. The
latency runs from the moment that the picture shows to the callback that holds it, rendering included; Kinema time slips
with the cell.
"""

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import deployment
import numpy as np
import rclpy
from kinema_interfaces.msg import CellStatus
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image

from kinema import cell_file, paths, records
from kinema.clock import NS, now_ns
from kinema.ring import RingReader
from kinema.topics import CAMERAS, topic
from kinema_ros.convert import image, time_ns
from kinema_ros.topics import QOS

_RATE = 30  # [Hz] that is wanted
_START = 120.0  # [s] for the deployment to show pictures


class Receiver(Node):
    """Subscribes as the policy node does; `arrivals` holds stamp and latency [s] of every frame."""

    def __init__(self) -> None:
        super().__init__("benchmark_cameras")
        self.arrivals: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.status: CellStatus | None = None
        for name in CAMERAS:
            row = topic(f"{name}/image_raw")
            self.create_subscription(Image, row.name, lambda m, name=name: self.take(name, m), QOS[row.qos])
        row = topic("cell/status")
        self.create_subscription(CellStatus, row.name, lambda m: setattr(self, "status", m), QOS[row.qos])

    def take(self, name: str, message: Image) -> None:
        image(message)
        stamp_ns = time_ns(message.header.stamp)
        self.arrivals[name].append((stamp_ns, (now_ns() - stamp_ns) / NS))


def _rendered(rings: dict[str, RingReader], until: float) -> dict[str, set[int]]:
    """The stamps of all frames that the renderer makes until then [s, monotonic]."""
    stamps: dict[str, set[int]] = {name: set() for name in CAMERAS}
    last = {name: ring.head for name, ring in rings.items()}
    while time.monotonic() < until:
        time.sleep(0.05)
        for name, ring in rings.items():
            for sequence, record in ring.since(last[name]):
                last[name] = sequence
                stamps[name].add(int(record["t_ns"]))
    return stamps


def measure(seconds: float) -> None:
    deployment.isolate()
    size = cell_file.load(cell_file.VIRTUAL).image_size
    rings = {name: RingReader(paths.runtime() / f"frames_{name}.ring", records.frame(size)) for name in CAMERAS}
    rclpy.init()
    node, executor, ended = Receiver(), EventsExecutor(), threading.Event()
    executor.add_node(node)

    def spin() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        with deployment.deployed(Path(tempfile.mkdtemp(prefix="kinema-benchmark-")), episodes=100):
            deadline = time.monotonic() + _START
            while not all(node.arrivals[name] for name in CAMERAS):
                if time.monotonic() > deadline:
                    raise SystemExit(f"no pictures within {_START} s")
                time.sleep(0.1)
            time.sleep(10.0)  # until the first episode moves
            began_ns = {name: node.arrivals[name][-1][0] for name in CAMERAS}
            slipped, began = node.status.slipped, time.monotonic()
            stamps = _rendered(rings, began + seconds)
            time.sleep(0.5)  # for the last ones to arrive
            lasted, slip = time.monotonic() - began - 0.5, node.status.slipped - slipped
    finally:
        ended.set()
        thread.join()
        rclpy.shutdown()
    print(f"{size[0]}x{size[1]} rgb8, {lasted:.0f} s, of which the cell's clock slipped {slip:.2f} s")
    print(
        f"{'camera':<9}{'rendered':>10}{'received':>10}{'lost':>6}{'rate Hz':>9}{'latency p50':>13}{'p99':>8}{'max':>8}"
    )
    for name in CAMERAS:
        made = {stamp for stamp in stamps[name] if stamp > began_ns[name]}
        got = [(stamp, latency) for stamp, latency in node.arrivals[name] if stamp in made]
        latency = 1e3 * np.array([latency for _, latency in got])
        p50, p99 = np.percentile(latency, [50, 99])
        span = (max(made) - min(made)) / NS
        print(
            f"{name:<9}{len(made):>10}{len(got):>10}{len(made) - len(got):>6}{(len(got) - 1) / span:>9.2f}"
            f"{p50:>10.1f} ms{p99:>8.1f}{latency.max():>8.1f}"
        )
    print(f"rate in the cell's time; {_RATE} Hz are wanted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    measure(parser.parse_args().seconds)


if __name__ == "__main__":
    main()
