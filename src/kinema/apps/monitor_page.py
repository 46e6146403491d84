"""The monitor page: one viser server that shows a `Snapshot` and turns buttons into calls. Knows no ROS.

Nothing is drawn or encoded while nobody looks; the history of the plots is kept all the same.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pinocchio as pin
import viser
from pinocchio.visualize import ViserVisualizer

from kinema.apps import monitor_calibration, monitor_gate
from kinema.apps.monitor_calibration import Calibration
from kinema.apps.monitor_parts import (
    COMMANDED,
    MEASURED,
    WORST,
    Chart,
    Confirmation,
    Fingers,
    Ghost,
    History,
    Plot,
    Series,
    act,
    card,
    draw_cell,
    moment,
    place,
    segments,
    wall,
)
from kinema.apps.monitor_recorder import Recorder
from kinema.chunk import Image
from kinema.control.messages import State
from kinema.geometry import Array, Pose
from kinema.topics import CAMERAS

_STATE_LOOKS = {
    State.IDLE: ("#5c6370", "not enabled"),
    State.READY: ("#1c6fb5", "enabled, waiting for orders"),
    State.EXECUTING: ("#2b8a3e", "moving"),
    State.HOLDING: ("#b36b00", "at rest, waiting for a usable chunk"),
    State.FAULT: ("#c92a2a", "latched until reset"),
    State.STOPPED: ("#c92a2a", "latched until reset"),
}
_SURE = "Look at the arm first. It goes to IDLE where it stands; queue and force correction are emptied."


@dataclass(frozen=True, eq=False, slots=True)
class Executor:
    """What the executor says of itself; SI units, as in kinema_interfaces/ExecutorState."""

    state: State
    reason: str
    owner: str
    chunk: int
    step: int
    steps_left: int
    goal: Pose
    position_error: float
    rotation_error: float
    jaw_width: float
    jaw_goal: float
    force: float
    correction: float
    period_p50: float
    period_p99: float
    period_max: float
    missed: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What the virtual cell says of itself, as in kinema_interfaces/CellStatus."""

    split: str
    seed: int
    episode: int
    success: bool
    outcome: str
    real_time_factor: float
    slipped: float
    unanswered: int
    fault: str


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """A chunk that waits for a person, `left` [s] more: stamp of its observation, positions (n, 3) [m] of its path."""

    chunk: int
    t0_ns: int
    left: float
    path: Array


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far what is seen is from what was imagined, as in kinema_interfaces/Divergence; of the worst camera."""

    value: float
    threshold: float
    diverged: bool
    text: str


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """Everything the page shows of one moment; None and empty where nothing has been heard.

    t        [s] of the page's own steady time axis
    joints   name -> position [rad, m]
    T_base_tcp measured tool pose
    images, predicted: camera name -> (height, width, 3) uint8 RGB, the newest live image and the predicted one for it
    planned  (n, 3) positions of the tool in base_link that the newest chunk leads through [m]
    plan     the chunk that waits for a person
    divergence of the newest imagined moment that has come
    calibration the session that is open
    stale    what should be heard and is not, in words
    """

    t: float
    executor: Executor | None = None
    cell: Cell | None = None
    task: str = ""
    policy: str = ""
    recorder: Recorder | None = None
    joints: Mapping[str, float] = field(default_factory=dict)
    T_base_tcp: Pose | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    predicted: Mapping[str, Image] = field(default_factory=dict)
    planned: Array | None = None
    plan: Plan | None = None
    divergence: Divergence | None = None
    calibration: Calibration | None = None
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Actions:
    """What the buttons do. Each returns what came of it in words, or raises KinemaError saying why nothing did.

    `approve` and `reject` are for the chunk with this id, and no other.
    """

    hold: Callable[[], str]
    software_stop: Callable[[], str]
    reset: Callable[[], str]
    approve: Callable[[int], str]
    reject: Callable[[int], str]


_CHARTS: dict[str, Chart[Executor]] = {
    "force": Chart("Grasp force", (Series("measured", "N", MEASURED, lambda e: e.force),), 5.0),
    "jaw": Chart(
        "Jaw opening",
        (
            Series("measured", "mm", MEASURED, lambda e: 1e3 * e.jaw_width),
            Series("commanded", "mm", COMMANDED, lambda e: 1e3 * e.jaw_goal),
        ),
        90.0,
    ),
    "tracking": Chart(
        "Tracking error",
        (
            Series("position", "mm", MEASURED, lambda e: 1e3 * e.position_error),
            Series("rotation", "°", COMMANDED, lambda e: math.degrees(e.rotation_error)),
        ),
        5.0,
    ),
    "period": Chart(
        "Loop period",
        (
            Series("50 %", "ms", MEASURED, lambda e: 1e3 * e.period_p50),
            Series("99 %", "ms", COMMANDED, lambda e: 1e3 * e.period_p99),
            Series("max", "ms", WORST, lambda e: 1e3 * e.period_max),
        ),
        4.0,
    ),
}


_DIVERGENCE: Chart[Divergence] = Chart(
    "Imagined against seen",
    (
        Series("difference", "", MEASURED, lambda d: d.value),
        Series("threshold", "", WORST, lambda d: d.threshold),
    ),
    1.5,
)


def _status(s: Snapshot) -> str:
    """The card at the top of the page; all texts come from elsewhere and are escaped."""
    e, c = s.executor, s.cell
    colour, meaning = _STATE_LOOKS[e.state] if e else ("#5c6370", "the executor is silent")
    reason = e.reason if e and e.state in (State.FAULT, State.STOPPED) and e.reason else meaning
    rows = {"Task": s.task or "-", "Policy": s.policy or "-"}
    if s.plan:
        rows["Plan"] = f"chunk {s.plan.chunk} waits for you to approve or reject it, {s.plan.left:.0f} s more"
    if e:
        rows["Chunk"] = "-" if e.chunk < 0 else f"{e.chunk}, step {e.step}, {e.steps_left} left"
        rows["Owner"] = e.owner or "nobody"
    if c:
        rows["Episode"] = f"{c.episode} ({c.split}, seed {c.seed})"
        rows["Outcome"] = ("success: " if c.success else "") + (c.outcome or "-")
        rows["Cell"] = f"{c.real_time_factor:.2f} of real time, slipped {c.slipped:.2f} s, {c.unanswered} unanswered"
        if c.fault:
            rows["Broken"] = c.fault
    if s.recorder:
        rows["Recorder"] = s.recorder.line
    if s.divergence and s.divergence.diverged:
        rows["Parted"] = s.divergence.text
    if s.stale:
        rows["Silent"] = ", ".join(s.stale)
    return card(colour, e.state.name if e else "NO CONTACT", reason, rows, ("Plan", "Broken", "Parted", "Silent"))


class _Scene:
    """Robot, table, workspace box, planned, proposed and executed path."""

    def __init__(self, server: viser.ViserServer, urdf: str, workspace: tuple[Array, Array]) -> None:
        draw_cell(server, workspace)
        nowhere = segments(np.zeros((0, 3)))
        self._planned = server.scene.add_line_segments("/planned", nowhere, (232, 137, 12), thickness=0.006)
        self._proposed = server.scene.add_line_segments("/proposed", nowhere, (112, 72, 232), thickness=0.008)
        self._executed = server.scene.add_line_segments("/executed", nowhere, (28, 126, 214), thickness=0.004)
        self._goal = server.scene.add_frame("/goal", axes_length=0.08, axes_radius=0.003, visible=False)
        self._fingers = Fingers(server)
        model = pin.buildModelFromXML(urdf)
        looks = pin.buildGeomFromUrdfString(model, urdf, pin.GeometryType.VISUAL)
        self._q_index = {name: model.idx_qs[model.getJointId(name)] for name in model.names[1:]}
        self._q = pin.neutral(model)
        self._robot = ViserVisualizer(model, pin.GeometryModel(), looks)
        self._robot.initViewer(viewer=server, loadModel=True)

    def show(self, s: Snapshot, trail: list[Array]) -> None:
        for name, position in s.joints.items():
            if name in self._q_index and math.isfinite(position):
                self._q[self._q_index[name]] = position
        self._robot.display(self._q)
        self._planned.points = segments(np.zeros((0, 3)) if s.planned is None else s.planned)
        self._proposed.points = segments(s.plan.path if s.plan else np.zeros((0, 3)))
        self._executed.points = segments(np.array(trail).reshape(-1, 3))
        self._fingers.show(s.T_base_tcp if s.executor else None, s.executor.jaw_width if s.executor else 0.0)
        goal = s.executor.goal if s.executor and s.executor.goal.isfinite() else None
        self._goal.visible = goal is not None
        if goal is not None:
            place(self._goal, goal)


class Page:
    """The page on `url`. `show` is for one thread; the actions are called from the server's own threads."""

    def __init__(
        self,
        urdf: str,
        workspace: tuple[Array, Array],
        actions: Actions,
        *,
        title: str = "Kinema",
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        ghosts: Mapping[str, Image] | None = None,
    ) -> None:
        """`ghosts`: camera name -> an image that may be laid over the live ones."""
        self._server = server = monitor_gate.serve(host, port, token)
        self.url = f"http://{host}:{server.get_port()}"
        self._history: History[Executor] = History()
        self._divergences: History[Divergence] = History()
        self._trail: History[Array] = History()
        self._shown: tuple[object, ...] = ()  # the pictures, and the ghost's share

        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(28, 111, 181))
        gui.set_panel_label(title)
        self._scene = _Scene(server, urdf, workspace)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(350)
        self._status = gui.add_html(_status(Snapshot(0.0)))
        stop = gui.add_button("SOFTWARE STOP", color="red", icon=viser.Icon.HAND_STOP)
        hold = gui.add_button("Hold", color="orange", icon=viser.Icon.PLAYER_PAUSE)
        reset = gui.add_button("Reset …", color="gray", icon=viser.Icon.ROTATE)
        sure = Confirmation(server, "Yes, reset", "No", lambda client: act(client, "Reset", actions.reset))
        self._plan: Plan | None = None
        self._approve = gui.add_button("Approve", color="green", icon=viser.Icon.CHECK, visible=False)
        self._reject = gui.add_button("Reject", color="violet", icon=viser.Icon.X, visible=False)
        self._approve.hint = "Lets the plan go that is shown: the violet path, the predicted video."
        self._reject.hint = "Drops it; the policy thinks again."
        stop.hint = "Brakes at once and latches. It never replaces the hardware emergency stop."
        hold.hint = "Brakes, ends the policy run, keeps the grip."
        reset.hint = "Leaves FAULT or STOPPED; asks first."
        plots = {name: Plot(server, _CHARTS[name], 150) for name in ("tracking", "period")}
        self._calibration = gui.add_html("", visible=False)
        panel = gui.add_panel()
        with panel.add_tab("Cameras", viser.Icon.CAMERA):
            self._wall = gui.add_image(wall({}, {}), format="jpeg", jpeg_quality=80)
            self._ghost = Ghost(server, ghosts)
            self._difference = Plot(server, _DIVERGENCE, 76)
            plots |= {name: Plot(server, _CHARTS[name], 76) for name in ("force", "jaw")}
        panel.dock_left()
        panel.set_width(450)
        self._plots = plots
        self._approve.on_click(lambda event: self._decide(event.client, "Approve", actions.approve))
        self._reject.on_click(lambda event: self._decide(event.client, "Reject", actions.reject))
        stop.on_click(lambda event: act(event.client, "Software stop", actions.software_stop))
        hold.on_click(lambda event: act(event.client, "Hold", actions.hold))
        reset.on_click(lambda _: sure.ask(_SURE))

    def _decide(self, client: viser.ClientHandle | None, name: str, decision: Callable[[int], str]) -> None:
        """On the plan that is shown: if another one has taken its place meanwhile, the decision is refused."""
        plan = self._plan
        if plan is not None:
            act(client, name, lambda: decision(plan.chunk))

    @property
    def watched(self) -> bool:
        """Whether anybody has the page open."""
        return bool(self._server.get_clients())

    def show(self, s: Snapshot) -> None:
        """Take in one moment, and draw it if somebody looks. Meant to be called at 10 Hz at the most."""
        self._history.add(s.t, s.executor)
        self._divergences.add(s.t, s.divergence)
        self._trail.add(s.t, s.T_base_tcp.position if s.T_base_tcp and s.T_base_tcp.isfinite() else None)
        if self.watched:
            with moment():
                self._draw(s)

    def _draw(self, s: Snapshot) -> None:
        with self._server.atomic():
            self._status.content = _status(s)
            self._scene.show(s, self._trail.values)
            self._plan = s.plan
            for button in (self._approve, self._reject):
                button.visible = s.plan is not None
            if len(self._history) > 1:
                for plot in self._plots.values():
                    plot.show(self._history.times - s.t, self._history.values)
            if len(self._divergences) > 1:
                self._difference.show(self._divergences.times - s.t, self._divergences.values)
            self._calibration.visible = s.calibration is not None
            if s.calibration is not None:
                self._calibration.content = monitor_calibration.panel(s.calibration)
        session = s.calibration.pictures if s.calibration else None
        sources = (s.images, s.predicted, session or {})
        pictures = (self._ghost.share, session is None, *(images.get(c) for images in sources for c in CAMERAS))
        if len(pictures) != len(self._shown) or any(a is not b for a, b in zip(pictures, self._shown, strict=True)):
            self._shown = pictures
            self._wall.image = wall(self._ghost.over(s.images), s.predicted, session)

    def close(self) -> None:
        self._server.stop()
