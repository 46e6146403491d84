"""Records every `recorded` row of the topic table, episode by episode, from raw serialised messages.

With the trigger `operator` a person with the handheld gripper begins and ends episodes: by service, by key, by gesture.
With the trigger `policy` each policy run of the executor is one. Callbacks only look and queue;
`kinema.episodes.recording` encodes, writes and judges beside them.
"""

import functools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from kinema_interfaces.msg import RecorderState, Task
from kinema_interfaces.srv import SetTask
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from kinema import cell_file, paths
from kinema.clock import NS, now_ns, to_seconds
from kinema.episodes import facts as facts_file
from kinema.episodes.disk import Room, free
from kinema.episodes.facts import Facts, slug
from kinema.episodes.messages import Transforms, decode, typestore
from kinema.episodes.pipeline import Encoding
from kinema.episodes.quality import LIMITS
from kinema.episodes.quality_monitor import DEPLOYED, handheld
from kinema.episodes.recording import Recording, unfinished
from kinema.episodes.session import REQUIRED, Phase, Session, problems, trouble
from kinema.episodes.surroundings import Surroundings
from kinema.episodes.writer import new_folder
from kinema.errors import KinemaError, RecordingError
from kinema.streams import Health, Level
from kinema.topics import TOPICS, Qos, Topic
from kinema_ros.convert import header
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.parameters import CALIBRATION_OVERRIDE
from kinema_ros.topics import QOS
from recording.cue import MODES, Cue
from recording.keys import Keys
from recording.papers import Papers, Setting

_RECORDED = tuple(row for row in TOPICS.values() if row.recorded)
_EVENTS = "executor/events"
_DEPTH = {True: 60, False: 1000}  # messages that wait for this process while it is busy: pictures, all others
_SILENT = 0.5  # [s] after which a required topic counts as silent, unless its row allows more
_POLL = 0.05  # [s] between two looks at keys, gestures and what is being saved
_PROGRESS = 5.0  # [s] between two lines that say that it still records


class _Saving(threading.Thread):
    """Closes an episode beside the callbacks; `facts` or `error` say what came of it."""

    def __init__(self, finish: Callable[[], Facts]) -> None:
        super().__init__(name="saving")
        self._finish = finish
        self.facts: Facts | None = None
        self.error = "it broke; see the lines above"
        self.start()

    def run(self) -> None:
        try:
            self.facts = self._finish()
        except (KinemaError, OSError) as error:
            self.error = str(error)


class Recorder(Node):
    """See the module's text. `recorder/state` says what it is doing and what keeps it from beginning."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        CALIBRATION_OVERRIDE,
        Parameter("episodes_dir", "episodes", "episodes go below it; relative to the checkout"),
        Parameter("trigger", "operator", "who begins and ends episodes", choices=("operator", "policy")),
        Parameter("robot", "", "which arm acts; '' for the handheld gripper"),
        Parameter("task", "", "what is demonstrated, in words; recorder/set_task changes it"),
        Parameter("operator", "", "who demonstrates"),
        Parameter("compression", "jpeg", "of images", choices=("none", "jpeg", "png")),
        Parameter("quality", 90, "of JPEG", 1, 100),
        Parameter("gesture", True, "two quick squeezes of the jaw begin and end an episode"),
        Parameter("keys", True, "keys in the terminal: space begins and ends, d discards, q quits"),
        Parameter("cue", "off", "how the operator is told", choices=MODES),
        Parameter("min_disk_gb", 2.0, "[GB] that must be free to begin; below half of it a recording ends", 0.0, 1e6),
        Parameter(
            "max_drop_fraction", LIMITS.lost, "[-] of a topic's messages; beyond it the episode is rejected", 0.0, 1.0
        ),
        Parameter("queue_mb", 256, "[MB] of messages that may wait for encoders and disk", 1, 65536),
    )

    # ---- lifecycle

    def configure(self) -> None:
        self._by_policy = self.value("trigger") == "policy"
        self._root = paths.root() / self.value("episodes_dir")
        self._room = Room(self._root, round(1e9 * self.value("min_disk_gb")))
        self._encoding = Encoding(self.value("compression"), self.value("quality"))
        cell = cell_file.load(self.value("cell"))
        setting = Setting(
            cell,
            self.value("robot"),
            self.value("operator"),
            self._encoding,
            self._by_policy,
            self.value("calibration_override"),
        )
        self._papers = Papers(setting)
        self._limits = replace(LIMITS, lost=self.value("max_drop_fraction"))
        self._profile = DEPLOYED if self._by_policy else handheld(setting.tracker)
        self._surroundings = Surroundings(self._profile)
        self._surroundings.text = self.value("task")
        self._session = Session()
        self._active = False
        self._recording: Recording | None = None
        self._calibration: list[tuple[Path, int]] = []  # the files that it was begun with
        self._success: bool | None = None
        self._judged: Facts | None = None  # of the last episode that was saved
        self._saving: _Saving | None = None
        self._clearing: list[threading.Thread] = []
        self._latched: dict[object, tuple[Topic, bytes]] = {}
        self._told_ns = 0
        self._state = self.outlet("recorder/state")
        self._streams = {
            row.name: self.listen(row.name, functools.partial(self._receive, row), qos=_deep(row), raw=True)
            for row in _RECORDED
        }
        self.watch("recording", self._health)
        if not self._by_policy:
            self._task = self.outlet("task")
            self.serve(Trigger, "~/start", lambda request, response: self._start("by service"))
            self.serve(Trigger, "~/stop", lambda request, response: self._stop("by service"))
            self.serve(Trigger, "~/discard", lambda request, response: self._discard())
            self.serve(SetTask, "~/set_task", self._set_task)
        self.every(_POLL, self._poll)
        self.every(1.0 / TOPICS["recorder/state"].rate, self._report)
        self._cue = Cue(self.value("cue"), self.get_logger().warning)
        self._keys = Keys() if self.value("keys") and not self._by_policy else None

    def activate(self) -> None:
        self._active = True
        if not self._by_policy and self._surroundings.text:
            self._publish_task()
        for folder in unfinished(self._root):
            self.get_logger().warning(f"{folder} was not finished: `kinema episodes recover {folder}`")
        if self._keys is not None and self._keys.there:
            self.get_logger().info("space begins and ends an episode, d discards it, q quits")

    def deactivate(self) -> None:
        self._active = False
        if self.__dict__.get("_recording") is not None:
            self._stop("the recorder ended", interrupted="the recorder ended before the demonstration did")
        if saving := self.__dict__.get("_saving"):
            saving.join()
            self._conclude()
        for thread in self.__dict__.get("_clearing", ()):
            thread.join()

    def cleanup(self) -> None:
        if keys := self.__dict__.pop("_keys", None):
            keys.close()
        if cue := self.__dict__.pop("_cue", None):
            cue.close()

    # ---- messages

    def _receive(self, row: Topic, message: bytes) -> None:
        arrival_ns = now_ns()
        if row.qos is Qos.LATCHED:
            self._latched[_latch_key(row, message)] = row, message
        event = decode(typestore(), row.type, message) if row.name == _EVENTS and self._by_policy else None
        if event is not None and event.kind == "policy_started":
            self._start("with the policy", _stamp_ns(event))
        if self._recording is not None:
            self._recording.put(row, arrival_ns, message)
        self._surroundings.take(row, arrival_ns, message)
        if event is not None and event.kind == "outcome":
            self._success = bool(json.loads(event.data)["success"])
            self._amend()
        elif event is not None and event.kind == "policy_ended" and self._session.phase is Phase.RECORDING:
            self._stop(event.text, _stamp_ns(event))

    # ---- what begins and ends episodes

    def _start(self, how: str, began_ns: int | None = None) -> str:
        """Begin an episode, or raise RecordingError with everything that is missing."""
        self._session = self._session.look(self._missing())
        self._success = self._judged = None  # what is marked from now on belongs to no episode before
        try:
            if not self._active:
                raise RecordingError("the recorder is not active: activate it first")
            self._session.may_start()
            self._recording = self._new_recording(began_ns or self._surroundings.stamp_ns)
        except RecordingError as error:
            self._tell(self._session.refused(str(error)))
            raise
        self._calibration = self._papers.files()
        for row, message in self._latched.values():
            self._recording.put(row, now_ns(), message)
        self._tell(self._session.start(str(self._recording.folder)))
        return f"recording {self._recording.folder}, begun {how}"

    def _stop(self, how: str, ended_ns: int | None = None, interrupted: str = "") -> str:
        """End the episode and save it beside the callbacks; what came of it goes to recorder/state."""
        session = self._session.stop(how)
        recording, self._recording = self._recording, None
        assert recording is not None
        if self._papers.files() != self._calibration:
            changed = "a calibration file has changed meanwhile: the copies in the episode do not hold for all of it"
            interrupted = f"{interrupted}; {changed}" if interrupted else changed
        facts = recording.facts.replace(
            ended_ns=max(ended_ns or self._surroundings.stamp_ns, recording.facts.began_ns),
            ended=how,
            success=self._judge(),
            disk_free=free(self._root),
        )
        monitor = self._surroundings.hand_over()
        self._saving = _Saving(lambda: recording.finish(facts, monitor, self._limits, interrupted))
        self._tell(session)
        return session.message

    def _discard(self) -> str:
        """Throw away the running episode, or the last one that was saved."""
        self._tell(self._session.discard())
        recording, self._recording = self._recording, None
        folder = self._session.episode
        clear = recording.discard if recording is not None else functools.partial(shutil.rmtree, folder)
        self._clearing = [thread for thread in self._clearing if thread.is_alive()]
        self._clearing.append(threading.Thread(target=clear, name="clearing"))
        self._clearing[-1].start()
        return self._session.message

    def _toggle(self, how: str, moment_ns: int | None = None) -> None:
        """Begin or end, whichever it is time for; a refusal is told and no error."""
        try:
            if self._session.phase is Phase.RECORDING:
                self._stop(how, moment_ns)
            else:
                self._start(how)
        except RecordingError as error:
            self.get_logger().warning(f"refused: {error}")

    def _set_task(self, request: SetTask.Request, response: SetTask.Response) -> str:
        if self._session.phase is Phase.RECORDING:
            raise RecordingError("an episode is being recorded: its task cannot change, stop it first")
        if not request.text.strip():
            raise RecordingError("the text is empty; say in words what is to be done")
        self._surroundings.text = request.text
        self._publish_task()
        return f"task: {request.text}"

    def _publish_task(self) -> None:
        self._task.publish(Task(header=header(now_ns()), text=self._surroundings.text))

    def _new_recording(self, began_ns: int) -> Recording:
        seen = self._surroundings
        day = datetime.fromtimestamp(now_ns() // NS, UTC).astimezone().date()
        try:
            folder = new_folder(self._root, slug(seen.text), day)
        except OSError as error:
            raise RecordingError(f"{self._root}: {error.strerror}; choose another episodes_dir") from error
        return Recording(
            folder,
            _RECORDED,
            self._papers.facts(seen, began_ns),
            encoding=self._encoding,
            capacity=self.value("queue_mb") << 20,
            calibration=self._papers.calibration,
        )

    def _judge(self) -> bool | None:
        """Whether the task succeeded: by the executor's outcome, else by the physics of the virtual cell."""
        if self._by_policy:
            return self._success
        status = self._surroundings.status
        return bool(status.success) if status else None

    # ---- what keeps a recording from beginning

    def _missing(self) -> tuple[str, ...]:
        monotonic_ns = time.monotonic_ns()
        required = () if self._by_policy else REQUIRED
        ages = {name: self._streams[name].age(monotonic_ns) for name in required}
        conditions = self._surroundings.conditions(
            calibration=self._papers.unusable(),
            silent={name: age for name, age in ages.items() if age > max(_SILENT, TOPICS[name].stale_after)},
            room=self._room.to_begin(),
        )
        if self._by_policy:  # the executor and the nodes look after the rest
            conditions = replace(
                conditions, text=conditions.text or "-", tared=None, saturated=None, anchored=True, jumped=False
            )
        return problems(conditions)

    # ---- again and again

    def _poll(self) -> None:
        gesture = self._surroundings.gesture()
        if gesture is not None and self.value("gesture") and not self._by_policy:
            self._toggle("by gesture", gesture.begin_ns)
        for key in self._keys.pressed() if self._keys else ():
            self._press(key)
        if self._recording is not None:
            self._look_at_disk(self._recording)
        self._conclude()

    def _press(self, key: str) -> None:
        if key == " ":
            self._toggle("by key")
        elif key == "d":
            try:
                self._discard()
            except RecordingError as error:
                self.get_logger().warning(f"refused: {error}")
        elif key == "q":
            os.kill(os.getpid(), signal.SIGINT)

    def _look_at_disk(self, recording: Recording) -> None:
        """F25: end in time, or at the last message that the disk took."""
        failure, almost = recording.failure, self._room.to_go_on()
        if failure is not None:
            backlog_ns = now_ns() - failure.arrival_ns
            ended_ns = self._surroundings.stamp_ns - backlog_ns
            why = f"the disk took no more: {failure.reason}"
            self._stop(why, ended_ns, interrupted=why)
        elif almost:
            self._stop("the disk is almost full", interrupted=f"the disk was almost full: {almost}")

    def _conclude(self) -> None:
        """Take note of an episode that has been saved."""
        saving = self._saving
        if saving is None or saving.is_alive():
            return
        self._saving = None
        facts = saving.facts
        self._tell(self._session.lost(saving.error) if facts is None else self._session.keep(facts.rejected))
        self._judged = facts
        self._amend()

    def _amend(self) -> None:
        """An outcome that was marked after the policy's end belongs to the episode too."""
        facts = self._judged
        if facts is not None and facts.success is None and self._success is not None:
            self._judged = facts.replace(success=self._success)
            try:
                facts_file.save(Path(self._session.episode), self._judged)
            except OSError as error:
                self.get_logger().error(f"{self._session.episode}: its outcome was not written: {error.strerror}")

    def _tell(self, session: Session) -> None:
        """Go on with a session whose message is worth saying: in the terminal, and to the ear."""
        self._session, self._told_ns = session, time.monotonic_ns()
        kind, bad = session.message.partition(" ")[0], trouble(session.message)
        if not bad:
            self.get_logger().info(session.message)
        elif kind != "REFUSED:":  # who asked for what was refused logs it
            self.get_logger().error(session.message)
        cue = {"recording": "began", "saved": "saved", "discarded": "discarded"}.get(kind, "trouble" if bad else "")
        if cue:
            self._cue.give(cue, session.message.replace(session.episode, "") if session.episode else session.message)

    def _report(self) -> None:
        session, seen, recording = self._session.look(self._missing()), self._surroundings, self._recording
        self._session = session
        if recording is None:
            seen.forget()
        live = seen.monitor.live()
        dropped = recording.dropped if recording else {}
        duration = max(0.0, to_seconds(seen.stamp_ns - recording.facts.began_ns)) if recording else 0.0
        self._state.publish(
            RecorderState(
                header=header(now_ns()),
                state=int(session.phase),
                task=seen.text,
                operator_name=self.value("operator"),
                episode=session.episode,
                duration=duration,
                saved=session.saved,
                rejected=session.rejected,
                message=session.message,
                problems=session.problems if session.phase is Phase.IDLE else (),
                streams=list(live.rates),
                rates=list(live.rates.values()),
                dropped=[dropped.get(name, 0) for name in live.rates],
                skew=live.skew,
                tags=live.tags,
                confidence=live.confidence,
                tare_drift=live.tare_drift,
                disk_free=float(free(self._root)),
            )
        )
        if recording is not None and time.monotonic_ns() - self._told_ns > _PROGRESS * NS:
            self._told_ns = time.monotonic_ns()
            lost = sum(dropped.values())
            self.get_logger().info(f"recording for {duration:.0f} s: {seen.text}; {lost} messages dropped")

    def _health(self, monotonic_ns: int) -> Health:
        session, recording = self._session, self._recording
        values = {name: str(count) for name, count in (recording.dropped if recording else {}).items()}
        if values:
            lost = sum(recording.dropped.values()) if recording else 0
            return Health(Level.ERROR, f"{lost} messages dropped: encoders or disk are slower than the sensors", values)
        if session.phase is Phase.IDLE and session.problems:
            return Health(Level.WARN, "; ".join(session.problems))
        return Health(Level.OK, session.message)


def _deep(row: Topic) -> QoSProfile:
    """The row's quality of service, with room for what arrives while this process is busy."""
    qos = QOS[row.qos]
    depth = _DEPTH[row.type == "sensor_msgs/msg/Image"]
    return QoSProfile(depth=depth, reliability=qos.reliability, durability=qos.durability)


def _latch_key(row: Topic, message: bytes) -> object:
    """What replaces an older message: of /tf_static, which has many sources, only the same frames."""
    value = decode(typestore(), row.type, message)
    if isinstance(value, Transforms):
        return row.name, tuple((parent, child) for parent, child, _ in value.rows)
    return row.name


def _stamp_ns(message: object) -> int:
    stamp = message.header.stamp
    return stamp.sec * NS + stamp.nanosec


def main() -> None:
    spin(lambda: Recorder("recorder"))
