"""The policy's node alone on the graph: what it says of itself, how it answers, what it refuses, and its video."""

import json
import re
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinema.clock import now_ns
from kinema.geometry import Pose
from kinema.topics import CAMERAS

from .spun import Spun

pytestmark = pytest.mark.ros

TASK = "put the apple into the yellow bucket"


class Surroundings(Spun):
    """Cameras, arm and jaw that stand still, and an executor that asks."""

    def __init__(self, wait_for) -> None:
        from kinema.topics import topic
        from kinema_ros.convert import ImageBuffer
        from kinema_ros.topics import QOS, message_type

        super().__init__("test_surroundings")
        self._wait_for = wait_for
        self.heard: dict[str, list] = defaultdict(list)
        self._row = lambda name: (message_type(topic(name)), name)
        self._qos = lambda name: QOS[topic(name).qos]
        spoken = [*(f"{camera}/image_raw" for camera in CAMERAS), "tcp_pose", "jaw/state", "policy/request"]
        self._out = {name: self.node.create_publisher(*self._row(name), self._qos(name)) for name in spoken}
        for name in ("policy/chunk", "policy/timing", "policy/info"):
            self.listen(name)
        self._buffers = {camera: ImageBuffer(f"{camera}_optical_frame") for camera in CAMERAS}
        self._images = np.random.default_rng(0).integers(0, 256, (len(CAMERAS), 240, 320, 3), np.uint8)
        self._requests = 0
        self.node.create_timer(0.05, self._speak)
        self.spin()

    def listen(self, name: str) -> None:
        self.node.create_subscription(*self._row(name), self.heard[name].append, self._qos(name))

    def _speak(self) -> None:
        from kinema_interfaces.msg import JawState

        from kinema_ros import convert

        stamp_ns = now_ns()
        self._out["tcp_pose"].publish(convert.pose_stamped_msg(stamp_ns, "base_link", Pose.identity()))
        self._out["jaw/state"].publish(JawState(header=convert.header(stamp_ns), width=0.05, valid=True))
        for camera, image in zip(CAMERAS, self._images, strict=True):
            self._out[f"{camera}/image_raw"].publish(self._buffers[camera].fill(image, stamp_ns))

    def ask(self, task: str = TASK, approval: bool = False, run: int = 1, seed: int = 0):
        """The timing that answers a request, of the chunk or of its refusal."""
        from kinema_interfaces.msg import PolicyRequest

        from kinema_ros import convert

        self._requests += 1
        request = PolicyRequest(id=self._requests, active=True, run=run, seed=seed, task=task, approval=approval)
        request.not_before = convert.time_msg(now_ns())
        self._out["policy/request"].publish(request)
        answers = lambda: [timing for timing in self.heard["policy/timing"] if timing.request == self._requests]  # noqa: E731
        return self._wait_for(answers, what=f"an answer to request {self._requests}")[0]


@pytest.fixture
def around(wait_for) -> Iterator[Surroundings]:
    value = Surroundings(wait_for)
    yield value
    value.close()


@pytest.fixture
def run(start, tmp_path):
    """`run(**parameters)`: the node in a process of its own; the file of what it says."""

    def up(**parameters: object) -> Path:
        words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        log = tmp_path / "log"
        with log.open("w") as out:
            command = ["ros2", "run", "policy_inference", "policy", "--ros-args", *words]
            start(command, stdout=out, stderr=subprocess.STDOUT)
        return log

    return up


def test_a_video_policy_answers_and_shows_what_it_expects(around, run, video_checkpoint, wait_for):
    from kinema.policies import checkpoint
    from kinema_ros import convert

    facts = checkpoint.read(video_checkpoint)
    log = run(policy=video_checkpoint, mode="single")
    (info,) = wait_for(lambda: around.heard["policy/info"], timeout=90, what="what is known of the policy")
    assert (info.name, info.checkpoint, info.mode) == ("video_policy", facts.hash, "single")
    assert (info.dt, info.executable, info.executed, info.uses_force) == (0.1, 24, 0, False)
    assert info.latency >= facts.latency["single"]

    first = around.ask()
    assert not first.rejected and first.chunk > 1, "the chunks of the warm-up were never published"
    assert {"wait", "assemble", "predict"} < set(first.stages) and min(first.seconds) >= 0.0
    assert around.heard["policy/chunk"][-1].id == first.chunk
    assert len(around.heard["policy/timing"]) == 1, "nobody wants to see a video, and none is made"

    ways = []
    for episode, seed in enumerate((5, 6, 5), start=2):
        asked = around.ask(run=episode, seed=seed).chunk
        (chunk,) = wait_for(lambda id=asked: [c for c in around.heard["policy/chunk"] if c.id == id], what="the chunk")
        ways.append([(p.position.x, p.position.y, p.position.z) for p in chunk.relative_poses])
    assert ways[0] == ways[2] != ways[1], "each run draws from its own seed"

    refused = around.ask(task="word " * 200)
    assert refused.chunk == 0 and "the text 'word word" in refused.rejected and "allowed are" in refused.rejected
    assert "Traceback" not in log.read_text()

    for camera in CAMERAS:
        around.listen(f"{camera}/predicted")

    def seen() -> object:
        """A request whose video was shown; the node may not know yet that somebody watches: then none is made."""
        asked, deadline = around.ask(), time.monotonic() + 10.0
        t0_ns = convert.time_ns(around.heard["policy/chunk"][-1].header.stamp)
        stamps = {t0_ns + k * 400_000_000 for k in range(9)}
        while time.monotonic() < deadline:
            shown = ({convert.time_ns(frame.header.stamp) for frame in around.heard[f"{c}/predicted"]} for c in CAMERAS)
            if all(stamps <= some for some in shown):
                return asked
            time.sleep(0.05)
        return None

    shown = wait_for(seen, timeout=90, what="the video with the stamps that its frames stand for")
    assert not shown.rejected
    sizes = {(frame.width, frame.height) for camera in CAMERAS for frame in around.heard[f"{camera}/predicted"]}
    assert sizes == {facts.image_size}
    own = lambda: [t for t in around.heard["policy/timing"] if t.chunk == shown.chunk and t is not shown]  # noqa: E731
    (finished,) = wait_for(own, what="the video's own timing")
    assert finished.stages and not set(finished.stages) & set(shown.stages)


def test_where_a_person_approves_the_video_comes_before_the_chunk(around, run, video_checkpoint, wait_for):
    run(policy=video_checkpoint)
    for camera in CAMERAS:
        around.listen(f"{camera}/predicted")
    wait_for(lambda: around.heard["policy/info"], timeout=90, what="what is known of the policy")
    around.heard["policy/chunk"] = arrived = []
    timing = around.ask(approval=True)
    assert not timing.rejected and len(timing.stages) > 4
    wait_for(lambda: all(len(around.heard[f"{c}/predicted"]) == 9 for c in CAMERAS), what="the video")
    assert not arrived or arrived[-1].id == timing.chunk


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mode": "twice"}, "has no mode 'twice'; allowed: single"),
        ({"device": "cuda:99"}, "does not go onto device 'cuda:99'"),
        ({"policy": "/nowhere"}, "policy '/nowhere' is not known; allowed: demonstrator"),
    ],
)
def test_what_can_not_be_deployed_is_refused_with_the_reason(around, run, video_checkpoint, wait_for, options, reason):
    log = run(**{"policy": video_checkpoint} | options)
    wait_for(lambda: "stays unconfigured" in log.read_text(), timeout=90, what="a refusal")
    assert reason in log.read_text() and "Traceback" not in log.read_text()
    assert not around.heard["policy/info"]


def test_f01_numbers_that_nobody_may_play_are_refused_at_activation(around, run, video_checkpoint, tmp_path, wait_for):
    folder = Path(shutil.copytree(video_checkpoint, tmp_path / "wild"))
    facts = json.loads((folder / "checkpoint.json").read_text())
    facts["action"]["std"] = [1e308] * 11
    (folder / "checkpoint.json").write_text(json.dumps(facts))
    log = run(policy=folder)
    wait_for(lambda: "activation refused: " in log.read_text(), timeout=90, what="a refusal")
    assert re.search(r"T_rel\[\d+\] is not finite", log.read_text()) and not around.heard["policy/info"]


def test_f07_a_truncated_checkpoint_is_refused_naming_the_file(around, run, video_checkpoint, tmp_path, wait_for):
    folder = Path(shutil.copytree(video_checkpoint, tmp_path / "cut"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    log = run(policy=folder)
    wait_for(lambda: "stays unconfigured" in log.read_text(), timeout=90, what="a refusal")
    assert f"{weights}: is cut short" in log.read_text() and not around.heard["policy/info"]
