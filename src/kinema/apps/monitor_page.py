"""The monitor page: one viser server that shows a `Snapshot` and turns three buttons into three calls. Knows no ROS.

Nothing is drawn or encoded while nobody looks; the history of the plots is kept all the same.
"""

import html
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import pinocchio as pin
import viser
import viser.uplot
from numpy.typing import NDArray
from pinocchio.visualize import ViserVisualizer

from kinema.apps import monitor_gate
from kinema.apps.pictures import caption
from kinema.chunk import Image
from kinema.control.messages import State
from kinema.errors import KinemaError
from kinema.geometry import Array, Pose
from kinema.robots import GRIPPER
from kinema.topics import CAMERAS

HISTORY = 30.0  # [s] that plots and trail reach back
_TILE = (320, 240)  # [px] one image on the wall
_GAP = 6  # [px]
_FINGER = 0.08  # [m] drawn length of a finger

_STATE_LOOKS = {
    State.IDLE: ("#5c6370", "not enabled"),
    State.READY: ("#1c6fb5", "enabled, waiting for orders"),
    State.EXECUTING: ("#2b8a3e", "moving"),
    State.HOLDING: ("#b36b00", "at rest, waiting for a usable chunk"),
    State.FAULT: ("#c92a2a", "latched until reset"),
    State.STOPPED: ("#c92a2a", "latched until reset"),
}
_SURE = (
    '<div style="padding:0 10px;font-size:12.5px">Look at the arm first. It goes to IDLE where it stands; '
    "queue and force correction are emptied.</div>"
)
_MEASURED, _COMMANDED, _WORST = "#1c7ed6", "#e8890c", "#c92a2a"


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
class Snapshot:
    """Everything the page shows of one moment; None and empty where nothing has been heard.

    t        [s] of the page's own steady time axis
    joints   name -> position [rad, m]
    T_base_tcp measured tool pose
    images, predicted: camera name -> (height, width, 3) uint8 RGB, the newest live image and the predicted one for it
    planned  (n, 3) positions of the tool in base_link that the newest chunk leads through [m]
    stale    what should be heard and is not, in words
    """

    t: float
    executor: Executor | None = None
    cell: Cell | None = None
    task: str = ""
    policy: str = ""
    joints: Mapping[str, float] = field(default_factory=dict)
    T_base_tcp: Pose | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    predicted: Mapping[str, Image] = field(default_factory=dict)
    planned: Array | None = None
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Actions:
    """What the buttons do. Each returns what came of it in words, or raises KinemaError saying why nothing did."""

    hold: Callable[[], str]
    software_stop: Callable[[], str]
    reset: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Series:
    label: str
    unit: str
    colour: str
    value: Callable[[Executor], float]


@dataclass(frozen=True, slots=True)
class _Chart:
    title: str
    series: tuple[_Series, ...]
    least: float  # the smallest upper end of the value axis, so that noise at rest does not fill the chart


_CHARTS = {
    "force": _Chart("Grasp force", (_Series("measured", "N", _MEASURED, lambda e: e.force),), 5.0),
    "jaw": _Chart(
        "Jaw opening",
        (
            _Series("measured", "mm", _MEASURED, lambda e: 1e3 * e.jaw_width),
            _Series("commanded", "mm", _COMMANDED, lambda e: 1e3 * e.jaw_goal),
        ),
        90.0,
    ),
    "tracking": _Chart(
        "Tracking error",
        (
            _Series("position", "mm", _MEASURED, lambda e: 1e3 * e.position_error),
            _Series("rotation", "°", _COMMANDED, lambda e: math.degrees(e.rotation_error)),
        ),
        5.0,
    ),
    "period": _Chart(
        "Loop period",
        (
            _Series("median", "ms", _MEASURED, lambda e: 1e3 * e.period_p50),
            _Series("99 %", "ms", _COMMANDED, lambda e: 1e3 * e.period_p99),
            _Series("max", "ms", _WORST, lambda e: 1e3 * e.period_max),
        ),
        4.0,
    ),
}


class _Plot:
    """One chart: a heading with the newest values, and the curves of the last `HISTORY` seconds.

    Every scale is left to uPlot, because viser's client loses a scale that changes while the page builds up. A curve
    that nobody sees spans the chart's least range.
    """

    def __init__(self, server: viser.ViserServer, chart: _Chart, height: int) -> None:
        self._chart = chart
        self._heading = server.gui.add_html(self._head(None))
        axis = viser.uplot.Axis(size=28, font="10px sans-serif", gap=2, grid={"stroke": "#eceff1", "width": 1})
        self._plot = server.gui.add_uplot(
            self._data(np.array([-HISTORY, 0.0]), [np.zeros(2) for _ in chart.series]),
            (
                viser.uplot.Series(label="s"),
                viser.uplot.Series(label="", stroke="transparent"),
                *(viser.uplot.Series(label=s.label, stroke=s.colour, width=1.5) for s in chart.series),
            ),
            scales={"x": viser.uplot.Scale(time=False)},
            legend=viser.uplot.Legend(show=False),
            axes=(axis, axis),
            height=height,
            padding=(6, 10, 0, 0),
        )

    def _data(self, t: Array, curves: list[Array]) -> tuple[Array, ...]:
        """What is not finite is drawn as zero: one NaN would blank the chart; the heading shows it as it is."""
        span = np.zeros(len(t))
        span[0] = self._chart.least
        return (t, span, *(np.where(np.isfinite(curve), curve, 0.0) for curve in curves))

    def _head(self, executor: Executor | None) -> str:
        values = "".join(
            f'<span style="color:{s.colour};margin-left:10px">{s.label} '
            f"<b>{'-' if executor is None else f'{s.value(executor):.1f}'}</b> {s.unit}</span>"
            for s in self._chart.series
        )
        return (
            f'<div style="font-size:12px;line-height:1.2;padding:2px 10px 0;font-variant-numeric:tabular-nums">'
            f"<b>{self._chart.title}</b>{values}</div>"
        )

    def show(self, t: Array, history: list[Executor]) -> None:
        self._plot.data = self._data(t, [np.array([s.value(e) for e in history]) for s in self._chart.series])
        self._heading.content = self._head(history[-1])


def _tile(image: Image | None, label: str, empty: str) -> Image:
    tile = np.full((_TILE[1], _TILE[0], 3), 42, np.uint8)
    if image is None:
        (width, _), _ = cv2.getTextSize(empty, cv2.FONT_HERSHEY_DUPLEX, 0.45, 1)
        place = ((_TILE[0] - width) // 2, _TILE[1] // 2)
        cv2.putText(tile, empty, place, cv2.FONT_HERSHEY_DUPLEX, 0.45, (150, 150, 150), 1, cv2.LINE_AA)
    else:
        scale = min(_TILE[0] / image.shape[1], _TILE[1] / image.shape[0])
        fitted = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (_TILE[1] - fitted.shape[0]) // 2, (_TILE[0] - fitted.shape[1]) // 2
        tile[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    caption(tile, label)
    return tile


def wall(images: Mapping[str, Image], predicted: Mapping[str, Image]) -> Image:
    """One picture of all cameras, a row each: live on the left, predicted on the right."""
    rows = []
    for camera in CAMERAS:
        live = _tile(images.get(camera), f"{camera}: live", "no image")
        imagined = _tile(predicted.get(camera), f"{camera}: predicted", "no predicted video")
        rows.append(np.hstack([live, np.full((_TILE[1], _GAP, 3), 255, np.uint8), imagined]))
    between = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([rows[0], *(part for row in rows[1:] for part in (between, row))])


def _status(s: Snapshot) -> str:
    """The card at the top of the page; all texts come from elsewhere and are escaped."""
    e, c = s.executor, s.cell
    colour, meaning = _STATE_LOOKS[e.state] if e else ("#5c6370", "the executor is silent")
    reason = e.reason if e and e.state in (State.FAULT, State.STOPPED) and e.reason else meaning
    rows = {"Task": s.task or "-", "Policy": s.policy or "-"}
    if e:
        rows["Chunk"] = "-" if e.chunk < 0 else f"{e.chunk}, step {e.step}, {e.steps_left} left"
        rows["Owner"] = e.owner or "nobody"
    if c:
        rows["Episode"] = f"{c.episode} ({c.split}, seed {c.seed})"
        rows["Outcome"] = ("success: " if c.success else "") + (c.outcome or "-")
        rows["Cell"] = f"{c.real_time_factor:.2f} of real time, slipped {c.slipped:.2f} s, {c.unanswered} unanswered"
        if c.fault:
            rows["Broken"] = c.fault
    if s.stale:
        rows["Silent"] = ", ".join(s.stale)
    body = "".join(
        f'<tr><td style="color:#868e96;padding:1px 10px 1px 0;vertical-align:top">{name}</td>'
        f'<td style="color:{_WORST if name in ("Broken", "Silent") else "inherit"}">{html.escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return (
        f'<div style="padding:0 10px 8px;font-size:12.5px;line-height:1.35">'
        f'<div style="background:{colour};color:white;border-radius:6px;padding:8px 12px;margin-bottom:6px">'
        f'<div style="font-size:20px;font-weight:700">{e.state.name if e else "NO CONTACT"}</div>'
        f"<div>{html.escape(reason)}</div></div>"
        f'<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">{body}</table></div>'
    )


def _box_edges(lower: Array, upper: Array) -> Array:
    """(12, 2, 3): the edges of an axis-aligned box."""
    corners = np.array([[(lower, upper)[b >> a & 1][a] for a in range(3)] for b in range(8)])
    return np.array([(corners[b], corners[b | 1 << a]) for a in range(3) for b in range(8) if not b >> a & 1])


def _segments(points: Array) -> NDArray[np.float32]:
    """(n - 1, 2, 3) of a path (n, 3); a path of one point or none is one segment of no length."""
    path = points if len(points) > 1 else np.zeros((2, 3))
    return np.stack([path[:-1], path[1:]], axis=1).astype(np.float32)


def _place(node: viser.FrameHandle, T: Pose) -> None:
    x, y, z, w = T.quaternion
    node.position, node.wxyz = T.position, np.array([w, x, y, z])


class _Scene:
    """Robot, table, workspace box, planned and executed path."""

    def __init__(self, server: viser.ViserServer, urdf: str, workspace: tuple[Array, Array]) -> None:
        lower, upper = workspace
        middle, extent = (lower + upper) / 2, upper - lower
        scene = server.scene
        scene.set_background_image(np.full((2, 2, 3), 246, np.uint8))
        scene.add_box(
            "/table",
            dimensions=(extent[0] + 0.5, extent[1] + 0.2, 0.03),
            position=(middle[0] - 0.1, middle[1], -0.0155),
            color=(214, 205, 192),
        )
        scene.add_line_segments(
            "/workspace", _box_edges(lower, upper), (120, 140, 160), thickness=1.0, thickness_units="screen"
        )
        self._planned = scene.add_line_segments(
            "/planned", _segments(np.zeros((0, 3))), (232, 137, 12), thickness=0.006
        )
        self._executed = scene.add_line_segments(
            "/executed", _segments(np.zeros((0, 3))), (28, 126, 214), thickness=0.004
        )
        self._goal = scene.add_frame("/goal", axes_length=0.08, axes_radius=0.003, visible=False)

        pad, reach = GRIPPER.pad, GRIPPER.tip
        self._tcp = scene.add_frame("/tcp", show_axes=False, visible=False)
        self._fingers = tuple(
            scene.add_box(f"/tcp/{name}", dimensions=(2 * pad[0], 2 * pad[1], _FINGER), color=(60, 62, 68))
            for name in ("finger_left", "finger_right")
        )
        self._finger_centre = (pad[0], reach - _FINGER / 2)
        model = pin.buildModelFromXML(urdf)
        looks = pin.buildGeomFromUrdfString(model, urdf, pin.GeometryType.VISUAL)
        self._q_index = {name: model.idx_qs[model.getJointId(name)] for name in model.names[1:]}
        self._q = pin.neutral(model)
        self._robot = ViserVisualizer(model, pin.GeometryModel(), looks)
        self._robot.initViewer(viewer=server, loadModel=True)
        server.initial_camera.position = (middle[0] + 1.15, middle[1] - 1.05, 1.0)
        server.initial_camera.look_at = (middle[0] - 0.15, middle[1], 0.25)

    def show(self, s: Snapshot, trail: list[Array]) -> None:
        for name, position in s.joints.items():
            if name in self._q_index and math.isfinite(position):
                self._q[self._q_index[name]] = position
        self._robot.display(self._q)
        self._planned.points = _segments(np.zeros((0, 3)) if s.planned is None else s.planned)
        self._executed.points = _segments(np.array(trail).reshape(-1, 3))
        self._show_tool(s)
        goal = s.executor.goal if s.executor and s.executor.goal.isfinite() else None
        self._goal.visible = goal is not None
        if goal is not None:
            _place(self._goal, goal)

    def _show_tool(self, s: Snapshot) -> None:
        self._tcp.visible = known = s.T_base_tcp is not None and s.T_base_tcp.isfinite() and s.executor is not None
        if known and s.T_base_tcp is not None and s.executor is not None:
            _place(self._tcp, s.T_base_tcp)
            half, z = s.executor.jaw_width / 2 + self._finger_centre[0], self._finger_centre[1]
            for finger, side in zip(self._fingers, (-1, 1), strict=True):
                finger.position = np.array([side * half, 0.0, z])


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
    ) -> None:
        self._server = server = monitor_gate.serve(host, port, token)
        self.url = f"http://{host}:{server.get_port()}"
        self._history: deque[tuple[float, Executor]] = deque()
        self._trail: deque[tuple[float, Array]] = deque()
        self._shown: tuple[Image | None, ...] = ()

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
        self._sure = gui.add_html(_SURE, visible=False)
        self._yes = gui.add_button("Yes, reset", color="blue", visible=False)
        self._no = gui.add_button("No", color="gray", visible=False)
        stop.hint = "Brakes at once and latches. It never replaces the hardware emergency stop."
        hold.hint = "Brakes, ends the policy run, keeps the grip."
        reset.hint = "Leaves FAULT or STOPPED; asks first."
        plots = {name: _Plot(server, _CHARTS[name], 150) for name in ("tracking", "period")}
        panel = gui.add_panel()
        with panel.add_tab("Cameras", viser.Icon.CAMERA):
            self._wall = gui.add_image(wall({}, {}), format="jpeg", jpeg_quality=80)
            plots |= {name: _Plot(server, _CHARTS[name], 120) for name in ("force", "jaw")}
        panel.dock_left()
        panel.set_width(450)
        self._plots = plots
        stop.on_click(lambda event: self._act(event.client, "Software stop", actions.software_stop))
        hold.on_click(lambda event: self._act(event.client, "Hold", actions.hold))
        reset.on_click(lambda _: self._ask(True))
        self._no.on_click(lambda _: self._ask(False))
        self._yes.on_click(lambda event: self._reset(event.client, actions.reset))

    def _act(self, client: viser.ClientHandle | None, name: str, action: Callable[[], str]) -> None:
        try:
            told = action()
        except KinemaError as error:
            if client is not None:
                client.add_notification(name, str(error), color="red", auto_close_seconds=None)
        else:
            if client is not None:
                client.add_notification(name, told, color="green", auto_close_seconds=6.0)

    def _reset(self, client: viser.ClientHandle | None, reset: Callable[[], str]) -> None:
        self._ask(False)
        self._act(client, "Reset", reset)

    def _ask(self, asking: bool) -> None:
        """The confirmation stands among the buttons, because a modal window would cover the software stop."""
        for element in (self._sure, self._yes, self._no):
            element.visible = asking

    @property
    def watched(self) -> bool:
        """Whether anybody has the page open."""
        return bool(self._server.get_clients())

    def show(self, s: Snapshot) -> None:
        """Take in one moment, and draw it if somebody looks. Meant to be called at 10 Hz at the most."""
        if s.executor is not None:
            self._history.append((s.t, s.executor))
        if s.T_base_tcp is not None and s.T_base_tcp.isfinite():
            self._trail.append((s.t, s.T_base_tcp.position))
        for kept in (self._history, self._trail):
            while kept and kept[0][0] < s.t - HISTORY:
                kept.popleft()
        if not self.watched:
            return
        with self._server.atomic():
            self._status.content = _status(s)
            self._scene.show(s, [position for _, position in self._trail])
            if len(self._history) > 1:
                t = np.array([moment for moment, _ in self._history]) - s.t
                for plot in self._plots.values():
                    plot.show(t, [executor for _, executor in self._history])
        pictures = (*(s.images.get(c) for c in CAMERAS), *(s.predicted.get(c) for c in CAMERAS))
        if len(pictures) != len(self._shown) or any(a is not b for a, b in zip(pictures, self._shown, strict=True)):
            self._shown = pictures
            self._wall.image = wall(s.images, s.predicted)

    def close(self) -> None:
        self._server.stop()
