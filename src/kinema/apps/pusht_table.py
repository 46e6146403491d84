"""`kinema pusht table`: mean scores of what was evaluated, with intervals over the seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema import paths
from kinema.apps import pusht_trials
from kinema.apps.console import console
from kinema.apps.evaluate_table import Sheet
from kinema.apps.pusht_trials import LOOKS, Episode, PushTSetting
from kinema.errors import ConfigError

_DRAWS = 2000  # of the bootstrap


def interval(scores: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Of the mean, by drawing the seeds anew (Efron 1979); the same for the same scores."""
    values = np.asarray(scores, float)
    drawn = np.random.default_rng(0).choice(values, (_DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def sheet(episodes: Sequence[Episode]) -> Sheet:
    """A row a setting and look: mean score, share solved, steps, and what a chunk takes on this machine."""
    groups: dict[PushTSetting, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.setting, []).append(episode)
    rows = []
    for setting in sorted(groups, key=lambda one: (one.label, list(LOOKS).index(one.look))):
        some = groups[setting]
        low, high = interval([one.score for one in some])
        rows.append(
            (
                setting.label,
                setting.look,
                f"{np.mean([one.score for one in some]):.3f} ({low:.2f}..{high:.2f}) of {len(some)}",
                f"{np.mean([one.still for one in some]):.3f}",
                f"{np.mean([one.score >= 1.0 for one in some]):.2f}",
                f"{np.mean([one.steps for one in some]):.0f}",
                f"{1e3 * np.mean([one.policy for one in some]):.0f}",
            )
        )
    columns = ("policy", "look", "score", "doing nothing", "solved", "steps", "ms a chunk")
    return Sheet("PushT: mean score, with 95 % intervals over the seeds (bootstrap)", columns, tuple(rows))


def show(episodes: Sequence[Episode], markdown: bool = False) -> None:
    if markdown:
        print(sheet(episodes).markdown())
    else:
        sheet(episodes).print(console())


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="*", type=Path, help=f"files or folders, default: {pusht_trials.RESULTS}")
    parser.add_argument("--markdown", action="store_true", help="for a page of documentation")


def run(arguments: argparse.Namespace) -> int:
    """Show all results that stand there."""
    found: list[Episode] = []
    for path in arguments.results or [paths.root() / pusht_trials.RESULTS]:
        for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
            found += pusht_trials.read(file)
    if not found:
        raise ConfigError("nothing was evaluated on PushT; do it with `kinema pusht evaluate`")
    show(found, arguments.markdown)
    return 0
