"""TensorRT without a GPU: what is used of its runtime exists there; what it can't do here, it says."""

import ast
import inspect
import re

import pytest
import tensorrt_lean_bindings as lean
import torch

from kinema.errors import EngineError
from kinema.policies.engines import tensorrt_backend
from kinema.policies.engines.tensorrt_backend import TensorRt, library

CPU = torch.device("cpu")
OWNERS = {"self._runtime": lean.Runtime, "self._engine": lean.ICudaEngine, "self._context": lean.IExecutionContext}


def used() -> list[tuple[str, str]]:
    """(owner, name) of every attribute that running an engine asks TensorRT's objects for."""
    source = inspect.getsource(tensorrt_backend._Engine)
    found = [
        (ast.unparse(node.value), node.attr) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
    ]
    return [(owner, name) for owner, name in found if owner.split(".")[0] == "trt" or owner in OWNERS]


def test_all_that_running_an_engine_needs_is_in_the_runtimes_interface():
    assert {"deserialize_cuda_engine", "set_tensor_address", "execute_async_v3", "FLOAT"} <= {
        name for _, name in used()
    }
    for owner, name in used():
        place = OWNERS.get(owner) or lean
        for part in owner.split(".")[1:] if place is lean else ():
            place = getattr(place, part)
        assert hasattr(place, name), f"{owner}.{name}"


@pytest.mark.parametrize(
    "method, arguments",
    [
        (lean.Runtime.deserialize_cuda_engine, ("serialized_engine",)),
        (lean.ICudaEngine.get_tensor_name, ("index",)),
        (lean.ICudaEngine.get_tensor_shape, ("name",)),
        (lean.ICudaEngine.get_tensor_dtype, ("name",)),
        (lean.IExecutionContext.set_tensor_address, ("name", "memory")),
        (lean.IExecutionContext.execute_async_v3, ("stream_handle",)),
    ],
)
def test_the_runtime_takes_what_it_is_given(method, arguments):
    given = re.search(r"\(self: [\w.]+, (.*?)\) ->", method.__doc__)[1]
    assert tuple(word.partition(":")[0].strip() for word in given.split(",")) == arguments


def test_the_runtime_alone_builds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt_backend, "_MODULES", ("tensorrt_lean_bindings",))
    assert library() is lean and lean.__version__.startswith("11.")
    with pytest.raises(
        EngineError, match=r"tensorrt_lean_bindings runs engines and builds none; install kinema\[tensorrt"
    ):
        TensorRt().make(tmp_path / "video-1.onnx", "ab" * 8)


def test_f07_without_tensorrt_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tensorrt_backend, "_MODULES", ("tensorrt_of_nowhere",))
    with pytest.raises(EngineError, match=r"TensorRT is not installed; install kinema\[tensorrt\]"):
        library()


def test_f07_a_runtime_without_a_gpu_is_not_even_asked(tmp_path):
    (tmp_path / "video-1.engine").write_bytes(b"no engine")
    with pytest.raises(EngineError, match="TensorRT needs a CUDA device; the policy is on 'cpu'"):
        TensorRt().runner(tmp_path / "video-1.engine", None, CPU)
