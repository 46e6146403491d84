"""What a deployed policy runs on: its graphs on one backend, and how long each part took."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from kinema.errors import EngineError
from kinema.policies.engines.graph import Run, Runner, Tensors, key


class Engine:
    """Graphs by their keys, as samplers ask for them; safe to call from several threads."""

    def __init__(self, runners: Mapping[str, Runner]) -> None:
        self._runners = runners

    def __call__(self, part: str, *inputs: Tensor) -> Tensors:
        """Raises EngineError naming the graphs that there are."""
        wanted = key(part, inputs)
        if wanted not in self._runners:
            raise EngineError(f"no graph {wanted!r} was made ready; there are {', '.join(self._runners)}")
        return self._runners[wanted](*inputs)


class Timed:
    """What runs parts, and `seconds` that each of them took in all."""

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run, self._device = run, device
        self.seconds: dict[str, float] = {}

    def __call__(self, part: str, *inputs: Tensor) -> Tensors:
        began = time.perf_counter()
        found = self._run(part, *inputs)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began
        return found
