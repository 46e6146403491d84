"""torch itself: eager, compiled, recorded as a CUDA graph, and each of them with its networks in bfloat16."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.errors import EngineError
from kinema.policies.engines.graph import Graph, Runner, Tensors, lowered

_WARM_UP = 3  # runs before one is recorded, so that libraries have chosen and allocated


@dataclass(frozen=True, slots=True)
class Torch:
    """`compiled`: operations are fused; `recorded`: replayed as one CUDA graph; `precision` of what may be narrow."""

    compiled: bool = False
    recorded: bool = False
    precision: torch.dtype = torch.float32

    def runners(self, graphs: Sequence[Graph], device: torch.device) -> dict[str, Runner]:
        """By the graphs' keys; raises EngineError for a device that can't do it."""
        if self.recorded and device.type != "cuda":
            raise EngineError(f"CUDA graphs need a CUDA device; the policy is on {device.type!r}")
        if self.precision != torch.float32:
            graphs = lowered(graphs, self.precision)
        return {graph.key: self._runner(graph) for graph in graphs}

    def _runner(self, graph: Graph) -> Runner:
        runner: Callable[..., Tensors] = graph
        if self.compiled:
            runner = torch.compile(graph.module(), dynamic=False)
        if self.recorded:
            buffers = tuple(example.clone() for example in graph.examples)
            return Recorded(lambda: runner(*buffers), buffers)
        return runner


class Recorded:
    """A computation from its own CUDA buffers, recorded once and replayed: nothing is launched one by one.

    Callers in several threads take turns, and keep what they got.
    """

    def __init__(self, compute: Callable[[], Tensors], buffers: Tensors) -> None:
        self._buffers, self._lock = buffers, threading.Lock()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                compute()
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = compute()

    def __call__(self, *inputs: Tensor) -> Tensors:
        with self._lock:
            for buffer, value in zip(self._buffers, inputs, strict=True):
                buffer.copy_(value)
            self._graph.replay()
            return tuple(output.clone() for output in self._outputs)
