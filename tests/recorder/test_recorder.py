"""The recorder node beside sensors at their true rates: begun by service, key, gesture; refused, judged, discarded."""

import os
import pty
import shutil

import numpy as np
import pytest

from kinema import paths
from kinema.clock import now_ns
from kinema.episodes import facts as facts_file
from kinema.episodes.reader import Episode
from kinema.geometry import Pose
from kinema.interfaces import TrackedPose
from kinema.topics import CAMERAS, TOPICS

pytestmark = pytest.mark.ros

STREAMS = ("tracker/odometry", "tracker/pose", "load_cell/force", "jaw/state")
IMAGES = tuple(f"{camera}/image_raw" for camera in CAMERAS)


def stamps(folder, topic) -> list[int]:
    """The stamps [ns] of one topic in the bag, in the order of arrival."""
    return [message.stamp_ns for _, _, message in Episode.open(folder).read([topic])]


def test_an_episode_by_service_holds_every_message_and_says_what_it_is(recorder):
    running = recorder(operator="Ada", quality=80)
    folder = running.start()
    running.lasts(2.5)
    assert running.stop() == folder and running.state.rejected == 0, running.state.message
    assert folder.parent == running.folder / "put-the-cup-into-the-bowl" and folder.name.endswith("_001")
    sent = running.sensors.sent
    for topic in (*STREAMS, *(f"{image}/compressed" for image in IMAGES)):
        kept, published = stamps(folder, topic), sent[topic.removesuffix("/compressed")]
        first = published.index(min(kept))
        assert sorted(kept) == published[first : first + len(kept)], f"{topic}: a message was lost on its way"
    facts = facts_file.load(folder)
    assert facts.finished and not facts.rejected and facts.source == "handheld" and facts.operator == "Ada"
    assert facts.ended == "by service" and facts.ended_ns - facts.began_ns > 2.4e9
    assert (facts.images.compression, facts.images.quality, facts.images.width) == ("jpeg", 80, 160)
    assert facts.calibration_origin == "simulator truth" and facts.simulated and facts.T_base_world.source == "file"
    assert facts.messages["/tf_static"] == facts.messages["task"] == 1 and facts.dropped == {}
    assert facts.quality.tracker.jumps == 0 and facts.quality.duration > 2.4
    assert 0 < facts.disk_free <= shutil.disk_usage(folder).total
    copied = {file.name for file in (folder / "calibration").iterdir()}
    assert {"latency.yaml", "gripper.yaml", "jaw.yaml", "T_tracker_tcp.yaml"} <= copied


def test_raw_pictures_are_the_very_bytes_that_were_published(recorder):
    running = recorder(compression="none")
    running.start()
    running.lasts(1.5)
    folder = running.stop()
    published = running.sensors.sent["left/image_raw"]
    loop = running.sensors._loop["left/image_raw"]
    for _, _, picture in Episode.open(folder).read(["left/image_raw"]):
        assert picture.stamp_ns in published
        assert any(picture.image.tobytes() in bytes(message) for message in loop)


def test_gestures_and_keys_begin_and_end_and_stay_outside_of_the_useful_interval(recorder):
    terminal, slave = pty.openpty()
    options = {"stdin": slave, "start_new_session": True, "preexec_fn": lambda: _own(slave)}
    running = recorder(keys="true", options=options)
    running.sensors.squeeze_twice()
    running.graph.until(lambda state: state.state == state.RECORDING, "RECORDING by gesture")
    running.lasts(2.0)
    running.sensors.squeeze_twice()
    facts = facts_file.load(running.saved(1))
    assert not facts.rejected and facts.ended == "by gesture"
    widths = {message.stamp_ns: message.width for _, _, message in Episode.open(running.saved(1)).read(["jaw/state"])}
    assert min(widths.values()) < 0.03, "the gesture that ended it is in the bag"
    useful = [width for stamp, width in widths.items() if facts.began_ns <= stamp <= facts.ended_ns]
    assert len(useful) > 50 and min(useful) > 0.058

    os.write(terminal, b" ")
    running.graph.until(lambda state: state.state == state.RECORDING, "RECORDING by key")
    running.lasts(1.5)
    os.write(terminal, b" ")
    assert facts_file.load(running.saved(2)).ended == "by key"
    os.write(terminal, b"d")
    running.saved(1)
    os.write(terminal, b"q")
    assert running.process.wait(timeout=60) == 0
    assert sorted(path.name[-3:] for path in running.folder.glob("*/*")) == ["001"]
    os.close(terminal)
    os.close(slave)


def _own(terminal: int) -> None:
    """Make the terminal that of the new session, as a shell has it."""
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_discard_takes_back_the_running_episode_and_the_last_one(recorder):
    running = recorder()
    folder = running.start()
    running.lasts(1.2)
    assert running.graph.call("discard").success
    running.graph.until(lambda state: state.state == state.IDLE, "IDLE")
    running.start()
    running.lasts(1.2)
    second = running.stop()
    assert running.graph.call("discard").success
    answer = running.graph.call("discard")
    assert not answer.success and "no episode" in answer.message
    running.end()
    assert not folder.exists() and not second.exists() and running.state.saved == 0


def test_what_is_missing_is_refused_before_anything_is_written_with_the_remedy(recorder, cell_file, tmp_path):
    calibration = tmp_path / "calibration"
    shutil.copytree(paths.root() / "calibration/virtual", calibration)
    running = recorder(cell=cell_file(calibration), task="''", ready=False)
    sensors, graph = running.sensors, running.graph

    def refused(*words: str) -> None:
        graph.until(lambda state: all(any(word in p for p in state.problems) for word in words), f"problem {words}")
        answer = graph.call("start")
        assert not answer.success and all(word in answer.message for word in words), answer.message
        graph.until(lambda state: "REFUSED" in state.message, "the refusal on recorder/state")

    refused("no words", "recorder/set_task", "base_link to world is unknown", "pose_tracker/anchor")
    assert not graph.call("set_task", text=" ").success
    assert graph.call("set_task", text="open the drawer").success
    sensors.anchor()
    running.ready()
    sensors.silent = {"left/image_raw", "load_cell/force"}
    refused("left/image_raw is silent", "left_camera", "load_cell/force is silent")
    sensors.silent = set()
    sensors.once("tracker/odometry", TrackedPose(0, Pose.identity(), 3, True))
    refused("jumped since it was anchored", "pose_tracker/anchor")
    sensors.anchor()
    (calibration / "jaw.yaml").rename(calibration / "away")
    refused("jaw.yaml", "make it with")
    (calibration / "away").rename(calibration / "jaw.yaml")
    running.ready()
    assert not running.folder.exists()
    assert running.start().parent.name == "open-the-drawer"
    assert "cannot change" in graph.call("set_task", text="something else").message
    running.lasts(1.2)
    (calibration / "jaw.yaml").touch()
    assert "calibration file has changed meanwhile" in facts_file.load(running.stop()).rejected


def test_f12_a_jump_of_the_tracker_rejects_the_episode_at_once_and_keeps_it(recorder):
    running = recorder()
    running.start()
    running.lasts(1.0)
    running.sensors.once("tracker/odometry", TrackedPose(0, Pose.identity(), 3, True))
    running.lasts(2.0)
    folder = running.stop()
    assert running.state.rejected == 1 and "REJECTED" in running.state.message and "jumped" in running.state.message
    facts = facts_file.load(folder)
    assert facts.finished and "jumped" in facts.rejected and len(stamps(folder, "tracker/odometry")) > 300


def test_f27_encoders_slower_than_the_cameras_cost_pictures_that_are_counted_and_the_episode_is_rejected(recorder):
    running = recorder(size=(1280, 960), compression="png", queue_mb=8)
    running.start()
    running.graph.until(lambda state: sum(state.dropped) > 10, "drops on recorder/state")
    running.lasts(1.5)
    folder = running.stop()
    facts, sent = facts_file.load(folder), running.sensors.sent
    assert "dropped" in facts.rejected and set(facts.dropped) <= set(IMAGES)
    for topic in STREAMS:
        kept = stamps(folder, topic)
        first = sent[topic].index(min(kept))
        assert sorted(kept) == sent[topic][first : first + len(kept)], f"{topic}: numbers wait for no encoder"
    assert np.sum([facts.messages[f"{image}/compressed"] for image in IMAGES]) > 0


def test_an_episode_that_the_recorder_ended_in_is_saved_and_marked(recorder):
    running = recorder()
    folder = running.start()
    running.lasts(1.5)
    assert running.end() == 0
    facts = facts_file.load(folder)
    assert facts.finished and "recorder ended" in facts.rejected
    assert len(stamps(folder, "tracker/odometry")) > 200


def test_an_outcome_is_never_put_down_to_an_episode_of_another_run(recorder, cell_file, tmp_path, wait_for):
    from kinema_interfaces.msg import ExecutorEvent

    from kinema_ros.convert import header
    from kinema_ros.topics import QOS

    calibration = tmp_path / "calibration"
    shutil.copytree(paths.root() / "calibration/virtual", calibration)
    running = recorder(trigger="policy", robot="virtual_ur5e", cell=cell_file(calibration))
    graph = running.graph
    publisher = graph.node.create_publisher(ExecutorEvent, "executor/events", QOS[TOPICS["executor/events"].qos])
    wait_for(publisher.get_subscription_count, what="a recorder that hears the executor")

    def say(kind: str, data: str = "{}") -> None:
        publisher.publish(ExecutorEvent(header=header(now_ns()), kind=kind, text=kind, data=data))

    def run() -> None:
        say("policy_started")
        graph.until(lambda state: state.state == state.RECORDING, "RECORDING with the policy")
        running.lasts(1.2)
        say("policy_ended")

    run()
    first = running.saved(1)
    (calibration / "jaw.yaml").rename(calibration / "away")
    graph.until(lambda state: state.problems, "the missing calibration")
    say("policy_started")
    graph.until(lambda state: "REFUSED" in state.message, "the refusal")
    say("outcome", '{"success": true}')
    (calibration / "away").rename(calibration / "jaw.yaml")
    running.ready()
    run()
    second = running.saved(2)
    say("outcome", '{"success": true}')
    wait_for(lambda: facts_file.load(second).success, what="the outcome in episode.yaml")
    assert facts_file.load(first).success is None
    assert facts_file.load(second).source == "deployment" and facts_file.load(second).robot == "virtual_ur5e"
    graph.node.destroy_publisher(publisher)
