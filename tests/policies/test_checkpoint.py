"""A trained policy as a folder: what goes in comes out, and whatever is wrong with it is refused by name (F07)."""

import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from torch import nn

from kinema.errors import CheckpointError
from kinema.policies import checkpoint
from kinema.policies.actions import ActionSpace
from kinema.policies.checkpoint import FACTS, WEIGHTS, Checkpoint

TENSORS = {"linear.weight": torch.tensor([[1.0, -2.5], [1 / 3, 6e4]]), "linear.bias": torch.tensor([0.0, 7.0])}


def facts(**changes) -> Checkpoint:
    return Checkpoint(
        **{
            "kind": "diffusion_policy",
            "config": {"channels": [64, 128], "pooling": "keypoints"},
            "action": ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=8, mean=(0.1,) * 11, std=(1 / 3,) * 11),
            "cameras": ("gripper", "left", "right"),
            "image_size": (96, 72),
            "dataset": "d" * 64,
            "calibration_origin": ("simulator truth",),
            "latency": {"sample": 0.12},
            "training": {"steps": 10, "hours": 0.5, "seed": 1},
            **changes,
        }
    )


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path / "trained", facts(), TENSORS)
    return tmp_path / "trained"


def alter(folder, change) -> None:
    content = json.loads((folder / FACTS).read_text())
    change(content)
    (folder / FACTS).write_text(json.dumps(content))


def test_what_was_saved_is_loaded(folder):
    found, tensors = checkpoint.load(folder)
    assert found == facts(weights=found.weights) and len(found.weights) == 64
    assert {name: value.dtype for name, value in tensors.items()} == dict.fromkeys(TENSORS, torch.float32)
    for name, value in TENSORS.items():
        torch.testing.assert_close(tensors[name], value, rtol=5e-4, atol=0)
    assert sorted(path.name for path in folder.iterdir()) == [FACTS, WEIGHTS]
    assert (folder / WEIGHTS).stat().st_mode == (folder / FACTS).stat().st_mode  # as the umask says


def test_full_precision_and_whole_numbers_are_kept_where_wanted(tmp_path):
    saved = TENSORS | {"counts": torch.arange(3), "transposed": TENSORS["linear.weight"].T}
    checkpoint.save(tmp_path, facts(), saved, half=False)
    loaded = checkpoint.load(tmp_path)[1]
    assert all(torch.equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in saved.items())


def test_the_hash_is_of_facts_and_weights_alike(folder, tmp_path):
    first, _ = checkpoint.load(folder)
    again = checkpoint.save(tmp_path / "again", facts(), TENSORS)
    assert first.hash == again.hash and len(first.hash) == 64
    other = checkpoint.save(tmp_path / "weights", facts(), TENSORS | {"linear.bias": torch.ones(2)})
    slower = checkpoint.save(tmp_path / "facts", facts(latency={"sample": 0.2}), TENSORS)
    assert len({first.hash, other.hash, slower.hash}) == 3
    assert first.model_copy(update={"executed": 8}).hash == first.hash, (
        "results that it was chosen by are kept under it"
    )


def test_a_configuration_is_read_strictly(folder):
    class Config(pydantic.BaseModel, frozen=True, strict=True, extra="forbid"):
        channels: tuple[int, ...]

    with pytest.raises(CheckpointError, match=r"checkpoint\.json: key 'pooling' is unknown; allowed here: channels"):
        facts().configured(Config, folder)
    assert facts(config={"channels": [8, 9]}).configured(Config, folder).channels == (8, 9)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c["action"].pop("std"), r"key 'action\.std' is missing"),
        (lambda c: c.pop("action"), r"key 'action' is missing"),
        (lambda c: c["action"]["mean"].pop(), r"key 'action\.mean' is .*at least 11 items"),
        (lambda c: c.update(format=2), r"key 'format' is 2: Input should be 1"),
        (lambda c: c.update(colour="red"), r"key 'colour' is unknown; allowed here: .*cameras, image_size"),
        (lambda c: c.update(cameras=[]), r"key 'cameras'"),
    ],
)
def test_f07_facts_that_do_not_fit_are_refused_by_key(folder, change, message):
    alter(folder, change)
    with pytest.raises(CheckpointError, match=r"trained/checkpoint\.json: " + message) as raised:
        checkpoint.load(folder)
    assert raised.value.fault == "F07"


@pytest.mark.parametrize("name", [FACTS, WEIGHTS])
def test_f07_a_truncated_file_is_refused_by_name(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(CheckpointError, match=rf"trained/{name}: "):
        checkpoint.load(folder)


@pytest.mark.parametrize("name", [FACTS, WEIGHTS])
def test_f07_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"trained/{name}: cannot be read"):
        checkpoint.load(folder)


def test_f07_weights_of_another_checkpoint_are_refused(folder, tmp_path):
    checkpoint.save(tmp_path / "other", facts(), {"linear.weight": torch.ones(2, 2), "linear.bias": torch.ones(2)})
    (tmp_path / "other" / WEIGHTS).replace(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: is cut short, altered or of another checkpoint"):
        checkpoint.load(folder)


def test_f07_weights_that_do_not_fit_the_network_are_named():
    network = nn.ModuleDict({"linear": nn.Linear(3, 2), "last": nn.Linear(2, 1, bias=False)})
    with pytest.raises(CheckpointError, match=r"(?s)last\.weight.*linear\.weight.*\[2, 2\].*\[2, 3\]"):
        checkpoint.restore(network, TENSORS, Path("trained"))


def test_f07_a_device_that_is_not_there_is_refused_by_name():
    network = nn.ModuleDict({"linear": nn.Linear(2, 2)})
    with pytest.raises(CheckpointError, match=r"trained: does not go onto device 'tpu': "):
        checkpoint.restore(network, TENSORS, Path("trained"), "tpu")


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e5])
def test_numbers_that_16_bits_do_not_hold_are_not_saved(tmp_path, number):
    with pytest.raises(CheckpointError, match=r"bad is not finite in 16 bits: nothing was saved"):
        checkpoint.save(tmp_path / "new", facts(), {"bad": torch.tensor([1.0, number])})
    assert not (tmp_path / "new").exists()
