"""`kinema episodes check`: quality measured again from the files, and what an arm would make of the path."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinema.episodes.check import Check, check
from kinema.episodes.reach import ArmReport, check_arm
from kinema.episodes.reader import Episode, find
from kinema.errors import KinemaError
from kinema.robots import ARMS, arm

_COLUMNS = ("episode", "s", "steps", "rate %", "skew ms", "tags %", "jumps", "conf", "tare N", "lost", "verdict")
_ARM_COLUMNS = ("episode", "off the path mm", "joint margin rad", "joint speed %", "singular value", "verdict")
_LEAST_WIDTH = 128  # columns of the table


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("episodes"), help="default: %(default)s")
    parser.add_argument(
        "--arm", metavar="NAME", help=f"also reach, speed and singularity of the path on {' or '.join(ARMS)}"
    )
    parser.add_argument("--json", action="store_true", help="everything that was measured, as one JSON object")


def _row(name: str, episode: Episode, checked: Check) -> tuple[Text, ...]:
    q, rejected = checked.quality, len(checked.aligned.rejected)
    tracker, jaw, force = q.tracker, q.jaw, q.force
    cells = (
        name,
        f"{q.duration:.1f}",
        f"{len(checked.aligned)}" + (f" - {rejected}" if rejected else ""),
        f"{100 * min(stream.rate / stream.nominal for stream in q.streams.values()):.0f}",
        f"{1e3 * max((camera.skew_p99 for camera in q.cameras.values()), default=0.0):.1f}",
        f"{100 * jaw.visible:.0f}" if jaw else "-",
        f"{tracker.jumps}" if tracker else "-",
        f"{tracker.confidence}" if tracker else "-",
        f"{max(force.start, force.end, key=abs):+.2f}" if force else "-",
        str(sum(stream.dropped + stream.disorder for stream in q.streams.values())),
    )
    marked = f"marked: {episode.facts.rejected}" if episode.facts.rejected else ""
    verdict = "; ".join(checked.faults) or marked or "good"
    return (*map(Text, cells), Text(verdict, style="green" if verdict == "good" else "red"))


def _arm_row(name: str, report: ArmReport) -> tuple[Text, ...]:
    verdict = report.verdict()
    cells = (
        name,
        f"{1e3 * report.missed:.1f}",
        f"{report.margin:.2f}",
        f"{100 * report.speed:.0f}",
        f"{report.singular_value:.3f}",
    )
    return (*map(Text, cells), Text(verdict or "can follow", style="red" if verdict else "green"))


def _reach(checked: Check, name: str | None) -> ArmReport | None:
    """None where nobody asked or there is no path; raises ConfigError naming the arms there are."""
    if name is None or len(checked.aligned) < 2:
        return None
    return check_arm(checked.aligned.T_base_tcp, checked.aligned.stamps_ns, arm(name))


def _table(columns: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        words = name in ("episode", "verdict")
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=name == "episode")
    return table


def run(arguments: argparse.Namespace) -> int:
    """0 when every episode may be used (and followed by the arm), else 1; one that is marked as rejected may not."""
    table, arms = _table(_COLUMNS), _table(_ARM_COLUMNS)
    told: dict[str, dict[str, Any]] = {}
    bad = 0
    for name, folder in find(arguments.folder).items():
        try:
            episode = Episode.open(folder)
            checked = check(episode)
        except KinemaError as error:
            bad += 1
            told[name] = {"faults": [str(error)]}
            table.add_row(name, *[""] * (len(_COLUMNS) - 2), Text(str(error), style="red"))
            continue
        report = _reach(checked, arguments.arm)
        bad += bool(checked.faults or episode.facts.rejected or (report and report.trouble))
        table.add_row(*_row(name, episode, checked))
        told[name] = {
            "steps": len(checked.aligned),
            "rejected": [[stamp_ns, reason] for stamp_ns, reason in checked.aligned.rejected],
            "quality": dataclasses.asdict(checked.quality),
            "faults": list(checked.faults),
            "marked": episode.facts.rejected,
            "calibration_origin": episode.facts.calibration_origin,
        }
        if report is not None:
            arms.add_row(*_arm_row(name, report))
            told[name]["arm"] = dataclasses.asdict(report)
    if arguments.json:
        print(json.dumps(told, indent=1))
        return min(bad, 1)
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)
    if arms.row_count:
        console.print(f"\nfollowed by {arguments.arm}:", style="bold")
        console.print(arms)
    origins = sorted({row["calibration_origin"] for row in told.values() if row.get("calibration_origin")})
    console.print(f"calibration: {', '.join(origins) or 'unknown'}")
    console.print(f"{len(told)} episodes, {bad} of them must not be used", soft_wrap=True)
    return min(bad, 1)
