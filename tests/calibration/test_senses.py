"""What was heard lately makes a sample, or the reason why it makes none."""

import math

import numpy as np
import pytest

from kinema.calibration import latency
from kinema.calibration.boards import Board, Corners
from kinema.calibration.files import CameraInfo, load
from kinema.calibration.senses import Look, Senses, listens_to, looks_through
from kinema.calibration.session import KINDS, Session
from kinema.clock import NS
from kinema.errors import CalibrationError
from kinema.geometry import Pose
from kinema.interfaces import TrackedPose
from kinema.paths import root
from kinema.topics import TOPICS

BOARD = "charuco 9x6 30mm 22mm DICT_5X5_100"
SEEN = Corners(np.arange(16), 100.0 + 400 * Board.parse(BOARD).points[:16, :2], (640, 480))
START = 1_000 * NS
T = Pose.from_rotvec([0.5, 0.0, 0.3], [math.pi, 0.0, 0.0])
CAMERAS = {"gripper": load(root() / "calibration/virtual/gripper.yaml", CameraInfo, remedy="")}


def senses(what: str, *devices: str) -> Senses:
    return Senses(Session().start(what, devices, BOARD, apart=0.66), CAMERAS)


def rest(heard: Senses, seconds: float = 1.0, wrench=None) -> int:
    """The arm stands still for so long; returns when that is over."""
    for k in range(round(100 * seconds) + 1):
        heard.arm(START + k * NS // 100, T)
        if wrench is not None:
            heard.wrench(START + k * NS // 100, np.array(wrench))
    return START + round(seconds * NS)


def test_a_picture_and_the_arm_at_rest_make_a_sample():
    heard = senses("hand_eye", "gripper")
    now = rest(heard)
    heard.look("gripper", Look(now - NS // 20, SEEN))
    sample = heard.sample(now)
    assert sample.stamp_ns == now - NS // 20 and sample.corners == {"gripper": SEEN}
    assert sample.T_base_tcp.position == pytest.approx(T.position) and sample.wrench is None


def test_everything_that_is_missing_is_named_at_once():
    with pytest.raises(CalibrationError, match=r"no picture of gripper .*gripper_camera; the arm has not been heard"):
        senses("hand_eye", "gripper").sample(START)
    with pytest.raises(CalibrationError, match=r"the arm has not been heard at rest for 0\.4 s: let it come to rest$"):
        senses("payload").sample(START)


def test_a_picture_of_before_the_arm_came_to_rest_makes_no_sample():
    heard = senses("hand_eye", "gripper")
    heard.look("gripper", Look(START, SEEN))
    with pytest.raises(CalibrationError, match="no picture of gripper"):
        heard.sample(rest(heard))


def test_why_the_board_is_not_seen_is_passed_on():
    heard = senses("intrinsics", "left")
    heard.look("left", Look(START, SEEN))
    heard.look("left", Look(START + 1, None, "the board is blurred"))
    with pytest.raises(CalibrationError, match="left: the board is blurred"):
        heard.sample(START + 2)


def test_corners_on_a_line_are_no_look_at_the_board():
    heard = senses("intrinsics", "left")
    heard.look("left", Look(START, Corners(np.arange(8), SEEN.pixels[:8], (640, 480))))
    with pytest.raises(CalibrationError, match="left: the corners lie on one line"):
        heard.sample(START)


def test_a_pose_that_is_no_number_is_not_heard():
    heard = senses("payload")
    now = rest(heard)
    heard.arm(now, Pose(np.full(3, np.nan), np.eye(3)))
    assert heard.resting(now).isfinite()


def test_of_two_cameras_the_pictures_nearest_in_time_are_paired():
    heard = senses("stereo", "left", "right")
    for k in range(4):
        heard.look("left", Look(START + k * 33_000_000, SEEN))
    heard.look("right", Look(START + 40_000_000, SEEN))
    assert heard.sample(START + NS // 5).stamp_ns == START + 33_000_000
    late = START + 500_000_000
    heard.look("right", Look(late, None, "no board"))
    for k in range(4):
        heard.look("right", Look(late + k, SEEN))
    with pytest.raises(CalibrationError, match="left and right: pictures 401 ms apart, allowed are 40"):
        heard.sample(late + 4)


def test_the_wrench_is_the_mean_at_rest_turned_into_the_base():
    heard = senses("payload")
    now = rest(heard, wrench=[0.0, 1.0, 2.0, 0.1, 0.2, 0.3])
    assert heard.sample(now).wrench == pytest.approx([0.0, -1.0, -2.0, 0.1, -0.2, -0.3])


def test_a_tracker_that_was_silent_in_between_begins_anew():
    heard = senses("tracker_world")
    for k in range(20):
        heard.tracker(TrackedPose(START + k * NS // 200, Pose.identity(), 3, False))
    heard.tracker(TrackedPose(START + NS, Pose.identity(), 3, False))
    assert len(heard.sample(START + NS).tracked) == 1
    with pytest.raises(CalibrationError, match="the tracker is silent"):
        heard.sample(START + 3 * NS)


def moved(t: float) -> Pose:
    """To and fro about all axes."""
    rates = np.array([5.0, 6.1, 4.3, 7.0, 3.7, 5.5])
    twist = np.sin(rates * t) * [0.05, 0.04, 0.03, 0.1, 0.08, 0.12] + 0.02 * np.sin(1.7 * rates * t + 1.0)
    return T @ Pose.from_rotvec(twist[:3], twist[3:])


def test_commanded_and_measured_motion_tell_the_arm_s_latency():
    heard = senses("latency", "arm")
    for k in range(1500):
        t, stamp = k / 100, START + k * NS // 100
        heard.goal(stamp, moved(t), 0.02)
        heard.arm(stamp, moved(t - 0.043))
    reference, measured = heard.sample(START + 15 * NS).motions
    assert latency.lag(reference, measured).seconds == pytest.approx(0.043, abs=0.001)
    with pytest.raises(CalibrationError, match="nothing of goal"):
        heard.sample(START + 20 * NS)


def test_a_camera_is_timed_by_where_it_sees_itself_before_the_board():
    heard, board, camera = senses("latency", "gripper"), Board.parse(BOARD), CAMERAS["gripper"]
    T_tcp_camera = Pose.from_rotvec([0.0, -0.05, -0.1], [0.1, 0.0, 0.0])
    T_base_board = Pose.from_rotvec([0.4, -0.1, -0.05], [math.pi, 0.0, 0.0])
    for k in range(1200):
        t, stamp = k / 100, START + k * NS // 100
        heard.arm(stamp, moved(t))
        if k % 4 == 0:
            T_camera_board = (moved(t - 0.021) @ T_tcp_camera).inverse() @ T_base_board
            pixels = camera.project(T_camera_board.apply(board.points))
            heard.look("gripper", Look(stamp, Corners(np.arange(len(pixels)), pixels, camera.size)))
    reference, measured = heard.sample(START + 12 * NS).motions
    assert latency.lag(reference, measured).seconds == pytest.approx(0.021, abs=0.002)


def test_what_is_listened_to_is_in_the_table_and_is_all_that_samples_need():
    for what, kind in KINDS.items():
        for device in kind.allowed:
            session = Session().start(what, ["left", "right"] if what == "stereo" else [device], BOARD, apart=0.66)
            heard = (*listens_to(session), *(f"{camera}/image_raw" for camera in looks_through(session)))
            assert set(heard) <= TOPICS.keys() and (heard or kind.service)
    tracker = Session().start("latency", ["tracker"], BOARD)
    assert (looks_through(tracker), listens_to(tracker)) == (("gripper",), ("tracker/odometry",))
    payload = Session().start("payload", [], "")
    assert (looks_through(payload), set(listens_to(payload))) == ((), {"tcp_pose", "tcp_wrench"})


def test_a_sample_is_taken_by_itself_once_the_board_is_still_and_was_not_shown_there():
    heard, board, camera = senses("intrinsics", "gripper"), Board.parse(BOARD), CAMERAS["gripper"]
    pixels = camera.project(Pose.from_rotvec([-0.1, -0.1, 0.35], [0.2, 0.0, 0.0]).apply(board.points))
    corners = Corners(np.arange(len(pixels)), pixels, camera.size)
    assert "no picture" in heard.not_yet(())
    for k in range(3):
        moving = Corners(corners.ids, pixels + 5.0 * k, camera.size)
        heard.look("gripper", Look(START + k, moving))
    assert heard.not_yet(()) == "gripper: the board moves: hold it still"
    for k in range(3):
        heard.look("gripper", Look(START + 10 + k, corners))
    assert heard.not_yet(()) == ""
    assert "shown already" in heard.not_yet([heard.sample(START + 12)])
    heard.look("gripper", Look(START + 13, None, "no board"))
    assert heard.not_yet(()) == "gripper: no board"
