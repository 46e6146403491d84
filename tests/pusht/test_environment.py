"""gym-pusht in its own process: its seeds and score as they are, what ends it, and what the expert does there."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema import paths
from kinema.apps import cli, pusht_trials
from kinema.apps.pusht_demonstrations import played
from kinema.episodes import shards
from kinema.errors import BenchmarkError
from kinema.policies import checkpoint, look_file
from kinema.pusht import block, client, plane, server
from kinema.pusht.client import Look, PushT
from kinema.pusht.demonstration import demonstrate, score

here = pytest.mark.usefixtures("gym_pusht")


@here
def test_a_seed_and_the_same_targets_are_the_same_episode(env):
    def episode() -> list:
        moments = [env.reset(100_000)]
        moments += [env.step(target) for target in np.linspace([60, 60], [420, 380], 25)]
        return [(m.agent.tolist(), m.block.tolist(), round(m.coverage, 9), m.image.tobytes()) for m in moments]

    first = episode()
    assert first == episode()
    assert first[0][0] != first[-1][0]
    assert env.reset(100_001).block.tolist() != first[0][1]


@here
def test_the_agent_follows_its_target_and_the_image_shows_it(env):
    before = env.reset(3)
    assert before.image.shape == (96, 96, 3)
    target = np.array([480.0, 30.0])
    first = env.step(target)
    assert 0 < np.linalg.norm(first.agent - before.agent) < np.linalg.norm(target - before.agent)
    for _ in range(30):
        moment = env.step(target)
    np.testing.assert_allclose(moment.agent, target, atol=1.0)
    column, row = (target / 512 * 96).astype(int)
    assert int(moment.image[row, column, 2]) > int(moment.image[row, column, 0]) + 60  # the agent is blue


@here
def test_an_episode_ends_after_300_steps_and_has_to_be_begun_anew(env):
    moment, steps = env.reset(100_000), 0
    away = np.array([500.0, 500.0])
    while not moment.over:
        moment, steps = env.step(away), steps + 1
    assert steps == 300
    with pytest.raises(BenchmarkError, match="reset first"):
        env.step(away)


@here
def test_other_colours_change_the_picture_and_nothing_else(env):
    plain = env.reset(100_002)
    for look in pusht_trials.LOOKS.values():
        shown = env.reset(100_002, look)
        assert (shown.agent.tolist(), shown.block.tolist()) == (plain.agent.tolist(), plain.block.tolist())
        assert (shown.image.tobytes() == plain.image.tobytes()) == (look == client.PLAIN)
    blue = env.reset(100_002, Look(background=(0, 0, 255))).image
    assert (blue == (0, 0, 255)).all(axis=2).mean() > 0.7


@here
def test_a_push_tried_out_beside_is_what_then_happens(env):
    moment = env.reset(0)
    start, end = np.array([304.5, 166.8]), np.array([230.0, 190.0])
    for target in [start] * 20:
        moment = env.step(target)
    tried = env.pushed(moment.block, np.concatenate([moment.agent, (end - moment.agent) / 60])[None], 3, 20)
    for share in np.linspace(0.1, 1.0, 10):
        env.step(start + share * (end - start))
    for _ in range(12):
        moment = env.step(end)
    assert np.linalg.norm(tried[0, -1, :2] - tried[0, 0, :2]) > 5.0  # it does push
    np.testing.assert_allclose(moment.block[:2], tried[0, -1, :2], atol=1.0)
    np.testing.assert_allclose(moment.block[2], tried[0, -1, 2], atol=0.02)


def shoved(rng: np.random.Generator, moment: client.Moment, steps: int) -> np.ndarray:
    """Targets on a straight way from the agent to somewhere about the block, and beyond."""
    end = moment.block[:2] + rng.normal(0, 60, 2)
    return moment.agent + np.linspace(0.1, 1.5, steps)[:, None] * (end - moment.agent)


@here
def test_steps_on_trial_lead_to_the_very_moment_that_the_same_steps_then_do_and_change_nothing(env):
    rng, moved = np.random.default_rng(0), 0
    moment = env.reset(7)
    for _ in range(12):
        before, targets = moment, shoved(rng, moment, 8)
        env.tried(shoved(rng, moment, 8))
        tried = env.tried(targets)
        for target in targets:
            moment = env.step(target)
        for name in ("agent", "velocity", "block", "image"):
            np.testing.assert_array_equal(getattr(tried, name), getattr(moment, name))
        assert tried.coverage == pytest.approx(moment.coverage, abs=1e-9)
        moved += np.abs(moment.block - before.block).max() > 5.0
    assert moved >= 6, "the block is pushed about, so contacts count"
    np.testing.assert_array_equal(env.tried(np.zeros((0, 2))).image, moment.image)


@here
def test_steps_on_trial_end_with_the_episode(env):
    moment, away = env.reset(100_000), np.array([500.0, 500.0])
    for _ in range(290):
        moment = env.step(away)
    assert not env.tried(np.tile(away, (9, 1))).over
    assert env.tried(np.tile(away, (40, 1))).over
    for _ in range(10):
        moment = env.step(away)
    assert moment.over
    with pytest.raises(BenchmarkError, match="reset first"):
        env.tried(away[None])


@here
def test_a_trial_that_fails_is_said_and_the_process_goes_on():
    with PushT() as env:
        env.reset(0)
        with pytest.raises(BenchmarkError, match="PushT: ValueError: buffer is smaller"):
            env._ask(server.TRY_RECORD.pack(server.TRY, 5), server.MOMENT)
        assert not env.tried(np.full((1, 2), 100.0)).over


@here
def test_many_pushes_come_back_in_their_order(env):
    away = np.array([[20.0 + i / 100, 20.0, 0.0, 0.0] for i in range(3000)])
    away[1234] = [150.0, 300.0, 3.0, 0.0]
    poses = env.pushed(np.array([256.0, 256.0, 0.0]), away, 4, 10)
    moved = np.linalg.norm(poses[:, -1, :2] - (256.0, 256.0), axis=1) > 1.0
    assert np.flatnonzero(moved).tolist() == [1234]


@here
def test_the_expert_solves_what_it_demonstrates_and_its_shape_is_the_environments(env):
    found = demonstrate(env, 14)
    assert score(found.coverage) == 1.0
    assert len(found.images) == len(found.targets) < 150
    (pose,) = env.pushed(block.GOAL, np.array([[20.0, 20.0, 0.0, 0.0]]), 1, 1)[:, -1]
    np.testing.assert_allclose(block.off(pose), 0.0, atol=0.05)


@here
def test_a_process_that_dies_is_said_and_a_new_one_begins():
    with PushT() as env:
        env.reset(0)
        os.kill(env.pid, signal.SIGKILL)
        with pytest.raises(BenchmarkError, match="ended with status -9"):
            env.step(np.array([1.0, 1.0]))
    with PushT() as env:
        assert not env.reset(0).over


@here
def test_a_record_that_is_none_is_refused_and_the_process_goes_on():
    with PushT() as env:
        with pytest.raises(BenchmarkError, match="error"):
            env._ask(b"\x03too short", 5)
        assert env.reset(0).image.any()


@here
def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(client, "VERSION", "0.9.9")
    with pytest.raises(BenchmarkError, match=r"has gym-pusht 0\.1\.8, wanted is 0\.9\.9.*make pusht"):
        PushT()


def test_without_the_environment_it_is_said_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setenv("KINEMA_PUSHT_PYTHON", str(tmp_path / "python"))
    with pytest.raises(BenchmarkError, match=r"is not there.*make pusht"):
        PushT()


def test_an_interpreter_without_gym_pusht_is_refused(monkeypatch, tmp_path):
    made = tmp_path / "bare"
    subprocess.run(["python", "-m", "venv", "--without-pip", made], check=True)
    monkeypatch.setenv("KINEMA_PUSHT_PYTHON", str(made / "bin/python"))
    with pytest.raises(BenchmarkError, match=r"ended with status 1 before.*make pusht"):
        PushT()


@here
@pytest.mark.slow
def test_from_demonstrations_to_a_score(tmp_path, env, capsys):
    origin = f"gym-pusht {client.VERSION}"
    demonstrations = (played(demonstrate(env, seed)) for seed in range(3))
    shards.write(tmp_path / "data", demonstrations, plane.RATE, origin, 16)
    eyes = str(tmp_path / "eyes")
    assert cli.main(["pusht", "ground", "--out", eyes, "--pictures", "40", "--steps", "2", "--batch", "4"]) == 0
    for kind, config in (("diffusion-policy", "diffusion_policy"), ("uva", "uva")):
        out = tmp_path / config
        told = f"train {kind} --data {tmp_path / 'data'} --out {out} --cameras top --shift 0 --executable 8 --steps 2"
        words = [
            *told.split(),
            "--batch",
            "4",
            "--config",
            str(paths.root() / f"benchmarks/pusht/{config}.yaml"),
            "--look",
            eyes,
        ]
        assert cli.main(words) == 0
        known = checkpoint.read(out / "checkpoint")
        assert (known.cameras, known.image_size, known.calibration_origin) == (("top",), (96, 96), (origin,))
        weights, seen = load_file(out / "checkpoint" / checkpoint.WEIGHTS), load_file(Path(eyes, look_file.NAME))
        assert all(torch.equal(weights[f"look.{name}"].float(), seen[name].half().float()) for name in seen)
        again = ["pusht", "evaluate", str(out / "checkpoint"), "--seeds", "1", "--results", str(tmp_path / "results")]
        assert cli.main(again) == 0
        (file,) = (tmp_path / "results").glob(f"{config}_*.jsonl")
        (row,) = pusht_trials.read(file)
        assert row.setting.checkpoint == known.hash and row.setting.executed == 8
        assert 0.0 <= row.score <= 1.0 and row.chunks == -(-row.steps // 8)
        kept = file.read_bytes()
        assert cli.main(again) == 0 and file.read_bytes() == kept  # it stands there already
    capsys.readouterr()
    assert cli.main(["pusht", "table", str(tmp_path / "results"), "--markdown"]) == 0
    assert capsys.readouterr().out.count(" of 1 |") == 2
