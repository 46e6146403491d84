"""The monitor page of a recording: for the person who holds the gripper, and whoever watches. Knows no ROS.

Nothing is drawn or encoded while nobody looks; the history of the plots is kept all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import viser

from kinema.apps import monitor_calibration, monitor_gate, monitor_recorder
from kinema.apps.monitor_calibration import Calibration
from kinema.apps.monitor_parts import (
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
    draw_cell,
    moment,
    segments,
    views,
)
from kinema.apps.monitor_recorder import Recorder
from kinema.chunk import Image
from kinema.episodes.session import Phase
from kinema.geometry import Array, Pose
from kinema.topics import CAMERAS


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """Everything the page shows of one moment; None and empty where nothing has been heard.

    t        [s] of the page's own steady time axis
    T_base_tcp what may be believed of the tracked tool pose
    width    [m] of the jaw, force [N] of the grasp; NaN where they are not known
    images   camera name -> (height, width, 3) uint8 RGB, the newest
    outcome  what the virtual cell says of the task
    calibration the session that is open
    stale    what should be heard and is not, in words
    """

    t: float
    recorder: Recorder | None = None
    T_base_tcp: Pose | None = None
    width: float = float("nan")
    force: float = float("nan")
    images: Mapping[str, Image] = field(default_factory=dict)
    outcome: str = ""
    calibration: Calibration | None = None
    stale: tuple[str, ...] = ()

    @property
    def position(self) -> Array:
        """(3,) of the tool in base_link [m], NaN where it is not known."""
        return self.T_base_tcp.position if self.T_base_tcp else np.full(3, np.nan)


@dataclass(frozen=True, slots=True)
class Actions:
    """What the buttons do. Each returns what came of it in words, or raises KinemaError saying why nothing did."""

    start: Callable[[], str]
    stop: Callable[[], str]
    discard: Callable[[], str]


_FORCE: Chart[Snapshot] = Chart("Grasp force", (Series("", "N", MEASURED, lambda s: s.force),), 5.0)
_WIDTH: Chart[Snapshot] = Chart("Jaw opening", (Series("", "mm", MEASURED, lambda s: 1e3 * s.width),), 90.0)
_TOOL: Chart[Snapshot] = Chart(
    "Tool",
    (
        Series("x", "cm", WORST, lambda s: 1e2 * s.position[0]),
        Series("y", "cm", "#2b8a3e", lambda s: 1e2 * s.position[1]),
        Series("z", "cm", MEASURED, lambda s: 1e2 * s.position[2]),
    ),
    30.0,
)


class _Scene:
    """Table, workspace box, the handheld gripper and its trail."""

    def __init__(self, server: viser.ViserServer, workspace: tuple[Array, Array]) -> None:
        draw_cell(server, workspace)
        self._trail = server.scene.add_line_segments(
            "/trail", segments(np.zeros((0, 3))), (28, 126, 214), thickness=0.004
        )
        self._fingers = Fingers(server)
        server.scene.add_box(
            "/tcp/palm", dimensions=(0.12, 0.05, 0.05), position=(0.0, 0.0, -0.095), color=(60, 62, 68)
        )
        server.scene.add_box(
            "/tcp/handle", dimensions=(0.035, 0.04, 0.11), position=(0.0, 0.0, -0.17), color=(90, 94, 104)
        )
        server.scene.add_box(
            "/tcp/tracker", dimensions=(0.108, 0.025, 0.013), position=(0.0, 0.055, -0.15), color=(28, 111, 181)
        )

    def show(self, s: Snapshot, trail: list[Array]) -> None:
        self._trail.points = segments(np.array(trail).reshape(-1, 3))
        self._fingers.show(s.T_base_tcp, s.width if np.isfinite(s.width) else 0.0)


class Page:
    """The page on `url`. `show` is for one thread; the actions are called from the server's own threads."""

    def __init__(
        self,
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
        self._history: History[Snapshot] = History()
        self._trail: History[Array] = History()
        self._shown: tuple[object, ...] = ()  # the pictures, and the ghost's share
        self._last: Recorder | None = None

        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(28, 111, 181))
        gui.set_panel_label(title)
        self._scene = _Scene(server, workspace)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(350)
        self._status = gui.add_html(monitor_recorder.status(None, "", ()))
        self._start = gui.add_button("Start", color="green", icon=viser.Icon.PLAYER_RECORD)
        self._stop = gui.add_button("Stop", color="blue", icon=viser.Icon.PLAYER_STOP)
        self._discard = gui.add_button("Discard …", color="gray", icon=viser.Icon.TRASH)
        sure = Confirmation(server, "Yes, delete", "No", lambda client: act(client, "Discard", actions.discard))
        self._quality = gui.add_html("")
        self._plots = [Plot(server, _TOOL, 120)]
        self._calibration = gui.add_html("", visible=False)
        panel = gui.add_panel()
        with panel.add_tab("Cameras", viser.Icon.CAMERA):
            self._views = gui.add_image(views({}), format="jpeg", jpeg_quality=80)
            self._ghost = Ghost(server, ghosts)
            self._plots += [Plot(server, chart, 110) for chart in (_FORCE, _WIDTH)]
        panel.dock_left()
        panel.set_width(450)
        self._start.on_click(lambda event: act(event.client, "Start", actions.start))
        self._stop.on_click(lambda event: act(event.client, "Stop", actions.stop))
        self._discard.on_click(lambda _: sure.ask(self._question()))

    def _question(self) -> str:
        """What discarding would delete now."""
        if self._last is not None and self._last.phase is Phase.RECORDING:
            return "Delete what is being recorded?"
        return f"Delete the last episode{f', {self._last.episode}' if self._last and self._last.episode else ''}?"

    @property
    def watched(self) -> bool:
        """Whether anybody has the page open."""
        return bool(self._server.get_clients())

    def show(self, s: Snapshot) -> None:
        """Take in one moment, and draw it if somebody looks. Meant to be called at 10 Hz at the most."""
        self._last = s.recorder
        self._history.add(s.t, replace(s, images={}, calibration=None))
        self._trail.add(s.t, s.T_base_tcp.position if s.T_base_tcp and s.T_base_tcp.isfinite() else None)
        if self.watched:
            with moment():
                self._draw(s)

    def _draw(self, s: Snapshot) -> None:
        with self._server.atomic():
            self._status.content = monitor_recorder.status(s.recorder, s.outcome, s.stale)
            self._quality.content = monitor_recorder.quality(s.recorder)
            phase = s.recorder.phase if s.recorder else None
            self._start.disabled, self._stop.disabled = phase is not Phase.IDLE, phase is not Phase.RECORDING
            self._scene.show(s, self._trail.values)
            if len(self._history) > 1:
                for plot in self._plots:
                    plot.show(self._history.times - s.t, self._history.values)
            self._calibration.visible = s.calibration is not None
            if s.calibration is not None:
                self._calibration.content = monitor_calibration.panel(s.calibration)
        session = s.calibration.pictures if s.calibration else {}
        pictures = (self._ghost.share, *(images.get(camera) for images in (s.images, session) for camera in CAMERAS))
        if len(pictures) != len(self._shown) or any(a is not b for a, b in zip(pictures, self._shown, strict=True)):
            self._shown = pictures
            self._views.image = views(self._ghost.over(s.images), session)

    def close(self) -> None:
        self._server.stop()
