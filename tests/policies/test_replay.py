"""Replay: a demonstration that hangs together is played from wherever the arm is, in its own time or slower."""

import dataclasses

import numpy as np
import pytest

from kinema.chunk import ActionChunk, Observation, check_chunk
from kinema.clock import NS, to_ns
from kinema.episodes.aligned import Aligned
from kinema.errors import EpisodeError
from kinema.geometry import Pose, distance
from kinema.policies.assembly import committed_steps
from kinema.policies.replay import DT, EXECUTABLE, Replay
from kinema.robots import GRIPPER

DOWN = np.diag([1.0, -1.0, -1.0])
FORCE, OPEN, HELD = 9.0, 0.06, 0.04
SECONDS = 3.0


def demonstrated(t: float) -> Pose:
    """0.1 m/s along x with a slow turn about the vertical."""
    return Pose(np.array([0.4, 0.0, 0.3]), DOWN) @ Pose.from_rotvec([0.1 * t, 0.0, 0.0], [0.0, 0.0, 0.2 * t])


def demonstration(**changes) -> Aligned:
    """The jaw holds something in its last second."""
    stamps = 50 * NS + np.arange(0, to_ns(SECONDS) + 1, NS // 30)
    times = (stamps - stamps[0]) / NS
    holds = times >= SECONDS - 1.0
    whole = Aligned(
        rate=30.0,
        stamps_ns=stamps,
        T_base_tcp=np.array([demonstrated(t).matrix for t in times]),
        width=np.where(holds, HELD, OPEN),
        force=np.where(holds, FORCE, 0.0),
        frames={},
        segment=np.zeros(len(stamps), np.int64),
        rejected=(),
    )
    return dataclasses.replace(whole, **changes)


def without(*steps: int) -> Aligned:
    whole = demonstration()
    kept = np.setdiff1d(np.arange(len(whole)), steps)
    names = ("stamps_ns", "T_base_tcp", "width", "force", "segment")
    return dataclasses.replace(whole, **{name: getattr(whole, name)[kept] for name in names})


def seen(t_ns: int, T_base_tcp: Pose, width: float = OPEN, committed: ActionChunk | None = None) -> Observation:
    return Observation(t_ns, {}, (T_base_tcp,), np.array([width]), None, "", committed=committed)


def follow(replay: Replay, start: Pose, slower: float = 1.0) -> list[tuple[float, Pose, float, float]]:
    """Time, pose, width and force of every step played by an arm that does exactly as told, `slower` times slower."""
    tcp, width, t_ns, steps, committed, count = start, OPEN, NS, [], None, 8
    for _ in range(60):
        chunk = replay.predict(seen(t_ns, tcp, width, committed)).chunk
        check_chunk(chunk)
        for i in range(count):
            tcp, width = chunk.target(i), chunk.width_t0 + float(chunk.width_change[i])
            steps.append((t_ns / NS - 1.0 + (i + 1) * slower * DT, tcp, width, float(chunk.force[i])))
        tcp = Pose.from_quaternion(tcp.position, tcp.quaternion)  # what is measured is a rotation, rounding or not
        committed = committed_steps(chunk, count - 1, 1)
        t_ns += to_ns(count * slower * DT)
    return steps


def test_from_the_beginning_the_demonstration_runs_in_its_own_time():
    for t, pose, _, _ in follow(Replay(demonstration()), demonstrated(0.0)):
        moved, turned = distance(pose, demonstrated(min(t, SECONDS)))
        assert moved < 1e-3 and turned < 2e-3


def test_a_stretched_demonstration_is_played_whole():
    steps = follow(Replay(demonstration()), demonstrated(0.0), slower=2.0)
    for t, pose, _, _ in steps:
        moved, turned = distance(pose, demonstrated(min(t / 2, SECONDS)))
        assert moved < 0.02 and turned < 0.04


def test_from_elsewhere_the_tool_first_goes_up_over_and_down():
    start = Pose(np.array([0.5, 0.3, 0.2]), DOWN)
    steps = follow(Replay(demonstration()), start)
    poses = [pose for _, pose, _, _ in steps]
    heights = np.array([pose.position[2] for pose in poses])
    way = next(i for i, pose in enumerate(poses) if distance(pose, demonstrated(0.0))[0] < 1e-3)
    aside = [i for i in range(way) if np.linalg.norm((poses[i].position - start.position)[:2]) > 0.01]
    over = [i for i in aside if np.linalg.norm((poses[i].position - poses[way].position)[:2]) > 0.01]
    assert over and heights[over].min() > 0.35, "it moves sideways only above both ends"
    assert distance(poses[-1], demonstrated(SECONDS))[0] < 1e-3


def test_the_jaw_is_asked_for_as_much_less_as_its_drive_gives_way_to_the_grasp():
    last = follow(Replay(demonstration()), demonstrated(0.0))[-1]
    assert last[2] == pytest.approx(HELD - FORCE / GRIPPER.stiffness)
    assert last[3] == pytest.approx(FORCE)


def test_an_arm_that_was_held_up_goes_on_from_where_it_is():
    replay = Replay(demonstration())
    here = demonstrated(0.0)
    replay.predict(seen(NS, here))
    far = dataclasses.replace(here, position=here.position + np.array([0.0, 0.08, 0.0]))
    chunk = replay.predict(seen(2 * NS, far)).chunk  # nothing was played: 80 mm off the path, beside its beginning
    assert distance(chunk.target(0), demonstrated(DT))[0] < 5e-3


def test_a_reset_begins_anew():
    replay = Replay(demonstration())
    for t_ns in (NS, 2 * NS):
        replay.predict(seen(t_ns, demonstrated(0.0)))
    replay.reset()
    chunk = replay.predict(seen(90 * NS, demonstrated(0.0))).chunk
    assert distance(chunk.target(0), demonstrated(DT))[0] < 1e-3 and chunk.executable == EXECUTABLE


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (without(*range(1, 91)), "1 steps of the episode"),
        (without(*range(30, 45)), r"no usable step for 0\.53 s after 0\.97 s"),
        (demonstration(segment=np.arange(91) // 50), "the tracker jumped"),
    ],
)
def test_f12_a_demonstration_that_does_not_hang_together_is_refused(broken, message):
    with pytest.raises(EpisodeError, match=message):
        Replay(broken)
