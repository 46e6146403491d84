"""The recorder on a disk that fills up, and killed at moments that nobody chose."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from kinema.episodes import facts as facts_file
from kinema.episodes.reader import Episode
from kinema.episodes.repair import recover
from kinema.episodes.writer import FLUSH

pytestmark = pytest.mark.ros


ODOMETRY = "tracker/odometry"


def arrivals(folder: Path) -> list[int]:
    """Stamps [ns] of the odometry in the bag; none of a recorder that was killed within its first second."""
    episode = Episode.open(folder)
    return [message.stamp_ns for _, _, message in episode.read([ODOMETRY])] if ODOMETRY in episode.topics else []


def whole(folder: Path, sent: list[int]) -> None:
    """The bag holds every odometry message from its first to its last."""
    kept = arrivals(folder)
    first = sent.index(min(kept)) if kept else 0
    assert sorted(kept) == sent[first : first + len(kept)]


def test_f25_a_disk_that_runs_low_ends_the_episode_in_order_and_refuses_the_next(small_disk, recorder):
    running = recorder(folder=small_disk(34 << 20) / "episodes", compression="none", min_disk_gb=0.03)
    folder = running.start()
    running.saved(1)  # by itself
    facts = facts_file.load(folder)
    assert facts.finished and facts.ended == "the disk is almost full" and "almost full" in facts.rejected
    assert facts.dropped == {} and arrivals(folder)[-1] > facts.ended_ns - 1e8
    whole(folder, running.sensors.sent[ODOMETRY])
    answer = running.graph.call("start")
    assert not answer.success and "GB are needed: free some" in answer.message
    running.graph.until(lambda state: any("GB are left" in problem for problem in state.problems), "the problem")


def test_f25_a_disk_that_is_suddenly_full_ends_the_episode_at_the_last_message_that_it_took(small_disk, recorder):
    disk = small_disk(40 << 20)
    running = recorder(folder=disk / "episodes", compression="none", min_disk_gb=0.0)
    folder = running.start()
    running.lasts(1.0)
    with (disk / "somebody else's").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1 << 16))
    running.saved(1)
    facts = facts_file.load(folder)
    assert facts.finished and "disk took no more" in facts.ended and "No space" in facts.rejected
    assert facts.dropped == {}
    whole(folder, running.sensors.sent[ODOMETRY])


def kills(recorder, moments: list[float]) -> None:
    """Kill recorders, each after a finished episode and in the midst of another; both are looked at."""
    first = recorder()
    sensors, folder = first.sensors, first.folder
    running, finished, partial = first, [], folder
    for i, moment in enumerate(moments):
        if i > 0:
            running = recorder(folder=folder, ready=False)
            sensors.anchor()
            running.ready()
        if i % 5 == 0:
            running.start()
            running.lasts(1.2)
            finished.append(running.stop())
        partial = running.start()
        began = time.monotonic()
        running.lasts(0.05)
        time.sleep(max(0.0, began + moment - time.monotonic()))
        os.kill(running.process.pid, signal.SIGKILL)
        killed_ns = sensors.sent[ODOMETRY][-1]
        running.process.wait()

        for episode in finished:
            assert facts_file.load(episode).finished
            whole(episode, sensors.sent[ODOMETRY])
        assert not facts_file.load(partial).finished
        recover(partial)
        facts = facts_file.load(partial)
        assert facts.finished and facts.ended == "recovered"
        whole(partial, sensors.sent[ODOMETRY])
        lost = (killed_ns - max(arrivals(partial), default=facts.began_ns)) * 1e-9
        assert lost < FLUSH + 1.0, "a second may be in memory, and what the test itself was late"


def test_f26_a_killed_recorder_leaves_finished_episodes_whole_and_a_partial_one_that_recovers(recorder):
    kills(recorder, [1.4, 0.3])


@pytest.mark.slow
def test_f26_twenty_kills_at_random_moments(recorder):
    moments = random.Random(26)
    kills(recorder, [moments.uniform(0.1, 3.0) for _ in range(20)])


def test_f26_an_unfinished_episode_is_named_when_the_recorder_comes_up_again(recorder):
    running = recorder()
    partial = running.start()
    running.lasts(1.2)
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    again = recorder(folder=running.folder, ready=False)
    again.graph.until(lambda state: state.saved == 0, "recorder/state")
    assert f"{partial} was not finished: `kinema episodes recover {partial}`" in again.log.read_text()
