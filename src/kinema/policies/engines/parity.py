"""The gate that every backend passes before a policy acts with it: does it compute what torch does in 32 bits?

The same fixed observation is acted on twice. Every graph is compared on the first inputs that torch gave it, which says
where a fault is; then what comes of a whole prediction, which says whether it matters. What passed is written down, so
that it need not pass again before something changes: checkpoint, backend, machine, versions, or this code.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pydantic
import torch
from torch import Tensor

from kinema import yaml_file
from kinema.errors import EngineError
from kinema.policies.engines import built
from kinema.policies.engines.graph import Graph, Run, Runner

BOUNDS = {  # the largest error over the largest value, of one graph; of what a whole prediction came to
    torch.float32: (1e-4, 1e-3),
    torch.float16: (1e-2, 5e-2),
    torch.bfloat16: (5e-2, 2e-1),
}

Act = Callable[[Run], Mapping[str, Tensor]]  # a whole prediction on a fixed observation, by the names of its results


class Row(pydantic.BaseModel):
    """How far one output of a graph, or of a whole prediction, is from torch's; `error` over its largest value."""

    model_config = {**yaml_file.STRICT, "allow_inf_nan": True}

    of: str
    output: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


class Parity(pydantic.BaseModel):
    """What was found, and of what: `key` stands for all that it depends on."""

    model_config = yaml_file.STRICT

    format: Literal[1] = 1
    key: str
    rows: tuple[Row, ...]


@torch.no_grad()
def compare(
    graphs: Sequence[Graph], runners: Mapping[str, Runner], run: Run, reference: Run, act: Act, precision: torch.dtype
) -> tuple[Row, ...]:
    """`runners` against the graphs themselves, and what acting through `run` comes to against `reference`."""
    of_graph, of_all = BOUNDS[precision]
    rows = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = [graph(*graph.examples) for graph in graphs]
        acted = act(reference)
    for graph, right in zip(graphs, wanted, strict=True):
        for output, a, b in zip(graph.part.outputs, runners[graph.key](*graph.examples), right, strict=True):
            rows.append(Row(of=graph.key, output=output, error=_error(a, b), bound=of_graph))
    for output, value in act(run).items():
        rows.append(Row(of="prediction", output=output, error=_error(value, acted[output]), bound=of_all))
    return tuple(rows)


def judge(rows: Sequence[Row], backend: str) -> None:
    """Raises EngineError naming each output that is beyond its bound."""
    failed = [
        f"{row.of}: {row.output} is off by {row.error:.1e}, allowed {row.bound:.0e}" for row in rows if not row.passed
    ]
    if failed:
        raise EngineError(f"{backend} does not compute what torch does: {'; '.join(failed)}")


def at(folder: Path, mode: str, checkpoint: str, machine: str) -> tuple[Path, str]:
    """Where it is written down what was found of a backend's engines, and the key of all that this depends on."""
    file = folder / built.FACTS
    engines = file.read_text() if file.exists() else ""
    facts = [_code(), torch.__version__, checkpoint, mode, machine, engines]
    return folder / f"parity-{mode.replace(':', '-')}.json", hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def known(file: Path, key: str) -> tuple[Row, ...] | None:
    """What was found before, of the very same; None: nothing."""
    try:
        found = Parity.model_validate_json(file.read_text())
    except (OSError, ValueError):
        return None
    return found.rows if found.key == key else None


def note(file: Path, key: str, rows: Sequence[Row]) -> None:
    """Write down what was found, if all of it passed; where nothing may be written it will have to be found again."""
    if not all(row.passed for row in rows):
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Parity(key=key, rows=tuple(rows)).model_dump_json(indent=1) + "\n")


def _error(found: Tensor, right: Tensor) -> float:
    """Largest error over largest value; infinite where something is no number, or has another shape."""
    if found.shape != right.shape or not bool(found.isfinite().all()):
        return float("inf")
    if not right.numel():
        return 0.0
    largest = right.double().abs().max().clamp(min=1e-6)
    return float((found.double() - right.double()).abs().max() / largest)


def _code() -> str:
    """SHA-256 of the source of all policies."""
    whole = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()
