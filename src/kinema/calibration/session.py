"""What a calibration session may do when: IDLE, COLLECTING, SOLVING, SOLVED. Pure.

    IDLE -- start --> COLLECTING -- solving --> SOLVING -- solve --> SOLVED -- accept --> IDLE
                       ^  ^   |                  |   |                |
                       |  |   +----- cancel -----+---|----------------+--> IDLE
                       |  +------- unsolved ---------+                |
                       +----------------- capture, undo --------------+

Whoever solves at once goes without SOLVING.

One session at a time. Every refusal is a CalibrationError that names the state and what is allowed. Samples are
numbered from 1 in the order in which they stand; solvers name outliers by these numbers.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kinema.calibration.boards import Board, Corners
from kinema.calibration.bundle import CalibrationFile
from kinema.calibration.display_clock import Clock
from kinema.calibration.latency import Motion
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose
from kinema.interfaces import TrackedPose
from kinema.topics import CAMERAS

SIDES = tuple(name for name in CAMERAS if name != "gripper")
MOVERS = ("arm", "jaw", "tracker", "load_cell")  # what has a latency beside the cameras

_MOST = 200  # samples of one session
_FARTHEST = 10.0  # [m] that two cameras may be apart


class Phase(enum.IntEnum):
    """As in kinema_interfaces/CalibrationState."""

    IDLE = 0
    COLLECTING = 1
    SOLVED = 2
    SOLVING = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that a session calibrates.

    devices   how many it is about, `allowed` which
    needs     what every sample must hold, by the names of Sample's fields
    first     what one sample must hold beside these, and comes first
    service   of another node, which takes the samples, solves and saves; '' where the session does
    about     the arm's automatic poses turn about 'view', what its camera looks at, or about its 'tcp'; '': there are
              none
    how       what a person does for a sample
    """

    what: str
    devices: int
    allowed: tuple[str, ...]
    needs: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    service: str = ""
    about: str = ""
    how: str = ""

    def shows_board(self, devices: Sequence[str]) -> bool:
        """Whether a board has to be seen."""
        return "corners" in (*self.needs, *self.first) or (
            "motions" in self.needs and not set(devices) <= {"arm", "jaw", "load_cell"}
        )


_SHOW = "show the board at all distances and tilts, into every corner of the picture, and hold it still"
_CLOCK = "show it the whole clock of `kinema clock`, sharp and at rest, for fifteen seconds, and capture"
_HELD = "the arm holds the board, tilt it about all axes in view of the camera, and come to rest"

KINDS = {
    kind.what: kind
    for kind in (
        Kind("intrinsics", 1, CAMERAS, ("corners",), how=_SHOW),
        Kind("fisheye", 1, CAMERAS, ("corners",), how=_SHOW),
        Kind("stereo", 2, SIDES, ("corners",), how=f"{_SHOW}, both cameras seeing it"),
        Kind(
            "hand_eye", 1, ("gripper",), ("corners", "T_base_tcp"), about="view",
            how="the board lies fast, look at it with the arm from all sides, turned about all axes, and come to rest",
        ),
        Kind("eye_on_base", 1, SIDES, ("corners", "T_base_tcp"), about="tcp", how=_HELD),
        Kind(
            "tool_mount", 1, ("gripper",), ("corners", "tracked"),
            how="the board lies fast, look at it with the handheld gripper from all sides, and hold each still",
        ),
        Kind("tracker_world", 1, ("tracker",), ("tracked",), how="lay the gripper into its dock, and leave it at rest"),
        Kind("dock", 1, ("tracker",), ("T_base_tcp",), how="guide the arm's gripper into the dock, anew each time"),
        Kind(
            "payload", 1, ("arm",), ("wrench", "T_base_tcp"), about="tcp",
            how="nothing touches the gripper, turn it about all axes, and come to rest",
        ),
        Kind(
            "verify", 1, CAMERAS, ("T_base_tcp",), ("corners",),
            how="lay the board where the camera sees it and the arm can reach it, come to rest in view of it, capture",
        ),
        Kind("jaw", 1, ("jaw",), service="jaw_tracker/calibrate_jaw", how="close the jaw, open it to its stop, solve"),
        Kind(
            "load_cell", 1, ("load_cell",), ("load",), service="load_cell/calibrate",
            how="nothing on it first, then known masses up and down again, solve with nothing on it",
        ),
        Kind(
            "latency", 1, (*CAMERAS, *MOVERS), ("motions",),
            how="move it fast, unevenly, to and fro for ten seconds; a camera or a tracker in view of the board, the "
            "load cell by squeezing something soft",
        ),
    )
}  # fmt: skip


def to_touch(board: Board) -> tuple[int, ...]:
    """Numbers of the corners that a tip is put on: the four outermost, and the one in the middle."""
    x, y = board.points[:, :2].T
    middle = np.hypot(x - board.size[0] / 2, y - board.size[1] / 2)
    return tuple(dict.fromkeys(int(np.argmin(far)) for far in (x + y, y - x, -x - y, x - y, middle)))


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """What was measured at one moment; empty or None is what nobody asked for or was not there.

    stamp_ns     of the (first camera's) picture [Kinema time]
    corners      of the board, by camera
    T_base_tcp   the arm's pose, at rest
    tracked      the tracker's samples of the last moment, at rest
    wrench       (6,) [N, N m] as the arm measures it at the TCP, in base_link axes
    load         [kg] on the load cell
    motions      for a latency: the reference, and what the device made of it
    readings     of the displayed clock: stamps of a camera's pictures, and the times [ns] that they show
    touched      number of the board's corner that the tip is on
    """

    stamp_ns: int
    corners: Mapping[str, Corners] = field(default_factory=dict)
    T_base_tcp: Pose | None = None
    tracked: tuple[TrackedPose, ...] = ()
    wrench: Array | None = None
    load: float | None = None
    motions: tuple[Motion, Motion] | None = None
    readings: tuple[tuple[int, int], ...] = ()
    touched: int | None = None

    def lacks(self, needs: Sequence[str], devices: Sequence[str]) -> list[str]:
        """What is needed and is not here."""
        unseen = [camera for camera in devices if "corners" in needs and camera not in self.corners]
        there = {"corners": True, "tracked": bool(self.tracked), "readings": bool(self.readings)}
        missing = [name for name in needs if not there.get(name, getattr(self, name) is not None)]
        return [*(f"the board in {camera}" for camera in unseen), *missing]


@dataclass(frozen=True, slots=True)
class Solution:
    """What a solver made of the samples.

    files     to be saved, by their names in the calibration folder
    outliers  numbers of samples that were left out
    report    for a person, some lines: the numbers, how sure they are, and plain OpenCV's beside them
    """

    files: Mapping[str, CalibrationFile]
    outliers: tuple[int, ...]
    report: str

    @property
    def unusable(self) -> str:
        """Why it must not be accepted, '' if it may."""
        return "; ".join(f"{name}: {why}" for name, value in self.files.items() if (why := value.unusable()))


@dataclass(frozen=True, slots=True)
class Session:
    """What is being calibrated; every verb returns the next one or raises CalibrationError.

    devices  cameras, or what else it is about, in the order that was asked for
    clock    that a camera is timed by, instead of a board
    apart    [m] between the two cameras of a stereo session by a tape measure
    message  the last thing worth saying
    """

    phase: Phase = Phase.IDLE
    what: str = ""
    devices: tuple[str, ...] = ()
    board: Board | None = None
    clock: Clock | None = None
    apart: float = 0.0
    samples: tuple[Sample, ...] = ()
    solution: Solution | None = None
    message: str = "waiting for start_session"

    @property
    def kind(self) -> Kind:
        """Of the running session."""
        self._running("asked for")
        kind = KINDS[self.what]
        return replace(kind, needs=("readings",), how=_CLOCK) if self.clock else kind

    @property
    def needs(self) -> tuple[str, ...]:
        """What the next sample must hold."""
        begun = any(sample.corners for sample in self.samples)
        return self.kind.needs if begun else (*self.kind.needs, *self.kind.first)

    @property
    def target(self) -> Board | Clock | None:
        """What cameras look for."""
        return self.clock or self.board

    @property
    def corner(self) -> int | None:
        """The corner that is to be touched next, None where none is, or all have been."""
        if self.phase is Phase.IDLE or self.what != "verify" or self.board is None or "corners" in self.needs:
            return None
        done = {sample.touched for sample in self.samples}
        return next((number for number in to_touch(self.board) if number not in done), None)

    @property
    def wanted(self) -> str:
        """What a person does for the next sample."""
        if self.what != "verify" or "corners" in self.needs:
            return self.kind.how
        if self.corner is None:
            return "all corners are touched: solve"
        return (
            f"close the jaw, put its tip on corner {self.corner}, ringed in the picture, come to rest, and capture; or "
            "solve"
        )

    def start(self, what: str, devices: Sequence[str], board: str, apart: float = 0.0) -> "Session":
        """Begin; the board's name and `apart` [m] are looked at where they are needed."""
        if self.phase is not Phase.IDLE:
            raise CalibrationError(f"{self._state()}: accept or cancel it before another one starts")
        kind = KINDS.get(what)
        if kind is None:
            raise CalibrationError(f"what is {what!r}; allowed: {', '.join(KINDS)}")
        chosen = tuple(devices) or (kind.allowed if len(kind.allowed) == kind.devices else ())
        wrong = [name for name in chosen if name not in kind.allowed]
        if wrong or len(chosen) != kind.devices or len(set(chosen)) < len(chosen):
            raise CalibrationError(
                f"{what} of {', '.join(chosen) or 'nothing'}; allowed: {kind.devices} of {', '.join(kind.allowed)}"
            )
        if what == "stereo" and not 0.0 < apart <= _FARTHEST:
            raise CalibrationError(
                f"apart is {apart:g} m; allowed is 0 < apart <= {_FARTHEST:g} m, the distance of the two lenses by a "
                "tape measure: nothing else tells a board of another size"
            )
        clocked = what == "latency" and set(chosen) <= set(CAMERAS) and board.strip().startswith("clock")
        session = Session(
            phase=Phase.COLLECTING,
            what=what,
            devices=chosen,
            board=Board.parse(board) if kind.shows_board(chosen) and not clocked else None,
            clock=Clock.parse(board) if clocked else None,
            apart=apart,
        )
        return session.tell(f"{what} of {', '.join(chosen)}: {session.kind.how}")

    def may_capture(self) -> None:
        """Raises CalibrationError naming the state."""
        self._settled("captured")
        if not self.kind.needs:
            raise CalibrationError(f"{self._state()}: {self.kind.service} takes its samples itself; {self.kind.how}")
        if self.what == "verify" and "corners" not in self.needs and self.corner is None:
            raise CalibrationError(f"{self._state()}: {self.wanted}")
        if len(self.samples) >= _MOST:
            raise CalibrationError(f"{self._state()}: allowed are {_MOST}; solve, or undo some")

    def capture(self, sample: Sample) -> "Session":
        """One more; what was solved is solved no longer."""
        self.may_capture()
        if missing := sample.lacks(self.needs, self.devices):
            raise CalibrationError(f"{self._state()}: not captured, it lacks {', '.join(missing)}; {self.kind.how}")
        sample = replace(sample, touched=self.corner)
        after = self._collect((*self.samples, sample), f"sample {len(self.samples) + 1} is captured")
        return after.tell(f"{after.message}; {after.wanted}") if self.what == "verify" else after

    def undo(self, number: int = 0) -> "Session":
        """Without the sample of this number, 0 the last one; those after it move up by one."""
        self._settled("undone")
        count = len(self.samples)
        if not 0 <= number <= count or count == 0:
            allowed = f"allowed: 1..{count}, 0 the last" if count else "there is none"
            raise CalibrationError(f"{self._state()}: sample {number} cannot be undone; {allowed}")
        gone = number or count
        return self._collect((*self.samples[: gone - 1], *self.samples[gone:]), f"sample {gone} is undone")

    def may_solve(self) -> None:
        """Raises CalibrationError naming the state."""
        self._settled("solved")
        if self.phase is Phase.SOLVED:
            raise CalibrationError(f"{self._state()}: accept it, capture more, undo some, or cancel")
        if not self.samples and self.kind.needs:
            raise CalibrationError(f"{self._state()}: there is nothing to solve; {self.kind.how}")

    def solving(self) -> "Session":
        """A solver is at work; until it ends nothing but `cancel` changes the session."""
        self.may_solve()
        return replace(self, phase=Phase.SOLVING, message=f"{self.what} is being solved; cancel ends it")

    def unsolved(self, why: str) -> "Session":
        """The solver has found nothing."""
        return replace(self, phase=Phase.COLLECTING).refused(why)

    def solve(self, solution: Solution) -> "Session":
        """Take note of what a solver found; where that is not good enough, more samples may make it so."""
        if self.phase is not Phase.SOLVING:
            self.may_solve()
        if not solution.files:
            return replace(self, phase=Phase.SOLVED, solution=solution, message=f"{solution.report}\naccept ends it")
        verdict = f"NOT ACCEPTABLE, {why}" if (why := solution.unusable) else "accept it, or capture more"
        return replace(self, phase=Phase.SOLVED, solution=solution, message=f"{solution.report}\n{verdict}")

    def may_accept(self) -> Solution:
        """What is to be saved; raises CalibrationError naming the state, or why it is not good enough."""
        if self.phase is Phase.SOLVING:
            self._settled("accepted")
        if self.solution is None:
            raise CalibrationError(f"{self._state()}: there is no result to accept; solve first")
        if why := self.solution.unusable:
            raise CalibrationError(
                f"{self._state()}: not accepted, {why}; capture more samples, undo bad ones, or cancel"
            )
        return self.solution

    def finish(self, message: str) -> "Session":
        """The result is saved, by this node or by the one that `kind.service` belongs to."""
        self._running("finished")
        return Session(message=message)

    def cancel(self) -> "Session":
        """Throw the samples away; nothing is saved."""
        self._running("cancelled")
        service = self.kind.service if self.phase is Phase.SOLVING else ""
        goes_on = f"; {service} was called already and may write its file" if service else ""
        return Session(
            message=f"{self.what} of {', '.join(self.devices)} is cancelled, {len(self.samples)} samples gone{goes_on}"
        )

    def tell(self, message: str) -> "Session":
        """Take note of what was done, for the person who looks."""
        return replace(self, message=message)

    def refused(self, why: str) -> "Session":
        """Take note of what was not done, for the person who asked."""
        return replace(self, message=f"REFUSED: {why}")

    def _collect(self, samples: tuple[Sample, ...], message: str) -> "Session":
        return replace(self, phase=Phase.COLLECTING, samples=samples, solution=None, message=message)

    def _running(self, verb: str) -> None:
        if self.phase is Phase.IDLE:
            raise CalibrationError(f"{self._state()}: nothing is there to be {verb}; call start_session")

    def _settled(self, verb: str) -> None:
        self._running(verb)
        if self.phase is Phase.SOLVING:
            raise CalibrationError(f"{self._state()}: nothing is {verb} until the solver is through; wait, or cancel")

    def _state(self) -> str:
        if self.phase is Phase.IDLE:
            return "the state is IDLE"
        return f"the state is {self.phase.name} ({self.what} of {', '.join(self.devices)}, {len(self.samples)} samples)"
