"""The policy on the ROS graph: assembles what the policy declares, runs it in a worker, publishes what it says.

Callbacks only fill buffers; prediction runs in a thread of its own, so that they never wait for it. Only the
demonstrator subscribes to the simulator's truth, and it says so.
"""

import queue
import time
import traceback
from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from kinema_interfaces.msg import (
    ActionChunk,
    ExecutorState,
    GraspForce,
    JawState,
    PolicyRequest,
    PolicyTiming,
    WorldTruth,
)
from sensor_msgs.msg import Image

from kinema.chunk import Image as ImageArray, Observation, Prediction
from kinema.clock import now_ns, to_ns, to_seconds
from kinema.errors import ConfigError
from kinema.perception.align import AlignmentError
from kinema.policies import registry
from kinema.policies.assembly import Assembler, Request
from kinema.streams import Health, Level
from kinema_ros import convert
from kinema_ros.node import Node, Parameter, spin


@dataclass(frozen=True, slots=True)
class _Job:
    """`assembling` [s] that the observation took; `skew` [s] of its images."""

    request: Request
    observation: Observation
    assembling: float
    skew: float


_POLL = 0.005  # [s] between two looks whether an open request can be answered


def _read_image(path: str) -> ImageArray | None:
    if not path:
        return None
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError(f"goal_image: {path} cannot be read as an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


class PolicyNode(Node):
    """Answers `policy/request` with `policy/chunk`, or with the reason in `policy/timing`."""

    PARAMETERS = (
        Parameter("policy", "demonstrator", "a policy by name, or the folder of a checkpoint"),
        Parameter("episode", "", "folder of the recorded demonstration, for the policy replay"),
        Parameter("goal_image", "", "file of the goal image, for a policy that needs one"),
    )

    def configure(self) -> None:
        episode = self.value("episode")
        self._policy = registry.make(self.value("policy"), **({"episode": episode} if episode else {}))
        spec = self._policy.spec
        self._assembler = Assembler(spec, _read_image(self.value("goal_image")))
        self._work: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._busy = False
        self._run = -1
        self._last_chunk = None
        self._counts: Counter[str] = Counter()
        self._trouble = ""
        self._chunk = self.outlet("policy/chunk")
        self._timing = self.outlet("policy/timing")
        self._predicted = {name: self.outlet(f"{name}/predicted") for name in spec.cameras}
        self._buffers = {name: convert.ImageBuffer(f"{name}_optical_frame") for name in spec.cameras}
        for name in spec.cameras:
            self.listen(f"{name}/image_raw", lambda message, name=name: self._take_image(name, message))
        self.listen("tcp_pose", self._take_pose)
        self.listen("jaw/state", self._take_width)
        if spec.force:
            self.listen("load_cell/force", self._take_force)
        if spec.committed_prefix:
            self.listen("executor/state", self._take_state)
        if spec.simulator_truth:
            self.get_logger().warning(f"policy {self._policy.name!r} sees the simulator's truth: not a learned policy")
            self.listen("cell/truth", self._take_truth)
        self.listen("policy/request", self._take_request)
        self.every(_POLL, self._answer)
        self.watch("policy", self._health)

    def activate(self) -> None:
        self.loop(self._predict)

    # ---- streams

    def _take_image(self, name: str, message: Image) -> None:
        self._assembler.buffers.images[name].push(convert.time_ns(message.header.stamp), convert.image(message))

    def _take_pose(self, message: PoseStamped) -> None:
        self._assembler.buffers.poses.push(convert.time_ns(message.header.stamp), convert.pose(message.pose))

    def _take_width(self, message: JawState) -> None:
        if message.valid:
            self._assembler.buffers.width.push(convert.time_ns(message.header.stamp), message.width)

    def _take_force(self, message: GraspForce) -> None:
        if message.tared and not message.saturated:
            self._assembler.buffers.force.push(convert.time_ns(message.header.stamp), message.force)

    def _take_truth(self, message: WorldTruth) -> None:
        self._assembler.truth.push(convert.time_ns(message.header.stamp), convert.truth(message))

    def _take_state(self, message: ExecutorState) -> None:
        chunk = self._last_chunk
        self._assembler.playing = (chunk, message.step) if chunk and chunk.id == message.chunk else None

    # ---- requests

    def _take_request(self, message: PolicyRequest) -> None:
        if not message.active:
            self._assembler.withdraw()
            return
        request = Request(message.id, message.run, convert.time_ns(message.not_before), message.task)
        self._assembler.open(request, time.monotonic_ns())

    def _answer(self) -> None:
        request = self._assembler.request
        if request is None or self._busy:
            return
        began = time.monotonic_ns()
        try:
            observation = self._assembler.observe(began)
        except AlignmentError as error:
            self._reject(request, convert.header(now_ns()), str(error))
            return
        if observation is not None:
            self._busy = True
            skew = self._assembler.skew(observation.stamp_ns)
            self._work.put(_Job(request, observation, to_seconds(time.monotonic_ns() - began), skew))

    def _reject(self, request: Request, header: convert.Header, reason: str) -> None:
        self._counts["rejected"] += 1
        self._trouble = reason
        self._timing.publish(PolicyTiming(header=header, request=request.id, rejected=reason))
        self.get_logger().warning(f"request {request.id}: {reason}", throttle_duration_sec=2.0)

    # ---- the worker

    def _predict(self) -> None:
        try:
            job = self._work.get(timeout=0.1)
        except queue.Empty:
            return
        request, observation = job.request, job.observation
        header = convert.header(observation.stamp_ns, "base_link")
        try:
            if request.run != self._run:
                self._run = request.run
                self._policy.reset()
            began = time.monotonic_ns()
            prediction = self._policy.predict(observation)
            predicting = to_seconds(time.monotonic_ns() - began)
            self._publish(request, prediction)
        except Exception as error:  # whatever a policy does wrong, the node lives on and the arm holds
            self.get_logger().error(traceback.format_exc())
            self._reject(request, header, f"{self._policy.name}: {type(error).__name__}: {error}")
            return
        finally:
            self._busy = False
        waited = to_seconds(now_ns() - observation.stamp_ns) - job.assembling - predicting
        stages = {"wait": waited, "assemble": job.assembling, "predict": predicting, **prediction.timing}
        self._timing.publish(
            PolicyTiming(
                header=header,
                chunk=prediction.chunk.id,
                request=request.id,
                stages=list(stages),
                seconds=[float(seconds) for seconds in stages.values()],
                skew=job.skew,
            )
        )

    def _publish(self, request: Request, prediction: Prediction) -> None:
        message: ActionChunk = convert.chunk_msg(prediction.chunk, request.id)
        self._last_chunk = prediction.chunk
        self._chunk.publish(message)
        self._counts["chunks"] += 1
        self._trouble = ""
        for name, frames in (prediction.video or {}).items():
            for i, frame in enumerate(frames):
                stamp_ns = prediction.chunk.t0_ns + to_ns(i * prediction.video_dt)
                self._predicted[name].publish(self._buffers[name].fill(frame, stamp_ns))

    def _health(self, now_ns: int) -> Health:
        dropped = {f"dropped, {cause.value}": str(n) for cause, n in self._assembler.buffers.dropped.items()}
        values = {"policy": self._policy.name, **{key: str(n) for key, n in self._counts.items()}, **dropped}
        if self._trouble:
            return Health(Level.WARN, self._trouble, values)
        return Health(Level.OK, f"{self._policy.name} answers", values)


def main() -> None:
    spin(lambda: PolicyNode("policy"))
