"""Poses that the arm takes by itself: as many as asked for, about differing axes, near one another, and reached."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema import robots
from kinema.calibration.arm_poses import SPREAD, Go, Take, Tour, plan, within
from kinema.control.messages import State
from kinema.control.model import RobotModel
from kinema.control.motion import advance
from kinema.control.settings import Limits
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance, pose_error, so3_exp, so3_log

START = Pose(np.array([0.5, 0.0, 0.35]), so3_exp(np.array([math.pi - 0.2, 0.0, 0.0])))
SPEED = (0.1, 0.5)


def everywhere(T_base_a: Pose, T_base_b: Pose) -> bool:
    return True


def test_the_poses_turn_about_the_pivot_and_their_axes_differ():
    pivot = np.array([0.0, -0.04, 0.3])
    poses = plan(START, pivot, 15, everywhere)
    assert len(poses) == 15
    target = START.apply(pivot)
    assert max(np.abs(pose.apply(pivot) - target).max() for pose in poses) <= SPREAD.shift * math.sqrt(3)
    turns = np.array([so3_log(START.rotation.T @ pose.rotation) for pose in poses])
    assert np.linalg.svd(turns / np.linalg.norm(turns, axis=1)[:, None], compute_uv=False)[-1] > 0.5
    assert np.linalg.norm(turns, axis=1).max() > math.radians(40)


@given(st.integers(1, 30), st.floats(0.0, 0.5))
def test_no_pose_leans_or_turns_further_than_the_spread_says(count, depth):
    for pose in plan(START, [0.0, 0.0, depth], count, everywhere):
        R = START.rotation.T @ pose.rotation
        assert math.acos(np.clip(R[2, 2], -1.0, 1.0)) <= SPREAD.tilt + 1e-9


def test_the_next_pose_is_near_the_one_before():
    poses = [START, *plan(START, np.zeros(3), 20, everywhere)]
    ways = [distance(a, b)[1] for a, b in itertools.pairwise(poses)]
    assert np.mean(ways) < 0.8 * np.mean([distance(a, b)[1] for a in poses for b in poses if a is not b])


def test_only_what_can_be_reached_is_chosen_and_too_little_is_refused():
    poses = plan(START, np.zeros(3), 10, lambda a, b: b.position[0] > 0.5)
    assert all(pose.position[0] > 0.5 for pose in poses)
    with pytest.raises(CalibrationError, match="the arm can take 0 of 10 poses"):
        plan(START, np.zeros(3), 10, lambda a, b: False)


def test_each_pose_can_be_reached_from_the_one_before():
    asked = []
    poses = [START, *plan(START, np.zeros(3), 6, lambda a, b: asked.append((id(a), id(b))) or True)]
    assert all((id(a), id(b)) in asked for a, b in itertools.pairwise(poses))
    with pytest.raises(CalibrationError, match=r"the arm can take \d of 6 poses"):
        plan(START, np.zeros(3), 6, lambda a, b: a is START)


class Arm:
    """Obeys jogs, with an error at each one's end; may be kept from moving."""

    def __init__(self, error: float) -> None:
        self.T, self.state, self.now = START, State.READY, 0.0
        self._error = np.array([error, -error, error, error, 0.0, 0.0])
        self._go: tuple[float, Go] | None = None

    def go(self, go: Go) -> None:
        assert np.linalg.norm(go.twist[:3]) < SPEED[0] + 1e-9 and np.linalg.norm(go.twist[3:]) < SPEED[1] + 1e-9
        self._go, self.state = (self.now + go.duration, go), State.EXECUTING

    def wait(self) -> None:
        self.now += 0.1
        if self._go and self.now >= self._go[0]:
            step = self._go[1].twist * self._go[1].duration + self._error
            self.T = Pose(self.T.position + step[:3], so3_exp(step[3:]) @ self.T.rotation)
            self._go, self.state = None, State.READY


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 0.02))
def test_the_tour_takes_every_sample_once_at_rest_and_near_its_pose(error):
    goals = plan(START, np.zeros(3), 6, everywhere)
    arm, tour, taken = Arm(error), Tour(goals, SPEED), []
    while not tour.over and arm.now < 600:
        match tour.next(arm.now, arm.state, arm.T if arm.state is State.READY else None):
            case Go() as go:
                arm.go(go)
            case Take(number):
                taken.append(number)
                gap = pose_error(arm.T, goals[number])
                assert np.linalg.norm(gap[:3]) < 0.005 + 2 * error
        arm.wait()
    assert taken == list(range(6)) and tour.number == 6
    assert tour.next(arm.now, arm.state, arm.T) is None


def test_an_arm_that_sags_is_led_three_times_and_the_sample_is_taken_where_it_is():
    goal = Pose(START.position + np.array([0.1, 0.0, 0.0]), START.rotation)
    short = Pose(goal.position - np.array([0.02, 0.0, 0.0]), goal.rotation)
    tour, at = Tour([goal], SPEED), START
    for tries in range(3):
        assert isinstance(tour.next(100.0 * tries, State.READY, at), Go)
        at = short
    assert tour.next(300.0, State.READY, short) == Take(0)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_after_a_jog_that_was_held_nothing_moves_any_more(share):
    tour = Tour([Pose(START.position + np.array([0.2, 0.0, 0.0]), START.rotation)], SPEED)
    go = tour.next(0.0, State.READY, START)
    held = advance(START, go.twist, share * go.duration)
    assert tour.next(0.5 * go.duration, State.READY, held) is None, "the jog could still be under way"
    with pytest.raises(
        CalibrationError, match=r"mm, \d+ degrees from where its jog led, poses 1\.\.1 of 1 are left out"
    ):
        tour.next(go.duration, State.READY, held)


def test_a_tour_ends_where_something_else_moves_the_arm():
    with pytest.raises(CalibrationError, match=r"something else moves the arm, poses 1\.\.1 of 1"):
        Tour([START], SPEED).next(0.0, State.EXECUTING, None)
    tour = Tour([Pose(START.position + np.array([0.1, 0.0, 0.0]), START.rotation)], SPEED)
    go = tour.next(0.0, State.READY, START)
    assert tour.next(go.duration + 1.0, State.EXECUTING, None) is None, "it may be its own jog still"
    with pytest.raises(CalibrationError, match="something else moves the arm"):
        tour.next(go.duration + 4.0, State.EXECUTING, None)


def test_a_tour_waits_for_rest_and_ends_where_the_executor_has_stopped():
    tour = Tour([START], SPEED)
    assert tour.next(0.0, State.READY, None) is None
    with pytest.raises(CalibrationError, match=r"the executor is STOPPED, poses 1\.\.1 of 1"):
        tour.next(0.0, State.STOPPED, START)


def test_what_an_arm_can_reach_is_told_before_anything_moves():
    model = robots.arm("ur5e")
    reachable = within(model, Limits(), SPEED)
    home = RobotModel(model).fk(np.array(model.home))
    assert reachable(home, Pose(home.position + np.array([0.0, 0.1, -0.05]), home.rotation))
    assert not reachable(home, Pose(np.array([0.5, 0.7, 0.3]), home.rotation)), "beside the workspace"
    upwards = Pose(np.array([0.5, 0.0, 0.05]), so3_exp(np.array([0.1, 0.0, 0.0])))
    assert not reachable(home, upwards), "through the table"
    beyond = Limits(planes=((0.0, 0.0, 1.0, float(home.position[2]) + 0.01),))
    assert not within(model, beyond, SPEED)(home, home)


def test_poses_around_home_are_all_within_the_arm_s_reach():
    model = robots.arm("ur5e")
    home = RobotModel(model).fk(np.array(model.home))
    reachable = within(model, Limits(), SPEED)
    poses = plan(home, [0.0, 0.0, 0.2], 6, reachable)
    assert len(poses) == 6 and all(reachable(home, pose) for pose in poses)
