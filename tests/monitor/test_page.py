"""The monitor page in a real browser: what a person sees, and what the buttons do."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from kinema.apps import monitor_calibration, monitor_page, monitor_parts
from kinema.apps.monitor_calibration import Calibration
from kinema.apps.monitor_page import Actions, Cell, Divergence, Executor, Page, Plan, Snapshot
from kinema.calibration.session import Phase
from kinema.control.messages import State
from kinema.control.settings import Limits
from kinema.errors import DeviceError
from kinema.geometry import Pose
from kinema.robots import GRIPPER, arm, forward_kinematics
from kinema.topics import CAMERAS
from kinema.urdf import urdf

ROBOT = "virtual_ur5e"
WORKSPACE = tuple(np.array(corner) for corner in Limits().workspace)
COLOURS = {"gripper": (220, 40, 40), "left": (40, 200, 60), "right": (50, 60, 230)}
IMAGINED = {"gripper": (240, 200, 20), "left": (20, 200, 220), "right": (200, 30, 200)}
PLAIN = {c: np.full((240, 320, 3), colour, np.uint8) for c, colour in COLOURS.items()}


DRAWN = (250, 250, 10)
SESSION = Calibration(
    phase=Phase.COLLECTING,
    what="hand_eye",
    devices=("gripper",),
    samples=3,
    auto=True,
    pose=2,
    poses=12,
    show_next="gripper: tilt it <more>",
    message="REFUSED: the arm moves",
    pictures={"gripper": np.full((240, 320, 3), DRAWN, np.uint8)},
)


def snapshot(t: float, state: State = State.EXECUTING, **other: object) -> Snapshot:
    model = arm(ROBOT)
    q = np.array(model.home) + 0.2 * np.sin(t)
    T = forward_kinematics(model, q) @ GRIPPER.T_flange_tcp
    executor = Executor(
        state=state,
        reason="somebody pressed <b>stop</b>",
        owner="run_episodes",
        chunk=4,
        step=7,
        steps_left=13,
        goal=T,
        position_error=0.0021,
        rotation_error=0.005,
        jaw_width=0.040,
        jaw_goal=0.038,
        force=6.5,
        correction=0.0,
        period_p50=0.002,
        period_p99=0.0022,
        period_max=0.0031,
        missed=0,
    )
    cell = Cell("train", 7, 2, False, "the mug is not in the bowl", 0.97, 0.05, 0, "")
    values: dict = {
        "executor": executor,
        "cell": cell,
        "task": "put the red mug into the bowl",
        "policy": "demonstrator",
        "joints": dict(zip((joint.name for joint in model.joints), q.tolist(), strict=True)),
        "T_base_tcp": T,
        "images": PLAIN,
        "planned": np.linspace(T.position, T.position + 0.1, 24),
    }
    return Snapshot(t, **{**values, **other})


class Pressed:
    """What the buttons did; `hold` is refused, as an executor does that has nothing to hold."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def press(self, name: str) -> str:
        self.names.append(name)
        if name == "hold":
            raise DeviceError("the executor is not there")
        return f"{name} done"

    @property
    def actions(self) -> Actions:
        decisions = (lambda chunk: self.press(f"approve {chunk}"), lambda chunk: self.press(f"reject {chunk}"))
        return Actions(*(lambda name=name: self.press(name) for name in ("hold", "stop", "reset")), *decisions)


@pytest.fixture
def pressed() -> Pressed:
    return Pressed()


@pytest.fixture
def page(pressed: Pressed) -> Iterator[Page]:
    page = Page(urdf(ROBOT), WORKSPACE, pressed.actions, port=0)
    yield page
    page.close()


@pytest.fixture
def live(page: Page) -> Iterator[Callable[..., None]]:
    """`live(**changes)`: show moving data in the background from now on, with these changes."""
    changes: dict = {}
    ended = threading.Event()

    def run() -> None:
        for tick in range(10_000):
            page.show(snapshot(tick / 10, **changes))
            if ended.wait(0.1):
                return

    thread = threading.Thread(target=run)
    thread.start()
    yield changes.update
    ended.set()
    thread.join()


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """The share of the picture's pixels that have about this colour."""
    return float((np.abs(picture.astype(int) - colour).max(axis=2) < 25).mean())


def test_shows_robot_images_plots_and_state(page, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "put the red mug into the bowl" in browser.text(), "the task")
    text = browser.text()
    for wanted in (
        "EXECUTING",
        "demonstrator",
        "4, step 7, 13 left",
        "0.97 of real time",
        "the mug is not in the bowl",
    ):
        assert wanted in text
    for wanted in (
        "Grasp force",
        "6.5 N",
        "Jaw opening",
        "40.0 mm",
        "Tracking error",
        "2.1 mm",
        "Loop period",
        "2.2 ms",
        "Imagined against seen",
    ):
        assert wanted in text
    picture = browser.until(
        lambda: min(share(p := browser.screenshot(), c) for c in COLOURS.values()) > 0.01 and [p], "images"
    )[0]
    assert all(share(picture, colour) == 0 for colour in IMAGINED.values()), "nothing has been predicted yet"
    scene = picture[100:800, 480:1040]
    assert len(np.unique(scene.reshape(-1, 3), axis=0)) > 100, "the robot's scene is blank"
    assert browser.evaluate("document.querySelectorAll('.uplot canvas').length") == 5

    live(predicted={c: np.full((240, 320, 3), colour, np.uint8) for c, colour in IMAGINED.items()})
    browser.until(lambda: min(share(browser.screenshot(), c) for c in IMAGINED.values()) > 0.01, "predicted images")


def test_everything_fits_on_a_screen_of_1400_by_900(page, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "Loop period" in browser.text(), "the page")
    boxes = browser.evaluate(
        "[...document.querySelectorAll('button, .uplot, img')].filter(e => e.offsetParent)"
        ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    assert len(boxes) >= 8
    corners = np.array(boxes)
    assert corners.min() >= 0 and corners[:, 2].max() <= 1400 and corners[:, 3].max() <= 900


def test_software_stop_reaches_its_callback(page, pressed, live, browse):
    browser = browse(page.url)
    browser.click("SOFTWARE STOP")
    browser.until(lambda: pressed.names == ["stop"], "the stop")


def test_a_refused_hold_says_why(page, pressed, live, browse):
    browser = browse(page.url)
    browser.click("Hold")
    browser.until(lambda: "the executor is not there" in browser.text(), "the refusal on the page")
    assert pressed.names == ["hold"]


def test_reset_asks_first_and_leaves_the_stop_in_reach(page, pressed, live, browse):
    live(state=State.STOPPED)
    browser = browse(page.url)
    browser.until(lambda: "STOPPED" in browser.text(), "the state")
    assert "somebody pressed <b>stop</b>" in browser.text(), "texts of others are shown as they are, never as HTML"
    browser.click("Reset …")
    browser.click("No")
    browser.until(lambda: "Yes, reset" not in browser.text(), "the question is gone")
    browser.click("Reset …")
    browser.click("SOFTWARE STOP")
    browser.until(lambda: pressed.names == ["stop"], "the stop while the question stands")
    browser.click("Yes, reset")
    browser.until(lambda: pressed.names == ["stop", "reset"], "the reset")


def test_a_plan_is_approved_or_rejected_by_its_own_number(page, pressed, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "put the red mug into the bowl" in browser.text(), "the page")
    assert "Approve" not in browser.text(), "nothing waits"

    def violet() -> float:  # the scene is drawn coarser on a slow machine: thin lines pale
        return share(browser.screenshot()[100:800, 480:1040], (112, 72, 232))

    assert violet() == 0.0
    path = np.linspace((0.35, -0.3, 0.1), (0.35, 0.3, 0.5), 24)
    live(plan=Plan(5, 10**9, 41.0, path), state=State.HOLDING)
    browser.until(lambda: "chunk 5 waits for you to approve or reject it, 41 s more" in browser.text(), "the plan")
    browser.until(lambda: violet() > 1e-4, "its path")
    browser.click("Approve")
    browser.until(lambda: pressed.names == ["approve 5"], "the approval")
    live(plan=Plan(6, 10**9, 60.0, path))
    browser.until(lambda: "chunk 6" in browser.text(), "the next plan")
    browser.click("Reject")
    browser.until(lambda: pressed.names == ["approve 5", "reject 6"], "the rejection")
    live(plan=None)
    browser.until(lambda: "Approve" not in browser.text(), "the buttons are gone")


def test_where_imagination_and_reality_part_stands_as_a_number_and_in_words(page, live, browse):
    live(divergence=Divergence(0.4, 1.1, False, "left sees what was imagined"))
    browser = browse(page.url)
    browser.until(lambda: "difference 0.4" in browser.text() and "threshold 1.1" in browser.text(), "the curve's head")
    assert "Parted" not in browser.text()
    live(divergence=Divergence(2.7, 1.1, True, "what left sees is not what chunk 4 imagined"))
    browser.until(lambda: "what left sees is not what chunk 4 imagined" in browser.text(), "the words")
    live(divergence=Divergence(2.7, float("inf"), False, ""))
    browser.until(lambda: "threshold -" in browser.text(), "that no threshold is known")


@pytest.mark.slow
def test_a_ghost_is_laid_over_the_live_images(pressed, browse):
    ghosts = {camera: np.full((120, 160, 3), 255, np.uint8) for camera in CAMERAS}
    page = Page(urdf(ROBOT), WORKSPACE, pressed.actions, port=0, ghosts=ghosts)
    try:
        browser = browse(page.url)
        browser.until(lambda: page.show(snapshot(0.0)) or "Ghost" in browser.text(), "the slider")
        page.show(snapshot(0.0))
        live = np.asarray(page._wall.image)
        page._ghost.haunt(0.5)
        page.show(snapshot(0.1))
        tile = np.asarray(page._wall.image)[100:200, 50:150].astype(int)
        np.testing.assert_allclose(tile, (live[100:200, 50:150].astype(int) + 255) / 2, atol=1)
    finally:
        page.close()


def test_a_calibration_session_is_shown_while_it_is_open(page, monkeypatch):
    monkeypatch.setattr(Page, "watched", True)
    page.show(snapshot(0.0, predicted={"gripper": np.full((240, 320, 3), IMAGINED["gripper"], np.uint8)}))
    assert share(page._wall.image, IMAGINED["gripper"]) > 0.1
    assert not page._calibration.visible
    page.show(snapshot(0.1, calibration=SESSION))
    assert page._calibration.visible and "hand_eye of gripper" in page._calibration.content
    assert share(page._wall.image[:240, 326:], DRAWN) > 0.9 and share(page._wall.image[:, :320], DRAWN) == 0.0
    assert share(page._wall.image, COLOURS["gripper"]) > 0.1, "the live image stays beside it"
    page.show(snapshot(0.2))
    assert not page._calibration.visible and share(page._wall.image, DRAWN) == 0.0


def test_a_sessions_card_says_where_it_stands_and_what_was_refused():
    text = monitor_calibration.panel(SESSION)
    for wanted in ("3, taken by themselves, the arm is at pose 2 of 12", "tilt it &lt;more&gt;", "the arm moves"):
        assert wanted in text
    assert monitor_parts.WORST in text
    solved = monitor_calibration.panel(
        replace(SESSION, phase=Phase.SOLVED, auto=False, poses=0, message="rms 0.1 px\naccept it")
    )
    assert "solved" in solved and monitor_parts.WORST not in solved and "pose 2" not in solved
    assert {phase for phase in Phase if phase is not Phase.IDLE} == set(monitor_calibration._LOOKS), "each has its look"


@pytest.mark.slow
def test_a_calibration_session_in_a_browser(page, live, browse):
    live(calibration=SESSION)
    browser = browse(page.url)
    browser.until(lambda: "hand_eye of gripper" in browser.text(), "the session")
    browser.until(lambda: share(browser.screenshot(), DRAWN) > 0.005, "its picture")
    live(calibration=None)
    browser.until(lambda: "hand_eye of gripper" not in browser.text(), "the session's end")
    browser.until(lambda: share(browser.screenshot(), DRAWN) == 0.0, "its picture gone")


def test_the_page_needs_nothing_from_outside(page, live, browse):
    browser = browse(page.url)
    browser.until(lambda: "Grasp force" in browser.text(), "the page")
    loaded = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith((page.url, "data:", "blob:")) for name in loaded), loaded


def test_silence_is_shown(page, live, browse):
    live(executor=None, images={}, stale=("executor/state", "left/image_raw"))
    browser = browse(page.url)
    browser.until(lambda: "NO CONTACT" in browser.text(), "the missing executor")
    assert "executor/state, left/image_raw" in browser.text()


def test_nothing_is_encoded_while_nobody_looks(page, monkeypatch):
    monkeypatch.setattr(monitor_page, "wall", lambda *_: pytest.fail("an image was composed for nobody"))
    for tick in range(400):
        page.show(snapshot(tick / 10))
    assert not page.watched
    assert len(page._history) == len(page._trail) == round(10 * monitor_parts.HISTORY) + 1


def test_viser_waking_its_thread_at_a_bad_moment_does_not_end_the_page(page, monkeypatch):
    monkeypatch.setattr(Page, "watched", True)

    def fail(why: str):
        def display(_: np.ndarray) -> None:
            raise RuntimeError(why)

        return display

    with monkeypatch.context() as patch:
        patch.setattr(page._scene._robot, "display", fail("deque mutated during iteration"))
        page.show(snapshot(0.0))
        assert share(page._wall.image, COLOURS["gripper"]) == 0.0, "the rest of that moment is not drawn"
        patch.setattr(page._scene._robot, "display", fail("no such joint"))
        with pytest.raises(RuntimeError, match="no such joint"):
            page.show(snapshot(0.1))
    page.show(snapshot(0.2))
    assert share(page._wall.image, COLOURS["gripper"]) > 0.1, "the next moment is"


def test_a_measurement_that_is_not_finite_does_not_end_the_page(page, live, browse):
    nowhere = Pose(np.full(3, np.nan), np.full((3, 3), np.nan))
    broken = snapshot(0.0).executor
    assert broken is not None
    fields = {name: getattr(broken, name) for name in broken.__dataclass_fields__}
    fields |= {"force": float("nan"), "position_error": float("inf"), "goal": nowhere}
    live(executor=Executor(**fields), T_base_tcp=nowhere, joints={"elbow_joint": float("nan")})
    browser = browse(page.url)
    browser.until(lambda: "measured - N" in browser.text(), "that there is no number")
    live(executor=broken)
    browser.until(lambda: "6.5 N" in browser.text(), "the page alive afterwards")


def test_wall_keeps_the_shape_of_an_image_of_another_size():
    tall = {camera: np.full((480, 320, 3), 200, np.uint8) for camera in CAMERAS}
    picture = monitor_page.wall(tall, {})
    assert picture.shape == (3 * 240 + 2 * 6, 2 * 320 + 6, 3)
    assert (picture[120, 80:240] == 200).all() and not (picture[120, :70] == 200).any()
