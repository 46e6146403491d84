"""A recorded handheld demonstration, replayed by an arm, does its task: frames, times and units are right."""

import shutil

import numpy as np
import pytest

from kinema import paths
from kinema.apps import cli
from kinema.apps.episodes_replay import replay_folder
from kinema.apps.lockstep import run_episode
from kinema.clock import NS
from kinema.control.messages import Mode
from kinema.episodes import facts as facts_file
from kinema.episodes.aligned import align_episode
from kinema.episodes.facts import Facts, ImageFacts
from kinema.episodes.messages import TaskText, encode, typestore
from kinema.episodes.reader import Episode, find
from kinema.episodes.writer import EpisodeWriter
from kinema.geometry import Pose
from kinema.policies.replay import Replay
from kinema.topics import TOPICS

RECORDED = find(paths.root() / "tests/data/episodes")


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_demonstration_does_its_task_again(name):
    result = replay_folder(RECORDED[name], "virtual_ur5e")
    assert result.success and not result.refused, result.outcome
    assert result.policy == "replay" and not result.simulator_truth


def test_it_does_so_chunk_after_chunk_and_on_another_arm_too():
    result = replay_folder(next(iter(RECORDED.values())), "virtual_xarm7", Mode.STOP_AND_GO)
    assert result.success, result.outcome


def test_a_demonstration_in_a_wrong_frame_fails():
    """The physics do judge: 6 cm aside, where a wrong calibration would put it, the jaw closes on nothing."""
    folder = next(f for f in RECORDED.values() if facts_file.load(f).task == "pick_and_place")
    facts = facts_file.load(folder)
    aside = Pose(np.array([0.0, 0.06, 0.0]), np.eye(3)) @ facts.T_base_world.pose
    policy, drawn = Replay(align_episode(Episode.open(folder), T_base_world=aside)), facts.scenario
    result = run_episode(drawn.task, drawn.split, drawn.seed, "virtual_ur5e", policy, time_limit=15.0)
    assert not result.success


def test_the_command_tells_what_came_of_it(capsys):
    folder = next(iter(RECORDED.values()))
    assert cli.main(["episodes", "replay", str(folder), "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 replayed demonstrations did the task again" in shown and "calibration: simulator truth" in shown


def test_what_was_not_recorded_in_the_virtual_cell_cannot_be_replayed_there(tmp_path, capsys):
    images = ImageFacts(compression="jpeg", quality=90)
    facts = Facts(source="handheld", text="put it there", began_ns=NS, simulated=False, images=images)
    writer = EpisodeWriter(tmp_path / "1", [TOPICS["task"]], typestore(), facts)
    writer.write("task", NS, encode(typestore(), TaskText(NS, facts.text)))
    writer.close(facts.replace(ended_ns=2 * NS))
    for way in ([], ["--live"]):
        assert cli.main(["episodes", "replay", str(tmp_path / "1"), *way]) == 2
        assert "names no scenario of the virtual cell" in capsys.readouterr().err


def test_an_episode_that_cannot_be_replayed_does_not_end_the_others(tmp_path, capsys):
    for name, folder in RECORDED.items():
        shutil.copytree(folder, tmp_path / name)
    broken, good = find(tmp_path).values()
    facts_file.save(broken, facts_file.load(broken).replace(finished=False))
    assert cli.main(["episodes", "replay", str(tmp_path), "--jobs", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"not replayed: {broken}: was never finished" in shown
    assert good.name in shown and "1 of 1 replayed demonstrations did the task again" in shown


def test_live_takes_one_episode(tmp_path, capsys):
    for number in "12":
        (tmp_path / number).mkdir()
        (tmp_path / number / "episode.yaml").touch()
    assert cli.main(["episodes", "replay", str(tmp_path), "--live"]) == 2
    assert "holds 2 episodes; --live takes one" in capsys.readouterr().err
