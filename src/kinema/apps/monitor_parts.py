"""What the monitor's pages are made of: charts, camera images, cell and tool in 3D, buttons. Knows no ROS."""

import contextlib
import html
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np
import viser
import viser.uplot
from numpy.typing import NDArray

from kinema.apps import ghost
from kinema.apps.pictures import caption
from kinema.chunk import Image
from kinema.errors import KinemaError
from kinema.geometry import Array, Pose
from kinema.robots import GRIPPER
from kinema.topics import CAMERAS

HISTORY = 30.0  # [s] that plots and trail reach back
MEASURED, COMMANDED, WORST = "#1c7ed6", "#e8890c", "#c92a2a"
_TILE = (320, 240)  # [px] one image on the wall
_GAP = 6  # [px]
_FINGER = 0.08  # [m] drawn length of a finger

Moment = TypeVar("Moment")  # what a page keeps of each moment for its charts


@dataclass(frozen=True, slots=True)
class Series(Generic[Moment]):
    label: str
    unit: str
    colour: str
    value: Callable[[Moment], float]


@dataclass(frozen=True, slots=True)
class Chart(Generic[Moment]):
    title: str
    series: tuple[Series[Moment], ...]
    least: float  # the smallest upper end of the value axis, so that noise at rest does not fill the chart


def _held(curve: Array) -> Array:
    """Where it is not finite it stays where it was, zero before that: one NaN would blank the chart."""
    finite = np.isfinite(curve)
    last = np.maximum.accumulate(np.where(finite, np.arange(len(curve)), -1))
    return np.where(last >= 0, curve[last], 0.0)


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


class Plot(Generic[Moment]):
    """One chart: a heading with the newest values, and the curves of the last `HISTORY` seconds.

    Every scale is left to uPlot, because viser's client loses a scale that changes while the page builds up. A curve
    that nobody sees spans the chart's least range.
    """

    def __init__(self, server: viser.ViserServer, chart: Chart[Moment], height: int) -> None:
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
        span = np.zeros(len(t))
        span[0] = self._chart.least
        return (t, span, *map(_held, curves))

    def _head(self, moment: Moment | None) -> str:
        values = "".join(
            f'<span style="color:{s.colour};margin-left:10px">{s.label} '
            f"<b>{'-' if moment is None else _number(s.value(moment))}</b> {s.unit}</span>"
            for s in self._chart.series
        )
        return (
            f'<div style="font-size:12px;line-height:1.2;padding:2px 10px 0;font-variant-numeric:tabular-nums">'
            f"<b>{self._chart.title}</b>{values}</div>"
        )

    def show(self, t: Array, history: list[Moment]) -> None:
        self._plot.data = self._data(t, [np.array([s.value(moment) for moment in history]) for s in self._chart.series])
        self._heading.content = self._head(history[-1])


def _tile(image: Image | None, label: str, empty: str, times: int = 1) -> Image:
    width, height = times * _TILE[0], times * _TILE[1]
    tile = np.full((height, width, 3), 42, np.uint8)
    if image is None:
        (length, _), _ = cv2.getTextSize(empty, cv2.FONT_HERSHEY_DUPLEX, 0.45, 1)
        place = ((width - length) // 2, height // 2)
        cv2.putText(tile, empty, place, cv2.FONT_HERSHEY_DUPLEX, 0.45, (150, 150, 150), 1, cv2.LINE_AA)
    else:
        scale = min(width / image.shape[1], height / image.shape[0])
        fitted = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
        tile[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    caption(tile, label)
    return tile


def wall(
    images: Mapping[str, Image], predicted: Mapping[str, Image], calibration: Mapping[str, Image] | None = None
) -> Image:
    """One picture of all cameras, a row each: live on the left, predicted on the right.

    While a session is open its pictures, `calibration`, stand on the right instead.
    """
    beside, label, empty = predicted, "predicted", "no predicted video"
    if calibration is not None:
        beside, label, empty = calibration, "calibration", "not in this session"
    rows = []
    for camera in CAMERAS:
        live = _tile(images.get(camera), f"{camera}: live", "no image")
        right = _tile(beside.get(camera), f"{camera}: {label}", empty)
        rows.append(np.hstack([live, np.full((_TILE[1], _GAP, 3), 255, np.uint8), right]))
    between = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([rows[0], *(part for row in rows[1:] for part in (between, row))])


def views(images: Mapping[str, Image], calibration: Mapping[str, Image] | None = None) -> Image:
    """One picture of the live cameras: the reference large, the others in a row below it.

    Of a camera that an open session looks through, its picture, of `calibration`, is shown instead.
    """
    reference, *others = CAMERAS
    drawn = calibration or {}
    shown = {**images, **drawn}
    labels = {camera: f"{camera}: calibration" if camera in drawn else camera for camera in CAMERAS}
    tiles = [_tile(shown.get(camera), labels[camera], "no image") for camera in others]
    below = np.hstack(
        [tiles[0], *(p for tile in tiles[1:] for p in (np.full((_TILE[1], _GAP, 3), 255, np.uint8), tile))]
    )
    large = _tile(shown.get(reference), labels[reference], "no image", 2)
    large = np.asarray(cv2.resize(large, (below.shape[1], 2 * _TILE[1])), np.uint8)
    return np.vstack([large, np.full((_GAP, below.shape[1], 3), 255, np.uint8), below])


def _box_edges(lower: Array, upper: Array) -> Array:
    """(12, 2, 3): the edges of an axis-aligned box."""
    corners = np.array([[(lower, upper)[b >> a & 1][a] for a in range(3)] for b in range(8)])
    return np.array([(corners[b], corners[b | 1 << a]) for a in range(3) for b in range(8) if not b >> a & 1])


def segments(points: Array) -> NDArray[np.float32]:
    """(n - 1, 2, 3) of a path (n, 3); a path of one point or none is one segment of no length."""
    path = points if len(points) > 1 else np.zeros((2, 3))
    return np.stack([path[:-1], path[1:]], axis=1).astype(np.float32)


def place(node: viser.FrameHandle, T: Pose) -> None:
    x, y, z, w = T.quaternion
    node.position, node.wxyz = T.position, np.array([w, x, y, z])


def card(colour: str, headline: str, text: str, rows: Mapping[str, str], alarming: Collection[str] = ()) -> str:
    """A coloured headline over a table, as HTML; texts may come from anywhere and are escaped."""
    body = "".join(
        f'<tr><td style="color:#868e96;padding:1px 10px 1px 0;vertical-align:top">{name}</td>'
        f'<td style="color:{WORST if name in alarming else "inherit"};white-space:pre-line">{html.escape(row)}</td>'
        "</tr>"
        for name, row in rows.items()
    )
    return (
        f'<div style="padding:0 10px 8px;font-size:12.5px;line-height:1.35">'
        f'<div style="background:{colour};color:white;border-radius:6px;padding:8px 12px;margin-bottom:6px">'
        f'<div style="font-size:20px;font-weight:700">{html.escape(headline)}</div>'
        f"<div>{html.escape(text)}</div></div>"
        f'<table style="border-collapse:collapse;font-variant-numeric:tabular-nums">{body}</table></div>'
    )


@contextlib.contextmanager
def moment() -> Iterator[None]:
    """What is drawn of one moment.

    viser 1.1 sets its thread's asyncio event from this one (infra/_async_message_buffer.py, push), and now and then
    meets the event's waiters changing. Of this moment the rest is not drawn then; the next one is.
    """
    try:
        yield
    except RuntimeError as error:
        if "mutated during iteration" not in str(error):
            raise


def act(client: viser.ClientHandle | None, name: str, action: Callable[[], str]) -> None:
    """Do what a button does, and tell whoever pressed it what came of it."""
    try:
        told = action()
    except KinemaError as error:
        if client is not None:
            client.add_notification(name, str(error), color="red", auto_close_seconds=None)
    else:
        if client is not None:
            client.add_notification(name, told, color="green", auto_close_seconds=6.0)


class Confirmation:
    """A question with two buttons that stands among the others: a modal window would cover them."""

    def __init__(
        self, server: viser.ViserServer, yes: str, no: str, sure: Callable[[viser.ClientHandle | None], None]
    ) -> None:
        self._question = server.gui.add_html("", visible=False)
        self._yes = server.gui.add_button(yes, color="blue", visible=False)
        self._no = server.gui.add_button(no, color="gray", visible=False)
        self._sure = sure
        self._yes.on_click(lambda event: self._confirmed(event.client))
        self._no.on_click(lambda _: self._show(False))

    def ask(self, question: str) -> None:
        self._question.content = f'<div style="padding:0 10px;font-size:12.5px">{html.escape(question)}</div>'
        self._show(True)

    def _confirmed(self, client: viser.ClientHandle | None) -> None:
        self._show(False)
        self._sure(client)

    def _show(self, visible: bool) -> None:
        for element in (self._question, self._yes, self._no):
            element.visible = visible


def draw_cell(server: viser.ViserServer, workspace: tuple[Array, Array]) -> None:
    """Table and workspace box, and a camera that looks at them."""
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
    server.initial_camera.position = (middle[0] + 1.15, middle[1] - 1.05, 1.0)
    server.initial_camera.look_at = (middle[0] - 0.15, middle[1], 0.25)


class Fingers:
    """The two fingers about the TCP, the whole named `/tcp`; invisible until placed."""

    def __init__(self, server: viser.ViserServer) -> None:
        pad = GRIPPER.pad
        self.frame = server.scene.add_frame("/tcp", show_axes=False, visible=False)
        self._fingers = tuple(
            server.scene.add_box(f"/tcp/{name}", dimensions=(2 * pad[0], 2 * pad[1], _FINGER), color=(60, 62, 68))
            for name in ("finger_left", "finger_right")
        )
        self._centre = (pad[0], GRIPPER.tip - _FINGER / 2)

    def show(self, T_base_tcp: Pose | None, width: float) -> None:
        """`width` [m] between the pads."""
        self.frame.visible = T_base_tcp is not None and T_base_tcp.isfinite()
        if T_base_tcp is None or not self.frame.visible:
            return
        place(self.frame, T_base_tcp)
        half, z = width / 2 + self._centre[0], self._centre[1]
        for finger, side in zip(self._fingers, (-1, 1), strict=True):
            finger.position = np.array([side * half, 0.0, z])


class Ghost:
    """Recorded images that a slider lays over the live ones; without any there is no slider. `share` 0 shows none."""

    def __init__(self, server: viser.ViserServer, images: Mapping[str, Image] | None) -> None:
        self.share = 0.0
        self._images = images or {}
        if self._images:
            slider = server.gui.add_slider("Ghost", min=0.0, max=1.0, step=0.05, initial_value=self.share)
            slider.on_update(lambda event: self.haunt(float(event.target.value)))

    def haunt(self, share: float) -> None:
        """0 the live images alone, 1 the ghost alone."""
        self.share = share

    def over(self, images: Mapping[str, Image]) -> dict[str, Image]:
        return ghost.over(images, self._images, self.share)


class History(Generic[Moment]):
    """What charts and trail reach back to: entries of the last `HISTORY` seconds."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, Moment]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, t: float, entry: Moment | None) -> None:
        """Take in an entry, if there is one, and forget the old ones."""
        if entry is not None:
            self._entries.append((t, entry))
        while self._entries and self._entries[0][0] < t - HISTORY:
            self._entries.popleft()

    @property
    def times(self) -> Array:
        return np.array([t for t, _ in self._entries])

    @property
    def values(self) -> list[Moment]:
        return [entry for _, entry in self._entries]
