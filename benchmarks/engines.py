"""Milliseconds and memory of a chunk: every mode of inference on every backend that this machine can run.

    python benchmarks/engines.py [--checkpoint FOLDER] [--device cuda] [--modes single paper] [--backends torch ...]

One thread, one process for each row; what is built beforehand is built first. Times are of `predict` from images to
chunk, of `read, see, think, video, action` the parts of the network, without the first predictions; memory is all that
the process ever held, Python and libraries included, and on a GPU what torch held there.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from kinema import paths
from kinema.apps.console import console
from kinema.errors import KinemaError
from kinema.policies import checkpoint, registry, text
from kinema.policies.engines.backends import BACKENDS, BUILT
from kinema.policies.warm_up import blank

_PARTS = ("read", "see", "think", "video", "action")
_WARM_UP, _SECONDS = 2, 6.0  # predictions not counted; [s] of counting


def _measure(folder: Path, mode: str, backend: str, device: str) -> dict[str, float]:
    """Milliseconds by part, and megabytes; raises KinemaError for a backend that can't be used here."""
    torch.set_num_threads(1)
    facts = checkpoint.read(folder)
    modes = {"mode": mode} if len(facts.latency) > 1 else {}
    began = time.perf_counter()
    policy = registry.make(str(folder), device=device, backend=backend, **modes)
    ready = time.perf_counter() - began
    observation, taken = replace(blank(policy.spec), text=text.FIXED), []
    for _ in range(_WARM_UP):
        policy.predict(observation)
    began = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - began < _SECONDS:
        before = time.perf_counter()
        timing = policy.predict(observation).timing
        taken.append({**timing, "predict": time.perf_counter() - before})
    found = {part: 1e3 * float(np.median([row.get(part, 0.0) for row in taken])) for part in (*_PARTS, "predict")}
    found["p90"] = 1e3 * float(np.quantile([row["predict"] for row in taken], 0.9))
    found["ready"], found["memory"] = ready, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.max_memory_reserved(device) / 1e6
    return found


def _row(folder: Path, mode: str, backend: str, device: str) -> dict[str, float] | str:
    """In a process of its own, so that memory is its own; the reason where there is nothing to measure."""
    command = [sys.executable, __file__, "--one", "--checkpoint", str(folder), "--device", device]
    done = subprocess.run([*command, "--modes", mode, "--backends", backend], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["ended"])[-1]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(folder: Path, modes: list[str], names: list[str], device: str) -> Table:
    table = Table()
    for name in ("mode", "backend"):
        table.add_column(name)
    for name in ("ms", "p90", *_PARTS, "ready s", "MB", *(("GPU MB",) if device != "cpu" else ())):
        table.add_column(name, justify="right")
    refused = {}
    for mode in modes:
        for backend in names:
            if backend in refused:
                continue
            found = _row(folder, mode, backend, device)
            if isinstance(found, str):
                refused[backend] = found
                continue
            cells = [f"{found[part]:.1f}" for part in ("predict", "p90", *_PARTS)]
            cells += [f"{found['ready']:.1f}", *(f"{found[key]:.0f}" for key in ("memory", "gpu") if key in found)]
            table.add_row(mode, backend, *cells)
    for backend, reason in refused.items():
        print(f"not measured: {backend}: {reason}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=paths.root() / "models/video_policy", metavar="FOLDER")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--modes", nargs="+", default=[])
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # one row, in this process, as JSON
    arguments = parser.parse_args()
    if arguments.one:
        try:
            print(json.dumps(_measure(arguments.checkpoint, *arguments.modes, *arguments.backends, arguments.device)))
        except KinemaError as error:
            raise SystemExit(str(error)) from None
        return
    folder = arguments.checkpoint
    modes = arguments.modes or list(checkpoint.read(folder).latency)
    for backend in set(arguments.backends) & set(BUILT):
        chosen = [word for mode in modes for word in ("--mode", mode)]
        command = ["kinema", "build-engine", str(folder), "--backend", backend, "--device", arguments.device]
        subprocess.run([*command, *chosen], capture_output=True)  # what can't be built says so below
    print(f"{folder.name}, {arguments.device}, one thread")
    console().print(_table(folder, modes, arguments.backends, arguments.device))


if __name__ == "__main__":
    main()
