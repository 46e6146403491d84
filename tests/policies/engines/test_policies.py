"""All learned policies of the small size on engines: they act as on torch, and what they can't run on is refused."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kinema.apps import build_engine, cli
from kinema.chunk import Observation
from kinema.errors import EngineError
from kinema.interfaces import Policy
from kinema.policies import checkpoint, pictures, registry
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.diffusion_policy.model import DiffusionPolicyConfig, DiffusionPolicyModel
from kinema.policies.engines import backends, onnx_file
from kinema.policies.engines.graph import traced
from kinema.policies.text import Told
from kinema.policies.uva.model import UvaConfig, UvaModel
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.model import VideoPolicyModel
from kinema.policies.warm_up import blank

torch.set_num_threads(1)

CAMERAS, SIZE = ("gripper", "left", "right"), (64, 64)
SPACE = ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=24, mean=(0.1,) * WIDTH, std=(0.2,) * WIDTH)
MODELS = {
    "video_policy": (VideoPolicyModel, VideoPolicyConfig.small()),
    "diffusion_policy": (DiffusionPolicyModel, DiffusionPolicyConfig.small()),
    "uva": (UvaModel, UvaConfig.small()),
}
HORIZONS = {"uva": 16}  # of the others: SPACE's


def drawn(kind: str) -> nn.Module:
    """A network of drawn weights, none of them zero."""
    torch.manual_seed(0)
    network, config = MODELS[kind]
    model = network(config, len(CAMERAS), SIZE).eval()
    for value in model.parameters():
        if not value.any():
            nn.init.normal_(value, std=0.05)
    return model


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Iterator[Path]:
    """A root of its own, with a checkpoint of each kind in `models/`, and engines of onnxruntime built for them."""
    root = tmp_path_factory.mktemp("root")
    (root / "launch").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEMA_ROOT", str(root))
        for kind in MODELS:
            model = drawn(kind)
            facts = Checkpoint(
                kind=kind,
                config=model.config.model_dump(mode="json"),
                action=SPACE.model_copy(update={"horizon": HORIZONS.get(kind, SPACE.horizon), "executable": 12}),
                cameras=CAMERAS,
                image_size=SIZE,
                dataset="",
                calibration_origin=(),
                latency=model.latency,
                training={},
            )
            checkpoint.save(root / "models" / kind, facts, model.state_dict())
        yield root


def observed(policy: Policy) -> Observation:
    seen = blank(policy.spec)
    images = pictures.fixed(len(CAMERAS), SIZE).flip(1).numpy()
    moving = {
        name: np.stack([np.roll(image, k, axis=1) for k in range(policy.spec.history)])
        for name, image in zip(CAMERAS, images, strict=True)
    }
    return dataclasses.replace(seen, images=moving, text="open the left drawer")


@pytest.mark.parametrize("kind, mode", [("video_policy", "single"), ("diffusion_policy", ""), ("uva", "full:1")])
def test_f07_without_its_engines_a_policy_says_how_to_build_them_and_then_acts_as_on_torch(root, kind, mode, capsys):
    folder, options = str(root / "models" / kind), {"mode": mode} if mode else {}
    with pytest.raises(EngineError, match=r"onnxruntime/engine\.json: cannot be read: .*; `kinema build-engine`"):
        registry.make(folder, backend="onnxruntime", **options)
    assert cli.main(["build-engine", folder, *(["--mode", mode] if mode else [])]) == 0
    assert "prediction" in capsys.readouterr().out
    plain, engine = (registry.make(folder, backend=name, **options) for name in ("torch", "onnxruntime"))
    observation = observed(plain)
    right, found = plain.predict(observation), engine.predict(observation)
    np.testing.assert_allclose(found.chunk.T_rel, right.chunk.T_rel, atol=1e-4)
    np.testing.assert_allclose(found.chunk.force, right.chunk.force, atol=1e-3)
    assert {"read", "see", "action"} <= set(found.timing)
    if mode:
        for camera, images in plain.imagine(observation, right).video.items():
            same = engine.imagine(observation, found).video[camera]
            assert np.abs(same.astype(int) - images).max() <= 1
    if kind == "video_policy":
        with pytest.raises(EngineError, match="has no graph action-2, video-2; there are"):
            registry.make(folder, backend="onnxruntime", mode="paper")


@pytest.mark.parametrize("kind", MODELS)
def test_half_as_many_bits_are_enough(root, kind):
    policy = registry.make(str(root / "models" / kind), backend="torch-bf16")
    assert policy.predict(observed(policy)).chunk.T_rel.shape == (HORIZONS.get(kind, SPACE.horizon), 4, 4)


def test_an_instruction_is_read_once(root, monkeypatch):
    policy = registry.make(str(root / "models/video_policy"))
    model, read = policy._model, []
    monkeypatch.setattr(model, "read", lambda texts: read.append(texts) or VideoPolicyModel.read(model, texts))
    for text in ("open it", "open it", "close it"):
        policy.predict(dataclasses.replace(observed(policy), text=text))
    assert read == [("open it",), ("close it",)]


def test_what_is_no_checkpoint_has_no_engines(root):
    assert cli.main(["build-engine", "demonstrator"]) == 2
    assert set(build_engine.BUILT) == {"onnxruntime", "tensorrt"}
    assert backends.place("ab" * 32, "tensorrt") == root / "runs/engines" / ("ab" * 8) / "tensorrt"


# ---- the full size, without weights


@pytest.fixture(scope="module")
def full() -> VideoPolicyModel:
    with torch.device("meta"):
        return VideoPolicyModel(VideoPolicyConfig.full(), 3, (256, 256)).to("meta").eval()


def act(model: VideoPolicyModel, mode: str):
    """A prediction and its video on the meta device, the text read."""

    def run_all(run):
        with torch.device("meta"), torch.no_grad():
            now = torch.empty(1, 3, 256, 256, 3, dtype=torch.uint8)
            sight = sampler.see(run, now, Told(torch.empty(1, 1024), None), torch.empty(1, 10))
            noise = model.noise(1, torch.Generator())
            given, prefix = torch.empty_like(noise.actions), torch.empty(1, dtype=torch.int64)
            latents = sampler.act(run, model.config, mode, sight, noise, given, prefix)[1]
            if latents is None:
                latents = noise.video
            sampler.decode(run, latents, now)

    return run_all


@pytest.mark.parametrize("mode, twice", [("single", 1), ("few:1", 1), ("paper", 2)])
def test_the_full_size_has_the_same_graphs(full, mode, twice, monkeypatch):
    monkeypatch.setattr(sampler, "_PAPER_STEPS", 1)
    graphs = {graph.key: graph for graph in traced(full, act(full, mode))}
    assert set(graphs) == {"see-1", f"video-{twice}", f"action-{twice}", "decode-1"}
    shapes = {key: [tuple(value.shape) for value in graph.examples] for key, graph in graphs.items()}
    latents = (twice, 25, 4, 32, 32)
    assert shapes["see-1"] == [(1, 3, 256, 256, 3)]
    assert shapes[f"video-{twice}"] == [latents, (twice,), latents, (twice, 1024)]
    assert shapes[f"action-{twice}"] == [(twice, 32, 11), (twice,), (twice, 6720), (twice, 32)]


@pytest.mark.slow
def test_the_full_sizes_video_network_has_a_form_in_onnx(full):
    video = next(graph for graph in traced(full, act(full, "single")) if graph.name == "video")
    program = onnx_file.exported(video)
    assert [tuple(value.shape) for value in program.model.graph.outputs] == [(1, 25, 4, 32, 32), (1, 6720)]
    kinds = {node.op_type for node in program.model.graph.all_nodes()}
    assert {"Conv", "GroupNormalization"} <= kinds
