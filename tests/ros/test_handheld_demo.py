"""Recording with the handheld gripper, started by the command that a person types, checked with the library alone."""

import fcntl
import os
import pty
import subprocess
import termios

import numpy as np
import pytest

from kinema.episodes.aligned import align_episode
from kinema.episodes.reader import Episode
from kinema.geometry import Pose, distance
from kinema.topics import CAMERAS
from kinema.virtual import scenario
from kinema.virtual.handheld import T_BASE_TCP_START

from .conftest import Graph

pytestmark = pytest.mark.ros

FILE = "recording/handheld_demo.launch.py"


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_demonstrations_begun_and_ended_by_two_squeezes_become_usable_episodes(launch, tmp_path, count):
    root = tmp_path / "episodes"
    stack = launch(file=FILE, episodes=count, seed=2, episodes_dir=root, operator="anna", cue="off")
    assert stack.process.wait(timeout=900) == 0, stack.log.read_text()
    assert not [pid for pid in stack.pids() if os.path.exists(f"/proc/{pid}")], "an orphan survived"
    episodes = [Episode.open(folder) for folder in sorted(root.glob("*/*"))]
    good = [episode for episode in episodes if not episode.facts.rejected]
    assert len(good) == count, stack.log.read_text()
    for episode in good:
        check(episode)


def check(episode):
    facts, streams = episode.facts, episode.streams()
    drawn = scenario.draw(facts.scenario.task, facts.scenario.split, facts.scenario.seed)
    assert (facts.source, facts.operator, facts.text) == ("handheld", "anna", drawn.text)
    assert facts.success and facts.simulated and facts.calibration_origin == "simulator truth"
    assert facts.T_base_world.source == "dock"
    seconds = (facts.ended_ns - facts.began_ns) * 1e-9
    assert 3.0 < seconds < 60.0
    for camera in CAMERAS:
        assert len(streams.images[camera]) > 0.8 * 30 * seconds
    for stamps, rate in (
        (np.array([sample.stamp_ns for sample in streams.odometry]), 200),
        (streams.jaw.stamps_ns, 30),
        (streams.force.stamps_ns, 100),
    ):
        assert ((stamps >= facts.began_ns) & (stamps <= facts.ended_ns)).sum() > 0.8 * rate * seconds
    # what was shown: out of the dock to the thing, a grasp that the load cell felt, and the jaw open again at the end
    aligned = align_episode(episode)
    assert len(aligned) > 0.8 * 30 * seconds and aligned.segment.max() == aligned.segment.min()
    assert distance(Pose.from_matrix(aligned.T_base_tcp[0]), T_BASE_TCP_START)[0] < 0.03
    assert np.ptp(aligned.T_base_tcp[:, :3, 3], axis=0).max() > 0.1
    assert aligned.force.max() > 5.0 and aligned.width.min() < 0.06 < aligned.width[-1] + 0.01
    assert abs(aligned.force[0]) < 0.5 and abs(aligned.force[-1]) < 0.5
    assert episode.image("gripper", int(aligned.frames["gripper"][0])).std() > 5


def test_f12_while_the_trackers_pose_is_invalid_the_tool_pose_is_silent_and_diagnostics_say_why(launch, wait_for):
    from kinema_interfaces.srv import InjectFault
    from tf2_msgs.msg import TFMessage

    from kinema.topics import topic
    from kinema_ros.topics import QOS, message_type

    stack = launch(file=FILE, episodes=0)
    graph, heard, frames = Graph(), {"tracker/odometry": 0, "tracker/pose": 0}, set()
    said: set[str] = set()

    def count(name: str) -> None:
        heard[name] += 1

    def diagnosed(message) -> None:
        said.update(status.message for status in message.status if status.name == "pose_tracker: tool pose")

    def static(message: TFMessage) -> None:
        frames.update((t.header.frame_id, t.child_frame_id) for t in message.transforms)

    try:
        for name, callback in (
            *((name, lambda _, name=name: count(name)) for name in heard),
            ("/tf_static", static),
            ("/diagnostics", diagnosed),
        ):
            row = topic(name)
            graph.node.create_subscription(message_type(row), name, callback, QOS[row.qos])
        wait_for(lambda: heard["tracker/pose"] > 100, timeout=90, what=stack.log.read_text())
        wait_for(lambda: any("not anchored" in text for text in said), what="the wish for an anchor")
        assert ("base_link", "world") not in frames

        graph.call(InjectFault, "virtual_cell/inject_fault", name="nan", target="tracker")
        wait_for(lambda: any("not finite" in text for text in said), what="the reason in /diagnostics")
        refused = graph.trigger("pose_tracker/anchor")
        assert not refused.success and "dock" in refused.message
        before = dict(heard)
        wait_for(lambda: heard["tracker/odometry"] > before["tracker/odometry"] + 200, what="raw odometry")
        assert heard["tracker/pose"] == before["tracker/pose"]

        assert graph.trigger("virtual_cell/clear_faults").success
        wait_for(lambda: heard["tracker/pose"] > before["tracker/pose"] + 200, what="the tool pose again")
        wait_for(lambda: graph.trigger("pose_tracker/anchor").success, what="an anchor")
        wait_for(lambda: ("base_link", "world") in frames, what="base_link to world")
    finally:
        graph.close()


def test_q_in_the_terminal_of_the_launch_ends_all_of_it(start, wait_for, tmp_path):
    terminal, slave = pty.openpty()
    log = tmp_path / "log"
    with log.open("w") as out:
        launch = start(
            ["ros2", "launch", *FILE.split("/"), "headless:=true", f"episodes_dir:={tmp_path}", "cue:=off"],
            stdin=slave,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
    wait_for(lambda: "space begins and ends" in log.read_text(), timeout=90, what="a recorder that reads keys")
    os.write(terminal, b"q")
    assert launch.wait(timeout=60) == 0, log.read_text()
    os.close(terminal)
    os.close(slave)


def test_a_wrong_argument_ends_the_launch_with_its_reason(launch):
    stack = launch(file=FILE, episodes=1, gesture="false")
    assert stack.process.wait(timeout=60) != 0
    assert "no other way to begin" in stack.log.read_text()
