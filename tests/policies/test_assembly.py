"""Requests and streams: answered from a complete moment after the request, or rejected with the reason."""

import numpy as np
import pytest

from kinema.chunk import ActionChunk, ObservationSpec, Truth
from kinema.clock import to_ns
from kinema.errors import ConfigError
from kinema.geometry import Pose
from kinema.perception.align import AlignmentError
from kinema.policies.assembly import PATIENCE, Assembler, Request, committed_steps

FRAME_NS = 33_000_000
SPEC = ObservationSpec(cameras=("gripper", "left"), image_size=(4, 3), simulator_truth=True)


def fill(assembler: Assembler, first: int, last: int, cameras: tuple[str, ...] = ("gripper", "left")) -> None:
    """Frames `first` to `last`, with poses and widths that reach past the last one."""
    for i in range(first, last + 1):
        stamp_ns = i * FRAME_NS
        for name in cameras:
            assembler.buffers.images[name].push(stamp_ns, np.full((3, 4, 3), i, np.uint8))
        for t in range(stamp_ns, stamp_ns + FRAME_NS, 11_000_000):
            assembler.buffers.poses.push(t, Pose(np.array([t * 1e-9, 0, 0]), np.eye(3)))
            assembler.buffers.width.push(t, 0.05)
            assembler.buffers.force.push(t, 1.0)
        assembler.truth.push(stamp_ns, Truth(stamp_ns, {}, {}, {}))


def request(not_before_ns: int) -> Request:
    return Request(id=3, run=1, not_before_ns=not_before_ns, text="put the mug away")


def test_the_observation_is_not_older_than_the_request():
    assembler = Assembler(SPEC)
    fill(assembler, 1, 5)
    assembler.open(request(5 * FRAME_NS + 1), now_ns=0)
    assert assembler.observe(now_ns=1) is None
    fill(assembler, 6, 7)
    observation = assembler.observe(now_ns=2)
    assert observation.stamp_ns == 7 * FRAME_NS
    assert observation.text == "put the mug away" and observation.truth.stamp_ns == 7 * FRAME_NS
    assert observation.images["left"].shape == (1, 3, 4, 3) and observation.images["left"][0, 0, 0, 0] == 7
    assert observation.T_base_tcp[0].position[0] == pytest.approx(7 * FRAME_NS * 1e-9)
    assert assembler.request is None and assembler.observe(now_ns=3) is None


def test_a_moment_is_newer_than_the_request_and_its_history_is_what_was():
    spec = ObservationSpec(cameras=("gripper", "left"), image_size=(4, 3), history=2, history_dt=FRAME_NS * 1e-9)
    assembler = Assembler(spec)
    fill(assembler, 1, 2)
    assembler.open(request(3 * FRAME_NS - to_ns(spec.max_skew)), now_ns=0)
    assert assembler.observe(0) is None
    fill(assembler, 3, 3)
    assert assembler.observe(0).images["gripper"][:, 0, 0, 0].tolist() == [2, 3]


def test_f02_a_history_that_is_shorter_than_the_policys_is_waited_for_and_the_reason_says_so():
    spec = ObservationSpec(cameras=("gripper", "left"), image_size=(4, 3), history=4, history_dt=FRAME_NS * 1e-9)
    assembler = Assembler(spec)
    fill(assembler, 1, 2)
    assembler.open(request(0), now_ns=0)
    assert assembler.observe(0) is None
    with pytest.raises(AlignmentError, match=r"gripper: there are 0\.03 s of it, the policy needs the last 0\.10 s"):
        assembler.observe(to_ns(PATIENCE))
    fill(assembler, 3, 4)
    assembler.open(request(0), now_ns=0)
    assert assembler.observe(0).images["gripper"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_f11_a_camera_that_has_gone_silent_rejects_the_request_by_name():
    assembler = Assembler(SPEC)
    fill(assembler, 1, 3)
    assembler.open(request(3 * FRAME_NS + 1), now_ns=0)
    fill(assembler, 4, 9, cameras=("gripper",))
    patience_ns = to_ns(PATIENCE)
    assert assembler.observe(patience_ns - 1) is None
    with pytest.raises(AlignmentError, match="left: the nearest image is -"):
        assembler.observe(patience_ns)
    assert assembler.request is None and assembler.observe(2 * patience_ns) is None
    fill(assembler, 10, 11)
    assembler.open(request(3 * FRAME_NS + 1), now_ns=2 * patience_ns)
    assert assembler.observe(2 * patience_ns).stamp_ns == 11 * FRAME_NS


def test_a_withdrawn_request_is_not_answered():
    assembler = Assembler(SPEC)
    assembler.open(request(0), now_ns=0)
    assembler.withdraw()
    fill(assembler, 1, 3)
    assert assembler.observe(0) is None


def test_skew_is_measured_against_the_reference():
    assembler = Assembler(SPEC)
    assembler.buffers.images["gripper"].push(100, np.zeros((3, 4, 3), np.uint8))
    assembler.buffers.images["left"].push(100 + 7_000_000, np.zeros((3, 4, 3), np.uint8))
    assert assembler.skew(100) == pytest.approx(0.007)


def test_a_policy_that_needs_a_goal_image_is_refused_without():
    with pytest.raises(ConfigError, match="goal_image"):
        Assembler(ObservationSpec(goal_image=True))


def a_chunk(n: int = 8, executable: int = 6) -> ActionChunk:
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, 0, 3] = np.arange(n)
    return ActionChunk(4, "p", 1000, Pose.identity(), 0.05, 0.1, 0.2, T, np.arange(n) * 1e-3, None, executable)


@pytest.mark.parametrize("step, count, expected", [(1, 2, [2, 3]), (-1, 3, [0, 1, 2]), (3, 9, [4, 5])])
def test_committed_steps_are_those_still_to_be_played(step, count, expected):
    chunk = a_chunk()
    kept = committed_steps(chunk, step, count)
    assert kept.T_rel[:, 0, 3].tolist() == expected and kept.executable == len(expected)
    assert kept.due_ns(0) == chunk.due_ns(expected[0])
    assert kept.width_change.tolist() == chunk.width_change[expected].tolist() and kept.force is None


def test_nothing_is_committed_when_the_chunk_is_at_its_end():
    assert committed_steps(a_chunk(), 5, 4) is None


def test_the_committed_prefix_reaches_the_observation():
    spec = ObservationSpec(cameras=("gripper", "left"), image_size=(4, 3), committed_prefix=2)
    assembler = Assembler(spec)
    fill(assembler, 1, 3)
    assembler.plays(a_chunk(), 0, len(a_chunk()))
    assembler.open(request(0), now_ns=0)
    assert assembler.observe(0).committed.T_rel[:, 0, 3].tolist() == [1, 2]
