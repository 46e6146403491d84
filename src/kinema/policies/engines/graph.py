"""The parts that a policy is made of, from tensors to tensors, and graphs: parts at the shapes that they run at.

Every tensor has the number of moments as its first dimension; those of one dimension alone, (b,), are noise levels.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]
Compute = Callable[..., Tensors]  # (model, *inputs) -> outputs


class Run(Protocol):
    """How samplers ask for a part: by its name, with its inputs."""

    def __call__(self, part: str, *inputs: Tensor) -> Tensors: ...


class Runner(Protocol):
    """A graph, ready to run: inputs of its shapes to its outputs. Threads may call it at the same time."""

    def __call__(self, *inputs: Tensor) -> Tensors: ...


class Parted(Protocol):
    """A network with its parts by name, and the names of its submodules that 16 bits are enough for."""

    @property
    def parts(self) -> Mapping[str, "Part"]: ...

    @property
    def narrow(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Part:
    """`compute(model, *inputs)` and the names of what goes in and comes out.

    narrow  computed by those submodules alone that 16 bits are enough for
    """

    compute: Compute
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    narrow: bool = True


@dataclass(frozen=True, slots=True)
class Graph:
    """A part of a model at fixed shapes: those of its `examples`."""

    name: str
    part: Part
    model: Any
    examples: Tensors

    @property
    def key(self) -> str:
        return key(self.name, self.examples)

    def module(self) -> nn.Module:
        """The part as a module, for compilers and exporters."""
        return _Module(self)

    def __call__(self, *inputs: Tensor) -> Tensors:
        return self.part.compute(self.model, *inputs)


class _Module(nn.Module):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.model, self._compute = graph.model, graph.part.compute

    def forward(self, *inputs: Tensor) -> Tensors:
        return self._compute(self.model, *inputs)


def key(part: str, inputs: Sequence[Tensor]) -> str:
    """What tells a graph from others: its part, and how many moments it takes at once."""
    return f"{part}-{len(inputs[0])}"


def running(model: Parted) -> Run:
    """A model itself as what runs its parts, at any shape."""

    def run(part: str, *inputs: Tensor) -> Tensors:
        return model.parts[part].compute(model, *inputs)

    return run


def traced(model: Parted, act: Callable[[Run], object]) -> tuple[Graph, ...]:
    """The graphs that `act` needs, and an example of what each of them gets: its first inputs."""
    found: dict[str, Graph] = {}
    run = running(model)

    def watched(part: str, *inputs: Tensor) -> Tensors:
        found.setdefault(key(part, inputs), Graph(part, model.parts[part], model, inputs))
        return run(part, *inputs)

    act(watched)
    return tuple(found.values())


def lowered(graphs: Sequence[Graph], dtype: torch.dtype) -> tuple[Graph, ...]:
    """The same graphs, in 16 bits where that is enough; what goes in and comes out stays in 32."""
    models = copy.deepcopy([graph.model for graph in graphs])  # one model stays one model
    for model in models:
        for name in model.narrow:
            getattr(model, name).to(dtype)
    return tuple(
        replace(graph, model=model, part=_between(graph.part, dtype) if graph.part.narrow else graph.part)
        for graph, model in zip(graphs, models, strict=True)
    )


def _between(part: Part, dtype: torch.dtype) -> Part:
    return replace(part, compute=functools.partial(_lowered, part.compute, dtype))


def _lowered(compute: Compute, dtype: torch.dtype, model: Any, *inputs: Tensor) -> Tensors:
    """Noise levels stay as they are: sinusoids of them need all their digits."""
    narrow = (value.to(dtype) if value.is_floating_point() and value.ndim > 1 else value for value in inputs)
    return tuple(value.float() for value in compute(model, *narrow))
