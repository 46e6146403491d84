"""onnxruntime, in 32 bits: the second opinion that every machine can run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.errors import EngineError
from kinema.policies.engines.graph import Part, Runner, Tensors

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64,
    "tensor(uint8)": torch.uint8,
    "tensor(bool)": torch.bool,
}
_ERRORS_ALONE = 3  # onnxruntime's level of severity


class OnnxRuntime:
    """Runs ONNX files as they are: the same ones on every machine."""

    precision = torch.float32

    def meant_for(self, device: torch.device) -> str:
        return "every machine"

    def make(self, onnx: Path, key: str) -> Path:
        return onnx

    def runner(self, file: Path, part: Part, device: torch.device) -> Runner:
        """Raises EngineError for a file or a device that it can't use."""
        import onnxruntime

        provider = _PROVIDERS.get(device.type, f"one for {device.type!r}")
        if provider not in onnxruntime.get_available_providers():
            there = ", ".join(onnxruntime.get_available_providers())
            raise EngineError(f"onnxruntime on {device.type!r} needs {provider}; this build of it has: {there}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _ERRORS_ALONE
        place = (provider, {"device_id": device.index or 0}) if device.type == "cuda" else provider
        try:
            session = onnxruntime.InferenceSession(file, options, providers=[place])
        except Exception as error:  # onnxruntime's own kinds, which have no common base
            raise EngineError(
                f"{file}: is nothing that onnxruntime {onnxruntime.__version__} can run: {error}"
            ) from error
        return _Session(session, part, device)


class _Session:
    """Reads torch's tensors where they are, and has its outputs written into new ones."""

    def __init__(self, session: Any, part: Part, device: torch.device) -> None:
        self._session, self._device, self._inputs = session, device, part.inputs
        found = {row.name: row for row in session.get_outputs()}
        self._outputs = [(name, tuple(found[name].shape), _TYPES[found[name].type]) for name in part.outputs]

    def __call__(self, *inputs: Tensor) -> Tensors:
        binding = self._session.io_binding()
        given = [value.contiguous() for value in inputs]
        made = tuple(torch.empty(shape, dtype=dtype, device=self._device) for _, shape, dtype in self._outputs)
        for name, value in zip(self._inputs, given, strict=True):
            binding.bind_input(name, *self._at(value))
        for (name, *_), value in zip(self._outputs, made, strict=True):
            binding.bind_output(name, *self._at(value))
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # onnxruntime has a stream of its own
        self._session.run_with_iobinding(binding)
        return made

    def _at(self, value: Tensor) -> tuple[str, int, Any, list[int], int]:
        kind = torch.empty(0, dtype=value.dtype).numpy().dtype
        return self._device.type, self._device.index or 0, kind, list(value.shape), value.data_ptr()
