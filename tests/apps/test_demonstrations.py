"""Demonstrations in lockstep: the same bytes for a seed, true to what happened, resumable, and only good ones kept."""

import datetime
import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema import paths
from kinema.apps import cli, demonstrations
from kinema.apps.demonstrations import produce, standing
from kinema.apps.lockstep_recording import SEEDS, Recipe, Recorded, began, folder, record
from kinema.clock import NS
from kinema.episodes import messages
from kinema.episodes.aligned import align_episode
from kinema.episodes.gesture import DoubleSqueeze
from kinema.episodes.reader import Episode
from kinema.errors import ConfigError, EpisodeError
from kinema.geometry import Array, Pose, distance
from kinema.virtual import scenario
from kinema.virtual.hand import Hand, Phase
from kinema.virtual.handheld import HandheldWorld

SEED = 0
JUMPS = 9  # a seed whose tracker relocalises


def _recipe(out: Path) -> Recipe:
    return Recipe(
        task="open_drawer",
        split="train",
        out=out,
        cell=paths.root() / "launch/cells/virtual.yaml",
        image_size=(256, 192),
        quality=50,
    )


def _bytes(place: Path) -> dict[str, bytes]:
    return {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[Recipe, Recorded]:
    recipe = _recipe(tmp_path_factory.mktemp("episodes"))
    return recipe, record(recipe, SEED)


@pytest.fixture(scope="module")
def episode(recorded) -> Episode:
    return Episode.open(recorded[1].folder)


@pytest.fixture(scope="module")
def truth() -> dict[int, tuple[Phase, Pose, float]]:
    """By stamp [ns]: what the person was at, where the tool was and how far the jaw was open."""
    drawn = scenario.draw("open_drawer", "train", SEED)
    world = HandheldWorld(drawn, seed=SEED, origin_ns=int(began("train", SEED).timestamp()) * NS)
    hand, seen = Hand(world, SEED), {}
    while hand.phase is not Phase.RETURN:
        world.step(*hand.goal())
        if world.k == 250:
            world.tare()
        seen[world.t_ns] = hand.phase, world.T_base_tcp(), world.width()
    return seen


def test_who_demonstrates_stands_in_the_folder_and_no_two_are_mixed_up(recorded, episode):
    recipe, _ = recorded
    assert episode.facts.operator == "simulated person"
    other = replace(recipe, recovery=0.4)
    assert other.operator == "simulated person, 40 % begun off course"
    with pytest.raises(EpisodeError, match="by the simulated person, 40 % begun off course"):
        standing(other, SEED)


def test_the_folder_follows_from_the_seed_and_holds_a_whole_episode(recorded):
    recipe, result = recorded
    assert result.folder == folder(recipe, SEED)
    assert result.folder.name == "2001-01-01_001"
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "2001-01-01_001.mcap",
        "calibration",
        "episode.yaml",
        "metadata.yaml",
    ]
    assert sorted(path.name for path in recipe.out.iterdir()) == [result.folder.parent.name], "no draft is left"


def test_the_facts_say_what_it_is(episode):
    facts = episode.facts
    assert (facts.source, facts.finished, facts.success, facts.rejected) == ("handheld", True, True, "")
    assert (facts.simulated, facts.calibration_origin) == (True, "simulator truth")
    assert (facts.scenario.task, facts.scenario.split, facts.scenario.seed) == ("open_drawer", "train", SEED)
    assert facts.T_base_world.source == "dock"
    assert facts.quality.verdict() == ""
    assert facts.messages["tracker/odometry"] == facts.messages["tracker/pose"]


def test_the_same_seed_gives_the_same_bytes(recorded, tmp_path):
    again = record(_recipe(tmp_path), SEED)
    assert _bytes(again.folder) == _bytes(recorded[1].folder)


def test_every_stream_has_its_native_rate_in_the_useful_interval(episode):
    facts, streams = episode.facts, episode.streams()
    duration = (facts.ended_ns - facts.began_ns) / NS

    def rate(stamps_ns: Array) -> float:
        return float(((stamps_ns >= facts.began_ns) & (stamps_ns <= facts.ended_ns)).sum()) / duration

    for stamps_ns in streams.images.values():
        assert rate(stamps_ns) == pytest.approx(30, rel=0.01)
    assert rate(streams.jaw.stamps_ns) == pytest.approx(30, rel=0.01)
    assert rate(streams.force.stamps_ns) == pytest.approx(80, rel=0.01)
    assert rate(np.array([pose.stamp_ns for pose in streams.odometry])) == pytest.approx(200, rel=0.01)


def test_the_useful_interval_is_the_demonstration_without_its_gestures(episode, truth):
    facts = episode.facts
    demonstrates = [stamp_ns for stamp_ns, (phase, _, _) in truth.items() if phase is Phase.DEMONSTRATE]
    assert truth[facts.began_ns][0] is Phase.BEGIN and facts.began_ns < demonstrates[0]
    assert abs(facts.ended_ns - demonstrates[-1]) < 50_000_000
    jaw, squeezes = episode.streams().jaw, DoubleSqueeze()
    inside = (jaw.stamps_ns >= facts.began_ns) & (jaw.stamps_ns <= facts.ended_ns)
    assert not any(map(squeezes.take, jaw.stamps_ns[inside].tolist(), jaw.width[inside].tolist()))
    assert jaw.stamps_ns[-1] > facts.ended_ns, "the gesture that ended it is in the bag"


def test_what_is_recorded_is_what_happened_within_the_sensors_errors(episode, truth):
    aligned = align_episode(episode)
    assert len(aligned.rejected) == 0
    poses = [truth[int(stamp_ns)][1] for stamp_ns in aligned.stamps_ns]
    gaps = np.array([distance(Pose.from_matrix(T), pose) for T, pose in zip(aligned.T_base_tcp, poses, strict=True)])
    way = np.r_[0.0, np.cumsum([distance(a, b)[0] for a, b in itertools.pairwise(poses)])]
    assert (gaps[:, 0] < 0.003 + 0.01 * way).all(), "noise, and the drift of a T265: 1 % of the way"
    assert gaps[:, 1].max() < 0.01
    widths = np.array([truth[int(stamp_ns)][2] for stamp_ns in aligned.stamps_ns])
    error = aligned.width - widths
    assert np.sqrt((error**2).mean()) < 0.0005 and np.abs(error).max() < 0.0015
    assert aligned.force.max() > 6.0 and np.abs(aligned.force[:10]).max() < 0.2


def test_the_pictures_are_those_that_were_compressed(recorded, episode):
    recipe, _ = recorded
    picture = episode.picture("left", 20)
    assert isinstance(picture, messages.CompressedPicture)
    assert episode.image("left", 20).shape == (*recipe.image_size[::-1], 3)
    assert episode.image("left", 20).std() > 20, "it shows something"


def test_f12_a_tracker_that_jumps_leaves_no_episode(tmp_path):
    result = record(_recipe(tmp_path), JUMPS)
    assert result.folder is None
    assert result.rejected == "tracker: the tracker has relocalised"
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_not_made_again_and_refused_seeds_are_replaced(recorded, tmp_path, monkeypatch):
    recipe, first = recorded
    there = tmp_path / first.folder.parent.name
    shutil.copytree(first.folder.parent, there)
    before = {file: file.stat().st_mtime_ns for file in there.rglob("*")}
    assert [r.folder for r in produce(replace(recipe, out=tmp_path), SEED, 1, jobs=1)] == [there / first.folder.name]
    assert {file: file.stat().st_mtime_ns for file in there.rglob("*")} == before

    results = list(produce(replace(recipe, out=tmp_path), JUMPS, 1, jobs=1))
    assert [(r.seed, r.folder is None) for r in results] == [(JUMPS, True), (JUMPS + 1, False)]
    monkeypatch.setattr(demonstrations, "record", None)
    assert list(produce(replace(recipe, out=tmp_path), JUMPS, 1, jobs=1)) == results, "nothing is made again"
    other = replace(recipe, out=tmp_path, recovery=0.4)
    assert demonstrations._refusals(other) == {}, "somebody else's trouble"


def test_refusals_are_remembered_in_a_folder_that_was_not_there_and_beside_one_that_was_cut_short(tmp_path):
    recipe = replace(_recipe(tmp_path), out=tmp_path / "new")
    one, other = (Recorded(seed, "open it", None, "the tracker has jumped") for seed in (3, 4))
    demonstrations._remember(recipe, one)
    with (recipe.out / demonstrations.REFUSED).open("a") as file:
        file.write('{"seed": 9, "te')
    assert demonstrations._refusals(recipe) == {3: one}
    demonstrations._remember(recipe, other)
    assert demonstrations._refusals(recipe) == {3: one, 4: other}


@pytest.mark.parametrize("change", [{"quality": 51}, {"image_size": (320, 240)}])
def test_an_episode_of_another_recipe_in_the_place_is_refused(recorded, change):
    recipe, _ = recorded
    with pytest.raises(EpisodeError, match="give another --out"):
        standing(replace(recipe, **change), SEED)


def test_every_split_and_seed_has_a_date_of_its_own():
    assert began("train", 0) == datetime.datetime(2001, 1, 1, 8, tzinfo=datetime.UTC)
    assert began("train", 501) == datetime.datetime(2001, 1, 2, 8, 1, tzinfo=datetime.UTC)
    assert began("unseen_background", SEEDS - 1).year == 2003
    with pytest.raises(ConfigError, match="allowed: 0 to 182499"):
        began("train", SEEDS)


def test_the_command_names_the_sizes_there_are(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demonstrations", "--image-size", "100x100"])
    assert "allowed: 256x192, 320x240, 640x480" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(recorded, tmp_path, start, wait_for):
    recipe, first = recorded
    command = [sys.executable, "-m", "kinema.apps.cli", "demonstrations", "--task", "open_drawer", "--episodes", "1"]
    command += ["--jobs", "1", "--out", str(tmp_path), "--image-size", "256x192", "--quality", "50"]
    run = start(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob(".open_drawer_train_0/*/*.mcap")), what="a bag being written", timeout=120)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not folder(replace(recipe, out=tmp_path), SEED).exists()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert _bytes(folder(replace(recipe, out=tmp_path), SEED)) == _bytes(first.folder)
    assert len(list(tmp_path.iterdir())) == 1, "the draft of the killed run is gone"


@pytest.mark.parametrize(("task", "seed"), [("open_drawer", 6), ("pick_and_place", 39)])
def test_the_data_of_the_tests_is_what_its_readme_says(task, seed):
    recipe = replace(_recipe(paths.root() / "tests/data/episodes"), task=task, quality=10)
    kept = standing(recipe, seed)
    assert kept is not None
    episode = Episode.open(kept.folder)
    assert episode.facts.tracker == "virtual"
    aligned = align_episode(episode)
    assert len(aligned.rejected) == 0 and len(aligned.stamps_ns) == pytest.approx(30 * kept.duration, abs=2)
