"""The policy on the ROS graph: assembles what the policy declares, runs it in a worker, publishes what it says.

Callbacks only fill buffers; prediction runs in a thread of its own, so that they never wait for it. The video that goes
with a chunk is finished afterwards, while somebody subscribes to it, in a thread of the lowest priority: there it costs
the next chunk nothing that can be measured (docs/design.md). Where a person has to approve the chunk, the video comes
first. Each video is held against what the cameras see as its moments come; unless `on_divergence` is off every chunk
gets one. Only the demonstrator subscribes to the simulator's truth, and it says so.
"""

import os
import queue
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from kinema_interfaces.msg import (
    Divergence,
    ExecutorState,
    GraspForce,
    JawState,
    PolicyInfo,
    PolicyRequest,
    PolicyTiming,
    WorldTruth,
)
from sensor_msgs.msg import Image

from kinema import paths
from kinema.chunk import Image as ImageArray, Observation, Prediction
from kinema.clock import now_ns, to_ns, to_seconds
from kinema.errors import ConfigError, KinemaError
from kinema.interfaces import ImaginingPolicy
from kinema.perception import divergence
from kinema.perception.align import AlignmentError
from kinema.policies import registry
from kinema.policies.assembly import Assembler, Request
from kinema.policies.warm_up import warm_up
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


@dataclass(frozen=True, slots=True)
class _Wish:
    """A prediction whose video somebody wants to see."""

    job: _Job
    prediction: Prediction


_COMPARE = 0.05  # [s] between two looks whether an imagined moment has come
_POLL = 0.005  # [s] between two looks whether an open request can be answered
_WAIT = 0.1  # [s] of a thread for something to do, before it looks whether it should end
_LOWEST = 19  # niceness
_OPTIONS = ("episode", "mode", "backend", "device", "tool")  # of policies: passed on where they are given
_PLACE = ("cell", "robot")  # the same, to policies that want to know where they act


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
        Parameter("tool", "", "folder of the tool, for a policy that follows one; '': the checkpoint's own"),
        Parameter("cell", "", "cell file, for a policy that has to know cameras and arm; '': the virtual cell's"),
        Parameter("robot", "", "a robot that the cell file allows, for such a policy; '': the first one"),
        Parameter("mode", "", "mode of inference, as single, few:4, paper; '': the policy's own"),
        Parameter("backend", "", "engine that runs the networks; '': torch"),
        Parameter("device", "", "where the networks run, as cpu, cuda; '': cpu"),
        Parameter(
            "on_divergence",
            "off",
            "what the executor does when the seen is not the imagined; unless off, every chunk gets a video",
            choices=("off", "ignore", "replan", "hold"),
        ),
    )

    def configure(self) -> None:
        taken = {*_OPTIONS, *registry.takes(self.value("policy")).intersection(_PLACE)}
        options = {name: self.value(name) for name in taken if self.value(name)}
        self._policy = registry.make(self.value("policy"), **options)
        spec = self._policy.spec
        self._assembler = Assembler(spec, _read_image(self.value("goal_image")))
        self._work: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._wishes: deque[_Wish] = deque(maxlen=1)  # the newest; nobody wants to see the one before
        self._wished = threading.Event()
        self._watch = divergence.Watch(self._usual())
        self._videos: queue.SimpleQueue[tuple[divergence.Expected, ...]] = queue.SimpleQueue()
        self._busy = False
        self._run = -1
        self._last_chunk = None
        self._counts: Counter[str] = Counter()
        self._trouble = ""
        self._chunk = self.outlet("policy/chunk")
        self._timing = self.outlet("policy/timing")
        self._info = self.outlet("policy/info")
        self._divergence = self.outlet("policy/divergence")
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
        self.every(_COMPARE, self._compare)
        self.watch("policy", self._health)

    def activate(self) -> None:
        measured = warm_up(self._policy)
        self._info.publish(self._known(measured))
        self.loop(self._predict)
        if isinstance(self._policy, ImaginingPolicy):
            self.loop(self._imagine, nice=_LOWEST)

    def _usual(self) -> divergence.Usual | None:
        """What is usual of the policy's videos; raises ConfigError where nobody could tell what is not."""
        reaction, wanted = self.value("on_divergence"), self.value("policy")
        if reaction != "off" and not isinstance(self._policy, ImaginingPolicy):
            raise ConfigError(
                f"on_divergence is {reaction}, and policy {self._policy.name!r} imagines no video; allowed is off"
            )
        facts = getattr(self._policy, "checkpoint", None)
        if facts is None:
            return None
        folder = paths.find(wanted)
        mode = getattr(self._policy, "mode", "")
        usual = divergence.load(folder, facts.hash, mode)
        if reaction in ("replan", "hold") and usual is None:
            asked = f"{wanted} --inference {mode}" if mode else wanted
            raise ConfigError(
                f"on_divergence is {reaction}, and nobody has measured what is usual of {wanted} in mode {mode!r}: "
                f"nothing would ever be above the threshold; `kinema evaluate divergence {asked}` does, allowed "
                "before is ignore or off"
            )
        return usual

    def _known(self, measured: float) -> PolicyInfo:
        """What is known of the policy, after a chunk took `measured` [s]."""
        info = PolicyInfo(header=convert.header(now_ns()), name=self._policy.name, uses_force=self._policy.spec.force)
        facts = getattr(self._policy, "checkpoint", None)
        if facts is None:
            return info
        mode = getattr(self._policy, "mode", next(iter(facts.latency)))
        info.checkpoint, info.mode, info.executed = facts.hash, mode, facts.executed
        info.dt, info.executable = facts.action.dt, facts.action.executable
        info.latency = max(facts.latency[mode], measured)
        self.get_logger().info(
            f"policy {info.name} {info.checkpoint[:12]}, mode {mode}: a chunk took {measured:.3f} s, "
            f"declared are {facts.latency[mode]:.3f} s"
        )
        return info

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
        self._assembler.plays(chunk if chunk and chunk.id == message.chunk else None, message.step, message.steps_left)

    # ---- requests

    def _take_request(self, message: PolicyRequest) -> None:
        if not message.active:
            self._assembler.withdraw()
            return
        if message.run != self._run:
            self._watch.forget()  # the scene may be another one
        not_before_ns = convert.time_ns(message.not_before)
        request = Request(message.id, message.run, not_before_ns, message.task, message.seed, message.approval)
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
            job = self._work.get(timeout=_WAIT)
        except queue.Empty:
            return
        try:
            self._think(job)
        except Exception as error:  # whatever a policy does wrong, the node lives on and the arm holds
            if not isinstance(error, KinemaError):
                self.get_logger().error(traceback.format_exc())
            header = convert.header(job.observation.stamp_ns, "base_link")
            self._reject(job.request, header, f"{self._policy.name}: {type(error).__name__}: {error}")
        finally:
            self._busy = False

    def _think(self, job: _Job) -> None:
        """From an observation to a published chunk."""
        if job.request.run != self._run:
            self._run = job.request.run
            self._policy.reset(job.request.seed)
        began = time.monotonic_ns()
        prediction = self._policy.predict(job.observation)
        predicting = to_seconds(time.monotonic_ns() - began)
        imagines = isinstance(self._policy, ImaginingPolicy)
        if job.request.approval and imagines:
            prediction = self._policy.imagine(job.observation, prediction)
        self._show(prediction)
        self._last_chunk = prediction.chunk
        self._chunk.publish(convert.chunk_msg(prediction.chunk, job.request.id))
        self._counts["chunks"] += 1
        self._trouble = ""
        spent = job.assembling + to_seconds(time.monotonic_ns() - began)
        waited = max(0.0, to_seconds(now_ns() - job.observation.stamp_ns) - spent)  # Kinema time may have stood still
        stages = {"wait": waited, "assemble": job.assembling, "predict": predicting}
        self._tell(job, prediction, {**stages, **prediction.timing})
        wanted = self.value("on_divergence") != "off" or any(outlet.wanted for outlet in self._predicted.values())
        if imagines:  # the video of a plan, which is played in a time of its own, is for people alone
            self._videos.put(divergence.expected(prediction))
        if imagines and prediction.video is None and wanted:
            self._wishes.append(_Wish(job, prediction))
            self._wished.set()

    def _tell(self, job: _Job, prediction: Prediction, stages: Mapping[str, float]) -> None:
        """Where the time went."""
        self._timing.publish(
            PolicyTiming(
                header=convert.header(job.observation.stamp_ns, "base_link"),
                chunk=prediction.chunk.id,
                request=job.request.id,
                stages=list(stages),
                seconds=[float(seconds) for seconds in stages.values()],
                skew=job.skew,
            )
        )

    # ---- the video

    def _imagine(self) -> None:
        """Finish the newest video that is wanted, with what others leave of the processor."""
        self._wished.wait(_WAIT)
        self._wished.clear()
        if not self._wishes:
            return
        wish = self._wishes.popleft()
        try:
            found = self._policy.imagine(wish.job.observation, wish.prediction)
        except KinemaError as error:  # a new run has begun meanwhile
            self.get_logger().info(f"no video: {error}")
            return
        self._show(found)
        self._videos.put(divergence.expected(found))
        self._counts["videos"] += 1
        self._tell(wish.job, found, {k: v for k, v in found.timing.items() if k not in wish.prediction.timing})

    def _show(self, prediction: Prediction) -> None:
        """Publish the imagined frames, if there are any, with the stamps that they stand for."""
        for name, frames in (prediction.video or {}).items():
            for i, frame in enumerate(frames):
                stamp_ns = prediction.chunk.t0_ns + to_ns(i * prediction.video_dt)
                self._predicted[name].publish(self._buffers[name].fill(frame, stamp_ns))

    def _compare(self) -> None:
        """Hold what was imagined against what has been seen."""
        while not self._videos.empty():
            self._watch.expect(self._videos.get())
        for moment in self._watch.compare(self._assembler.buffers.images):
            self._counts["diverged"] += moment.diverged
            self._divergence.publish(
                Divergence(
                    header=convert.header(moment.stamp_ns),
                    chunk=moment.chunk,
                    ahead=moment.ahead,
                    cameras=list(moment.cameras),
                    values=list(moment.cameras.values()),
                    threshold=moment.threshold,
                    diverged=moment.diverged,
                    text=moment.text,
                )
            )

    def _health(self, now_ns: int) -> Health:
        dropped = {f"dropped, {cause.value}": str(n) for cause, n in self._assembler.buffers.dropped.items()}
        values = {"policy": self._policy.name, **{key: str(n) for key, n in self._counts.items()}, **dropped}
        if self._trouble:
            return Health(Level.WARN, self._trouble, values)
        return Health(Level.OK, f"{self._policy.name} answers", values)


def main() -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before torch reads it: more threads would stand in the other processes' way
    spin(lambda: PolicyNode("policy"))
