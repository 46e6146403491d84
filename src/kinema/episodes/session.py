"""What the recorder may do when: IDLE, RECORDING, SAVING, and what has to be in order before a recording begins. Pure.

    IDLE -- start --> RECORDING -- stop --> SAVING -- saved --> IDLE
                          |                                      ^
                          +-------------- discard ---------------+

Every refusal is a RecordingError that says what is missing and the remedy.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kinema.errors import RecordingError
from kinema.topics import CAMERAS

CONFIDENT = 2  # of 3: what the tracker says of itself, from which on it is believed

_STREAMS = {
    **{f"{camera}/image_raw": f"the {camera} camera: its cable, its node {camera}_camera" for camera in CAMERAS},
    "tracker/odometry": "the tracker: its cable, its node pose_tracker",
    "tracker/pose": "the tracker believes no pose: hold the gripper still in good light, then call pose_tracker/anchor",
    "jaw/state": "the node jaw_tracker",
    "load_cell/force": "the load cell: its cable, its node load_cell",
}
REQUIRED = tuple(_STREAMS)

_REFUSED, _REJECTED, _LOST = "REFUSED", "REJECTED", "LOST"  # with which messages of trouble begin


class Phase(enum.IntEnum):
    """As in kinema_interfaces/RecorderState."""

    IDLE = 0
    RECORDING = 1
    SAVING = 2


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the recorder knows of its surroundings.

    text         the task in words
    calibration  why it cannot be used, '' if it can
    silent       required topics that are stale, with the age [s] of their last message; infinite: never seen
    tared, saturated  of the load cell's last sample; None: there was none
    confidence   the tracker's, 0 to 3; None: it has said nothing
    anchored     base_link to world is known
    jumped       the tracker has jumped since then
    room         why the disk is too full, '' if it is not
    """

    text: str
    calibration: str
    silent: Mapping[str, float]
    tared: bool | None
    saturated: bool | None
    confidence: int | None
    anchored: bool
    jumped: bool
    room: str


def problems(c: Conditions) -> tuple[str, ...]:
    """What keeps a demonstration from being recorded, each with its remedy; empty when nothing does."""
    found = []
    if not c.text.strip():
        found.append("the task has no words: give it some with recorder/set_task, or the launch argument task:=")
    if c.calibration:
        found.append(c.calibration)
    for topic, age in c.silent.items():
        since = f"is silent for {age:.1f} s" if age < float("inf") else "has never been heard"
        found.append(f"{topic} {since}: check {_STREAMS[topic]}")
    if c.tared is False:
        found.append("the load cell is not tared: open the jaw and call load_cell/zero")
    if c.saturated:
        found.append("the load cell is saturated: take the load off it, then call load_cell/zero")
    if c.confidence is not None and c.confidence < CONFIDENT:
        found.append(
            f"the tracker's confidence is {c.confidence}, {CONFIDENT} of 3 are needed: "
            "give it light and texture, and move it slowly"
        )
    if not c.anchored or c.jumped:
        why = "the tracker has jumped since it was anchored" if c.anchored else "base_link to world is unknown"
        found.append(f"{why}: put the gripper into its dock, keep it still, call pose_tracker/anchor")
    if c.room:
        found.append(c.room)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Session:
    """What the recorder is doing; every verb returns the next one or raises RecordingError.

    episode   folder of the present or the last episode, '' before the first
    kept      verdicts on the episodes kept since the recorder came up: why each must not be used, '' if it may
    message   the last thing worth saying
    problems  what keeps a recording from beginning
    """

    phase: Phase = Phase.IDLE
    episode: str = ""
    kept: tuple[str, ...] = ()
    message: str = "waiting"
    problems: tuple[str, ...] = ()
    _last: bool = False  # the last episode was kept and can still be discarded

    @property
    def saved(self) -> int:
        """How many episodes were kept, rejected ones among them."""
        return len(self.kept)

    @property
    def rejected(self) -> int:
        return sum(map(bool, self.kept))

    def look(self, found: tuple[str, ...]) -> "Session":
        """Take note of what keeps a recording from beginning."""
        return replace(self, problems=found)

    def may_start(self) -> None:
        """Raises RecordingError with every problem there is."""
        if self.phase is not Phase.IDLE:
            raise RecordingError(f"{self._busy()}: stop it first, or wait until it is saved")
        if self.problems:
            raise RecordingError("; ".join(self.problems))

    def start(self, episode: str) -> "Session":
        self.may_start()
        return replace(self, phase=Phase.RECORDING, episode=episode, message=f"recording {episode}", _last=False)

    def stop(self, how: str) -> "Session":
        if self.phase is not Phase.RECORDING:
            raise RecordingError(f"{self._busy()}: nothing is being recorded that could be stopped")
        return replace(self, phase=Phase.SAVING, message=f"saving {self.episode}: {how}")

    def keep(self, rejected: str) -> "Session":
        """The episode is on disk; `rejected` says why it must not be used, '' if it may."""
        verdict = f"{_REJECTED} {self.episode}: {rejected}" if rejected else f"saved {self.episode}"
        return replace(self, phase=Phase.IDLE, kept=(*self.kept, rejected), message=verdict, _last=True)

    def lost(self, why: str) -> "Session":
        """The episode could not be finished."""
        return replace(self, phase=Phase.IDLE, message=f"{_LOST} {self.episode}: {why}")

    def discard(self) -> "Session":
        """Throw the running episode away, or else the last one that was saved; `episode` is the folder to delete."""
        if self.phase is Phase.RECORDING:
            return replace(self, phase=Phase.IDLE, message=f"discarded {self.episode}")
        if self.phase is Phase.IDLE and self._last:
            return replace(self, kept=self.kept[:-1], message=f"discarded {self.episode}", _last=False)
        raise RecordingError(f"{self._busy()}: there is no episode to discard")

    def refused(self, why: str) -> "Session":
        """Take note of what was not done, for the person who asked."""
        return replace(self, message=f"{_REFUSED}: {why}")

    def _busy(self) -> str:
        return f"the recorder is {self.phase.name}"


def trouble(message: str) -> bool:
    """Whether a session's message tells of something that went wrong: refused, rejected or lost."""
    return message.startswith((_REFUSED, _REJECTED, _LOST))
