"""The recorder under full load: 3 x 640x480 colour at 30 Hz, pose at 200 Hz, force at 80 Hz, from a pre-rendered loop.

    . tools/env.sh; python benchmarks/recording.py [--jpeg 600] [--raw 60] [--png 10]

Arguments are seconds, 0 leaves a part out. One process publishes the loop, the recorder node records it in another;
then the stamps in the bag are held against those that were published. `lost` never reached the recorder, `dropped` it
counted itself. CPU is that of the recorder's process, 100 % a core. The floor is plain `rosbags` writing of the same
messages in one process, pictures encoded one after the other, as fast as it goes; its CPU is for one second's messages.
"""

import argparse
import contextlib
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deployment
import numpy as np
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from kinema import paths
from kinema.calibration.bundle import load_bundle
from kinema.clock import NS, now_ns, to_ns, to_seconds
from kinema.episodes import facts as facts_file
from kinema.episodes.messages import (
    Compression,
    JawSample,
    Picture,
    StampedPose,
    Transforms,
    compress,
    decode,
    encode,
    typestore,
)
from kinema.episodes.pipeline import Encoding
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, topic
from kinema.virtual import noise, scenario
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld
from kinema.virtual.renderer import CellRenderer

SIZE = (640, 480)
FRAMES = 60  # of the loop, two seconds
TICK = 1200  # [Hz]
RATES = {
    **{f"{camera}/image_raw": 30 for camera in CAMERAS},
    "tracker/odometry": 200,
    "tracker/pose": 200,
    "jaw/state": 30,
    "load_cell/force": 80,
}
_EDGE = 0.3  # [s] at either end of an episode that are not compared: what was on its way there
_UP = 90.0  # [s]

Loop = dict[str, list[bytearray]]  # serialised messages by topic


def render() -> Loop:
    """The loop: what the virtual cell's cameras see of a gripper that moves round, noise included, and numbers."""
    world = HandheldWorld(scenario.draw("pick_and_place", "train", 0), seed=0)
    renderer = CellRenderer(world.model, SIZE, noise.load().camera)
    rows: dict[str, list[Any]] = {name: [] for name in RATES}
    for i in range(FRAMES):
        angle = 2 * np.pi * i / FRAMES
        way = 0.05 * np.array([np.sin(angle), 1 - np.cos(angle), 0.0])
        for _ in range(round(1 / (30 * world.period))):
            world.step(Pose(T_BASE_TCP_START.position + way, T_BASE_TCP_START.rotation), 0.06)
        for camera in CAMERAS:
            image = renderer.render(camera, world.snapshot(), i)
            rows[f"{camera}/image_raw"].append(Picture(0, f"{camera}_optical_frame", image))
        pose = Pose(way, np.eye(3))
        rows["tracker/odometry"].append(TrackedPose(0, pose, 3, False))
        rows["tracker/pose"].append(StampedPose(0, "world", pose))
        rows["jaw/state"].append(JawSample(0, 0.06, True, 2))
        rows["load_cell/force"].append(ForceSample(0, 0.01, False, True))
    renderer.close()
    return {name: [bytearray(encode(typestore(), value)) for value in values] for name, values in rows.items()}


def due(tick: int) -> Iterator[tuple[str, int]]:
    """Which topics have a message at a tick, and which number of theirs it is."""
    for name, rate in RATES.items():
        if tick * rate // TICK != (tick - 1) * rate // TICK:
            yield name, tick * rate // TICK


def stamped(loop: Loop, name: str, number: int, stamp_ns: int) -> bytes:
    message = loop[name][number % len(loop[name])]
    struct.pack_into("<iI", message, 4, stamp_ns // NS, stamp_ns % NS)  # a header's stamp follows CDR's four bytes
    return bytes(message)


def publish(loop: Loop, over: Any, sent: Any) -> None:
    """A process: the loop at fixed deadlines until `over`; puts the stamps by topic into the queue `sent`."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from kinema_ros.topics import QOS, message_type

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("benchmark_sensors")
    rows = [topic(name) for name in (*RATES, "/tf_static")]
    out = {row.name: node.create_publisher(message_type(row), row.name, QOS[row.qos]) for row in rows}
    T = load_bundle(paths.root() / "calibration/virtual", {"tracker": "VIRTUAL-TRACKER"}).T_base_world
    stamps: dict[str, list[int]] = {name: [] for name in RATES}
    origin_ns, tick = now_ns(), 0
    while not over.is_set():
        stamp_ns = origin_ns + tick * NS // TICK
        time.sleep(max(0.0, to_seconds(stamp_ns - now_ns())))
        if tick % TICK == 0:  # an anchor from before the recorder came up would not count
            out["/tf_static"].publish(bytes(encode(typestore(), Transforms(stamp_ns, (("base_link", "world", T),)))))
        for name, number in due(tick):
            out[name].publish(stamped(loop, name, number, stamp_ns))
            stamps[name].append(stamp_ns)
        tick += 1
    sent.put(stamps)
    rclpy.shutdown()


@dataclass(frozen=True, slots=True)
class Measured:
    """One part: [s] recorded, messages published, lost and dropped, CPU [-] of a core, [MB/s] on disk."""

    what: str
    seconds: float
    published: int
    lost: int
    dropped: int
    cpu: float
    rate: float


class Client:
    """Asks the recorder, and hears what it says."""

    def __init__(self) -> None:
        import rclpy
        from kinema_interfaces.msg import RecorderState
        from rclpy.executors import SingleThreadedExecutor

        rclpy.init()
        self.node = rclpy.create_node("benchmark_recording")
        self.state: RecorderState | None = None
        self.node.create_subscription(RecorderState, "recorder/state", lambda m: setattr(self, "state", m), 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def until(self, condition: Any, what: str, timeout: float = _UP) -> None:
        deadline = time.monotonic() + timeout
        while self.state is None or not condition(self.state):
            if time.monotonic() > deadline:
                raise SystemExit(f"{what} not seen within {timeout:.0f} s; the recorder said {self.state}")
            time.sleep(0.02)

    def call(self, name: str) -> None:
        from std_srvs.srv import Trigger

        client = self.node.create_client(Trigger, f"recorder/{name}")
        if not client.wait_for_service(_UP):
            raise SystemExit(f"no service recorder/{name}")
        time.sleep(0.5)  # until the server has discovered this client too
        future = client.call_async(Trigger.Request())
        deadline = time.monotonic() + _UP
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not future.done() or not future.result().success:
            raise SystemExit(f"recorder/{name}: {future.result().message if future.done() else 'no answer'}")


def cpu(pid: int) -> float:
    """[s] that a process has computed so far, in all of its threads."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def recorder(folder: Path, compression: Compression) -> Iterator[subprocess.Popen]:
    values = {"episodes_dir": folder / "episodes", "task": "a loop", "compression": compression, "keys": "false"}
    words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    command = [paths.root() / "ros2_ws/install/recording/lib/recording/recorder", "--ros-args", *words]
    with (folder / "recorder.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_UP)


def kept(folder: Path) -> dict[str, list[int]]:
    """Stamps in the bag by the topic that they were published on."""
    stamps: dict[str, list[int]] = {name: [] for name in RATES}
    with Reader(folder) as reader:
        for connection, _, raw in reader.messages():
            name = connection.topic.lstrip("/").removesuffix("/compressed")
            if name in stamps:
                sec, nanosec = struct.unpack_from("<iI", raw, 4)
                stamps[name].append(sec * NS + nanosec)
    return stamps


def record(client: Client, loop: Loop, compression: Compression, seconds: float) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="kinema-benchmark-"))
    context = multiprocessing.get_context("spawn")
    over, sent = context.Event(), context.Queue()
    sensors = context.Process(target=publish, args=(loop, over, sent))
    sensors.start()
    try:
        with recorder(folder, compression) as process:
            client.state = None
            client.until(lambda state: not state.problems and min(state.rates) > 25, "a recorder that hears everything")
            client.call("start")
            began, spent = time.monotonic(), cpu(process.pid)
            time.sleep(seconds)
            lasted, spent = time.monotonic() - began, cpu(process.pid) - spent
            client.call("stop")
            client.until(lambda state: state.saved == 1, "a saved episode", 600.0)
            episode = Path(client.state.episode)
        over.set()
        published = sent.get(timeout=_UP)
        facts, stamps = facts_file.load(episode), kept(episode)
        size = sum(file.stat().st_size for file in episode.glob("*.mcap"))
    finally:
        over.set()
        sensors.join()
    shutil.rmtree(folder)
    first, last = facts.began_ns + to_ns(_EDGE), facts.ended_ns - to_ns(_EDGE)
    inside = {name: {stamp for stamp in rows if first <= stamp <= last} for name, rows in published.items()}
    missing = Counter({name: len(rows - set(stamps[name])) for name, rows in inside.items()})
    dropped = sum(facts.dropped.values())
    return Measured(
        what=f"recorder, {compression}" + (" 90" if compression == "jpeg" else ""),
        seconds=to_seconds(facts.ended_ns - facts.began_ns),
        published=sum(map(len, inside.values())),
        lost=max(0, sum(missing.values()) - dropped),
        dropped=dropped,
        cpu=spent / lasted,
        rate=size / 1e6 / to_seconds(facts.ended_ns - facts.began_ns),
    )


def floor(loop: Loop, compression: Compression, seconds: float) -> Measured:
    """Plain rosbags, in one thread and without a graph."""
    folder = Path(tempfile.mkdtemp(prefix="kinema-benchmark-"))
    store, encoding = typestore(), Encoding(compression)
    writer = Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.open()
    connections = {}
    for name in RATES:
        row = topic(encoding.topic(topic(name)))
        connections[name] = writer.add_connection(f"/{row.name}", row.type, typestore=store)
    published, began, spent = 0, time.monotonic(), time.process_time()
    for tick in range(1, round(seconds * TICK) + 1):
        for name, number in due(tick):
            message: bytes | memoryview = stamped(loop, name, number, tick * NS // TICK)
            if compression != "none" and encoding.applies(topic(name)):
                message = encode(store, compress(decode(store, topic(name).type, message), compression))
            writer.write(connections[name], tick * NS // TICK, message)
            published += 1
    writer.close()
    lasted, spent = time.monotonic() - began, time.process_time() - spent
    size = sum(file.stat().st_size for file in folder.glob("bag/*.mcap"))
    shutil.rmtree(folder)
    return Measured(f"plain rosbags, {compression}", lasted, published, 0, 0, spent / seconds, size / 1e6 / lasted)


def measure(wanted: dict[Compression, float]) -> None:
    deployment.isolate()
    loop = render()
    rows, client = [], Client()
    for compression, seconds in wanted.items():
        if seconds > 0:
            rows.append(record(client, loop, compression, seconds))
    rows += [floor(loop, compression, min(seconds, 10.0)) for compression, seconds in wanted.items() if seconds > 0]
    table = Table("what", "s", "published", "lost", "dropped", "CPU %", "MB/s")
    for row in rows:
        table.add_row(
            row.what,
            f"{row.seconds:.1f}",
            str(row.published),
            str(row.lost),
            str(row.dropped),
            f"{100 * row.cpu:.0f}",
            f"{row.rate:.1f}",
        )
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jpeg", type=float, default=600.0)
    parser.add_argument("--raw", type=float, default=60.0)
    parser.add_argument("--png", type=float, default=10.0)
    arguments = parser.parse_args()
    measure({"jpeg": arguments.jpeg, "none": arguments.raw, "png": arguments.png})


if __name__ == "__main__":
    main()
