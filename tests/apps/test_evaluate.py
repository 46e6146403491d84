"""Evaluation: the same scenarios for everybody, resumable to the line, and tables that say what stands in the lines."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema import cell_file
from kinema.apps import cli, evaluate_rollouts, evaluate_table, trials
from kinema.apps.lockstep import run_episode
from kinema.apps.lockstep_recording import SEEDS
from kinema.apps.rollouts import Altered, Player
from kinema.apps.trials import LISTS, PURPOSES, Rollout, Scene, Setting
from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction
from kinema.control.messages import Mode
from kinema.errors import CheckpointError, ConfigError
from kinema.geometry import Pose
from kinema.policies import checkpoint
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.actions import ActionSpace
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.look import EyeConfig, LookConfig

torch.set_num_threads(1)

CELL = cell_file.load(cell_file.VIRTUAL)
SETTING = Setting(
    "learned", "0123456789abcdef", "single", 8, "normal", Mode.OVERLAP, 0.1, "virtual_ur5e", trials.TIME_LIMIT
)
SPACE = ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=24, mean=(0.0,) * 11, std=(0.05,) * 11)


class Still:
    """Stays where it is, for 32 steps of 0.1 s; keeps what it saw."""

    name = "still"

    def __init__(self) -> None:
        self.spec = ObservationSpec(cameras=("gripper",), images=False)
        self.seen: list[Observation] = []

    def reset(self, seed: int | None = None) -> None:
        self.seen.clear()

    def predict(self, observation: Observation) -> Prediction:
        self.seen.append(observation)
        tcp, still = observation.T_base_tcp[-1], np.tile(np.eye(4), (32, 1, 1))
        return Prediction(
            ActionChunk(len(self.seen), self.name, observation.stamp_ns, tcp, 0.08, 0.1, 0.1, still, None, None, 24)
        )


def _observation() -> Observation:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (1, 72, 96, 3), np.uint8) for name in ("gripper", "left")}
    return Observation(10**9, images, (Pose(np.zeros(3), np.eye(3)),), np.array([0.05]), None, "do it")


def _rollout(setting: Setting, scene: Scene, success: bool) -> Rollout:
    return Rollout(setting, scene, success, "", 10.0, 12, 0, "", 3.0)


def _facts(**facts: object) -> Checkpoint:
    known: dict[str, object] = {
        "kind": "video_policy",
        "config": {},
        "action": SPACE,
        "cameras": ("gripper",),
        "image_size": (96, 72),
        "dataset": "abc",
        "calibration_origin": ("simulator truth",),
        "latency": {"single": 0.12, "paper": 2.5},
        "training": {},
    }
    return Checkpoint(**(known | facts))  # type: ignore[arg-type]


def _checkpoint(folder: Path, **facts: object) -> Checkpoint:
    return checkpoint.save(folder, _facts(**facts), {})


# ---- scenarios


def test_no_scenario_was_ever_demonstrated_and_those_to_choose_by_are_not_those_reported() -> None:
    lists = {purpose: trials.scenes(["open_drawer"], list(LISTS), purpose, 100) for purpose in PURPOSES}
    for purpose, scenes in lists.items():
        assert min(scene.seed for scene in scenes) >= SEEDS
        assert len(set(scenes)) == 100 * len(LISTS) and {trials.purpose(scene) for scene in scenes} == {purpose}
    assert not set(lists["report"]) & set(lists["choose"])


def test_a_policy_is_evaluated_in_what_the_shipped_ones_have_learned_unless_asked_otherwise() -> None:
    parser = argparse.ArgumentParser()
    evaluate_rollouts.configure(parser)
    assert parser.parse_args(["models/NAME"]).task == ["pick_and_place", "open_drawer"]
    assert parser.parse_args(["demonstrator", "--task", "scoop", "sweep"]).task == ["scoop", "sweep"]


def test_a_part_of_the_scenarios_is_of_every_list() -> None:
    scenes = trials.scenes(["open_drawer", "pick_and_place"], ["seen", "unseen_objects"], "report", 50)
    assert scenes[:4] == trials.scenes(["open_drawer", "pick_and_place"], ["seen", "unseen_objects"], "report", 1)


# ---- what is done to a policy


def test_blanked_images_are_black_and_shuffled_ones_keep_their_pixels_but_not_their_places() -> None:
    policy, seen = Still(), _observation()
    for kind in ("normal", "blanked", "shuffled", "shuffled"):
        Altered(policy, kind, seed=3).predict(seen if kind == "normal" else replace(seen, stamp_ns=len(policy.seen)))  # type: ignore[arg-type]
    normal, blanked, shuffled, again = (observation.images["left"] for observation in policy.seen)
    np.testing.assert_array_equal(normal, seen.images["left"])
    assert not blanked.any() and blanked.shape == normal.shape
    for image in (shuffled, again):
        assert (image != normal).mean() > 0.9
        np.testing.assert_array_equal(*(np.sort(rows.reshape(-1, 3), axis=0) for rows in (image, normal)))
    assert (shuffled != again).mean() > 0.9


def test_veiled_images_show_each_camera_its_own_goal() -> None:
    policy, rng = Still(), np.random.default_rng(0)
    policy.spec = ObservationSpec(cameras=("left", "right"))
    images = {name: rng.integers(0, 256, (2, 72, 96, 3), np.uint8) for name in policy.spec.cameras}
    masks = np.zeros((72, 96, 3), np.uint8)
    masks[:36, :, 0] = 255  # where the left camera sees its goal; the right one does not
    acts = Altered(policy, "veiled", seed=3)
    assert acts.spec.goal_image
    acts.predict(replace(_observation(), images=images, goal_image=masks))
    (given,) = policy.seen
    changed = (given.images["left"] != images["left"]).any(axis=-1)
    assert changed[:, :36].mean() > 0.9 and not changed[:, 36:].any()
    np.testing.assert_array_equal(given.images["right"], images["right"])


@pytest.mark.parametrize(("executed", "execution"), [(8, "overlap"), (16, "overlap"), (12, "stop_and_go")])
def test_so_many_steps_are_executed_between_two_observations(executed: int, execution: str) -> None:
    setting = replace(SETTING, executed=executed, execution=Mode(execution), latency=0.12)
    policy, player = Still(), Player("folder", {}, "learned", dt=0.1, executable=24)
    pace = player.pace(CELL.control.execution, setting.latency, executed, setting.execution)
    result = run_episode(
        "open_drawer", "train", 0, "virtual_ur5e", Altered(policy, "normal", 0), cell=CELL,
        pace=pace, latency=setting.latency, time_limit=5.5,
    )  # fmt: skip
    steps = np.diff([observation.stamp_ns for observation in policy.seen]) / 1e8
    assert len(steps) >= 2 and result.refused == 0
    slack = (-0.7, 0.7) if execution == "overlap" else (0.0, 6.0)  # stop and go settles, looks and thinks at rest
    assert executed + slack[0] <= steps.min() and steps.max() <= executed + slack[1]


def test_more_steps_than_may_be_executed_are_refused_naming_the_policy() -> None:
    player = Player("folder", {}, "learned", dt=0.1, executable=24)
    with pytest.raises(ConfigError, match="folder: 25 executed steps; allowed: up to 24"):
        player.pace(CELL.control.execution, 0.5, 25)


def test_a_checkpoint_says_how_it_is_evaluated(tmp_path) -> None:
    saved = _checkpoint(tmp_path)
    player = Player.of(str(tmp_path), "paper")
    assert (player.policy, player.checkpoint) == ("video_policy", saved.hash)
    assert (player.latency, player.dt, player.options) == (2.5, 0.1, {"mode": "paper"})
    assert Player.of(str(tmp_path)).inference == "single"
    checkpoint.save(tmp_path, saved.model_copy(update={"executed": 8}), {})
    assert Player.of(str(tmp_path)).executed == 8
    with pytest.raises(ConfigError, match="no mode of inference 'two'; allowed: single, paper"):
        Player.of(str(tmp_path), "two")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json"):
        Player.of(str(tmp_path / "nowhere"))
    _checkpoint(tmp_path, latency={"sample": 0.2})
    assert Player.of(str(tmp_path)).options == {}, "a policy with one mode has no choice of it"


# ---- results


def _run(folder: Path, *words: str) -> list[Rollout]:
    short = ["--time-limit", "0.4", "--list", "seen", "--results", str(folder / "results"), "--jobs", "1"]
    assert cli.main(["evaluate", "rollouts", *words, *short]) == 0
    (file,) = (folder / "results").iterdir()
    return trials.read(file)


def _what_happened(rollouts: list[Rollout]) -> set[Rollout]:
    return {replace(rollout, cpu=0.0) for rollout in rollouts}


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path, capsys) -> None:
    saved = _checkpoint(tmp_path / "like")
    words = ["random", "--like", str(tmp_path / "like"), "--task", "open_drawer", "--executed", "8", "12"]
    whole = _run(tmp_path, *words, "--scenarios", "2")
    assert len(whole) == 4 and {rollout.setting.checkpoint for rollout in whole} == {saved.hash}
    file = tmp_path / "results" / f"random_{saved.hash[:12]}.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:70])  # killed while it wrote the third
    assert len(trials.read(file)) == 2
    again = _run(tmp_path, *words, "--scenarios", "2")
    assert again[:2] == whole[:2] and _what_happened(again) == _what_happened(whole)
    assert _run(tmp_path, *words, "--scenarios", "2") == again, "nothing is done twice"
    shown = " ".join(capsys.readouterr().out.split())
    assert f"random {saved.hash[:8]} 12 steps within 0.4 s │ 0.00 (0.00..0.66) of 2" in shown


def test_a_learned_policy_is_evaluated_with_and_without_its_eyes(tmp_path) -> None:
    torch.manual_seed(0)
    config = DiffusionPolicyConfig(
        eyes=LookConfig(eyes=(EyeConfig(8, 16, 16),) * 3, width=16, features=16),
        head=ActionUNetConfig(channels=(32, 64), step=16, rejoin=True),
        label=16,
        latency=0.15,
    )
    model = DiffusionPolicyModel(config, 3, (24, 18))
    facts = _facts(
        kind="diffusion_policy",
        config=config.model_dump(mode="json"),
        cameras=("gripper", "left", "right"),
        image_size=(24, 18),
        latency=model.latency,
    )
    checkpoint.save(tmp_path / "trained", facts, model.state_dict())
    words = [str(tmp_path / "trained"), "--task", "open_drawer", "--scenarios", "1", "--images", "normal", "blanked"]
    seen, blanked = _run(tmp_path, *words, "--executed", "8")
    assert (seen.setting.policy, seen.setting.inference, seen.setting.latency) == ("diffusion_policy", "", 0.15)
    assert (seen.setting.images, blanked.setting.images) == ("normal", "blanked")
    assert seen.chunks + seen.refused > 0


def test_a_line_that_is_no_rollout_is_named(tmp_path) -> None:
    file = tmp_path / "x.jsonl"
    trials.append(file, _rollout(SETTING, Scene("open_drawer", "seen", 1), True))
    file.write_bytes(file.read_bytes() + b'{"setting": 1}\n')
    with pytest.raises(ConfigError, match=r"x\.jsonl, line 2: is no rollout"):
        trials.read(file)


# ---- tables


def _results() -> list[Rollout]:
    """Ten seen scenarios: 8 of them done by `single`, 5 by `paper`, which fails where the other does."""
    rollouts = []
    for inference, good in (("single", 8), ("paper", 5)):
        setting = replace(SETTING, inference=inference)
        rollouts += [_rollout(setting, Scene("open_drawer", "seen", i), i < good) for i in range(10)]
    return [*rollouts, _rollout(SETTING, Scene("open_drawer", "unseen_objects", 0), True)]


def test_the_table_has_lists_across_and_a_rate_with_its_interval_in_each_cell() -> None:
    sheet = evaluate_table.successes(_results())
    assert sheet.columns[:4] == ("task", "policy", "seen", "unseen objects")
    single, paper = sheet.rows
    assert single[:4] == (
        "open_drawer", "learned 01234567 single 8 steps", "0.80 (0.49..0.94) of 10", "1.00 (0.21..1.00) of 1"
    )  # fmt: skip
    assert paper[2:4] == ("0.50 (0.24..0.76) of 10", "")
    assert "| open_drawer | learned 01234567 paper 8 steps | 0.50 (0.24..0.76) of 10 |" in sheet.markdown()


def test_a_label_says_what_is_not_as_usual() -> None:
    assert SETTING.label == "learned 01234567 single 8 steps"
    unusual = replace(SETTING, images="blanked", robot="virtual_xarm7", time_limit=60.0)
    assert unusual.label == "learned 01234567 single 8 steps blanked virtual_xarm7 within 60 s"


def test_differences_are_over_the_scenarios_that_both_have_been_in() -> None:
    results = _results()
    reference = evaluate_table.find(results, ["paper"])
    sheet = evaluate_table.differences(results, reference)
    ((_, label, seen, unseen),) = sheet.rows
    assert label == "learned 01234567 single 8 steps" and unseen == ""
    assert seen.startswith("+0.30 (") and seen.endswith("of 10")
    with pytest.raises(ConfigError, match=r"2 settings are called 'learned', wanted is one; there are: .*paper"):
        evaluate_table.find(results, ["learned"])


def test_the_command_shows_what_stands_there_and_says_who_reads_the_truth(tmp_path, capsys) -> None:
    file = tmp_path / "a.jsonl"
    for seed in (PURPOSES["report"], PURPOSES["choose"]):
        rollout = _rollout(replace(SETTING, policy="demonstrator"), Scene("open_drawer", "seen", seed), True)
        trials.append(file, rollout)
    assert cli.main(["evaluate", "table", str(tmp_path), "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "of 1 |" in shown and "demonstrator reads the simulator's truth" in shown
    assert cli.main(["evaluate", "table", str(tmp_path / "b")]) == 2
    assert "kinema evaluate rollouts" in capsys.readouterr().err
