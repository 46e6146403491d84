"""A chunk's path hits every target at its time, with a continuous twist, and never leaves its ends."""

import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from kinema.control.path import Path
from kinema.geometry import Pose, pose_error, so3_exp

STEP = 1 / 30


@st.composite
def paths(draw: st.DrawFn) -> tuple[Path, list[Pose]]:
    n = draw(st.integers(2, 12))
    shifts = draw(arrays(float, (n, 6), elements=st.floats(-0.05, 0.05)))
    poses = [Pose.from_rotvec([0.4, 0.0, 0.3], [0.0, 3.0, 0.2])]
    for shift in shifts[1:]:
        poses.append(Pose(poses[-1].position + shift[:3], so3_exp(4 * shift[3:]) @ poses[-1].rotation))
    gap = draw(st.floats(0.5, 2.0)) * STEP
    times = np.concatenate([[0.0], gap + STEP * np.arange(n - 1)])
    positions, rotations = np.array([p.position for p in poses]), np.array([p.rotation for p in poses])
    widths = np.linspace(0.08, 0.02, n)
    return Path(times, positions, rotations, widths, np.arange(n, dtype=float), draw(st.booleans())), poses


@settings(max_examples=40)
@given(paths())
def test_every_target_is_hit_at_its_time(given_path: tuple[Path, list[Pose]]) -> None:
    path, poses = given_path
    for time, pose in zip(path.times, poses, strict=True):
        assert np.abs(pose_error(path.reference(time, 1.0, 0.0).pose, pose)).max() < 1e-7


@settings(max_examples=40)
@given(paths())
def test_the_twist_is_continuous_and_is_the_poses_rate(given_path: tuple[Path, list[Pose]]) -> None:
    path, _ = given_path
    for time in path.times[1:-1]:
        before, after = path.reference(time - 1e-7, 1.0, 0.0).twist, path.reference(time + 1e-7, 1.0, 0.0).twist
        np.testing.assert_allclose(before, after, atol=1e-3)
    for s in np.linspace(path.times[0] + 1e-3, path.end - 1e-3, 17):
        h = 1e-5
        rate = pose_error(path.reference(s - h, 1.0, 0.0).pose, path.reference(s + h, 1.0, 0.0).pose) / (2 * h)
        np.testing.assert_allclose(path.reference(s, 1.0, 0.0).twist, rate, atol=2e-3)


@settings(max_examples=40)
@given(paths(), st.floats(-1.0, 2.0))
def test_beyond_its_ends_it_stands(given_path: tuple[Path, list[Pose]], s: float) -> None:
    path, poses = given_path
    reference = path.reference(s, 1.0, 0.0)
    if s < 0.0 or s > path.end:
        end = poses[0] if s < 0.0 else poses[-1]
        assert np.abs(pose_error(reference.pose, end)).max() < 1e-7
        assert not reference.twist.any()
    assert 0.02 - 1e-9 <= path.width(s) <= 0.08 + 1e-9
    assert 0.0 <= path.force(s) <= len(poses) - 1


@given(paths())
def test_steps_count_from_the_first_target(given_path: tuple[Path, list[Pose]]) -> None:
    path, poses = given_path
    assert path.step(path.times[0]) == -1
    assert path.step(path.times[1]) == 0
    assert path.step(path.end) == len(poses) - 2
