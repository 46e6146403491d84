"""Records every `recorded` row of the topic table, one bag for each policy run, from raw serialised messages.

Callbacks only queue; a thread writes. What does not fit into the queue is dropped and counted, and control never waits.
"""

import json
import queue
from collections import Counter

from kinema_interfaces.msg import ExecutorEvent, Task
from rclpy.serialization import deserialize_message

from kinema import paths
from kinema.clock import now_ns
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import typestore
from kinema.episodes.writer import EpisodeWriter
from kinema.streams import Health, Level
from kinema.topics import TOPICS, Qos, Topic
from kinema_ros.node import Node, Parameter, spin

_QUEUE = 1024  # messages; some three seconds of everything
_RECORDED = tuple(row for row in TOPICS.values() if row.recorded)


def _facts(text: str) -> Facts:
    return Facts(
        source="deployment", text=text, began_ns=now_ns(), simulated=True, images=ImageFacts(compression="none")
    )


class Recorder(Node):
    """An episode begins with `policy_started` and ends with `policy_ended` of executor/events; `outcome` judges it."""

    PARAMETERS = (Parameter("run_dir", "runs/latest", "episodes go below it; relative to the checkout"),)

    def configure(self) -> None:
        self._folder = paths.root() / self.value("run_dir") / "episodes"
        self._store = typestore()
        self._queue: queue.Queue[tuple[Topic, int, bytes]] = queue.Queue(_QUEUE)
        self._latched: dict[str, tuple[Topic, int, bytes]] = {}
        self._dropped: Counter[str] = Counter()
        self._writer: EpisodeWriter | None = None
        self._facts = _facts("")
        self._text = ""
        self._number = 0
        for row in _RECORDED:
            self.listen(row.name, lambda message, row=row: self._take(row, message), raw=True)
        self.watch("recording", self._health)

    def activate(self) -> None:
        self.loop(self._write)

    def deactivate(self) -> None:
        if self.__dict__.get("_writer"):
            self._finish("the recorder ended")

    def _take(self, row: Topic, message: bytes) -> None:
        try:
            self._queue.put_nowait((row, now_ns(), message))
        except queue.Full:
            self._dropped[row.name] += 1

    def _write(self) -> None:
        try:
            entry = self._queue.get(timeout=0.1)
        except queue.Empty:
            return
        row, arrival_ns, message = entry
        if row.qos is Qos.LATCHED:
            self._latched[row.name] = entry
            if row.name == "task":
                self._text = deserialize_message(message, Task).text
        event = deserialize_message(message, ExecutorEvent) if row.name == "executor/events" else None
        if event and event.kind == "policy_started" and self._writer is None:
            self._begin()
        if self._writer is not None:
            self._writer.write(row.name, arrival_ns, message)
        if event and event.kind == "outcome":
            self._facts = self._facts.replace(success=json.loads(event.data)["success"])
        if event and event.kind == "policy_ended" and self._writer is not None:
            self._finish(event.text)

    def _begin(self) -> None:
        self._number += 1
        folder = self._folder / f"episode_{self._number:04d}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._dropped.clear()
        self._facts = _facts(self._text)
        self._writer = EpisodeWriter(folder, _RECORDED, self._store, self._facts)
        for row, _, message in self._latched.values():
            self._writer.write(row.name, now_ns(), message)
        self.get_logger().info(f"recording {folder}")

    def _finish(self, how: str) -> None:
        self._writer.close(self._facts.replace(ended_ns=now_ns(), ended=how, dropped=dict(self._dropped)))
        self._writer = None

    def _health(self, monotonic_ns: int) -> Health:
        lost = sum(self._dropped.values())
        values = {name: str(count) for name, count in self._dropped.items()}
        if lost:
            return Health(Level.ERROR, f"{lost} messages dropped: the disk is slower than the sensors", values)
        return Health(Level.OK, "recording" if self._writer else "waiting for a policy run", values)


def main() -> None:
    spin(lambda: Recorder("recorder"))
