"""`kinema evaluate table`: success rates of what was rolled out, and their differences.

As in table 4 of "Video Generators are Robot Policies": tasks down, kinds of generalisation across. Every rate has its
interval (Wilson); a difference is taken over the scenarios that both settings have been in (Newcombe, paired).
"""

import argparse
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kinema import paths
from kinema.apps import trials
from kinema.apps.console import console
from kinema.apps.trials import LISTS, PURPOSES, Rollout, Scene, Setting
from kinema.errors import ConfigError
from kinema.policies.registry import SIMULATOR_ONLY
from kinema.training.success import paired_difference, success_rate

_TRUTH_NOTE = "reads the simulator's truth: a bound, not a learned policy"

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table without a medium; its first two columns are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        rules = ["---" if i < 2 else "---:" for i in range(len(self.columns))]
        lines = (f"| {' | '.join(row)} |" for row in (self.columns, rules, *self.rows))
        return "\n".join([f"{self.title}\n", *lines])

    def print(self, to: Console) -> None:
        table = Table(title=escape(self.title))
        for i, column in enumerate(self.columns):
            table.add_column(escape(column), justify="left" if i < 2 else "right")
        for row in self.rows:
            table.add_row(*map(escape, row))
        to.print(table)


def successes(rollouts: Sequence[Rollout]) -> Sheet:
    """Tasks and settings down, lists across; then what the rollouts were like on the whole."""
    rows, shown = [], _lists(rollouts)
    for task, setting, lists in _settings(rollouts):
        all_of_it = [rollout for row in lists.values() for rollout in row]
        cells = [_rate(lists[name]) if name in lists else "" for name in shown]
        rows.append((task, setting.label, *cells, *_character(all_of_it)))
    columns = (*_heads(shown), "s", "chunks", "refused", "CPU s")
    return Sheet("Success, with 95 % intervals (Wilson)", columns, tuple(rows))


def differences(rollouts: Sequence[Rollout], reference: Setting) -> Sheet:
    """What every other setting has over the reference, in the scenarios that both have been in."""
    base = {rollout.scene: rollout.success for rollout in rollouts if rollout.setting == reference}
    rows, shown = [], _lists(rollouts)
    for task, setting, lists in _settings(rollouts):
        cells = tuple(_difference(lists.get(name, ()), base) for name in shown)
        if setting != reference and any(cells):
            rows.append((task, setting.label, *cells))
    title = f"Success less that of {reference.label}, in the same scenarios, with 95 % intervals (Newcombe)"
    return Sheet(title, _heads(shown), tuple(rows))


def find(rollouts: Iterable[Rollout], words: Sequence[str]) -> Setting:
    """The one setting whose label has all these words; raises ConfigError naming the labels there are."""
    labels = {rollout.setting.label: rollout.setting for rollout in rollouts}
    found = [setting for label, setting in labels.items() if set(words) <= set(label.split())]
    if len(found) != 1:
        what = f"{len(found)} settings are called {' '.join(words)!r}"
        raise ConfigError(f"{what}, wanted is one; there are: {'; '.join(labels)}")
    return found[0]


def _by(rollouts: Iterable[Rollout], key: Callable[[Rollout], Key]) -> dict[Key, list[Rollout]]:
    groups: dict[Key, list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault(key(rollout), []).append(rollout)
    return groups


def _lists(rollouts: Iterable[Rollout]) -> list[str]:
    """Those that there are rollouts of."""
    found = {rollout.scene.list for rollout in rollouts}
    return [name for name in LISTS if name in found]


def _heads(lists: Sequence[str]) -> tuple[str, ...]:
    return "task", "policy", *(name.replace("_", " ") for name in lists)


def _settings(rollouts: Iterable[Rollout]) -> Iterable[tuple[str, Setting, dict[str, list[Rollout]]]]:
    """Task, setting, and the rollouts of each list; in the order in which they first come."""
    for task, of_task in sorted(_by(rollouts, lambda rollout: rollout.scene.task).items()):
        for setting, of_setting in _by(of_task, lambda rollout: rollout.setting).items():
            yield task, setting, _by(of_setting, lambda rollout: rollout.scene.list)


def _rate(rollouts: Sequence[Rollout]) -> str:
    found = success_rate(sum(rollout.success for rollout in rollouts), len(rollouts))
    return f"{found.rate:.2f} ({found.low:.2f}..{found.high:.2f}) of {found.episodes}"


def _difference(rollouts: Sequence[Rollout], base: Mapping[Scene, bool]) -> str:
    both = [rollout for rollout in rollouts if rollout.scene in base]
    if not both:
        return ""
    found = paired_difference([rollout.success for rollout in both], [base[rollout.scene] for rollout in both])
    return f"{found.value:+.2f} ({found.low:+.2f}..{found.high:+.2f}) of {found.pairs}"


def _character(rollouts: Sequence[Rollout]) -> tuple[str, ...]:
    """Median duration of a success [s], mean number of chunks, chunks refused in all, mean processor time [s]."""
    durations = [rollout.duration for rollout in rollouts if rollout.success]
    return (
        f"{np.median(durations):.1f}" if durations else "",
        f"{np.mean([rollout.chunks for rollout in rollouts]):.1f}",
        f"{sum(rollout.refused for rollout in rollouts)}",
        f"{np.mean([rollout.cpu for rollout in rollouts]):.1f}",
    )


def _notes(rollouts: Iterable[Rollout]) -> list[str]:
    return [f"{name} {_TRUTH_NOTE}" for name in sorted({r.setting.policy for r in rollouts} & SIMULATOR_ONLY)]


def show(rollouts: Sequence[Rollout], against: Setting | None = None, markdown: bool = False) -> None:
    """Print the rates, and the differences to a setting where one is given."""
    sheets = [successes(rollouts)] + ([differences(rollouts, against)] if against else [])
    if markdown:
        print("\n\n".join([*(sheet.markdown() for sheet in sheets), *_notes(rollouts)]))
        return
    out = console()
    for sheet in sheets:
        sheet.print(out)
    for note in _notes(rollouts):
        out.print(note)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="*", type=Path, help="files or folders, default: models/results")
    parser.add_argument("--purpose", default="report", choices=PURPOSES)
    parser.add_argument("--against", nargs="+", metavar="WORD", help="words of a label: differences to that setting")
    parser.add_argument("--markdown", action="store_true", help="for a page of documentation")


def run(arguments: argparse.Namespace) -> int:
    """Show all results that stand there."""
    found = []
    for path in arguments.results or [paths.root() / trials.RESULTS]:
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            found += [row for row in trials.read(file) if trials.purpose(row.scene) == arguments.purpose]
    if not found:
        raise ConfigError(f"no rollouts to {arguments.purpose} stand there; make some with `kinema evaluate rollouts`")
    show(found, find(found, arguments.against) if arguments.against else None, arguments.markdown)
    return 0
