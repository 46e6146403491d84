"""What an arm would make of a path: paths that it can follow, and one for each way in which it can't."""

import dataclasses

import numpy as np
import pytest

from kinema import robots
from kinema.control.model import RobotModel
from kinema.control.settings import Limits
from kinema.episodes.reach import check_arm
from kinema.geometry import Pose

ARM = robots.arm("ur5e")
DOWN = np.diag([1.0, -1.0, -1.0])
STAMPS = np.arange(0, 61) * 33_333_333


def straight(start: list[float], end: list[float], rotation: np.ndarray = DOWN) -> np.ndarray:
    """A straight path of 2 s."""
    return np.array([Pose(p, rotation).matrix for p in np.linspace(start, end, len(STAMPS))])


COMFORTABLE = straight([0.4, -0.15, 0.3], [0.5, 0.15, 0.2])


@pytest.mark.parametrize("arm", ["ur5e", "xarm7"])
def test_a_path_over_the_table_suits_both_arms(arm):
    report = check_arm(COMFORTABLE, STAMPS, robots.arm(arm))
    assert report.verdict() == "" and report.steps == 61 and report.arm == arm
    assert report.missed < 0.003 and report.speed < 0.8 and report.margin > 0.05 and report.clearance > 0.0


def test_the_joints_found_are_those_of_a_path_that_the_joints_made():
    model, home = RobotModel(ARM), np.array(ARM.home)
    q = home + np.linspace(0, 1, len(STAMPS))[:, None] * np.array([0.5, 0.2, -0.2, 0.1, 0.1, 0.4])
    report = check_arm(np.array([model.fk(row).matrix for row in q]), STAMPS, ARM)
    assert report.verdict() == ""
    assert report.speed == pytest.approx(0.5 / 2.0 / ARM.limits("speed")[0], rel=0.1)


def test_a_path_that_leads_out_of_reach_is_said_to_and_from_when():
    report = check_arm(straight([0.5, 0.0, 0.3], [1.5, 0.0, 0.3]), STAMPS, ARM)
    (out,) = (trouble for trouble in report.trouble if "out of reach" in trouble.text)
    assert 0.3 < out.time < 1.5 and report.missed > 0.3
    assert report.verdict() == f"{report.trouble[0].text}, {report.trouble[0].time:.2f} s after the beginning"
    times = [trouble.time for trouble in report.trouble]
    assert times == sorted(times)


def test_a_path_that_is_too_fast_for_a_joint_names_it():
    report = check_arm(COMFORTABLE, STAMPS // 20, ARM)
    assert report.speed > 0.8 and "of its speed" in report.verdict()
    assert any(joint.name in report.verdict() for joint in ARM.joints)


def test_a_path_through_a_joint_s_end_names_it():
    tight = dataclasses.replace(
        ARM, joints=(dataclasses.replace(ARM.joints[0], lower=-0.1, upper=0.1), *ARM.joints[1:]), home=ARM.home
    )
    report = check_arm(COMFORTABLE, STAMPS, tight)
    assert report.margin < 0.0 and any(f"{ARM.joints[0].name} comes to" in one.text for one in report.trouble)


def test_a_path_to_the_stretched_arm_is_singular():
    report = check_arm(straight([0.6, 0.0, 0.4], [0.95, 0.0, 0.4]), STAMPS, ARM)
    assert report.singular_value < 0.02 and any("singular" in one.text for one in report.trouble)


def test_a_path_that_comes_too_close_says_what_comes_close():
    report = check_arm(COMFORTABLE, STAMPS, ARM, Limits(clearance=0.2))
    assert any(" and " in one.text and "come within" in one.text for one in report.trouble)
