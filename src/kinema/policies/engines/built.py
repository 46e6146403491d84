"""Engines that are built once and kept as files: what they were built from, and what they may run on.

    engine.json            checkpoint, machine, precision, and of each graph its ONNX file's and its own SHA-256
    video-1.<key>.engine   one file a graph; the key is of ONNX file, machine and precision

An engine of another checkpoint, cut short or altered (FAULTS F07), or for another machine (F08), is refused by name.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import pydantic
import torch

from kinema import yaml_file
from kinema.errors import EngineError, ForeignEngineError
from kinema.policies.engines import onnx_file
from kinema.policies.engines.graph import Graph, Part, Runner, lowered

FACTS = "engine.json"


class Builder(Protocol):
    """What makes files of ONNX files, and runs them; `precision` is that of what may be narrow."""

    precision: torch.dtype

    def meant_for(self, device: torch.device) -> str:
        """The machines that what is built here runs on, in words; engines for others are refused."""
        ...

    def make(self, onnx: Path, key: str) -> Path:
        """Build beside the ONNX file, under a name with the key; may be the ONNX file itself."""
        ...

    def runner(self, file: Path, part: Part, device: torch.device) -> Runner: ...


class File(pydantic.BaseModel):
    """One graph: SHA-256 of the ONNX file that it was built from, its file's name and SHA-256."""

    model_config = yaml_file.STRICT

    onnx: str
    name: str
    sha256: str


class Built(pydantic.BaseModel):
    """What a folder of engines says of itself; `graphs` by their keys."""

    model_config = yaml_file.STRICT

    format: Literal[1] = 1
    checkpoint: str
    machine: str
    precision: str
    graphs: dict[str, File]


def build(builder: Builder, graphs: Sequence[Graph], folder: Path, checkpoint: str, device: torch.device) -> Built:
    """Export and build all graphs, in the place of what the folder held; raises EngineError, the folder as it was."""
    machine, precision = builder.meant_for(device), _name(builder.precision)
    if builder.precision != torch.float32:
        graphs = lowered(graphs, builder.precision)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        draft = Path(scratch) / "built"
        draft.mkdir()
        files = {graph.key: _build(builder, graph, draft, f"{machine} {precision}") for graph in graphs}
        built = Built(checkpoint=checkpoint, machine=machine, precision=precision, graphs=files)
        (draft / FACTS).write_text(built.model_dump_json(indent=1) + "\n")
        if folder.exists():
            os.replace(folder, Path(scratch) / "before")
        os.replace(draft, folder)
    return built


def _build(builder: Builder, graph: Graph, folder: Path, place: str) -> File:
    onnx = folder / f"{graph.key}.onnx"
    onnx_file.export(graph, onnx)
    source = onnx_file.digest(onnx)
    key = hashlib.sha256(f"{source} {place}".encode()).hexdigest()[:16]
    file = builder.make(onnx, key)
    if file != onnx:
        onnx.unlink()
        onnx_file.beside(onnx).unlink(missing_ok=True)
    return File(onnx=source, name=file.name, sha256=onnx_file.digest(file))


def read(folder: Path) -> Built:
    """What the folder says of itself; raises EngineError."""
    try:
        text = (folder / FACTS).read_text()
    except (OSError, ValueError) as error:
        raise EngineError(f"{folder / FACTS}: cannot be read: {error}; `kinema build-engine` writes one") from error
    return yaml_file.checked(folder / FACTS, Built, text, EngineError)


def check(built: Built, folder: Path, checkpoint: str, machine: str, graphs: Sequence[str]) -> None:
    """Raises EngineError naming the checkpoint, the machine or the graph that the engines are not for."""
    again = "build them again with `kinema build-engine`"
    if built.machine != machine:
        raise ForeignEngineError(f"{folder}: engines for {built.machine}, and this is {machine}: {again}")
    if built.checkpoint != checkpoint:
        raise EngineError(
            f"{folder}: engines of checkpoint {built.checkpoint[:12]}, the policy is {checkpoint[:12]}: {again}"
        )
    if missing := sorted(set(graphs) - set(built.graphs)):
        raise EngineError(f"{folder}: has no graph {', '.join(missing)}; there are {', '.join(built.graphs)}: {again}")


def runners(
    builder: Builder, graphs: Sequence[Graph], folder: Path, checkpoint: str, device: torch.device
) -> dict[str, Runner]:
    """By the graphs' keys, what `build` left in the folder; raises EngineError for whatever can't be used."""
    machine = builder.meant_for(device)
    built = read(folder)
    check(built, folder, checkpoint, machine, [graph.key for graph in graphs])
    found = {}
    for graph in graphs:
        row = built.graphs[graph.key]
        file = folder / row.name
        if not file.exists() or onnx_file.digest(file) != row.sha256:
            raise EngineError(f"{file}: is missing, cut short or altered: build it again with `kinema build-engine`")
        found[graph.key] = builder.runner(file, graph.part, device)
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
