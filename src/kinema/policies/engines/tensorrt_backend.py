"""TensorRT: engines built from ONNX, for one GPU architecture and one version of TensorRT.

TensorRT 11 builds strongly typed networks alone: what is computed in 16 bits is what the ONNX file has in 16 bits.
It is imported when somebody asks for it. None of this has run on a GPU yet: docs/engines.md.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

from kinema.errors import EngineError
from kinema.policies.engines.graph import Part, Runner, Tensors
from kinema.policies.engines.torch_backend import Recorded

_MODULES = ("tensorrt", "tensorrt_lean_bindings")  # the second one runs engines and builds none
_SCRATCH = 8 << 30  # [bytes] of GPU memory that an operation may use


class TensorRt:
    """Strongly typed, in float16 where that is enough."""

    precision = torch.float16

    def meant_for(self, device: torch.device) -> str:
        """The only kind of machine that an engine built here runs on; raises EngineError where none could run."""
        if device.type != "cuda" or not torch.cuda.is_available():
            raise EngineError(f"TensorRT needs a CUDA device; the policy is on {device.type!r}")
        major, minor = torch.cuda.get_device_capability(device)
        return f"TensorRT {library().__version__} on sm_{major}{minor}"

    def make(self, onnx: Path, key: str) -> Path:
        """Build an engine for this machine's GPU; raises EngineError with what the parser or the builder said."""
        trt = library()
        if not hasattr(trt, "Builder"):
            raise EngineError(f"{trt.__name__} runs engines and builds none; install kinema[tensorrt]")
        logger = trt.Logger(trt.Logger.WARNING)
        builder = trt.Builder(logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(onnx)):
            said = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise EngineError(f"{onnx}: TensorRT {trt.__version__} does not take it: {said}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _SCRATCH)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(f"{onnx}: TensorRT {trt.__version__} built no engine of it; its log says why")
        file = onnx.with_suffix(f".{key}.engine")
        file.write_bytes(plan)
        return file

    def runner(self, file: Path, part: Part, device: torch.device) -> Runner:
        """Raises EngineError for a file that holds no engine, or for lack of memory."""
        self.meant_for(device)  # without a driver TensorRT's runtime doesn't refuse, it crashes
        engine = _Engine(file, device)
        inputs, outputs = (tuple(engine.buffers[name] for name in names) for names in (part.inputs, part.outputs))

        def compute() -> Tensors:
            engine.execute()
            return outputs

        return Recorded(compute, inputs)


def library() -> Any:
    """The first of TensorRT's packages that is installed; raises EngineError naming what to install."""
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise EngineError("TensorRT is not installed; install kinema[tensorrt], with NVIDIA's own package index")


class _Engine:
    """An engine bound to torch's tensors, by name: it reads and writes them where they are."""

    def __init__(self, file: Path, device: torch.device) -> None:
        trt = library()
        self._file, self._device = file, device
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if self._engine is None:
            raise EngineError(f"{file}: holds no engine that TensorRT {trt.__version__} can read")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"{file}: the GPU has not the memory that the engine needs to run")
        types = {
            trt.DataType.FLOAT: torch.float32,
            trt.DataType.HALF: torch.float16,
            trt.DataType.INT64: torch.int64,
            trt.DataType.BOOL: torch.bool,
        }
        self.buffers = {}
        for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors)):
            shape, kind = tuple(self._engine.get_tensor_shape(name)), types[self._engine.get_tensor_dtype(name)]
            self.buffers[name] = torch.empty(shape, dtype=kind, device=device)
            self._context.set_tensor_address(name, self.buffers[name].data_ptr())

    def execute(self) -> None:
        if not self._context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
            raise EngineError(f"{self._file}: TensorRT could not run the engine; its log says why")
