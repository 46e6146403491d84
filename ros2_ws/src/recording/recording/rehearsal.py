"""Rehearses recording in the virtual cell: fresh scene, anchor, tare, a demonstration, until enough are good.

Stands in for the person who asks for demonstrations, and only there; the simulated person who makes them starts and
stops the recorder with the gripper, as anyone does. Ends with a table; its exit code is non-zero when fewer episodes
than wanted were good.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kinema_interfaces.msg import CellStatus, RecorderState
from kinema_interfaces.srv import ResetScenario, SetTask
from rich.console import Console
from rich.table import Table
from std_srvs.srv import Trigger

from kinema.errors import DeviceError
from kinema_ros.parameters import Parameter
from kinema_ros.script import ANSWER_TIMEOUT, START_TIMEOUT, Script, run

PARAMETERS = (
    Parameter("episodes", 3, "how many good ones", 1, 100000),
    Parameter("task", "", "in words; '': as the scenario says"),
    Parameter("scenario", "pick_and_place", "task of the virtual cell"),
    Parameter("split", "train", "which scenarios", choices=("train", "unseen_objects", "unseen_background")),
    Parameter("seed", 0, "of the first scenario; the next adds one", 0, 2**31 - 1),
)
LIFECYCLE_NODES = (
    *("virtual_cell", "gripper_camera", "left_camera", "right_camera", "load_cell", "pose_tracker", "jaw_tracker"),
    "recorder",
)
SERVICES = {
    "virtual_cell/reset_scenario": ResetScenario,
    "virtual_cell/demonstrate": Trigger,
    "load_cell/zero": Trigger,
    "pose_tracker/anchor": Trigger,
    "recorder/set_task": SetTask,
    "recorder/discard": Trigger,
}
_TRIES = 3  # demonstrations for each good one that is wanted: a tracker jumps now and then, a person fails
_REST = 0.6  # [s] of stillness that makes an anchor
_DEMONSTRATION = 400.0  # [s] for one; the cell's clock may slip
_NOTICED = 20.0  # [s] from the person's rest to the end of the recording: else the recorder has missed a gesture


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one demonstration; `good` may be used."""

    seed: int
    text: str
    episode: str
    good: bool
    success: bool
    message: str


class Director(Script):
    """Calls, and the newest of what cell and recorder say."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        super().__init__("rehearsal", ended, PARAMETERS, SERVICES, LIFECYCLE_NODES)
        self.cell: CellStatus | None = None
        self.recorder: RecorderState | None = None
        self.keep("cell/status", "cell")
        self.keep("recorder/state", "recorder")

    def wait_active(self) -> None:
        super().wait_active()
        self.wait(lambda: self.cell and self.recorder, START_TIMEOUT, "cell/status and recorder/state")

    @property
    def idle(self) -> bool:
        """Nobody moves the gripper and nothing is being recorded or saved."""
        return not self.cell.hand and self.recorder.state == RecorderState.IDLE


def _anchor(director: Director) -> None:
    """Again and again: the tracker may have relocalised a moment ago."""

    def anchored() -> bool:
        try:
            director.call("pose_tracker/anchor")
        except DeviceError as error:
            director.get_logger().info(str(error))
            time.sleep(_REST)
            return False
        return True

    director.wait(anchored, ANSWER_TIMEOUT, "rest in the dock")


def prepare(director: Director, seed: int) -> str:
    """A fresh scene, the task said, tracker anchored, load cell tared, the recorder willing; the task in words."""
    director.wait(lambda: director.idle, _DEMONSTRATION, "rest")
    before = director.cell.episode
    drawn = director.call(
        "virtual_cell/reset_scenario",
        timeout=START_TIMEOUT,
        task=director.value("scenario"),
        split=director.value("split"),
        seed=seed,
    ).text
    director.wait(lambda: director.cell.episode != before, ANSWER_TIMEOUT, "the fresh scene")
    text = director.value("task") or drawn
    director.call("recorder/set_task", text=text)
    director.call("load_cell/zero")
    _anchor(director)
    try:
        director.wait(lambda: not director.recorder.problems, ANSWER_TIMEOUT, "a recorder that may begin")
    except DeviceError as error:
        raise DeviceError(f"{error}: {'; '.join(director.recorder.problems)}") from error
    return text


def demonstrate(director: Director, seed: int, text: str) -> Row:
    """One demonstration, until it is saved or was never recorded."""
    saved, rejected = director.recorder.saved, director.recorder.rejected
    director.call("virtual_cell/demonstrate")
    director.wait(lambda: director.cell.hand, ANSWER_TIMEOUT, "the person's beginning")
    director.wait(lambda: not director.cell.hand, _DEMONSTRATION, "the end of the demonstration")
    try:
        director.wait(lambda: director.recorder.state != RecorderState.RECORDING, _NOTICED, "the end of the recording")
    except DeviceError as error:
        director.call("recorder/discard")
        return Row(seed, text, "", False, bool(director.cell.success), f"discarded: {error}")
    director.wait(lambda: director.idle, _DEMONSTRATION, "the episode on disk")
    recorder = director.recorder
    kept = recorder.saved > saved
    good = kept and recorder.rejected == rejected
    return Row(seed, text, recorder.episode if kept else "", good, bool(director.cell.success), recorder.message)


def show(rows: list[Row]) -> None:
    """The table of all demonstrations; an episode's folder is that of its task, and its name."""
    table = Table("seed", "task", "episode", "usable", "task done", "why not", title="rehearsal")
    for row in rows:
        answers = ("yes" if flag else "no" for flag in (row.good, row.success))
        table.add_row(str(row.seed), row.text, Path(row.episode).name, *answers, "" if row.good else row.message)
    Console(width=160).print(table)


def rehearse(director: Director) -> None:
    wanted, rows = director.value("episodes"), list[Row]()
    try:
        director.wait_active()
        for seed in range(director.value("seed"), director.value("seed") + _TRIES * wanted):
            text = prepare(director, seed)
            director.get_logger().info(f"demonstration {len(rows) + 1}: {text} (seed {seed})")
            rows.append(demonstrate(director, seed, text))
            director.get_logger().info(f"demonstration {len(rows)}: {rows[-1].message or 'was not recorded'}")
            if director.cell.fault:
                raise DeviceError(f"the simulation broke: {director.cell.fault}")
            if sum(row.good for row in rows) == wanted:
                return
    finally:
        show(rows)
    raise DeviceError(f"{sum(row.good for row in rows)} good episodes of {wanted} after {len(rows)} demonstrations")


def main() -> None:
    run("rehearsal", Director, rehearse)
