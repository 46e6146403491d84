"""Runs benchmarks and keeps docs/benchmarks.md: one section each, with the machine that it ran on.

    python -m benchmarks                    all of them
    python -m benchmarks cameras latency    these; the other sections stay as they are

A benchmark is a program that prints its table. Run them on a machine that has nothing else to do.
"""

import argparse
import datetime
import re
import subprocess
import sys
from dataclasses import dataclass

from kinema import paths
from kinema.apps.report import machine

_PAGE = paths.root() / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Written by `python -m benchmarks`; every section names the command that made it. Nothing here is a test: numbers depend
on the machine and on what else it does.
"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    name: str
    title: str
    command: tuple[str, ...]  # arguments of the interpreter


BENCHMARKS = (
    Benchmark("control_law", "One cycle of playback, law and safety chain", ("benchmarks/control_law.py",)),
    Benchmark("control_loop", "The control loop beside everything else, and bare", ("benchmarks/control_loop.py",)),
    Benchmark("vendor_arms", "Arms behind vendors' code", ("benchmarks/vendor_arms.py",)),
    Benchmark("cameras", "Three cameras as the policy node receives them", ("benchmarks/cameras.py",)),
    Benchmark(
        "camera_drivers", "The drivers of real cameras, before software devices", ("benchmarks/camera_drivers.py",)
    ),
    Benchmark("latency", "Deployment: first motion, image to torque, real-time factor", ("benchmarks/latency.py",)),
    Benchmark("jaw", "Jaw opening by its tags against the truth", ("benchmarks/jaw.py",)),
    Benchmark("calibration", "Calibration against the truth, beside plain OpenCV", ("benchmarks/calibration.py",)),
    Benchmark("recording", "The recorder under full load", ("benchmarks/recording.py",)),
    Benchmark("lockstep", "Episodes a minute in lockstep", ("benchmarks/lockstep.py",)),
    Benchmark("rollouts", "What evaluating a learned policy costs", ("benchmarks/rollouts.py",)),
    Benchmark("engines", "A chunk on every backend", ("benchmarks/engines.py",)),
    Benchmark("demonstrations", "Demonstrations recorded in lockstep", ("benchmarks/demonstrations.py",)),
    Benchmark("alignment", "Alignment of recordings under late and jittering sensors", ("benchmarks/alignment.py",)),
    Benchmark("export", "Export to LeRobot v3 and to shards", ("benchmarks/export.py",)),
    Benchmark("dreamitate", "A tool in rendered and in imagined video", ("benchmarks/dreamitate.py",)),
    Benchmark(
        "track_then_act",
        "An arm that follows a tool in a person's video",
        (
            "benchmarks/track_then_act.py",
            *("--task", "rotate_object", "sweep", "push_shape", "--list", "plain", "--scenarios", "2"),
        ),
    ),
    Benchmark("replay", "Recorded demonstrations, replayed", ("benchmarks/replay.py",)),
)


def _measure(benchmark: Benchmark) -> str:
    """Run one benchmark, show what it prints as it prints it; its section of the page."""
    print(f"== {benchmark.title}", flush=True)
    lines = []
    with subprocess.Popen([sys.executable, *benchmark.command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode != 0:
        raise RuntimeError(f"benchmark {benchmark.name} failed with exit code {process.returncode}")
    today = datetime.date.today().isoformat()
    return (
        f"\n<!-- {benchmark.name} -->\n## {benchmark.title}\n\n`python {' '.join(benchmark.command)}`, {today}, "
        f"{machine()}\n\n```text\n{''.join(lines).rstrip()}\n```\n<!-- end -->\n"
    )


def _sections() -> dict[str, str]:
    """The sections that stand on the page, by name."""
    text = _PAGE.read_text() if _PAGE.exists() else ""
    found = re.finditer(r"\n<!-- (?P<name>\w+) -->\n.*?<!-- end -->\n", text, re.DOTALL)
    return {match["name"]: match[0] for match in found}


def main() -> int:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(names)}; none: all")
    wanted = parser.parse_args().names or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; allowed: {', '.join(names)}")
    failed = []
    for benchmark in BENCHMARKS:
        if benchmark.name not in wanted:
            continue
        try:
            measured = _measure(benchmark)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed.append(benchmark.name)
            continue
        sections = _sections() | {benchmark.name: measured}
        _PAGE.write_text(_HEAD + "".join(sections[name] for name in names if name in sections))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
