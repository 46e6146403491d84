"""Choosing among several chunks on PushT: by the simulator, and by what a tiny UVA imagines, as the command has it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.apps import cli, pusht_choice, pusht_table, pusht_trials
from kinema.apps.pusht_choice import TRIALS, Guided
from kinema.apps.pusht_trials import Choosing, Episode, PushTSetting
from kinema.chunk import ObservationSpec
from kinema.errors import ConfigError
from kinema.policies import checkpoint, registry
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.batch import Batch
from kinema.policies.chance import Chance
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.codec import PatchesConfig
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.image_encoder import EncodersConfig, ImageEncoderConfig
from kinema.policies.text import WordsConfig
from kinema.policies.uva.model import HeadConfig, UvaConfig, UvaModel
from kinema.pusht import block, client, picture, plane
from kinema.pusht.client import Moment
from kinema.pusht.memory import Memory

torch.set_num_threads(1)

SIZE, RATE = (96, 96), 10
BASELINE = DiffusionPolicyConfig(
    eyes=EncodersConfig(image=ImageEncoderConfig(8, True, (16,), (2,), 1, "whole", 4, 16), text=WordsConfig(width=16)),
    head=ActionUNetConfig(channels=(16, 32), step=16, rejoin=True),
    label=16,
    steps=4,
    latency=0.1,
)
UVA = UvaConfig(
    codec=PatchesConfig(patch=16, predicted=8, shown=8),
    text=WordsConfig(width=16),
    group=2,
    width=32,
    depth=(1, 1),
    heads=2,
    words=2,
    video_head=HeadConfig(32, 1, 16),
    action_head=HeadConfig(32, 1, 16),
    change=True,
    action_steps=4,
    video_steps=4,
    latency={"action": 0.15, "full:3": 0.5},
)


def space(horizon: int = 16) -> ActionSpace:
    """Moves of some ten centimetres in the plane, and none out of it."""
    mean, std = np.zeros(WIDTH), np.full(WIDTH, 0.05)
    mean[[3, 7]] = 1.0
    std[3:9] = 1e-3
    return ActionSpace(horizon=horizon, dt=0.1, offset=0.1, executable=horizon, mean=tuple(mean), std=tuple(std))


def saved(folder: Path, model, kind: str, horizon: int = 16, stage: str = "joint") -> Path:
    facts = Checkpoint(
        kind=kind,
        config=model.config.model_dump(mode="json"),
        action=space(horizon),
        cameras=(plane.CAMERA,),
        image_size=SIZE,
        dataset="",
        calibration_origin=("gym-pusht",),
        latency=model.latency,
        training={"stage": stage},
    )
    checkpoint.save(folder, facts, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Untrained checkpoints whose outputs are not all the same."""
    torch.manual_seed(0)
    baseline, uva = DiffusionPolicyModel(BASELINE, 1, SIZE), UvaModel(UVA, 1, SIZE)
    images = torch.randint(256, (8, 1, 96, 96, 3), dtype=torch.uint8)
    future = torch.randint(256, (8, 1, uva.frames, 96, 96, 3), dtype=torch.uint8)
    text, nothing = (plane.TEXT,) * 8, torch.zeros(8, dtype=torch.int64)
    for model in (baseline, uva):
        model.prepare([Batch(images, torch.zeros(8, 10), future, text, None, nothing)], text)
        for value in model.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.1)
    made = tmp_path_factory.mktemp("checkpoints")
    return {
        "baseline": saved(made / "baseline", baseline.eval(), "diffusion_policy"),
        "short": saved(made / "short", baseline, "diffusion_policy", horizon=8),
        "uva": saved(made / "uva", uva.eval(), "uva"),
        "blind": saved(made / "blind", uva, "uva", stage="action"),
    }


# ---- who chooses


def test_who_can_not_choose_is_refused_by_name(folders, capsys):
    def refused(*words: object) -> str:
        assert cli.main(["pusht", "evaluate", *map(str, words)]) == 2
        return " ".join(capsys.readouterr().err.split())

    policy, uva = folders["baseline"], folders["uva"]
    for said, words in {
        "nobody chooses among 4 candidates; name who does with --choose-by": (policy, "--candidates", 4),
        "simulator has nothing to choose among 1 candidate": (policy, "--choose-by", "simulator"),
        "'nowhere' chooses nothing; allowed: simulator, simulator-images, or the folder": (
            *(policy, "--candidates", 4, "--choose-by", "nowhere"),
        ),
        "is of kind 'diffusion_policy' and imagines no outcomes": (
            *(policy, "--candidates", 4, "--choose-by", policy),
        ),
        "has learned to act and not to imagine": (policy, "--candidates", 4, "--choose-by", folders["blind"]),
        "has no mode of inference 'full:2'; allowed: action, full:3": (
            *(policy, "--candidates", 4, "--choose-by", uva, "--choose-inference", "full:2"),
        ),
        "simulator has no mode of inference 'full:3'": (
            *(policy, "--candidates", 4, "--choose-by", "simulator", "--choose-inference", "full:3"),
        ),
        "expert proposes no chunks, so there is nothing for simulator to choose": (
            *("expert", "--candidates", 4, "--choose-by", "simulator"),
        ),
    }.items():
        assert said in refused(*words)


def test_what_serves_both_is_looked_at():
    simple, past = ObservationSpec(cameras=("top",), force=False), {"history": 4, "history_dt": 0.4}
    uva = ObservationSpec(cameras=("top",), force=False, executed_actions=16, executed_dt=0.1, **past)
    for one, other in ((simple, uva), (uva, simple)):
        both = pusht_choice.seen_by_both(one, other)
        assert (both.history, both.history_dt, both.executed_actions, both.executed_dt) == (4, 0.4, 16, 0.1)
    unseeing = pusht_choice.seen_by_both(ObservationSpec(cameras=("gripper",), images=False, text=False), uva)
    assert unseeing.images and unseeing.text and unseeing.cameras == ("top",)
    other = ObservationSpec(cameras=("top",), history=2, history_dt=0.2)
    with pytest.raises(ConfigError, match=r"looks back in steps of 0\.2 s, who chooses in steps of 0\.4 s"):
        pusht_choice.seen_by_both(other, uva)


def test_settings_stand_apart_and_results_of_before_are_read(tmp_path):
    plain = PushTSetting("diffusion_policy", "0123456789", "", 8, "normal", client.VERSION)
    chosen = [
        PushTSetting("diffusion_policy", "0123456789", "", 8, "normal", client.VERSION, choosing)
        for choosing in (
            Choosing("simulator", 4),
            Choosing("simulator", 16),
            Choosing("uva", 16, "abcdef012345", "action"),
        )
    ]
    episodes = [Episode(setting, 7, 0.5, 0.475, 0.1, 300, 38, 1.0, 0.1) for setting in (plain, *chosen)]
    for episode in episodes:
        pusht_trials.append(tmp_path / "file.jsonl", episode)
    assert pusht_trials.read(tmp_path / "file.jsonl") == episodes
    first, *_ = (tmp_path / "file.jsonl").read_text().splitlines()
    before = json.loads(first)
    del before["setting"]["choosing"]
    (tmp_path / "before.jsonl").write_text(json.dumps(before) + "\n")
    assert pusht_trials.read(tmp_path / "before.jsonl") == episodes[:1]
    assert [row[0] for row in pusht_table.sheet(episodes).rows] == [
        "diffusion_policy 01234567 8 steps",
        "diffusion_policy 01234567 8 steps of 16 by simulator",
        "diffusion_policy 01234567 8 steps of 16 by uva abcdef01 action",
        "diffusion_policy 01234567 8 steps of 4 by simulator",
    ]


# ---- what is chosen


def test_what_is_solved_is_worth_most_and_nearer_more_than_farther():
    image = np.full((96, 96, 3), 255, np.uint8)

    def moment(pose: np.ndarray, coverage: float) -> Moment:
        return Moment(image, np.zeros(2), np.zeros(2), coverage, False, pose)

    near, far = (block.GOAL + np.array([way, 0.0, 0.0]) for way in (5.0, 50.0))
    found = [pusht_choice.by_truth(moment(*some)) for some in ((near, 0.96), (near, 0.94), (far, 0.3))]
    assert found == pytest.approx([0.0, -5.0, -50.0])
    assert pusht_choice.by_image(moment(near, 0.9)) == -picture.off(image)


@pytest.mark.parametrize("who", TRIALS)
def test_the_simulator_chooses_what_then_comes_out_best(env, who):
    policy, chooser = Chance(space(), seed=5), pusht_choice.chooser(who, 6)
    guided = chooser.guide(policy, env, 5)
    moment = env.reset(11)
    for target in moment.agent + np.linspace(0, 1, 12)[:, None] * (moment.block[:2] - moment.agent):
        moment = env.step(target)  # to the block, or else nothing moves it
    seen = Memory(guided.spec, moment.image, moment.agent).observation()
    chunk = guided.predict(seen).chunk
    again = Chance(space(), seed=5)
    all_ = [again.predict(seen).chunk for _ in range(6)]
    worth = [TRIALS[who](env.tried(plane.targets(some))) for some in all_]
    assert chunk.id == 1 + int(np.argmax(worth)) and max(worth) - min(worth) > 2.0
    for target in plane.targets(chunk):
        moment = env.step(target)
    assert TRIALS[who](moment) == max(worth)


def test_uva_chooses_what_it_imagines_to_end_best(folders):
    chooser = pusht_choice.chooser(str(folders["uva"]), 4, "full:3")
    guided = chooser.guide(registry.make(str(folders["baseline"]), seed=2), None, 2)
    rng = np.random.default_rng(0)
    memory = Memory(guided.spec, rng.integers(0, 255, (96, 96, 3), np.uint8), np.array([100.0, 200.0]))
    seen = memory.observation()
    chosen = [guided.predict(seen).chunk for _ in range(3)]
    policy, uva = (
        registry.make(str(folders["baseline"]), seed=2),
        registry.make(str(folders["uva"]), mode="full:3", seed=2),
    )
    for chunk in chosen:
        all_ = policy.propose(seen, 4)
        rows = torch.from_numpy(np.stack([space().rows(some, seen) for some in all_]))
        off = [picture.off(video[plane.CAMERA][-1]) for video in uva.foresee(seen, rows)]
        np.testing.assert_array_equal(chunk.T_rel, all_[int(np.argmin(off))].T_rel)
        assert np.ptp(off) > 0.0


def test_of_equals_the_first_is_played_and_of_one_candidate_the_policys_own(folders):
    policy, own = (registry.make(str(folders["baseline"]), seed=3) for _ in range(2))
    guided = Guided(policy, policy.spec, 1, lambda observation, candidates: candidates[0])
    seen = Memory(policy.spec, np.zeros((96, 96, 3), np.uint8), np.array([100.0, 200.0])).observation()
    for _ in range(2):
        np.testing.assert_array_equal(guided.predict(seen).chunk.T_rel, own.predict(seen).chunk.T_rel)
    guided.reset(4)
    own.reset(4)
    np.testing.assert_array_equal(guided.predict(seen).chunk.T_rel, own.predict(seen).chunk.T_rel)


# ---- as the command has it


@pytest.mark.slow
@pytest.mark.usefixtures("gym_pusht")
def test_an_evaluation_in_which_uva_chooses(folders, tmp_path, capsys):
    words = ["pusht", "evaluate", str(folders["baseline"]), "--seeds", "1", "--results", str(tmp_path)]
    words += ["--candidates", "3", "--choose-by", str(folders["uva"]), "--executed", "16"]
    assert cli.main(words) == 0
    (file,) = tmp_path.glob("diffusion_policy_*.jsonl")
    (row,) = pusht_trials.read(file)
    assert row.setting.choosing == Choosing("uva", 3, checkpoint.read(folders["uva"]).hash, "action")
    assert row.chunks == -(-row.steps // 16) and 0.0 <= row.score <= 1.0
    kept = file.read_bytes()
    assert cli.main(words) == 0 and file.read_bytes() == kept  # it stands there already
    capsys.readouterr()
    assert cli.main(["pusht", "table", str(tmp_path), "--markdown"]) == 0
    assert " 16 steps of 3 by uva " in capsys.readouterr().out


@pytest.mark.usefixtures("gym_pusht")
def test_chunks_that_end_before_what_is_imagined_are_refused(folders, tmp_path, capsys):
    words = ["pusht", "evaluate", str(folders["short"]), "--seeds", "1", "--results", str(tmp_path)]
    assert cli.main([*words, "--candidates", "2", "--choose-by", str(folders["uva"])]) == 2
    assert "is 8 steps of 0.100 s long, needed are 16" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
