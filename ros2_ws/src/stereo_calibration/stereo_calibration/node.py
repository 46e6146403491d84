"""Calibration by services, one session at a time: start, capture (and undo), solve, look at the numbers, accept.

    ros2 service call /stereo_calibration/start_session kinema_interfaces/srv/StartCalibration "{what: hand_eye}"

What is done when is `kinema.calibration.session`'s; `calibration/state` and the pictures on `<camera>/calibration` show
it live. Samples are captured by service, by themselves (`~/auto_capture`), or at poses that the arm takes by itself
(`~/pose_arm`): these go through the executor, as every motion. The solver runs in a thread, `~/solve` answers when it
is through. The jaw and the load cell are calibrated by their own nodes' services, which a session of them calls.
"""

import datetime
import functools
from collections.abc import Callable
from typing import Any

from kinema_interfaces.msg import CalibrationState
from kinema_interfaces.srv import (
    CalibrateLoadCell,
    CalibrationStatus,
    CaptureSample,
    PoseArm,
    SolveCalibration,
    StartCalibration,
    UndoSample,
)
from std_srvs.srv import SetBool, Trigger

from kinema import cell_file
from kinema.calibration.attempt import Attempt
from kinema.calibration.boards import DEFAULT, Board
from kinema.calibration.files import save_all
from kinema.calibration.outline import Sight
from kinema.calibration.progress import NONE, progress
from kinema.calibration.senses import Senses, looks_through, ring
from kinema.calibration.session import Phase, Sample, Session, Solution
from kinema.calibration.solving import Setting, setting, sight, solve
from kinema.clock import now_ns
from kinema.errors import CalibrationError, KinemaError
from kinema.geometry import Array
from kinema.robots import GripperModel
from kinema.streams import Health, Level
from kinema.topics import CAMERAS, topic
from kinema_ros.node import Node, Parameter, spin
from stereo_calibration.arm import ArmPoses
from stereo_calibration.calls import Calls
from stereo_calibration.ears import Ears
from stereo_calibration.eyes import Eyes, Hint
from stereo_calibration.late import Answer, LateService
from stereo_calibration.messages import fill, state_msg, view_msg

_POLL = 0.1  # [s] between two looks at what came, and at the arm
_NODES_ANSWER = 20.0  # [s] for another node to calibrate what is its own


def _outlines(known: Sight, gripper: GripperModel, senses: Senses, size: tuple[int, int]) -> list[Array]:
    """Of the gripper where the arm says that it is now, in a picture of this size."""
    T_base_tcp = senses.T_base_tcp
    return known.gripper(gripper, T_base_tcp, senses.width, size) if T_base_tcp else []


def _solve_there(calls: Calls, session: Session) -> str:
    """Another node calibrates what is its own, and writes it; a cell without a load ends the loads. Its answer."""
    service, kept = session.kind.service, len(session.samples)
    if session.what == "load_cell":
        return calls.call(CalibrateLoadCell, service, _NODES_ANSWER, last=True, keep=kept)
    return calls.call(Trigger, service, _NODES_ANSWER)


class CalibrationNode(Node):
    """See the module's text."""

    PARAMETERS = (
        Parameter(
            "cell", "launch/cells/virtual.yaml", "the cell file; what is accepted goes to its calibration folder"
        ),
        Parameter("robot", "", "which arm takes poses by itself; '': none does"),
        Parameter("board", DEFAULT.name, "the board by its name, as on its print, where a session names none"),
        Parameter("arm_speed", 0.1, "[m/s] with which the arm goes to its poses", 0.01, 0.25),
        Parameter("arm_turn", 0.4, "[rad/s] with which it turns on the way", 0.05, 1.0),
    )

    # ---- lifecycle

    def configure(self) -> None:
        self._cell = cell_file.load(self.value("cell"))
        if robot := self.value("robot"):
            self._cell.check_robot(robot)
        Board.parse(self.value("board"))
        self._session = Session()
        self._senses: Senses | None = None
        self._timed: set[str] = set()  # whose latency was accepted since
        self._auto = False
        self._told, self._progress = self._session, NONE  # the session that the progress is of
        self._attempt: Attempt[Solution | str] | None = None  # a solution, or what another node has answered
        self._asked: Answer | None = None  # to whom it is told
        self._calls = Calls(self.get_name(), self.get_namespace())
        self._solver_calls = Calls(f"{self.get_name()}_solver", self.get_namespace())
        speed = self.value("arm_speed"), self.value("arm_turn")
        self._arm = ArmPoses(self.value("robot"), self._cell.control.limits, speed, self._calls)
        self._eyes = Eyes({camera: self.outlet(f"{camera}/calibration") for camera in CAMERAS})
        self._ears = Ears(self, self._eyes, self._held)
        self._state = self.outlet("calibration/state")
        self._answer(StartCalibration, "~/start_session", self._start)
        self._answer(CaptureSample, "~/capture_sample", self._capture)
        self._answer(UndoSample, "~/undo_sample", self._undo_sample)
        self._solve_service = LateService(self, SolveCalibration, "~/solve", self._solve)
        self._answer(Trigger, "~/accept", self._accept)
        self._answer(Trigger, "~/cancel", self._cancel)
        self._answer(SetBool, "~/auto_capture", self._auto_capture)
        self._answer(PoseArm, "~/pose_arm", self._pose_arm)
        self.serve(CalibrationStatus, "~/status", self._status)
        self.every(_POLL, self._poll)
        self.every(1.0 / topic("calibration/state").rate, self._report)
        self.watch("session", self._health)

    def activate(self) -> None:
        self.loop(self._eyes.work, nice=5)

    def deactivate(self) -> None:
        if "_arm" in self.__dict__:
            self._leave_tour()

    def cleanup(self) -> None:
        self._forget("the node is cleaned up")
        for name in ("_solve_service", "_ears", "_calls", "_solver_calls"):
            if opened := self.__dict__.pop(name, None):
                opened.close()

    def _answer(self, kind: type, name: str, callback: Callable[[Any, Any], str]) -> None:
        """A service whose answers the session's message tells, too."""

        def told(request: Any, response: Any) -> str:
            try:
                answer = callback(request, response)
            except KinemaError as error:
                self._session = self._session.refused(str(error))
                raise
            self._session = self._session.tell(answer)
            return answer

        self.serve(kind, name, told)

    # ---- the session's services

    def _start(self, request: StartCalibration.Request, response: StartCalibration.Response) -> str:
        board = request.board or self.value("board")
        session = self._session.start(request.what, request.cameras, board, request.apart)
        place = self._setting()
        for device in session.devices:
            place.serial(device)
        timed = session.what == "latency"
        if timed and set(session.devices) & self._timed:
            raise CalibrationError(
                f"a latency of {session.devices[0]} was accepted, and its node may still go by the old one: configure "
                "that node and this one anew"
            )
        lenses = {name: place.camera(name) for name in looks_through(session)} if timed and session.board else {}
        sights = [sight(place, name) for name in session.devices] if session.what == "verify" else []
        self._senses = Senses(session, lenses)
        self._eyes.target = session.target
        if sights:
            self._eyes.gripper = functools.partial(_outlines, sights[0], place.gripper, self._senses)
        self._ears.open(session, self._senses)
        self._session = session
        return session.message

    def _capture(self, request: CaptureSample.Request, response: CaptureSample.Response) -> str:
        self._session.may_capture()
        if self._session.what != "load_cell":
            return self._take_sample()
        kept = len(self._session.samples)
        answer = self._calls.call(
            CalibrateLoadCell, self._session.kind.service, _NODES_ANSWER, mass=request.mass, keep=kept
        )
        self._session = self._session.capture(Sample(now_ns(), load=request.mass))
        return answer

    def _take_sample(self) -> str:
        self._hear()
        if self._senses is not None:
            self._session = self._session.capture(self._senses.sample(now_ns(), self._session.needs))
        return self._session.message

    def _undo_sample(self, request: UndoSample.Request, response: UndoSample.Response) -> str:
        last = request.number in (0, len(self._session.samples))
        if self._session.what == "load_cell" and not last:
            raise CalibrationError("only the last load can be undone; undo those after it first")
        self._session = self._session.undo(request.number)
        return self._session.message

    def _solve(self, request: SolveCalibration.Request, answer: Answer) -> None:
        """Set the solver to work; `_solved` answers."""
        session, place = self._session, self._setting()
        try:
            self._session = session.solving()
        except KinemaError as error:
            self._session = session.refused(str(error))
            self._refuse_solution(answer, str(error))
            return
        self._leave_tour()
        here = functools.partial(solve, session, place)
        there = functools.partial(_solve_there, self._solver_calls, session)
        self._asked, self._attempt = answer, Attempt(there if session.kind.service else here)

    def _solved(self) -> None:
        """Once the solver is through, tell whoever asked what it has found."""
        attempt, answer = self._attempt, self._asked
        if attempt is None or answer is None or not attempt.over:
            return
        self._attempt = self._asked = None
        try:
            found = attempt.result()
        except KinemaError as error:
            self._session = self._session.unsolved(str(error))
            self._refuse_solution(answer, str(error))
            return
        if isinstance(found, Solution):
            self._auto = False  # one more sample would take the result back
            self._session = self._session.solve(found)
            fill(answer.response, found)
        else:
            self._end(self._session.finish(found))
        answer.give(self._session.message)

    def _forget(self, why: str) -> None:
        """The solver may go on; nobody looks at what it finds."""
        answer = self.__dict__.get("_asked")
        self._attempt = self._asked = None
        if answer is not None:
            self._refuse_solution(answer, why)

    def _refuse_solution(self, answer: Answer, why: str) -> None:
        self.get_logger().warning(f"~/solve refused: {why}")
        answer.refuse(why)

    def _accept(self, request: Trigger.Request, response: Trigger.Response) -> str:
        solution, folder = self._session.may_accept(), self._cell.calibration_folder
        try:
            save_all(folder, solution.files)
        except OSError as error:
            raise CalibrationError(f"{error.filename or folder}: {error.strerror}; nothing else has changed") from error
        if self._session.what == "latency":
            self._timed |= set(self._session.devices)
        written = ", ".join(str(folder / name) for name in solution.files)
        if not written:
            self._end(self._session.finish("the check is over; it writes nothing"))
            return self._session.message
        self._end(self._session.finish(f"{written} is written; nodes go by it once they are configured anew"))
        return self._session.message

    def _cancel(self, request: Trigger.Request, response: Trigger.Response) -> str:
        self._end(self._session.cancel())
        self._forget("the session was cancelled before the solver was through")
        return self._session.message

    def _status(self, request: CalibrationStatus.Request, response: CalibrationStatus.Response) -> str:
        response.state = self._state_msg()
        return self._session.message

    def _end(self, session: Session) -> None:
        self._ears.close()
        self._eyes.target, self._eyes.hints, self._eyes.gripper = None, {}, lambda size: ()
        self._senses, self._auto = None, False
        self._session = session
        self._leave_tour()

    def _setting(self) -> Setting:
        return setting(self._cell, datetime.datetime.now(datetime.UTC).date())

    # ---- samples that take themselves

    def _auto_capture(self, request: SetBool.Request, response: SetBool.Response) -> str:
        kind = self._session.kind
        if request.data:
            self._session.may_capture()
        if request.data and "corners" not in kind.needs:
            raise CalibrationError(f"samples of {self._session.what} don't take themselves; {kind.how}")
        self._auto = request.data
        return "samples take themselves: still, sharp, and somewhere new" if request.data else "samples wait for a call"

    def _pose_arm(self, request: PoseArm.Request, response: PoseArm.Response) -> str:
        session, senses = self._session, self._senses
        if request.poses == 0:
            return self._arm.end()
        session.may_capture()
        self._hear()
        look = senses.seen(session.devices[0]) if senses and session.kind.about == "view" else None
        resting = senses.resting(now_ns()) if senses else None
        return self._arm.begin(request.poses, session, resting, look, self._setting())

    def _leave_tour(self) -> None:
        if trouble := self._arm.leave():
            self.get_logger().error(trouble)

    def _held(self) -> None:
        """Hold is not latched, but who asked for it wants the arm to stay: a jog may just have been asked for."""
        if self._arm.tour is not None:
            self._session = self._session.refused("the arm's poses end: the executor was told to hold")
            self.get_logger().warning(self._session.message)
            self._leave_tour()

    def _poll(self) -> None:
        self._solved()
        if self._senses is None:
            return
        news, auto = self._hear(), self._auto and self._session.phase is not Phase.SOLVING
        try:
            pose = self._arm.lead(self._ears.executor, self._senses.resting(now_ns()))
        except KinemaError as error:
            self._session = self._session.refused(f"the arm's poses end: {error}")
            self.get_logger().warning(self._session.message)
            return
        if pose is not None:
            self._take_quietly(f"pose {pose}: ")
        elif auto and news and not self._senses.not_yet(self._session.samples):
            self._take_quietly()

    def _hear(self) -> bool:
        """Hand over what the cameras have seen since the last time; whether there was any."""
        news = False
        while not self._eyes.looks.empty():
            target, camera, look = self._eyes.looks.get()
            if self._senses is not None and target == self._session.target:
                self._senses.look(camera, look)
                news = True
        return news

    def _take_quietly(self, where: str = "") -> None:
        """A sample that nobody has called for; refused, the message says why."""
        try:
            self._session.may_capture()
            self.get_logger().info(f"{where}{self._take_sample()}")
        except CalibrationError as error:
            self._session = self._session.refused(f"{where}{error}")

    # ---- what is shown

    def _report(self) -> None:
        self._state.publish(self._state_msg())

    def _state_msg(self) -> CalibrationState:
        session, senses = self._session, self._senses
        if self._told is not session:
            self._told, self._progress = session, progress(session)
        known = self._progress
        problems = {camera: senses.problem(camera, session.samples) if senses else "" for camera in known.coverage}
        if session.what == "verify":
            problems = dict.fromkeys(problems, session.wanted)
        rings = {camera: ring(session, camera, senses.seen(camera)) if senses else None for camera in problems}
        self._eyes.hints = {c: Hint(known.coverage[c], problem, rings[c]) for c, problem in problems.items()}
        views = [
            view_msg(camera, senses.seen(camera) if senses else None, hint) for camera, hint in self._eyes.hints.items()
        ]
        return state_msg(now_ns(), session, known, auto=self._auto, tour=self._arm.tour, views=views)

    def _health(self, monotonic_ns: int) -> Health:
        session = self._session
        return Health(Level.OK, session.phase.name, {"what": session.what, "samples": str(len(session.samples))})


def main() -> None:
    spin(lambda: CalibrationNode("stereo_calibration"))
