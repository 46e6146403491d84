"""The recording's page in a real browser: what the person with the gripper sees, and what the buttons do."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kinema.apps import monitor_parts, monitor_recorder, monitor_recording_page
from kinema.apps.monitor_calibration import Calibration
from kinema.apps.monitor_recorder import Recorder, StreamRate
from kinema.apps.monitor_recording_page import Actions, Page, Snapshot
from kinema.calibration import session as calibration_session
from kinema.control.settings import Limits
from kinema.episodes.quality_monitor import HANDHELD
from kinema.episodes.session import Phase, Session
from kinema.errors import DeviceError
from kinema.geometry import Pose
from kinema.topics import CAMERAS

WORKSPACE = tuple(np.array(corner) for corner in Limits().workspace)
COLOURS = {"gripper": (220, 40, 40), "left": (40, 200, 60), "right": (50, 60, 230)}
PLAIN = {c: np.full((240, 320, 3), colour, np.uint8) for c, colour in COLOURS.items()}
EPISODE = "episodes/put-the-cup-into-the-bowl/2026-01-31_004"


def recorder(phase: Phase, **other: object) -> Recorder:
    values: dict = {
        "phase": phase,
        "task": "put the <cup> into the bowl",
        "operator": "Ada",
        "episode": EPISODE,
        "duration": 72.35,
        "saved": 3,
        "rejected": 1,
        "message": Session().start(EPISODE).stop("by key").keep("tracker: it jumped once").message,
        "problems": (),
        "streams": tuple(StreamRate(name, rate, rate, 0) for name, rate in HANDHELD.rates.items()),
        "skew": 0.0042,
        "tags": 2,
        "confidence": 3,
        "tare_drift": 0.03,
        "disk_free": 81e9,
    }
    return Recorder(**values | other)


def snapshot(t: float, phase: Phase = Phase.RECORDING, **other: object) -> Snapshot:
    T = Pose(
        np.array([0.45 + 0.12 * np.sin(t), 0.1 * np.cos(1.3 * t), 0.12 + 0.08 * np.cos(t)]), np.diag([1.0, -1, -1])
    )
    values: dict = {
        "recorder": recorder(phase),
        "T_base_tcp": T,
        "width": 0.05 + 0.02 * np.sin(2 * t),
        "force": 3.0 + 2.5 * np.sin(t),
        "images": PLAIN,
        "outcome": "the cup is not in the bowl",
    }
    return Snapshot(t, **values | other)


class Pressed:
    """What the buttons did; `stop` is refused, as by a recorder that is already saving."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def press(self, name: str) -> str:
        self.names.append(name)
        if name == "stop":
            raise DeviceError("nothing is being recorded")
        return f"{name} done"


@pytest.fixture
def pressed() -> Pressed:
    return Pressed()


@pytest.fixture
def page(pressed) -> Iterator[Page]:
    actions = Actions(*(lambda name=name: pressed.press(name) for name in ("start", "stop", "discard")))
    page = Page(WORKSPACE, actions, port=0)
    yield page
    page.close()


@pytest.fixture
def live(page) -> Iterator[Callable[..., None]]:
    """Shows moments at 10 Hz in a thread; `live(phase=...)` changes what they say."""
    told: dict = {}
    ended = threading.Event()

    def tell() -> None:
        for tick in range(100_000):
            page.show(snapshot(tick / 10, **told))
            if ended.wait(0.1):
                return

    thread = threading.Thread(target=tell)
    thread.start()
    yield lambda **changes: told.update(changes)
    ended.set()
    thread.join()


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of the pixels that have this colour."""
    return float((np.abs(picture.astype(int) - colour).max(axis=2) < 25).mean())


def test_shows_what_is_recorded_for_how_long_and_how_well(page, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "REC 1:12.3" in " ".join(browser.text().split()), "the time")
    text = browser.text()
    for wanted in (
        "put the <cup> into the bowl",
        "Ada",
        "2026-01-31_004",
        "3, 1 of them rejected",
        "it jumped once",
    ):
        assert wanted in text
    for wanted in ("tracker/odometry", "200 of 200 Hz", "4.2 ms", "2 of 2", "3 of 3", "+0.03 N", "81.0 GB"):
        assert wanted in text
    for wanted in ("Grasp force", "Jaw opening", "Tool", "camera skew", "the cup is not in the bowl"):
        assert wanted in text
    picture = browser.until(
        lambda: min(share(p := browser.screenshot(), c) for c in COLOURS.values()) > 0.01 and [p], "images"
    )[0]
    assert len(np.unique(picture[100:800, 480:1040].reshape(-1, 3), axis=0)) > 100, "the scene is blank"
    boxes = browser.evaluate(
        "[...document.querySelectorAll('button, .uplot, img')].filter(e => e.offsetParent)"
        ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    corners = np.array(boxes)
    assert len(boxes) >= 7 and corners.min() >= 0
    assert corners[:, 2].max() <= 1400 and corners[:, 3].max() <= 900, "it fits on a screen of 1400 by 900"


@pytest.mark.slow
def test_a_ghost_of_a_recorded_frame_is_laid_over_the_live_images(pressed, browse):
    ghosts = {camera: np.full((120, 160, 3), 255, np.uint8) for camera in CAMERAS}
    actions = Actions(*(lambda name=name: pressed.press(name) for name in ("start", "stop", "discard")))
    page = Page(WORKSPACE, actions, port=0, ghosts=ghosts)
    try:
        browser = browse(page.url)
        browser.until(lambda: page.show(snapshot(0.0)) or "Ghost" in browser.text(), "the slider")
        browser.until(lambda: page.show(snapshot(0.0)) or page._shown, "that somebody looks")
        live = np.asarray(page._views.image)
        page._ghost.haunt(0.5)
        page.show(snapshot(0.1))
        seen = np.asarray(page._views.image)[100:200, 50:150].astype(int)
        np.testing.assert_allclose(seen, (live[100:200, 50:150].astype(int) + 255) / 2, atol=1)
    finally:
        page.close()


def test_an_episode_that_must_not_be_used_stands_out():
    bad, good = recorder(Phase.IDLE), recorder(Phase.IDLE, message=Session().start(EPISODE).stop("").keep("").message)
    assert monitor_parts.WORST in monitor_recorder.status(bad, "", ())
    assert monitor_parts.WORST not in monitor_recorder.status(good, "", ())


def test_what_keeps_a_recording_from_beginning_is_said_with_its_remedy(page, live, browse):
    slow = StreamRate("left/image_raw", 11.0, 30.0, 7)
    idle = recorder(Phase.IDLE, problems=("the load cell is not tared: zero it",), streams=(slow,))
    live(recorder=idle)
    browser = browse(page.url)
    browser.until(lambda: "NOT READY" in browser.text(), "the state")
    for wanted in ("the load cell is not tared: zero it", "11 of 30 Hz", "7 lost"):
        assert wanted in browser.text()
    live(recorder=recorder(Phase.IDLE))
    browser.until(lambda: "squeeze the jaw twice" in browser.text(), "ready")
    live(recorder=None, stale=("tracker/pose",))
    browser.until(lambda: "NO CONTACT" in browser.text() and "tracker/pose" in browser.text(), "the silence")


def test_buttons_reach_the_recorder_and_a_refusal_says_why(page, pressed, live, browse):
    live(phase=Phase.IDLE)
    browser = browse(page.url)
    browser.until(lambda: "READY" in browser.text(), "the page")
    browser.click("Start")
    browser.until(lambda: "start done" in browser.text(), "the start")
    live(phase=Phase.RECORDING)
    browser.until(lambda: "REC" in browser.text(), "the recording")
    browser.click("Stop")
    browser.until(lambda: "nothing is being recorded" in browser.text(), "the refusal")
    assert pressed.names == ["start", "stop"]


def test_discarding_asks_first_and_says_what_it_would_delete(page, pressed, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "REC" in browser.text(), "the recording")
    browser.click("Discard …")
    browser.until(lambda: "Delete what is being recorded?" in browser.text(), "the question")
    browser.click("No")
    live(phase=Phase.IDLE)
    browser.until(lambda: "READY" in browser.text() and "Yes, delete" not in browser.text(), "idle again")
    browser.click("Discard …")
    browser.until(lambda: f"Delete the last episode, {EPISODE}?" in browser.text(), "the question")
    browser.click("Yes, delete")
    browser.until(lambda: pressed.names == ["discard"], "the discarding")


def test_nothing_is_encoded_while_nobody_looks_and_the_history_holds_no_images(page, monkeypatch):
    monkeypatch.setattr(monitor_recording_page, "views", lambda *_: pytest.fail("an image was composed for nobody"))
    for tick in range(400):
        page.show(snapshot(tick / 10))
    assert not page.watched
    assert len(page._history) == len(page._trail) == round(10 * monitor_parts.HISTORY) + 1
    assert not any(moment.images for moment in page._history.values)


def test_a_calibration_session_is_shown_while_it_is_open_and_not_kept(page, monkeypatch):
    drawn = (250, 250, 10)
    session = Calibration(
        phase=calibration_session.Phase.SOLVED,
        what="tool_mount",
        devices=("gripper",),
        samples=25,
        auto=False,
        pose=0,
        poses=0,
        show_next="",
        message="accept it",
        pictures={"gripper": np.full((240, 320, 3), drawn, np.uint8)},
    )
    monkeypatch.setattr(Page, "watched", True)
    page.show(snapshot(0.0))
    assert share(page._views.image, drawn) == 0.0 and not page._calibration.visible
    page.show(snapshot(0.1, calibration=session))
    assert share(page._views.image, drawn) > 0.6, "the reference camera's large image is the session's"
    assert share(page._views.image, COLOURS["left"]) > 0.1, "other cameras are live"
    assert page._calibration.visible and "tool_mount of gripper" in page._calibration.content
    page.show(snapshot(0.2))
    assert share(page._views.image, drawn) == 0.0 and not page._calibration.visible
    assert not any(moment.calibration for moment in page._history.values)


def test_views_show_every_camera_the_reference_the_largest():
    picture = monitor_parts.views(PLAIN)
    assert picture.shape == (3 * 240 + 6, 2 * 320 + 6, 3)
    areas = {camera: share(picture, colour) for camera, colour in COLOURS.items()}
    assert areas[CAMERAS[0]] > 0.6 and min(areas.values()) > 0.15
