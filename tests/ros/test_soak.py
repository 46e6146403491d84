"""The stack for many episodes on end: nothing dies, nothing grows, every episode is decided by the physics."""

import json
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]

_EPISODES = 10


def resident(pid: int) -> int:
    """[pages] in memory, 0 for a process that has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize(("task", "robot"), [("pick_and_place", "virtual_ur5e"), ("open_drawer", "virtual_xarm7")])
def test_ten_episodes_on_end_succeed_and_no_process_grows(launch, tmp_path, task, robot):
    run = tmp_path / "run"
    stack = launch(episodes=_EPISODES, task=task, robot=robot, run_dir=run)
    early: dict[int, int] = {}
    late: dict[int, int] = {}
    deadline = time.monotonic() + 900
    while stack.process.poll() is None:
        assert time.monotonic() < deadline, stack.log.read_text()
        done = len((run / "episodes.jsonl").read_text().splitlines()) if (run / "episodes.jsonl").exists() else 0
        if done in (3, _EPISODES - 1):
            sizes = {pid: size for pid in stack.pids() if (size := resident(pid))}
            early, late = (sizes, late) if done == 3 else (early, sizes)
        time.sleep(0.2)
    assert stack.process.returncode == 0, stack.log.read_text()
    episodes = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert [episode["success"] for episode in episodes] == [True] * _EPISODES, episodes
    assert early.keys() == late.keys(), "a process died on the way"
    assert early, "no process was seen"
    grown = {pid: late[pid] / early[pid] for pid in early if late[pid] > 1.15 * early[pid]}
    assert not grown, {Path(stack.log).read_text().count("died"): grown}
