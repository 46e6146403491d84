"""The handheld gripper: goes where the hand goes, holds by friction, and errs by as much as the noise table says."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.calibration.bundle import load_bundle
from kinema.errors import ConfigError
from kinema.geometry import Pose, distance, interpolate
from kinema.paths import root
from kinema.robots import GRIPPER
from kinema.virtual import noise, scenario
from kinema.virtual.handheld import (
    T_BASE_TCP_START,
    TRACKER_RATE,
    HandheldWorld,
    TrackerSignal,
)

NOISE = noise.load()
BUNDLE = load_bundle(
    root() / "calibration" / "virtual",
    {"tracker": "VIRTUAL-TRACKER", "gripper": "VIRTUAL-GRIPPER", "jaw": "VIRTUAL-JAW"},
)
SCENARIO = scenario.draw("pick_and_place", "train", 0)
QUIET = replace(NOISE.tracker, position=0.0, rotation=0.0, drift=0.0, jump_rate=0.0)


def _T_base_tcp(T_world_tracker: Pose) -> Pose:
    """By the calibration files, not by the tables."""
    return BUNDLE.T_base_world @ T_world_tracker @ BUNDLE.T_tracker_tcp


def _walk(seconds: float, speed: float = 0.2):
    """200 Hz along a circle of 0.2 m radius."""
    for k in range(round(seconds * TRACKER_RATE)):
        t = k / TRACKER_RATE
        angle = speed * t / 0.2
        position = [0.4 + 0.2 * np.cos(angle), 0.2 * np.sin(angle), 0.2]
        yield round(t * 1e9), Pose.from_rotvec(position, [np.pi, 0.0, 0.3 * np.sin(angle)])


def test_without_errors_the_calibration_files_give_the_tool_pose():
    signal = TrackerSignal(QUIET, seed=0)
    for t_ns, truth in _walk(1.0):
        tracked = signal.sample(t_ns, truth)
        assert max(distance(_T_base_tcp(tracked.T_world_tracker), truth)) < 1e-9
        assert (tracked.stamp_ns, tracked.confidence, tracked.jumped) == (t_ns, 3, False)


def test_the_noise_is_as_large_as_the_table_says():
    signal = TrackerSignal(replace(NOISE.tracker, drift=0.0, jump_rate=0.0), seed=0)
    truth = T_BASE_TCP_START
    true_tracker = BUNDLE.T_base_world.inverse() @ truth @ BUNDLE.T_tracker_tcp.inverse()
    errors = []
    for k in range(2000):
        pose = signal.sample(k * 5_000_000, truth).T_world_tracker
        errors.append(
            [
                *(pose.position - true_tracker.position),
                *(true_tracker.rotation.T @ pose.rotation - np.eye(3))[[2, 0, 1], [1, 2, 0]],
            ]
        )
    deviation = np.std(errors, axis=0)
    np.testing.assert_allclose(deviation[:3], NOISE.tracker.position, rtol=0.08)
    np.testing.assert_allclose(deviation[3:], NOISE.tracker.rotation, rtol=0.08)


def test_drift_grows_with_the_way_and_not_at_rest():
    noisy = replace(QUIET, drift=NOISE.tracker.drift)
    ends = []
    for seed in range(20):
        signal = TrackerSignal(noisy, seed)
        for t_ns, truth in _walk(10.0):
            moving = signal.sample(t_ns, truth).T_world_tracker
        ends.append(distance(_T_base_tcp(moving), truth)[0])
        resting = [signal.sample(t_ns, truth).T_world_tracker.position for t_ns in (11 * 10**9, 60 * 10**9)]
        np.testing.assert_array_equal(*resting)
    way = 2.0
    assert 0.1 * NOISE.tracker.drift * way < np.median(ends) < NOISE.tracker.drift * way


def test_jumps_are_marked_lower_the_confidence_and_stay():
    signal = TrackerSignal(replace(QUIET, jump_rate=0.5), seed=3)
    tracked = [signal.sample(k * 5_000_000, T_BASE_TCP_START) for k in range(4000)]
    jumps = [k for k in range(1, 4000) if tracked[k].jumped]
    assert 3 <= len(jumps) <= 20, "0.5 a second over 20 s"
    for k in range(1, 4000):
        moved = distance(tracked[k - 1].T_world_tracker, tracked[k].T_world_tracker)[0]
        assert (moved > 0.0) == tracked[k].jumped
    assert all(tracked[k].confidence == 1 for k in jumps)
    assert tracked[jumps[0] - 1].confidence == 3


def test_the_same_seed_and_hand_give_the_same_bits():
    def run(seed: int) -> list:
        world = HandheldWorld(SCENARIO, seed=seed)
        values = []
        for k in range(200):
            world.step(interpolate(T_BASE_TCP_START, Pose.from_rotvec([0.45, 0.1, 0.2], [np.pi, 0, 0]), k / 200), 0.05)
            tracked = world.tracked()
            values.append(
                (
                    world.snapshot().tobytes(),
                    world.load_cell().force,
                    tracked and tracked.T_world_tracker.matrix.tobytes(),
                )
            )
        return values

    assert run(4) == run(4)
    assert run(4) != run(5)


def test_the_gripper_follows_the_hand_and_the_tracker_runs_at_200_hz():
    world = HandheldWorld(SCENARIO, origin_ns=7)
    goal = Pose.from_rotvec([0.5, -0.1, 0.25], [np.pi, 0.0, 0.0])
    stamps = []
    for k in range(1500):
        world.step(interpolate(T_BASE_TCP_START, goal, min(1.0, k / 500)), 0.04)
        if world.tracked() is not None:
            stamps.append(world.tracked().stamp_ns)
    position, angle = distance(world.T_base_tcp(), goal)
    assert position < 0.002 and angle < 0.01
    assert world.width() == pytest.approx(0.04, abs=0.001)
    assert world.t_ns == 7 + 3 * 10**9
    assert len(stamps) == 3 * TRACKER_RATE
    assert np.diff(stamps).max() <= 6_000_000


def test_grasped_by_the_hand_the_object_comes_along_and_the_load_cell_feels_it():
    world = HandheldWorld(SCENARIO)
    assert SCENARIO.target is not None
    body = world.model.body(SCENARIO.target.name).id
    for _ in range(200):  # objects settle
        world.step(T_BASE_TCP_START, GRIPPER.stroke)
    assert not world.load_cell().tared
    world.tare()
    x, y, z = world.data.xipos[body]
    above, at = (Pose(np.array([x, y, height]), T_BASE_TCP_START.rotation) for height in (0.15, z))
    free = []
    for start, end, width, steps in (
        (T_BASE_TCP_START, above, GRIPPER.stroke, 500),
        (above, at, GRIPPER.stroke, 500),
        (at, at, 0.035, 500),
        (at, above, 0.035, 700),
    ):
        for k in range(steps):
            world.step(interpolate(start, end, (k + 1) / steps), width)
            if end is above and start is T_BASE_TCP_START:
                free.append(world.load_cell().force)
    assert np.std(free) == pytest.approx(NOISE.load_cell.force, rel=0.2)
    assert abs(np.mean(free)) < 0.05
    assert world.data.xipos[body][2] > z + 0.08, "held by friction alone"
    assert world.load_cell().force > 5.0
    assert world.load_cell().tared and not world.load_cell().saturated


@pytest.mark.parametrize("width", [0.0, 0.03, 0.085])
def test_tag_corners_give_the_width_by_the_jaw_file(width):
    world = HandheldWorld(SCENARIO)
    for _ in range(400):
        world.step(T_BASE_TCP_START, width)
    info = BUNDLE.camera("gripper")
    for tag in (BUNDLE.jaw.left, BUNDLE.jaw.right):
        half = tag.size / 2
        square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
        in_camera = (BUNDLE.T_tcp_camera().inverse() @ tag.T_tcp_tag(world.width())).apply(square)
        errors = [world.tag_corners()[tag.id] - info.project(in_camera) for _ in range(100)]
        assert np.std(errors) == pytest.approx(NOISE.camera.corner, rel=0.1)
        assert abs(np.mean(errors)) < 0.02


def test_goals_that_are_not_finite_are_refused():
    world = HandheldWorld(SCENARIO)
    with pytest.raises(ConfigError, match="not finite"):
        world.step(T_BASE_TCP_START, float("nan"))


def test_success_is_judged_as_in_the_robots_world():
    world = HandheldWorld(SCENARIO, origin_ns=5)
    target, container = SCENARIO.target, SCENARIO.container
    assert target is not None and container is not None
    for _ in range(20):
        world.step(T_BASE_TCP_START, GRIPPER.stroke)
    assert "is not in" in world.outcome().text and not world.outcome().success
    truth = world.truth()
    assert truth.stamp_ns == world.t_ns and truth.facts["target"] == target.name
    at = world.model.joint(world.model.body(target.name).jntadr[0]).qposadr[0]
    np.testing.assert_array_equal(truth.poses[target.name].position, world.data.qpos[at : at + 3])
    world.data.qpos[at : at + 3] = truth.poses[container.name].apply([0.0, 0.0, 0.05])
    for _ in range(1500):
        world.step(T_BASE_TCP_START, GRIPPER.stroke)
        if world.outcome().success:
            break
    assert world.outcome().success and "rest" in world.outcome().text
