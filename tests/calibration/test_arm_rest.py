"""Rest is told from motion through the arm's noise."""

import math

import numpy as np

from kinema.calibration.arm_rest import Rest
from kinema.geometry import Pose, so3_exp

START = Pose(np.array([0.5, 0.0, 0.35]), so3_exp(np.array([math.pi - 0.2, 0.0, 0.0])))


def test_rest_is_seen_through_the_arm_s_noise_and_motion_is_not_rest():
    generator, still, slow = np.random.default_rng(0), Rest(), Rest()
    for k in range(100):
        noise = 0.0003 * generator.standard_normal(3)
        still.take(k / 100, Pose(START.position + noise, START.rotation))
        slow.take(k / 100, Pose(START.position + noise + [0.01 * k / 100, 0.0, 0.0], START.rotation))
    assert slow.pose(1.0) is None
    assert np.abs(still.pose(1.0).position - START.position).max() < 0.0003
    assert still.pose(1.5) is None, "it has said nothing for half a second"


def test_an_arm_that_was_heard_for_too_short_a_time_is_not_known_to_rest():
    rest = Rest()
    assert rest.pose(0.0) is None
    for k in range(10):
        rest.take(k / 100, START)
    assert rest.pose(0.1) is None
