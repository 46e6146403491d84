"""A whole deployment from its start: time to the first motion, image to torque, real-time factor.

    . tools/env.sh; python benchmarks/latency.py [--episodes 3]

"Image to torque" runs from the moment that the observation's reference image shows to the first torque that pursues the
chunk which came of it, both in the cell's own time, from the executor's audit log.
"""

import argparse
import tempfile
from pathlib import Path

import deployment

from kinema.apps import report, run_folder
from kinema.clock import now_ns, to_seconds
from kinema.control.messages import State


def _first_motion(folder: Path, start_ns: int) -> float:
    """[s] from the start of the launch to the first state in which the arm moves."""
    for event in run_folder.read_audit(folder):
        if event.kind == "state" and event.data["state"] == State.EXECUTING:
            return to_seconds(event.t_ns - start_ns)
    raise SystemExit(f"the arm never moved; see {folder / 'launch.log'}")


def measure(episodes: int) -> None:
    deployment.isolate()
    folder = Path(tempfile.mkdtemp(prefix="kinema-benchmark-"))
    start_ns = now_ns()
    with deployment.deployed(folder, episodes=episodes) as launch:
        code = launch.wait()
    if code != 0:
        raise SystemExit(f"the deployment ended with exit code {code}; see {folder / 'launch.log'}")
    summary = report.write(folder)
    print(f"from `ros2 launch` to the first motion: {_first_motion(folder, start_ns):.1f} s")
    print(f"{summary.successes} of {len(summary.episodes)} episodes succeeded, policy {summary.facts.policy}")
    print(f"{'':<9}{'image to torque [ms]':>24}{'loop period [ms]':>24}{'':>11}")
    print(f"{'episode':<9}{'p50':>8}{'p99':>8}{'max':>8}{'p50':>8}{'p99':>8}{'max':>8}{'real time':>11}")
    for row in summary.episodes:
        torque, period = row.latency, row.period
        if torque is None or period is None:
            raise SystemExit(f"episode {row.episode.number} played no chunk; see {folder}")
        spreads = [1e3 * value for spread in (torque, period) for value in (spread.p50, spread.p99, spread.max)]
        numbers = "".join(f"{value:>8.{digits}f}" for value, digits in zip(spreads, (0, 0, 0, 2, 2, 2), strict=True))
        print(f"{row.episode.number:<9}{numbers}{row.episode.real_time_factor:>11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=3)
    measure(parser.parse_args().episodes)


if __name__ == "__main__":
    main()
