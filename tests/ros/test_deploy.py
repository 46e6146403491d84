"""The launch file, started by the command that a person types, decided by the physics of the cell."""

import json
import os

import pytest

from kinema import paths
from kinema.episodes import facts as facts_file

pytestmark = pytest.mark.ros


def test_one_episode_succeeds_by_the_physics_and_leaves_a_report(launch, tmp_path):
    run = tmp_path / "run"
    stack = launch(episodes=1, task="pick_and_place", run_dir=run, record="true")
    assert stack.process.wait(timeout=300) == 0, stack.log.read_text()
    assert not [pid for pid in stack.pids() if os.path.exists(f"/proc/{pid}")], "an orphan survived"
    (episode,) = map(json.loads, (run / "episodes.jsonl").read_text().splitlines())
    assert episode["success"] and "rest" in episode["outcome"], (episode, stack.log.read_text())

    events = [json.loads(line) for line in (run / "audit.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["kind"] == "step"]
    assert len({event["data"]["chunk"] for event in steps}) > 1
    for event in steps:
        data = event["data"]
        assert event["t_ns"] > data["t0_ns"] and data["latency"] == pytest.approx(
            (event["t_ns"] - data["t0_ns"]) * 1e-9
        )
        assert len(data["command"]) == len(data["measured"]) == 7
    assert all(event["data"]["reason"] for event in events if event["kind"] == "step_dropped")
    assert [event["data"]["success"] for event in events if event["kind"] == "outcome"] == [True]
    for name in ("summary.json", "summary.md", "episode_1.png", "episode_1.mp4"):
        assert (run / name).stat().st_size > 0

    (first,) = (i for i, event in enumerate(events) if event["kind"] == "policy_started")
    (last,) = (i for i, event in enumerate(events) if event["kind"] == "policy_ended")
    (folder,) = (run / "episodes").glob("*/*")
    check_recording(folder, events=last - first + 1)


def check_recording(folder, events):
    from kinema_interfaces.msg import ActionChunk
    from rclpy.serialization import deserialize_message
    from rosbags.rosbag2 import Reader

    from kinema.chunk import check_chunk
    from kinema.episodes import facts as facts_file
    from kinema_ros.convert import chunk

    facts = facts_file.load(folder)
    assert facts.finished and facts.success and facts.ended == "marked as success"
    assert facts.source == "deployment" and facts.robot == "virtual_ur5e" and facts.scenario.task == "pick_and_place"
    assert folder.parent.name == facts_file.slug(facts.text) != "task"
    with Reader(folder) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
        chunks = [raw for c, _, raw in reader.messages() if c.topic == "/policy/chunk"]
    for name in ("gripper", "left", "right"):
        assert counts[f"/{name}/image_raw/compressed"] > 10
    for name in ("/joint_states", "/tcp_pose", "/load_cell/force", "/executor/state", "/executor/events", "/task"):
        assert counts[name] > 0, name
    assert counts["/executor/events"] == events, "an event was lost on its way"
    assert chunks
    for raw in chunks:
        check_chunk(chunk(deserialize_message(raw, ActionChunk))[0])


def test_sigint_in_the_midst_of_motion_ends_every_process(launch, tmp_path, wait_for):
    stack = launch(episodes=1, run_dir=tmp_path / "run")
    wait_for(lambda: "HOLDING to EXECUTING" in stack.log.read_text(), timeout=120, what="a chunk being played")
    stack.interrupt()
    assert not [pid for pid in stack.pids() if os.path.exists(f"/proc/{pid}")], stack.log.read_text()


@pytest.mark.slow
def test_a_virtual_ur_behind_ur_rtde_runs_an_episode_and_all_end_in_order(launch, tmp_path):
    run = tmp_path / "run"
    stack = launch(episodes=1, cell="launch/cells/virtual_ur5e.yaml", run_dir=run)
    assert stack.process.wait(timeout=300) == 0, stack.log.read_text()
    text = stack.log.read_text()
    assert stack.pid("ur_controller") and "the arm ur5e at 127.0.0.1 is connected, 500 Hz" in text
    (episode,) = map(json.loads, (run / "episodes.jsonl").read_text().splitlines())
    assert episode["chunks"] > 1, episode
    assert "Traceback" not in text and "still runs" not in text and "reconnecting" not in text


def test_a_real_arm_without_a_cell_file_is_refused_before_anything_starts(launch):
    stack = launch(episodes=0, robot="ur5e", cell=None)
    assert stack.process.wait(timeout=60) != 0
    text = stack.log.read_text()
    assert "no cell file was named" in text and "process started" not in text


def test_a_wrong_argument_ends_the_launch_with_its_reason(launch):
    stack = launch(episodes=1, split="nonsense")
    assert stack.process.wait(timeout=60) != 0
    assert "nonsense" in stack.log.read_text()


def test_a_policy_that_can_not_be_deployed_ends_the_launch_with_its_reason(launch):
    stack = launch(episodes=1, policy="models/video_policy", mode="twice")
    assert stack.process.wait(timeout=60) != 0  # long before everything must have come up
    assert "run_episodes: node policy does not come up: " in stack.log.read_text()
    assert "has no mode 'twice'; allowed: single" in stack.log.read_text()


def test_f22_a_cell_file_with_an_unknown_key_ends_the_launch_before_anything_starts(launch, tmp_path):
    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text + "\nspeed: 9\n")
    stack = launch(episodes=0, cell=tmp_path / "bad.yaml")
    assert stack.process.wait(timeout=60) != 0
    text = stack.log.read_text()
    assert "bad.yaml: key 'speed' is unknown; allowed here" in text and "process started" not in text


@pytest.mark.slow
def test_a_recorded_demonstration_is_replayed_on_the_graph(launch, tmp_path):
    """The scenario is the episode's; only the folder is named."""
    recorded = next((paths.root() / "tests/data/episodes").rglob("episode.yaml")).parent
    run = tmp_path / "run"
    stack = launch(episodes=3, policy="replay", episode=recorded, run_dir=run)
    assert stack.process.wait(timeout=300) == 0, stack.log.read_text()
    (episode,) = map(json.loads, (run / "episodes.jsonl").read_text().splitlines())
    facts = facts_file.load(recorded)
    assert episode["success"] and (episode["seed"], episode["text"]) == (facts.scenario.seed, facts.text), episode
