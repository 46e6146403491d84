"""`kinema train` from shards to a checkpoint: stages, going on after an end of whatever kind, what it refuses."""

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kinema import paths, yaml_file
from kinema.apps import cli
from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.episodes import shards
from kinema.episodes.export import export
from kinema.episodes.reader import find
from kinema.episodes.shards import Played, ShardDataset, Shards
from kinema.errors import TrainingError
from kinema.policies import checkpoint, registry
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.uva.model import UvaConfig
from kinema.training import session, stages

PLACED = datetime.date(2026, 11, 21)
RECORDED = Path(__file__).resolve().parents[1] / "data/episodes"
BASELINE = ("diffusion-policy", "--steps", "5", "--batch", "4", "--warm-up", "2", "--save", "2", "--measure", "3")
VIDEO = ("video-policy", "--steps", "2", "--batch", "2", "--warm-up", "1", "--measure", "2")


def words(data, out: Path, *rest: str) -> list[str]:
    return ["train", *rest, "--data", str(data.folder), "--out", str(out)]


def train(data, out: Path, *rest: str) -> int:
    return cli.main(words(data, out, *rest))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """The baseline, trained without a break."""
    out = tmp_path_factory.mktemp("whole")
    assert train(data, out, *BASELINE) == 0
    return out


# ---- what comes of it


def test_a_training_leaves_a_policy_that_says_what_it_is_and_can_be_loaded(data, whole):
    facts = checkpoint.read(whole / "checkpoint")
    assert (facts.kind, facts.cameras, facts.image_size) == ("diffusion_policy", ("gripper", "left", "right"), (64, 48))
    assert (facts.dataset, facts.calibration_origin) == (data.fingerprint, ("simulator truth",))
    assert (facts.action.horizon, facts.action.dt, facts.action.executable) == (32, 0.1, 24)
    assert (facts.training["steps"], facts.training["stage"], facts.training["plan"]["rate"]) == (5, "action", 1e-3)
    held_out = facts.training["held_out"]
    assert set(held_out) >= {"action", "position_mm", "rotation_deg", "still_mm"} and held_out["still_mm"] > 0
    policy = registry.make(str(whole / "checkpoint"))
    assert policy.name == "diffusion_policy" and not policy.spec.simulator_truth


def test_curves_show_training_and_what_was_held_out(whole):
    curves = EventAccumulator(str(whole / "curves")).Reload()
    assert {"rate", "training/action", "held out/action", "held out/position_mm"} <= set(curves.Tags()["scalars"])
    assert [point.step for point in curves.Scalars("held out/position_mm")] == [3, 5]
    assert all(point.value > 0 for point in curves.Scalars("training/action"))


def test_what_is_saved_are_the_averaged_weights(whole):
    state = torch.load(whole / "state.pt", weights_only=True)
    saved = load_file(whole / "checkpoint/model.safetensors")
    matrices = [value for value in state["average"] if value.ndim > 1]
    assert matrices and all(any(torch.equal(value.half(), other) for other in saved.values()) for value in matrices)
    assert not all(torch.equal(saved[name], value.half()) for name, value in state["model"].items())


def test_two_stages_of_the_video_policy_and_the_video_network_stays_as_it_was(data, tmp_path):
    assert train(data, tmp_path / "one", *VIDEO, "--stage", "video", "--videos", str(data.folder)) == 0
    first = checkpoint.read(tmp_path / "one/checkpoint")
    assert first.training["videos"] == [data.fingerprint]
    assert "action" not in first.training["held_out"] and "position_mm" not in first.training["held_out"]
    begin = ("--begin", str(tmp_path / "one/checkpoint"))
    changes = tmp_path / "changes.yaml"
    changes.write_text("draws: 2\n")
    assert train(data, tmp_path / "two", *VIDEO, "--stage", "action", *begin, "--config", str(changes)) == 0
    second = checkpoint.read(tmp_path / "two/checkpoint")
    assert second.training["before"]["hash"] == first.hash and second.config == {**first.config, "draws": 2}
    assert second.training["held_out"]["position_mm"] > 0
    before, after = (load_file(tmp_path / name / "checkpoint/model.safetensors") for name in ("one", "two"))
    video = [name for name in before if name.startswith(("unet.", "codec.", "text."))]
    assert video and all(torch.equal(before[name], after[name]) for name in video)
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("head."))


def test_an_imagined_video_of_every_look_shows_all_cameras_and_frames(data, tmp_path):
    assert train(data, tmp_path, *VIDEO, "--stage", "joint") == 0
    with av.open(tmp_path / "videos/0000002.mp4") as container:
        assert float(container.streams.video[0].average_rate) == 2.5
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4 * 8 and frames[0].shape == (48 + 4 + 48, 3 * 64, 3)
    held_out = checkpoint.read(tmp_path / "checkpoint").training["held_out"]
    assert held_out["repeated_dB"] > held_out["imagined_dB"] > 0  # nothing was learned in two steps


@pytest.mark.parametrize("stage", ["joint", "action"])
def test_uva_learns_all_its_tasks_or_to_act_alone_and_labels_what_it_sees(data, tmp_path, capsys, stage):
    yaml_file.write(tmp_path / "network.yaml", UvaConfig.small().model_copy(update={"group": 1, "depth": (1, 1)}))
    given = ("uva", "--steps", "2", "--batch", "4", "--warm-up", "1", "--measure", "2", "--stage", stage)
    assert train(data, tmp_path / "out", *given, "--config", str(tmp_path / "network.yaml")) == 0
    facts = checkpoint.read(tmp_path / "out/checkpoint")
    assert (facts.action.horizon, facts.action.executable, facts.training["stage"]) == (16, 8, stage)
    held_out = facts.training["held_out"]
    assert held_out["position_mm"] > 0 and ("imagined_dB" in held_out) is (stage == "joint")
    assert hasattr(registry.make(str(tmp_path / "out/checkpoint")), "imagine") is (stage == "joint")
    asked = ["episodes", "label", str(tmp_path / "out/checkpoint"), "--in", str(data.folder), "--compare"]
    labelled = tmp_path / "labelled"
    assert cli.main([*asked, "--out", str(labelled)]) == (0 if stage == "joint" else 2)
    told = capsys.readouterr()
    if stage == "action":
        assert "is a uva, stage action; actions are read from images by a uva of the stage joint" in told.err
        return
    assert "cm, " in told.out and "degrees from what was recorded" in told.out
    found = ShardDataset(labelled)
    assert found.index["calibration_origin"] == [f"read from images by uva {facts.hash[:12]}"]
    assert found.state(0).shape == data.state(0).shape and not found.state(0)[0, :3].any()


def test_another_network_is_taken_from_a_file_and_what_is_wrong_with_it_is_said(data, tmp_path, capsys):
    config = DiffusionPolicyConfig.small().model_copy(update={"label": 32})
    yaml_file.write(tmp_path / "network.yaml", config)
    given = ("diffusion-policy", "--steps", "1", "--batch", "2", "--config", str(tmp_path / "network.yaml"))
    assert train(data, tmp_path / "out", *given) == 0
    assert checkpoint.read(tmp_path / "out/checkpoint").config["label"] == 32
    (tmp_path / "network.yaml").write_text((tmp_path / "network.yaml").read_text() + "colour: red\n")
    assert train(data, tmp_path / "other", *given) == 2
    assert "network.yaml: key 'colour' is unknown; allowed here: eyes, head" in capsys.readouterr().err


# ---- going on


def test_the_same_command_goes_on_after_a_stop_and_ends_with_the_same_weights(data, whole, tmp_path, monkeypatch):
    batch, asked = session.Session._batch, []

    def interrupted(self, step: int, piece: int):
        asked.append(step)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(self, step, piece)

    monkeypatch.setattr(session.Session, "_batch", interrupted)
    assert train(data, tmp_path, *BASELINE) == 3
    assert not (tmp_path / "checkpoint").exists()
    monkeypatch.undo()
    assert 0 < torch.load(tmp_path / "state.pt", weights_only=True)["step"] < 5
    assert train(data, tmp_path, *BASELINE) == 0
    assert checkpoint.read(tmp_path / "checkpoint").weights == checkpoint.read(whole / "checkpoint").weights


def test_a_finished_training_writes_its_checkpoint_again_and_learns_nothing_more(data, whole):
    before = checkpoint.read(whole / "checkpoint")
    (whole / "checkpoint/checkpoint.json").unlink()
    assert train(data, whole, *BASELINE) == 0
    after = checkpoint.read(whole / "checkpoint")
    assert (after.weights, after.training["held_out"]) == (before.weights, before.training["held_out"])


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(data, whole, tmp_path, start, wait_for):
    command = [sys.executable, "-m", "kinema.apps.cli", *words(data, tmp_path, *BASELINE)]
    process = start(command, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "state.pt").exists, timeout=120.0, what="the first state")
    process.kill()
    process.wait()
    assert train(data, tmp_path, *BASELINE) == 0
    assert checkpoint.read(tmp_path / "checkpoint").weights == checkpoint.read(whole / "checkpoint").weights


@pytest.mark.slow
def test_two_processes_share_each_batch_and_leave_one_policy(data, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "kinema.apps.train", *words(data, tmp_path, *BASELINE)[1:]]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}  # as `accelerate launch` does it on GPUs
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    facts = checkpoint.read(tmp_path / "checkpoint")
    assert facts.training["hardware"].startswith("2 x ") and facts.training["steps"] == 5


# ---- what is refused


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            ("diffusion-policy", "--stage", "video"),
            "diffusion_policy in the size small has no stage 'video'; allowed: action",
        ),
        (
            ("video-policy", "--stage", "joint", "--videos", "{data}"),
            "videos without actions are for the stage 'video'",
        ),
        (
            ("diffusion-policy", "--batch", "9", "--pieces", "2"),
            "a batch of 9 can't be shared by 1 processes in 2 pieces",
        ),
        (
            ("video-policy", "--stage", "action", "--begin", "{whole}"),
            "is a checkpoint of diffusion_policy, wanted is one of",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(data, whole, tmp_path, capsys, rest, said):
    given = [word.format(data=data.folder, whole=whole / "checkpoint") for word in rest]
    assert train(data, tmp_path, *given) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, said", [("drawings: 2", "'drawings'"), ("- 1", "Input should be an object"), ("label: 32", "label.")]
)
def test_changes_of_a_checkpoint_that_it_cannot_have_are_refused(data, whole, tmp_path, capsys, text, said):
    changes = tmp_path / "changes.yaml"
    changes.write_text(text)
    assert train(data, tmp_path, *BASELINE, "--begin", str(whole / "checkpoint"), "--config", str(changes)) == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_another_training_is_refused(data, whole, capsys):
    assert train(data, whole, *BASELINE, "--seed", "1") == 2
    assert "is of another run: seed was 0 and now is 1; give another --out" in capsys.readouterr().err


def test_a_checkpoint_that_saw_other_images_is_refused(data, whole, tmp_path, capsys):
    export(dict(list(find(RECORDED).items())), tmp_path / "set", Shards(size=(32, 24)), rate=10)
    given = ["train", *BASELINE, "--data", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    assert cli.main([*given, "--begin", str(whole / "checkpoint")]) == 2
    assert "in (64, 48) px, the data are of gripper, left, right in (32, 24) px" in capsys.readouterr().err


def test_the_checkpoint_s_facts_are_json(whole):
    assert json.loads((whole / "checkpoint/checkpoint.json").read_text())["training"]["hardware"]


# ---- videos alone, of two cameras

STEREO = ("dreamitate", "--steps", "2", "--batch", "2", "--warm-up", "1", "--measure", "2")


def films(folder: Path, goals: bool = False) -> ShardDataset:
    """Four clips in which something passes both views."""

    def film(number: int) -> Played:
        images = np.full((26, 48, 64, 3), 90, np.uint8)
        for i in range(26):
            images[i, 8:40, 2 * i : 2 * i + 12] = (200, 30 * number, 60)
        masks = dict.fromkeys(SIDE_CAMERAS, np.eye(48, 64, dtype=np.uint8)) if goals else {}
        return Played(f"film {number}", "pass by", shards.still(26), dict.fromkeys(SIDE_CAMERAS, images), masks)

    shards.write(folder, map(film, range(4)), 10, "videos alone", placed=PLACED)
    return ShardDataset(folder)


def test_dreamitate_learns_from_videos_of_the_side_cameras_that_nobody_knows_the_actions_of(tmp_path):
    data = films(tmp_path / "films")
    assert train(data, tmp_path / "out", *STEREO) == 0
    facts = checkpoint.read(tmp_path / "out/checkpoint")
    assert (facts.kind, facts.cameras, facts.image_size) == ("dreamitate", ("left", "right"), (64, 48))
    assert facts.training["stage"] == "video" and facts.training["placed"] == PLACED.isoformat()
    assert facts.training["moments"] == 9  # the first three of each clip, one clip held out
    assert {"video", "imagined_dB", "repeated_dB"} == set(facts.training["held_out"])
    assert next((tmp_path / "out/videos").glob("*.mp4"))
    assert train(data, tmp_path / "on", *STEREO, "--begin", str(tmp_path / "out/checkpoint")) == 0
    before, after = (load_file(tmp_path / name / "checkpoint/model.safetensors") for name in ("out", "on"))
    assert torch.equal(before["codec.basis"], after["codec.basis"]) and torch.equal(before["scale"], after["scale"])
    with pytest.raises(TrainingError, match="no stage 'joint'; allowed: video"):
        stages.recipe("dreamitate", "small", "joint")


def test_the_tool_that_videos_show_goes_along_with_the_checkpoint(tmp_path, capsys):
    data, brush = films(tmp_path / "films"), str(paths.root() / "models/tools/brush")
    assert train(data, tmp_path / "out", *STEREO, "--tool", brush) == 0
    there = {file.name for file in (tmp_path / "out/checkpoint/tool").iterdir()}
    assert there == {file.name for file in Path(brush).iterdir()}
    assert train(data, tmp_path / "other", *STEREO, "--tool", str(tmp_path)) == 2
    assert f"{tmp_path / 'tool.yaml'}: cannot be read" in capsys.readouterr().err
    assert cli.main(["train", "uva", "--data", str(data.folder), "--out", str(tmp_path / "uva"), "--tool", brush]) == 2
    assert "a tool goes along with dreamitate, not with uva" in capsys.readouterr().err


def test_dreamitate_learns_from_demonstrations_too_and_says_until_when_their_cameras_may_have_been_placed(
    data, tmp_path
):
    assert train(data, tmp_path, *STEREO) == 0
    assert checkpoint.read(tmp_path / "checkpoint").training["placed"] == "2026-11-20" == data.placed.isoformat()


def test_goals_are_learned_from_where_there_are_some(data, tmp_path, capsys):
    config = tmp_path / "goals.yaml"
    yaml_file.write(config, DreamitateConfig.small().model_copy(update={"goal": True}))
    assert train(films(tmp_path / "films", goals=True), tmp_path / "out", *STEREO, "--config", str(config)) == 0
    assert checkpoint.read(tmp_path / "out/checkpoint").config["goal"] is True
    assert train(data, tmp_path / "other", *STEREO, "--config", str(config)) == 2
    assert "has no goal for camera 'left'; put goal/left.png beside the recording" in capsys.readouterr().err
