"""Tracked poses become chunks that an arm can play: smooth, above the table, and with a way to their beginning."""

import itertools
import math

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings, strategies as st

from kinema import robots
from kinema.chunk import check_chunk
from kinema.clock import NS
from kinema.control.model import RobotModel
from kinema.control.settings import Limits
from kinema.errors import ConfigError, PlanError, TrackingError
from kinema.geometry import Pose, distance
from kinema.perception.tool_mesh import Symmetry, assemble
from kinema.policies.dreamitate.plan import ArmTask, plan
from kinema.policies.dreamitate.tool_path import Settings, lift, smooth, unwound

ARM = robots.arm("ur5e")
DOWN = np.diag([1.0, -1.0, -1.0])
HOME = np.array(ARM.home)
T_HOME = RobotModel(ARM).fk(HOME)
FPS = 6.0


MOUNT = Pose(np.array([0.0, 0.0, 0.10]), np.eye(3))


def scraper(mount: Pose | None = MOUNT, **options):
    """A rod with a blade at its end, z out of the flange: its tip is 0.20 m from the flange."""
    rod = trimesh.creation.cylinder(radius=0.01, height=0.08, sections=8)
    rod.apply_translation([0.0, 0.0, 0.04])
    blade = trimesh.creation.box([0.06, 0.01, 0.02])
    blade.apply_translation([0.0, 0.0, 0.09])
    return assemble({"rod": rod, "blade": blade}, "m", T_flange_tool=mount, **options)


def wiped(count=12, height=0.03, length=0.15) -> list[Pose]:
    """T_base_tool of a tip that goes along y at a height over the table, turning slowly; 2 s at 6 fps."""
    poses = []
    for i in range(count):
        tip = np.array([0.48, -length / 2 + length * i / (count - 1), height])
        poses.append(Pose(tip, DOWN) @ Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, 0.03 * i]) @ back(0.10))
    return poses


def moved(T: Pose, x: float, y: float = 0.0) -> Pose:
    return Pose(T.position + np.array([x, y, 0.0]), T.rotation)


def back(by: float) -> Pose:
    return Pose(np.array([0.0, 0.0, -by]), np.eye(3))


def task(poses, tool=None, **options) -> ArmTask:
    return ArmTask(poses=poses, tool=tool or scraper(), arm=ARM, T_base_tcp=T_HOME, q=HOME, **options)


def tool_at(T_base_tcp: np.ndarray, tool) -> Pose:
    return Pose.from_matrix(T_base_tcp) @ robots.GRIPPER.T_flange_tcp.inverse() @ tool.T_flange_tool


def test_the_arm_leads_the_tool_where_the_video_showed_it():
    tool, poses = scraper(), wiped()
    found = plan({"": task(poses, tool)})[""]
    times = np.linspace(0.0, 11 / FPS, len(found.path))
    for i, pose in enumerate(poses):
        nearest = int(np.argmin(np.abs(times - i / FPS)))
        off, turned = distance(tool_at(found.path[nearest], tool), pose)
        assert off < 0.003 and turned < math.radians(1.5)
    assert found.bridged == 0 and found.lifted == 0.0 and found.smoothed < 1e-3 and found.slower == 1.0
    assert found.report.verdict() == "" and found.report.steps == len(found.approach) + len(found.path)
    assert Pose.from_matrix(found.approach[-1]).position == pytest.approx(found.path[0][:3, 3])
    highest = found.approach[:, 2, 3].max()
    assert highest > max(T_HOME.position[2], found.path[0][2, 3]) + 0.05  # over, not through


def test_its_chunks_are_played_one_after_the_other_wherever_the_arm_then_is():
    found = plan({"": task(wiped())})[""]
    stands = T_HOME
    for number, piece in enumerate(found.pieces):
        at = stands @ Pose.from_rotvec([0.001, 0.0, 0.0], [0.0, 0.005, 0.0])  # it came to rest nearly there
        chunk = found.chunk(number, number + 1, 5 * NS, at, 0.03)
        check_chunk(chunk)
        assert chunk.executable == len(piece) and chunk.width_change is None and chunk.policy == "dreamitate"
        assert chunk.target(len(chunk) - 1).matrix == pytest.approx(piece[-1], abs=1e-9)
        steps = [at, *(chunk.target(i) for i in range(len(chunk)))]
        assert max(distance(a, b)[0] for a, b in itertools.pairwise(steps)) < 0.02
        stands = chunk.target(len(chunk) - 1)
    assert len(found.pieces) == 2


def test_frames_without_a_pose_are_bridged_and_noise_is_smoothed():
    rng, poses = np.random.default_rng(3), wiped()
    noisy = [
        T @ Pose.from_rotvec(rng.normal(0, 0.002, 3), rng.normal(0, 0.02, 3)) if i not in (0, 5, 6) else None
        for i, T in enumerate(poses)
    ]
    found = plan({"": task(noisy)})[""]
    assert found.bridged == 2 and 0.0 < found.smoothed < 0.006
    times = np.linspace(1 / FPS, 11 / FPS, len(found.path))
    truth = np.array([np.interp(times, np.arange(12) / FPS, [T.position[k] for T in poses]) for k in range(3)]).T
    off = np.array([tool_at(T, scraper()).position for T in found.path]) - truth
    assert np.sqrt((off**2).sum(axis=1).mean()) < 0.0035
    bends = np.diff(found.path[:, :3, 3], n=2, axis=0) / found.dt**2
    assert np.linalg.norm(bends, axis=1).max() < 0.6  # [m/s^2]; the noise itself asks for several


@settings(max_examples=30)
@given(st.integers(6, 14), st.lists(st.floats(-0.2, 0.2), min_size=9, max_size=9), st.floats(-2.5, 2.5))
def test_smoothing_changes_nothing_of_a_path_that_is_smooth(count, c, spin):
    """Positions that are quadratic in time, a turn at even speed."""
    times = np.arange(count) / FPS
    c = np.array(c).reshape(3, 3)

    def at(t: float) -> Pose:
        return Pose.from_rotvec(c @ [1.0, t, t * t], [0.0, 0.0, spin * t])

    for T, t in zip(smooth(times, [at(t) for t in times], (wanted := times[:-1] + 0.03), 0.15), wanted, strict=True):
        off, turned = distance(T, at(t))
        assert off < 1e-6 and turned < 1e-6


def test_the_tool_stays_above_the_height_limit():
    tool = scraper()
    found = plan({"": task(wiped(height=-0.008), tool)}, Settings(floor=0.004))[""]
    lowest = min(tool_at(T, tool).apply(tool.vertices)[:, 2].min() for T in (*found.approach, *found.path))
    assert lowest == pytest.approx(0.004, abs=1e-6) and found.lifted == pytest.approx(0.012, abs=0.001)
    raised, most = lift([Pose(np.array([0.5, 0.0, 0.4]), np.eye(3))], tool, 0.004)
    assert most == 0.0 and raised[0].position[2] == 0.4


def test_a_path_that_is_too_fast_is_slowed_down_as_a_whole():
    slow, fast = (plan({"": task(wiped(length=length))})[""] for length in (0.15, 0.5))
    assert slow.slower == 1.0 and fast.slower == pytest.approx(0.5 / (11 / FPS) / 0.25, rel=0.1)
    steps = np.linalg.norm(np.diff(fast.path[:, :3, 3], axis=0), axis=1) / fast.dt
    assert steps.max() < 0.26 and len(fast.path) > len(slow.path)


def test_a_symmetric_tool_is_turned_as_little_as_looks_alike():
    tool = scraper(symmetry=Symmetry((0.0, 0.0, 1.0), 2))
    poses = [T @ Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, math.pi * (i % 2)]) for i, T in enumerate(wiped())]
    still = unwound([None, *poses], tool, DOWN)
    assert still[0] is None
    assert all(distance(T, want)[1] < 1e-6 for T, want in zip(still[1:], wiped(), strict=True))
    assert plan({"": task(poses, tool)})[""].slower == 1.0


def test_two_arms_begin_the_path_together_and_end_it_together():
    other = [moved(T, 0.05) for T in wiped(length=0.3)]
    found = plan({"left": task([None, *wiped()[1:]]), "right": task(other)})
    left, right = found["left"], found["right"]
    assert len(left.approach) == len(right.approach) and len(left.path) == len(right.path)
    assert left.slower == right.slower and left.dt == right.dt
    assert len(plan({"": task(other)})[""].path) > len(right.path)  # alone it would have begun a frame earlier


@pytest.mark.parametrize(
    ("poses", "error", "says"),
    [
        ([None] * 12, TrackingError, "was found in 0 of 12 frames, needed are 4"),
        ([*wiped()[:4], *[None] * 4, *wiped()[8:]], TrackingError, "was lost for 0.83 s after frame 3"),
        ([*wiped()[:6], *[moved(T, 0.0, 0.4) for T in wiped()[6:]]], TrackingError,
         r"from frame 5 to 6 the tool goes at 2\.\d+ m/s .*took something else"),
        ([moved(T, 0.33) for T in wiped()], PlanError,
         r"ur5e can't lead the tool along its path; by 6 cm above: "),
        ([moved(T, -0.4) for T in wiped()], PlanError,
         r"by 6 cm above: .* leaves the workspace at .*; by 12 cm above: .*; by 20 cm above: "),
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused_with_what_is_needed(poses, error, says):
    with pytest.raises(error, match=says):
        plan({"": task(poses)})


def test_a_way_on_which_the_arm_meets_something_is_refused_by_its_clearance():
    with pytest.raises(PlanError, match="come within"):
        plan({"": task(wiped(), limits=Limits(clearance=0.2))})


def test_a_tool_that_is_not_mounted_and_clips_of_two_lengths_are_refused():
    with pytest.raises(ConfigError, match=r"no mount: say there where the tool is on the flange"):
        plan({"": task(wiped(), scraper(mount=None))})
    with pytest.raises(TrackingError, match="one clip shows them all"):
        plan({"a": task(wiped()), "b": task(wiped(11))})
