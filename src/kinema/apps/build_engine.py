"""`kinema build-engine`: a checkpoint's engines for this machine, and whether they compute what torch does."""

import argparse
import functools
from pathlib import Path

import torch
from rich.table import Table
from rich.text import Text

from kinema.apps.console import console
from kinema.errors import ConfigError
from kinema.policies import checkpoint, registry
from kinema.policies.engines import backends
from kinema.policies.engines.backends import BUILT


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="folder of the trained policy")
    parser.add_argument("--backend", choices=BUILT, default=BUILT[0], help="default: %(default)s")
    parser.add_argument(
        "--mode", action="append", default=[], help="of inference, as often as wanted; default: all that it has"
    )
    parser.add_argument("--device", default="", help="default: cuda where there is one, else cpu")


def run(arguments: argparse.Namespace) -> int:
    """0 when what was built may be deployed, else 1."""
    folder = arguments.checkpoint
    facts, kind = checkpoint.read(folder), registry.learned(folder)
    modes = tuple(arguments.mode) or tuple(facts.latency)
    if unknown := sorted(set(modes) - set(facts.latency)):
        raise ConfigError(f"{folder}: has no mode {', '.join(unknown)}; allowed: {', '.join(facts.latency)}")
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = kind.network(folder, str(device))
    acts = {mode: functools.partial(kind.probe, facts, model, mode) for mode in modes}
    place = backends.build(arguments.backend, facts.hash, model, tuple(acts.values()), device)
    table, passed = Table(box=None, pad_edge=False), True
    for name, justify in (("mode", "left"), ("of", "left"), ("output", "left"), ("error", "right"), ("bound", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for mode, act in acts.items():
        for row in backends.rows(arguments.backend, facts.hash, model, mode, act, device):
            passed &= row.passed
            style = "" if row.passed else "red"
            table.add_row(mode, row.of, row.output, Text(f"{row.error:.1e}", style=style), f"{row.bound:.0e}")
    console().print(table)
    size = sum(file.stat().st_size for file in place.iterdir()) / 1e6
    verdict = "may be deployed" if passed else "may not be deployed: it does not compute what torch does"
    print(f"{place}: {size:.1f} MB for {arguments.backend}; {verdict}")
    return 0 if passed else 1
