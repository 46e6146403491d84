"""The table of backends, and the one way to what a policy may act with."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kinema import paths
from kinema.errors import ConfigError, EngineError
from kinema.policies.engines import built, parity
from kinema.policies.engines.engine import Engine
from kinema.policies.engines.graph import Graph, Parted, Run, Runner, running, traced
from kinema.policies.engines.onnxruntime_backend import OnnxRuntime
from kinema.policies.engines.parity import Act, Row
from kinema.policies.engines.tensorrt_backend import TensorRt
from kinema.policies.engines.torch_backend import Torch

EAGER = "torch"  # in 32 bits: what all others are measured by
BACKENDS: dict[str, Torch | OnnxRuntime | TensorRt] = {
    EAGER: Torch(),
    "torch-bf16": Torch(precision=torch.bfloat16),
    "torch-compiled": Torch(compiled=True),
    "torch-compiled-bf16": Torch(compiled=True, precision=torch.bfloat16),
    "torch-graph": Torch(recorded=True),
    "torch-graph-bf16": Torch(recorded=True, precision=torch.bfloat16),
    "torch-compiled-graph-bf16": Torch(compiled=True, recorded=True, precision=torch.bfloat16),
    "onnxruntime": OnnxRuntime(),
    "tensorrt": TensorRt(),
}
BUILT = tuple(name for name, backend in BACKENDS.items() if not isinstance(backend, Torch))


def place(checkpoint: str, backend: str) -> Path:
    """The folder of a checkpoint's engines, and of what is known of their parity; `checkpoint` is its hash."""
    return paths.root() / "runs" / "engines" / checkpoint[:16] / backend


def build(backend: str, checkpoint: str, model: Parted, acts: Sequence[Act], device: torch.device) -> Path:
    """Build the graphs that acts need, in the place of those of before; the folder.

    Raises EngineError for what can't be built here, ConfigError naming the backends that are built beforehand.
    """
    builder = BACKENDS.get(backend)
    if builder is None or isinstance(builder, Torch):
        raise ConfigError(f"backend {backend!r} is not built beforehand; those that are: {', '.join(BUILT)}")
    with torch.no_grad():
        graphs = {graph.key: graph for act in acts for graph in traced(model, act)}
    folder = place(checkpoint, backend)
    built.build(builder, tuple(graphs.values()), folder, checkpoint, device)
    return folder


def ready(backend: str, checkpoint: str, model: Parted, mode: str, act: Act, device: torch.device) -> Run:
    """What runs a model's parts; anything but torch in 32 bits has passed the gate, now or before.

    mode  what `act` acts in: others need other graphs

    Raises ConfigError for an unknown backend, EngineError for one that can't be used here, or that computes something
    else than torch.
    """
    if backend == EAGER:
        return running(model)
    engine, rows = _judged(backend, checkpoint, model, mode, act, device)
    parity.judge(rows, backend)
    return engine


def rows(backend: str, checkpoint: str, model: Parted, mode: str, act: Act, device: torch.device) -> Sequence[Row]:
    """How far a backend is from torch; raises as `ready`, but for what it computes."""
    return _judged(backend, checkpoint, model, mode, act, device)[1]


@torch.no_grad()
def _judged(
    backend: str, checkpoint: str, model: Parted, mode: str, act: Act, device: torch.device
) -> tuple[Engine, Sequence[Row]]:
    if backend not in BACKENDS:
        raise ConfigError(f"backend {backend!r} is not known; allowed: {', '.join(BACKENDS)}")
    graphs, precision = traced(model, act), BACKENDS[backend].precision
    try:
        runners = _runners(backend, checkpoint, graphs, device)
        engine, folder = Engine(runners), place(checkpoint, backend)
        file, key = parity.at(folder, mode, checkpoint, _machine(device))
        found = parity.known(file, key)
        if found is None:
            found = parity.compare(graphs, runners, engine, running(model), act, precision)
            parity.note(file, key, found)
    except RuntimeError as error:  # torch's: out of memory, no compiler, a CUDA error
        raise EngineError(f"backend {backend!r} can't be made ready on {device}: {error}") from error
    return engine, found


def _runners(backend: str, checkpoint: str, graphs: Sequence[Graph], device: torch.device) -> dict[str, Runner]:
    maker = BACKENDS[backend]
    if isinstance(maker, Torch):
        return maker.runners(graphs, device)
    return built.runners(maker, graphs, place(checkpoint, backend), checkpoint, device)


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
