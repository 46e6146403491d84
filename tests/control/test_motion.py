"""The equilibrium's limits, whatever it is asked for, and its lag, which is none on a reference that keeps them."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from kinema.control.motion import Equilibrium, Reference, difference, sizes
from kinema.control.settings import Limits
from kinema.geometry import Pose, pose_error, so3_exp

LIMITS, DT = Limits(), 0.002
goals = arrays(float, 6, elements=st.floats(-0.4, 0.4))


def standing(offset: np.ndarray) -> Reference:
    return Reference(Pose.from_rotvec(offset[:3], offset[3:]), np.zeros(6), np.zeros(6))


def circle(t: float) -> Reference:
    """Radius 0.1 m, 0.25 m/s, swinging by 0.3 rad."""
    w = 2.5
    s, c = np.sin(w * t), np.cos(w * t)
    pose = Pose(np.array([0.1 * s, 0.1 * (1 - c), 0.0]), so3_exp(np.array([0.0, 0.0, 0.3 * s])))
    twist = np.array([0.1 * w * c, 0.1 * w * s, 0, 0, 0, 0.3 * w * c])
    return Reference(pose, twist, w * w * np.array([-0.1 * s, 0.1 * c, 0, 0, 0, -0.3 * s]))


@settings(max_examples=25)
@given(st.lists(goals, min_size=1, max_size=4), st.integers(10, 150))
def test_speed_acceleration_and_jerk_stay_within_limits(targets: list[np.ndarray], ticks: int) -> None:
    equilibrium = Equilibrium(LIMITS)
    for target in targets:
        for _ in range(ticks):
            pose, twist, acceleration = equilibrium.pose, equilibrium.twist, equilibrium.acceleration
            equilibrium.follow(standing(target), DT)
            moved = sizes(difference(pose, equilibrium.pose) / DT)
            gained = sizes((equilibrium.twist - twist) / DT)
            jerked = sizes((equilibrium.acceleration - acceleration) / DT)
            for i in (0, 1):
                assert moved[i] <= LIMITS.speed[i] * 1.001
                assert gained[i] <= LIMITS.acceleration[i] * 1.001
                at_full_speed = sizes(equilibrium.twist)[i] >= 0.999 * LIMITS.speed[i]  # the hard bound may cut in
                assert at_full_speed or jerked[i] <= LIMITS.jerk[i] * 1.001


@settings(max_examples=25)
@given(goals)
def test_it_arrives_without_overshoot(target: np.ndarray) -> None:
    equilibrium = Equilibrium(LIMITS)
    goal = standing(target)
    way = target[:3] / max(np.linalg.norm(target[:3]), 1e-9)
    for _ in range(1500):
        equilibrium.follow(goal, DT)
        beyond = (equilibrium.pose.position - goal.pose.position) @ way
        assert beyond < 1e-3 + 0.02 * np.linalg.norm(target[:3])
    assert np.abs(pose_error(equilibrium.pose, goal.pose)).max() < 1e-6
    assert equilibrium.resting


def test_no_lag_behind_a_moving_reference() -> None:
    equilibrium = Equilibrium(LIMITS)
    errors = []
    for k in range(1, 2000):
        equilibrium.follow(circle(k * DT), DT)
        errors.append(np.abs(pose_error(equilibrium.pose, circle(k * DT).pose)))
    assert np.array(errors)[500:].max() < 2e-5  # 20 um at 0.25 m/s: less than 0.1 ms


@settings(max_examples=20)
@given(st.floats(0.05, 0.6), st.floats(0.0, 2.0))
def test_braking_takes_what_the_deceleration_says_and_ends_at_rest(speed: float, turning: float) -> None:
    equilibrium = Equilibrium(LIMITS)
    equilibrium.twist = np.array([speed, 0, 0, 0, 0, turning])
    ticks = 0
    while equilibrium.twist.any():
        equilibrium.brake(DT)
        ticks += 1
    wanted = max(speed / LIMITS.deceleration[0], turning / LIMITS.deceleration[1])
    assert ticks * DT == pytest.approx(wanted, abs=2 * DT)
    assert equilibrium.pose.position[0] == pytest.approx(speed**2 / (2 * LIMITS.deceleration[0]), abs=speed * DT)
    equilibrium.brake(DT)
    assert equilibrium.resting
