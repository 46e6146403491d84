"""The arm's own poses for a session, led through the executor: each jog passes its safety chain as any other motion."""

import time

import numpy as np
from geometry_msgs.msg import Twist, Vector3
from kinema_interfaces.srv import Jog
from std_srvs.srv import Trigger

from kinema import robots
from kinema.calibration import arm_poses
from kinema.calibration.arm_poses import Go, Take, Tour
from kinema.calibration.board_pose import board_pose
from kinema.calibration.bundle import GRIPPER_CAMERA
from kinema.calibration.files import Transform
from kinema.calibration.senses import Look
from kinema.calibration.session import Session
from kinema.calibration.solving import Setting
from kinema.control.messages import State
from kinema.control.settings import Limits
from kinema.errors import CalibrationError, ConfigError, KinemaError
from kinema.geometry import Array, Pose
from stereo_calibration.calls import Calls

_ANSWER = 2.0  # [s] for the executor to take an order


class ArmPoses:
    """`tour` is under way, or None. `robot` is '' where no arm moves by itself; `speed` [m/s, rad/s]."""

    def __init__(self, robot: str, limits: Limits, speed: tuple[float, float], calls: Calls) -> None:
        self.tour: Tour | None = None
        self._robot, self._limits, self._speed = robot, limits, speed
        self._calls = calls

    def begin(self, poses: int, session: Session, T_base_tcp: Pose | None, look: Look | None, setting: Setting) -> str:
        """Plan so many poses around the present one. `look` is the camera's, where they turn about what it sees."""
        kind = session.kind
        if not kind.about:
            raise CalibrationError(f"the arm takes no poses by itself for {session.what}; {kind.how}")
        if not self._robot:
            raise ConfigError("the parameter robot is empty: say which arm it is")
        if T_base_tcp is None:
            raise CalibrationError("the arm is not at rest, or silent: bring it to where the first sample would be")
        pivot = _looked_at(session, look, setting) if kind.about == "view" else np.zeros(3)
        reachable = arm_poses.within(robots.arm(self._robot), self._limits, self._speed)
        self.tour = Tour(arm_poses.plan(T_base_tcp, pivot, poses, reachable), self._speed)
        return f"the arm takes {poses} poses by itself; pose_arm with 0 poses, or executor/hold, ends it"

    def end(self) -> str:
        """Brake; what was captured stays."""
        self.tour = None
        return self._calls.call(Trigger, "executor/hold", _ANSWER)

    def leave(self) -> str:
        """End the tour that is under way, if any; what went wrong with that, or ''. A jog ends by itself in the end."""
        try:
            if self.tour is not None:
                self.end()
        except KinemaError as error:
            return f"the arm may finish its jog: {error}"
        return ""

    def lead(self, state: State | None, T_base_tcp: Pose | None) -> int | None:
        """Do what the tour wants now; the number, from 1, of a pose whose sample is due. The first refusal ends it."""
        tour = self.tour
        if tour is None or state is None:
            return None
        try:
            wanted = tour.next(time.monotonic(), state, T_base_tcp)
            if isinstance(wanted, Go):
                self._calls.call(Jog, "executor/jog", _ANSWER, twist=_twist(wanted.twist), duration=wanted.duration)
        except KinemaError:
            self.tour = None
            raise
        if tour.over:
            self.tour = None
        return wanted.number + 1 if isinstance(wanted, Take) else None


def _looked_at(session: Session, look: Look | None, setting: Setting) -> Array:
    """(3,) [m] the board's middle in the TCP's frame, as well as it is known."""
    (camera,), board = session.devices, session.board
    if look is None or look.corners is None or board is None:
        raise CalibrationError(f"{camera} does not see the board: {look.problem if look else 'no picture has arrived'}")
    T_camera_board = board_pose(look.corners, board, setting.camera(camera)).T_camera_board
    width, height = board.size
    middle = T_camera_board.apply([width / 2, height / 2, 0.0])
    try:
        T_tcp_camera = setting.load(f"T_tcp_{GRIPPER_CAMERA}.yaml", Transform).pose
    except CalibrationError:  # it is to be made: the camera looks along the tool, more or less
        T_tcp_camera = Pose.identity()
    return T_tcp_camera.apply(middle)


def _twist(values: Array) -> Twist:
    vx, vy, vz, wx, wy, wz = values.tolist()
    return Twist(linear=Vector3(x=vx, y=vy, z=vz), angular=Vector3(x=wx, y=wy, z=wz))
