"""Sums up a run folder: summary.json, summary.md, plots, and a table on the terminal.

`python -m kinema.apps.report runs/<time>` does it again for a folder that is there.
"""

import argparse
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinema.apps import run_folder
from kinema.apps.run_folder import ROW, THINNED, Episode, Facts, Telemetry
from kinema.clock import NS, to_seconds
from kinema.control.messages import Event, Mode, State
from kinema.errors import ConfigError
from kinema.geometry import Array

_WIDTH = 128  # columns of the table where no terminal says how wide it is
_KEPT_UP = 0.98  # [-] of real time: below, the report says so
_TRUTH_NOTE = "This policy reads the simulator's truth. Its success says nothing about a learned policy."


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 99th percentile and largest of some values; None where there are none."""

    p50: float
    p99: float
    max: float

    @staticmethod
    def of(values: Array) -> "Spread | None":
        finite = values[np.isfinite(values)]
        return Spread(*(float(np.percentile(finite, q)) for q in (50, 99, 100))) if len(finite) else None


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """One row of the report; SI units.

    duration         [s] of the arm's time
    latency          [s] from the observation to the first torque of the chunk that came of it
    position_error, rotation_error: distance of the measured pose from the commanded one while executing [m, rad]
    period, compute  [s] of the control loop; missed: ticks that it did not answer
    dropped          reason -> steps that were not executed
    safety           what the safety chain said, with counts
    """

    episode: Episode
    duration: float
    latency: Spread | None
    position_error: Spread | None
    rotation_error: Spread | None
    force_max: float | None
    correction_max: float | None
    period: Spread | None
    compute: Spread | None
    missed: int
    rejected: int
    steps: int
    dropped: dict[str, int]
    safety: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    folder: Path
    facts: Facts
    machine: str
    episodes: tuple[EpisodeSummary, ...]

    @property
    def successes(self) -> int:
        return sum(row.episode.success for row in self.episodes)


def machine() -> str:
    """Processor, cores, memory, system and Python of this machine, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GiB, {system}, Python {platform.python_version()}"


def latencies(events: Sequence[Event]) -> Array:
    """[s] from a chunk's observation to the first torque that pursues it, for every chunk that was played.

    In overlap that torque is the one of the cycle that accepts the chunk; in stop and go the first step's.
    """
    first: dict[int, float] = {}
    kind = ""
    for event in events:
        if event.kind == "policy_started":
            kind = "step" if event.data["mode"] == Mode.STOP_AND_GO else "chunk_accepted"
        elif event.kind == kind:
            first.setdefault(event.data["chunk"], to_seconds(event.t_ns - event.data["t0_ns"]))
    return np.array(list(first.values()))


def _largest(values: Array) -> float | None:
    spread = Spread.of(values)
    return spread.max if spread else None


def _summarise(episode: Episode, telemetry: Telemetry | None, audit: Sequence[Event]) -> EpisodeSummary:
    span = telemetry.span_ns if telemetry else (episode.start_ns, episode.end_ns)
    begin_ns, end_ns = min(span[0], episode.start_ns), max(span[1], episode.end_ns)  # telemetry is thinned
    events = [event for event in audit if begin_ns <= event.t_ns <= end_ns]
    rows = telemetry.rows if telemetry else np.zeros(0, ROW)
    moving = rows[rows["state"] == State.EXECUTING]
    count = Counter(event.kind for event in events)
    return EpisodeSummary(
        episode=episode,
        duration=to_seconds(span[1] - span[0]),
        latency=Spread.of(latencies(events)),
        position_error=Spread.of(moving["position_error"]),
        rotation_error=Spread.of(moving["rotation_error"]),
        force_max=_largest(rows["force"]),
        correction_max=_largest(rows["correction"]),
        period=Spread.of(telemetry.period) if telemetry else None,
        compute=Spread.of(telemetry.compute) if telemetry else None,
        missed=int(rows["missed"][-1] - rows["missed"][0]) if telemetry else 0,
        rejected=count["chunk_rejected"],
        steps=count["step"],
        dropped=dict(Counter(event.data["reason"] for event in events if event.kind == "step_dropped")),
        safety=dict(Counter(event.text for event in events if event.kind in ("safety", "stopped", "error"))),
    )


_MEASURED, _COMMANDED, _WORST = "#1c7ed6", "#e8890c", "#c92a2a"
_SHADES = {State.HOLDING: "#ffe8b3", State.FAULT: "#ffc9c9", State.STOPPED: "#ffc9c9"}


def _shade(axes: Axes, t: Array, states: Array) -> None:
    for state, colour in _SHADES.items():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (states == state).astype(int), [0]])))
        for begin, end in edges.reshape(-1, 2):
            axes.axvspan(t[begin], t[min(end, len(t) - 1)], color=colour, lw=0)


def _plot(path: Path, shown: Sequence[tuple[EpisodeSummary, Telemetry]]) -> None:
    """Force, width, tracking error and loop period of some episodes over the arm's time, one after the other."""
    figure = Figure(figsize=(11, 8), dpi=110, layout="constrained")
    force, width, error, period = figure.subplots(4, sharex=True)
    origin = shown[0][1].span_ns[0]
    for row, telemetry in shown:
        rows = telemetry.rows
        t = (rows["t_ns"] - origin) / NS
        groups = telemetry.period[: len(telemetry.period) // THINNED * THINNED].reshape(-1, THINNED)
        at = np.linspace(t[0], t[-1], len(groups))
        curves = (
            (force, t, rows["force"], _MEASURED, "measured"),
            (width, t, 1e3 * rows["jaw_width"], _MEASURED, "measured"),
            (width, t, 1e3 * rows["jaw_goal"], _COMMANDED, "commanded"),
            (width, t, 1e3 * rows["correction"], _WORST, "force correction"),
            (error, t, 1e3 * rows["position_error"], _MEASURED, "position [mm]"),
            (error, t, np.degrees(rows["rotation_error"]), _COMMANDED, "rotation [deg]"),
            (period, at, 1e3 * np.median(groups, axis=1), _MEASURED, f"median of {THINNED} ticks"),
            (period, at, 1e3 * groups.max(axis=1), _WORST, f"largest of {THINNED} ticks"),
        )
        for axes, x, y, colour, name in curves:
            axes.plot(x, y, color=colour, lw=1.0, label=name if row is shown[0][0] else None)
        for axes in (force, width, error, period):
            _shade(axes, t, rows["state"])
            axes.axvline(t[0], color="#495057", lw=0.8, ls="--")
        mark = f" {row.episode.number}: {'success' if row.episode.success else 'failure'}"
        force.annotate(mark, (t[0], 1.02), xycoords=("data", "axes fraction"), fontsize=8, annotation_clip=False)
    for axes, unit in ((force, "grasp force [N]"), (width, "mm"), (error, "mm, deg"), (period, "ms")):
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(color="#eceff1")
        if axes is not force:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8, frameon=False, borderpad=0.1)
    for axes, title in ((width, "jaw opening"), (error, "tracking error"), (period, "period of the control loop")):
        axes.set_title(title, fontsize=9, loc="left")
    period.set_xlabel("arm's time [s]; yellow: holding, red: stopped")
    figure.savefig(path)


_COLUMNS = (
    "episode (seed)",
    "outcome",
    "duration [s]",
    "chunks",
    "image to torque [ms] p50 / p99",
    "tracking [mm] p50 / p99",
    "loop period [ms] p50 / p99 / max",
    "real time",
)


def _cells(row: EpisodeSummary) -> tuple[str, ...]:
    """One line of the table, in the order of _COLUMNS."""

    def several(spread: Spread | None, digits: int, *names: str) -> str:
        return "-" if spread is None else " / ".join(f"{1e3 * getattr(spread, name):.{digits}f}" for name in names)

    episode = row.episode
    return (
        f"{episode.number} ({episode.seed})",
        f"{'success' if episode.success else 'FAILURE'}: {episode.outcome}",
        f"{row.duration:.1f}",
        f"{episode.chunks}" + (f", {row.rejected} rejected" if row.rejected else ""),
        several(row.latency, 0, "p50", "p99"),
        several(row.position_error, 1, "p50", "p99"),
        several(row.period, 1, "p50", "p99", "max") + (f", {row.missed} missed" if row.missed else ""),
        f"{episode.real_time_factor:.2f}",
    )


def _headline(summary: Summary) -> str:
    facts = summary.facts
    return (
        f"{facts.robot}, {facts.task} ({facts.split}), policy {facts.policy}{f', {facts.mode}' if facts.mode else ''}: "
        f"{summary.successes} of {len(summary.episodes)} episodes succeeded"
    )


def _slow(summary: Summary) -> str:
    """What is wrong where the cell's time fell behind, else ''."""
    factors = [row.episode.real_time_factor for row in summary.episodes]
    if not factors or (mean := float(np.mean(factors))) >= _KEPT_UP:
        return ""
    return (
        f"The cell's time passed at {mean:.2f} of real time. Unless the cell file wants it so (real_time_factor), this "
        "machine is too slow for it: smaller images (image_size: [256, 192]) cost less."
    )


def _markdown(summary: Summary) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in _cells(row)] for row in summary.episodes]
    lines = [f"# {_headline(summary)}", ""]
    lines += [f"**{_TRUTH_NOTE}**", ""] if summary.facts.simulator_truth else []
    if why := summary.facts.calibration_override:
        lines += [f"**Calibration that is missing, old or bad was taken nonetheless: {why}.**", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (_COLUMNS, ["---"] * len(_COLUMNS), *escaped)]
    lines += ["", f"Machine: {summary.machine}.", ""]
    lines += [f"**{slow}**", ""] if (slow := _slow(summary)) else []
    lines += [
        "Durations and latencies are in the arm's time. "
        "Tracking is the distance of the measured tool from the commanded one."
    ]
    for row in summary.episodes:
        number = row.episode.number
        lines += ["", f"## Episode {number}: {row.episode.text}", ""]
        lines += [f"- steps executed: {row.steps}"]
        lines += [f"- steps dropped: {count}, {reason}" for reason, count in row.dropped.items()]
        lines += [f"- {text} ({count}x)" for text, count in row.safety.items()]
        lines += [
            f"- [{name}]({name})"
            for name in (f"episode_{number}.mp4", f"episode_{number}.png")
            if (summary.folder / name).exists()
        ]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> Summary:
    """Write summary.json, summary.md and the plots of a run folder; raises ConfigError where it is none."""
    try:
        facts = run_folder.read_facts(folder)
        episodes = run_folder.read_episodes(folder)
        audit = run_folder.read_audit(folder)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"{folder} is not a readable run folder: {error}; allowed is one that a run has made"
        ) from error
    rows, drawn = [], []
    for episode in episodes:
        telemetry = run_folder.read_telemetry(folder, episode.number)
        rows.append(_summarise(episode, telemetry, audit))
        if telemetry is not None:
            drawn.append((rows[-1], telemetry))
            _plot(folder / f"episode_{episode.number}.png", drawn[-1:])
    if drawn:
        _plot(folder / "run.png", drawn)
    summary = Summary(folder, facts, machine(), tuple(rows))
    content = {"successes": summary.successes, **asdict(summary), "folder": folder.name}
    (folder / "summary.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "summary.md").write_text(_markdown(summary))
    return summary


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the table."""
    if console is None:
        console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(title=Text(_headline(summary)), title_justify="left", show_lines=False)
    for name in _COLUMNS:
        table.add_column(Text(name), max_width=None if name == "outcome" else 13)
    for row in summary.episodes:
        table.add_row(*map(Text, _cells(row)), style="" if row.episode.success else "red")
    console.print(table)
    if summary.facts.simulator_truth:
        console.print(_TRUTH_NOTE, style="bold", soft_wrap=True)
    if slow := _slow(summary):
        console.print(slow, style="bold", soft_wrap=True)
    console.print(f"report: {summary.folder}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kinema.apps.report", description="Sum up a run folder.")
    parser.add_argument("folder", type=Path)
    try:
        show(write(parser.parse_args(arguments).folder))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
