"""Every backend that runs here against torch in 32 bits, on a small network; and what is refused, by name."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from kinema.errors import ConfigError, EngineError, ForeignEngineError
from kinema.policies.action_unet import LabelEmbedding
from kinema.policies.engines import backends, built, onnx_file, parity
from kinema.policies.engines.engine import Engine, Timed
from kinema.policies.engines.graph import Part, Run, lowered, running, traced
from kinema.policies.engines.onnxruntime_backend import OnnxRuntime
from kinema.policies.engines.torch_backend import Torch

torch.set_num_threads(1)

CPU, CHECKPOINT, MODE = torch.device("cpu"), "ab" * 32, "single"


class Network(nn.Module):
    """Looks once, in 32 bits, then answers at several noise levels."""

    narrow = ("answers",)
    parts = {
        "see": Part(lambda model, now: (model.sees(now),), ("now",), ("seen",), narrow=False),
        "answer": Part(
            lambda model, noisy, label, known, seen: model.answer(noisy, label, known, seen),
            ("noisy", "label", "known", "seen"),
            ("velocity", "doubt"),
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sees = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.Flatten(), nn.LazyLinear(16))
        self.answers = nn.ModuleDict({"label": LabelEmbedding(16), "last": nn.Linear(20, 4)})
        self.sees(torch.zeros(1, 3, 8, 8))

    def answer(self, noisy: Tensor, label: Tensor, known: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        vector = self.answers["label"](label) + seen
        velocity = self.answers["last"](torch.cat([vector, noisy], dim=1))
        return velocity.where(known[:, None], noisy), velocity.square()


def act(run: Run) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    (seen,) = run("see", torch.randn(1, 3, 8, 8, generator=generator))
    noisy = torch.randn(2, 4, generator=generator)
    for level in (700.0, 3.0, 0.1):
        label = torch.tensor(level).log().expand(2) / 4
        noisy, _ = run("answer", noisy, label, torch.tensor([True, False]), seen.expand(2, -1))
    return {"actions": noisy}


@pytest.fixture
def network(tmp_path, monkeypatch) -> Iterator[Network]:
    """With a root of its own, where engines are kept."""
    (tmp_path / "launch").mkdir()
    monkeypatch.setenv("KINEMA_ROOT", str(tmp_path))
    with torch.no_grad():
        yield Network().eval()


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """Engines of onnxruntime, built once."""
    folder = tmp_path_factory.mktemp("once") / "onnxruntime"
    with torch.no_grad():
        built.build(OnnxRuntime(), traced(Network().eval(), act), folder, CHECKPOINT, CPU)
    return folder


@pytest.fixture
def folder(network, once) -> Path:
    """The same, at the network's own place."""
    return shutil.copytree(once, backends.place(CHECKPOINT, "onnxruntime"))


def test_a_graph_is_a_part_at_the_shapes_that_acting_needs(network):
    graphs = {graph.key: graph for graph in traced(network, act)}
    assert list(graphs) == ["see-1", "answer-2"]
    assert [tuple(example.shape) for example in graphs["answer-2"].examples] == [(2, 4), (2,), (2,), (2, 16)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_are_for_what_they_are_enough_for(network, dtype):
    see, answer = lowered(traced(network, act), dtype)
    assert see.model is answer.model and answer.model is not network
    assert {value.dtype for value in answer.model.answers.parameters()} == {dtype}
    assert {value.dtype for value in [*network.parameters(), *see.model.sees.parameters()]} == {torch.float32}
    assert torch.equal(see(*see.examples)[0], network.sees(*see.examples))
    for found, right in zip(answer(*answer.examples), network.answer(*answer.examples), strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - right).abs().max() < 0.05


@pytest.mark.parametrize("backend", ["torch-bf16", "onnxruntime"])
def test_a_backend_acts_as_torch_does(network, folder, backend):
    found = act(backends.ready(backend, CHECKPOINT, network, MODE, act, CPU))
    right = act(backends.ready("torch", CHECKPOINT, network, MODE, act, CPU))
    error = float((found["actions"] - right["actions"]).abs().max())
    assert error < (1e-5 if backend == "onnxruntime" else 0.05)


@pytest.mark.slow
def test_what_is_compiled_acts_as_torch_does(network):
    right = act(running(network))["actions"]
    found = act(backends.ready("torch-compiled", CHECKPOINT, network, MODE, act, CPU))["actions"]
    torch.testing.assert_close(found, right, atol=1e-5, rtol=0)


def test_onnxruntime_may_be_called_by_two_threads(network, folder):
    run = backends.ready("onnxruntime", CHECKPOINT, network, MODE, act, CPU)
    right, found = act(run)["actions"], []
    threads = [threading.Thread(target=lambda: found.extend(act(run)["actions"] for _ in range(30))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60 and all(torch.equal(actions, right) for actions in found)


def test_what_a_prediction_spends_its_time_on_is_known_by_part(network):
    timed = Timed(running(network), CPU)
    act(timed)
    assert set(timed.seconds) == {"see", "answer"} and min(timed.seconds.values()) > 0


# ---- files


def test_an_onnx_file_has_fixed_shapes_and_nothing_of_this_machine(network, once, tmp_path):
    file = once / "answer-2.onnx"
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == onnx_file.OPSET
    assert [value.name for value in model.graph.input] == ["noisy", "label", "known", "seen"]
    assert [value.name for value in model.graph.output] == ["velocity", "doubt"]
    assert not any(side.dim_param for value in model.graph.input for side in value.type.tensor_type.shape.dim)
    assert b"/site-packages/" not in file.read_bytes() and b"test_engines.py" not in file.read_bytes()
    again = tmp_path / "again.onnx"
    onnx_file.export(traced(network, act)[1], again)
    assert onnx_file.digest(again) == onnx_file.digest(file)


def test_what_must_be_16_bits_in_an_engine_is_16_bits_in_its_onnx_file(network, tmp_path):
    file = tmp_path / "answer.onnx"
    onnx_file.export(lowered(traced(network, act), torch.float16)[1], file)
    model = onnx.load(file)
    kinds = {value.name: value.data_type for value in model.graph.initializer if value.name.endswith("weight")}
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT16}
    ends = [*model.graph.input, *model.graph.output]
    assert onnx.TensorProto.FLOAT16 not in {value.type.tensor_type.elem_type for value in ends}


def test_f07_engines_that_are_not_whole_are_refused_by_name(network, folder):
    def refused(said: str, checkpoint: str = CHECKPOINT) -> None:
        with pytest.raises(EngineError, match=said) as refusal:
            built.runners(OnnxRuntime(), traced(network, act), folder, checkpoint, CPU)
        assert refusal.value.fault == "F07"

    refused("engines of checkpoint abababababab, the policy is cdcdcdcdcdcd: build them again", "cd" * 32)
    file, facts = folder / "answer-2.onnx", built.read(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(r"answer-2\.onnx: is missing, cut short or altered")
    row = facts.graphs["answer-2"].model_copy(update={"sha256": onnx_file.digest(file)})
    (folder / built.FACTS).write_text(
        facts.model_copy(update={"graphs": facts.graphs | {"answer-2": row}}).model_dump_json()
    )
    refused(r"answer-2\.onnx: is nothing that onnxruntime .* can run")
    (folder / built.FACTS).write_text('{"format": 2}')
    refused("key 'format' is 2")
    (folder / built.FACTS).unlink()
    refused(r"engine\.json: cannot be read: .*; `kinema build-engine` writes one")


def test_f07_a_graph_that_was_not_built_is_named(network, folder):
    def look_twice(run: Run) -> dict[str, Tensor]:
        return {"seen": run("see", torch.zeros(2, 3, 8, 8))[0]}

    with pytest.raises(EngineError, match="has no graph see-2; there are see-1, answer-2: build them again"):
        backends.ready("onnxruntime", CHECKPOINT, network, MODE, look_twice, CPU)
    with pytest.raises(EngineError, match="no graph 'see-3' was made ready; there are see-1"):
        Engine({"see-1": running(network)})("see", torch.zeros(3, 3, 8, 8))


def test_f08_an_engine_for_another_machine_is_refused_naming_both(network, tmp_path):
    facts = built.Built(checkpoint=CHECKPOINT, machine="TensorRT 11.4.0.106 on sm_90", precision="float16", graphs={})
    with pytest.raises(
        ForeignEngineError, match=r"for TensorRT 11.4.0.106 on sm_90, .* TensorRT 11.3.0 on sm_80"
    ) as refusal:
        built.check(facts, tmp_path, CHECKPOINT, "TensorRT 11.3.0 on sm_80", [])
    assert refusal.value.fault == "F08"


def test_a_build_that_fails_says_why_and_leaves_the_engines_of_before(network, folder):
    before = built.read(folder)
    depends = Part(lambda model, now: (now[now > 0] if now.sum() > 0 else now,), ("now",), ("seen",))
    network.parts = network.parts | {"see": depends}
    with pytest.raises(EngineError, match="graph see-1 can't be written as ONNX"):
        backends.build("onnxruntime", CHECKPOINT, network, [lambda run: run("see", torch.ones(1, 2))], CPU)
    assert built.read(folder) == before and [path.name for path in folder.parent.iterdir()] == ["onnxruntime"]


# ---- the gate


class Wrong(Torch):
    """Answers a little more than it should."""

    def runners(self, graphs, device):
        right = super().runners(graphs, device)
        return right | {"answer-2": lambda *inputs: tuple(1.01 * value for value in right["answer-2"](*inputs))}


def test_f07_what_computes_something_else_may_not_act(network, monkeypatch):
    monkeypatch.setitem(backends.BACKENDS, "torch-bf16", Wrong())
    with pytest.raises(
        EngineError, match=r"torch-bf16 does not compute what torch does: answer-2: velocity is off by 1"
    ):
        backends.ready("torch-bf16", CHECKPOINT, network, MODE, act, CPU)


def test_what_passed_need_not_pass_again_until_something_changes(network, monkeypatch):
    compared = []
    compare = parity.compare
    monkeypatch.setattr(parity, "compare", lambda *given: compared.append(1) or compare(*given))
    for _ in range(2):
        backends.ready("torch-bf16", CHECKPOINT, network, MODE, act, CPU)
    assert len(compared) == 1
    backends.ready("torch-bf16", "cd" * 32, network, MODE, act, CPU)
    backends.ready("torch-bf16", CHECKPOINT, network, "paper", act, CPU)
    assert len(compared) == 3
    monkeypatch.setattr(parity, "_code", lambda: "other code")
    backends.ready("torch-bf16", CHECKPOINT, network, MODE, act, CPU)
    assert len(compared) == 4


@pytest.mark.parametrize("wrong", [torch.full((2, 4), torch.nan), torch.zeros(2, 3)])
def test_f01_what_is_no_number_or_of_another_shape_never_passes(wrong):
    error = parity._error(wrong, torch.ones(2, 4))
    row = parity.Row(of="answer-2", output="velocity", error=error, bound=1e9)
    with pytest.raises(EngineError, match="answer-2: velocity is off by inf"):
        parity.judge([row], "onnxruntime")


# ---- what can't be


def test_an_unknown_backend_is_refused_naming_those_there_are(network):
    with pytest.raises(ConfigError, match=r"'cudnn' is not known; allowed: torch, torch-bf16, .*tensorrt"):
        backends.ready("cudnn", CHECKPOINT, network, MODE, act, CPU)
    with pytest.raises(ConfigError, match=r"'torch' is not built beforehand; those that are: onnxruntime, tensorrt"):
        backends.build("torch", CHECKPOINT, network, [act], CPU)


@pytest.mark.parametrize("backend, said", [("torch-graph", "CUDA graphs need"), ("tensorrt", "TensorRT needs")])
def test_f07_what_needs_a_gpu_says_so(network, backend, said):
    with pytest.raises(EngineError, match=f"{said} a CUDA device; the policy is on 'cpu'"):
        backends.ready(backend, CHECKPOINT, network, MODE, act, CPU)


def test_f07_out_of_memory_is_a_reason(network, monkeypatch):
    class Full(Torch):
        def runners(self, graphs, device):
            return {graph.key: lambda *inputs: torch.empty(1 << 60) for graph in graphs}

    monkeypatch.setitem(backends.BACKENDS, "torch-bf16", Full())
    with pytest.raises(EngineError, match=r"'torch-bf16' can't be made ready on cpu: .*memory") as refusal:
        backends.ready("torch-bf16", CHECKPOINT, network, MODE, act, CPU)
    assert refusal.value.fault == "F07"
