"""A graph as an ONNX file: fixed shapes, weights inside or beside it, nothing of this machine."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from kinema.errors import EngineError
from kinema.policies.engines.graph import Graph

OPSET = 23  # the first with attention and group normalisation as one operator each; TensorRT 11 reads up to 25


def export(graph: Graph, file: Path) -> None:
    """Write the graph; what is too large for one file stands beside it, as `<file>.data`.

    Raises EngineError for a graph that has no form in ONNX, or for lack of memory.
    """
    try:
        program = exported(graph)
    except RuntimeError as error:
        raise EngineError(f"graph {graph.key} can't be written as ONNX: {error}") from error
    program.save(file)


def exported(graph: Graph) -> torch.onnx.ONNXProgram:
    """The graph in memory; without weights where the model has none, on the meta device."""
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.module().eval(),
            graph.examples,
            input_names=graph.part.inputs,
            output_names=graph.part.outputs,
            opset_version=OPSET,
            dynamo=True,
            optimize=not any(example.is_meta for example in graph.examples),
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # which lines of which files it came from
    return program


def digest(file: Path) -> str:
    """SHA-256 of an ONNX file and of what stands beside it."""
    whole = hashlib.sha256()
    for part in (file, beside(file)):
        if part.exists():
            with part.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.data")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that aren't needed and on its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
