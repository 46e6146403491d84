"""The simulated person: a session as the recorder wants it, never quite still, the same for the same seed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from kinema import paths
from kinema.episodes.gesture import DoubleSqueeze, Gesture
from kinema.geometry import Array, Pose, distance
from kinema.perception.silhouette import Rasteriser
from kinema.perception.tool_mesh import load_tool
from kinema.virtual import scenario, tool_files
from kinema.virtual.cameras import CAMERAS
from kinema.virtual.hand import Hand, Manner, Phase
from kinema.virtual.handheld import T_BASE_TCP_START, HandheldWorld

IN_ORDER = [Phase.DOCKED, Phase.BEGIN, Phase.DEMONSTRATE, Phase.END, Phase.RETURN]


@dataclass(frozen=True, eq=False)
class Session:
    """What was seen at each tick: stamp, phase, true pose and opening, measured force; how it ended."""

    hand: Hand
    stamps_ns: Array
    phases: list[Phase]
    poses: list[Pose]
    width: Array
    force: Array
    success: bool

    def when(self, *phases: Phase) -> Array:
        return np.array([phase in phases for phase in self.phases])


def _world(task: str, seed: int) -> HandheldWorld:
    return HandheldWorld(scenario.draw(task, "train", seed), seed=seed, origin_ns=10**9)


def _session(world: HandheldWorld, seed: int, manner: Manner | None = None) -> Session:
    hand, rows, success = Hand(world, seed, manner=manner), [], False
    while not hand.done:
        world.step(*hand.goal())
        if world.k == 250:
            world.tare()
        rows.append((world.t_ns, hand.phase, world.T_base_tcp(), world.width(), world.load_cell().force))
        success = success or (hand.phase is Phase.END and world.outcome().success)
    stamps, phases, poses, width, force = zip(*rows, strict=True)
    return Session(hand, np.array(stamps), list(phases), list(poses), np.array(width), np.array(force), success)


def _gestures(session: Session) -> list[Gesture]:
    """What the recorder's detector sees, at a camera's rate."""
    squeezes = DoubleSqueeze()
    every = range(0, len(session.stamps_ns), 17)
    found = (squeezes.take(int(session.stamps_ns[k]), float(session.width[k])) for k in every)
    return [gesture for gesture in found if gesture is not None]


@pytest.fixture(scope="module", params=["pick_and_place", "open_drawer"])
def session(request) -> Session:
    return _session(_world(request.param, 3), 3)


def test_a_session_goes_through_its_phases_in_order_and_succeeds(session):
    seen = [phase for k, phase in enumerate(session.phases) if k == 0 or phase is not session.phases[k - 1]]
    assert seen == [*IN_ORDER, Phase.DONE]
    assert session.success and session.hand.gave_up == ""


def test_two_gestures_are_seen_and_enclose_the_demonstration(session):
    first, second = _gestures(session)
    demonstration = session.stamps_ns[session.when(Phase.DEMONSTRATE)]
    begins = session.stamps_ns[session.when(Phase.BEGIN)]
    assert begins[0] - 50_000_000 <= first.begin_ns < first.end_ns <= demonstration[0]
    assert abs(second.begin_ns - demonstration[-1]) <= 50_000_000


def test_the_gripper_rests_in_the_dock_before_and_after(session):
    docked = session.when(Phase.DOCKED, Phase.BEGIN)
    for at in (docked, np.arange(len(docked)) == len(docked) - 1):
        gaps = [distance(session.poses[k], T_BASE_TCP_START) for k in np.flatnonzero(at)]
        assert (np.max(gaps, axis=0) < [0.002, 0.01]).all()


def test_the_load_cell_is_unloaded_in_the_first_and_the_last_half_second_but_not_between(session):
    demonstrates = session.when(Phase.DEMONSTRATE)
    force, stamps = session.force[demonstrates], session.stamps_ns[demonstrates]
    for edge in (stamps < stamps[0] + 500_000_000, stamps > stamps[-1] - 500_000_000):
        assert np.abs(force[edge]).max() < 0.2
    assert force.max() > 6.0


def test_the_same_seed_gives_the_same_goals_and_another_one_others():
    def goals(seed: int) -> list[bytes]:
        world = _world("open_drawer", 1)
        hand = Hand(world, seed)
        found = []
        for _ in range(1500):
            pose, width = hand.goal()
            world.step(pose, width)
            found.append(pose.matrix.tobytes() + np.float64(width).tobytes())
        return found

    assert goals(5) == goals(5)
    assert goals(5) != goals(6)


def test_the_hand_trembles_as_much_as_its_manner_says_but_not_in_the_dock():
    calm = Manner(sway=0.0, tremor=0.0, pauses=0.0, haste=0.0)
    smooth = _goals(calm, ticks=2600)
    shaken = _goals(replace(calm, sway=0.0008, tremor=0.0006), ticks=2600)
    np.testing.assert_array_equal(shaken[:1000], smooth[:1000])
    apart = (shaken - smooth)[1800:]
    assert 0.0005 < apart.std(axis=0).mean() < 0.002, "1 mm and what the plan makes of it"
    assert np.abs(apart).max() < 0.01


def _goals(manner: Manner, ticks: int) -> Array:
    world = _world("open_drawer", 2)
    hand = Hand(world, 2, manner=manner)
    found = []
    for _ in range(ticks):
        pose, width = hand.goal()
        world.step(pose, width)
        found.append(pose.position)
    return np.array(found)


def test_a_hand_away_from_the_dock_goes_home_first():
    world = _world("open_drawer", 4)
    away = Pose(T_BASE_TCP_START.position + np.array([0.05, 0.1, 0.05]), T_BASE_TCP_START.rotation)
    for _ in range(800):
        world.step(away, 0.05)
    hand = Hand(world, 4)
    assert hand.phase is Phase.HOME
    while hand.phase in (Phase.HOME, Phase.DOCKED):
        world.step(*hand.goal())
    assert distance(world.T_base_tcp(), T_BASE_TCP_START)[0] < 0.002


def test_a_person_whose_drawer_is_stuck_gives_up_and_says_why():
    world = _world("open_drawer", 3)
    drawer = world.model.joint(f"drawer_{world.scenario.drawer}")
    world.model.dof_frictionloss[drawer.dofadr[0]] = 1e4
    session = _session(world, 3)
    assert not session.success
    assert "open, wanted is over 50 %" in session.hand.gave_up
    assert len(_gestures(session)) == 2, "the recording is ended all the same"


def test_a_person_presses_on_until_a_letter_lies_on_its_goal():
    session = _session(_world("push_shape", 2), 2)
    assert session.success, session.hand.gave_up


@pytest.fixture(scope="module", params=["pick_and_place", "open_drawer"])
def recovery(request) -> Session:
    return _session(_world(request.param, 3), 3, Manner(recovery=1.0))


def test_a_person_who_begins_off_course_finds_back(recovery):
    seen = [phase for k, phase in enumerate(recovery.phases) if k == 0 or phase is not recovery.phases[k - 1]]
    assert seen == [Phase.DOCKED, Phase.ASTRAY, *IN_ORDER[1:], Phase.DONE]
    assert recovery.success and recovery.hand.gave_up == ""
    first, _ = _gestures(recovery)
    assert first.begin_ns >= recovery.stamps_ns[recovery.when(Phase.ASTRAY)][-1] - 50_000_000
    begins = int(np.flatnonzero(recovery.when(Phase.BEGIN))[0])
    assert distance(recovery.poses[begins], T_BASE_TCP_START)[0] > 0.03


def test_a_person_may_begin_where_no_side_camera_sees_the_tool():
    session = _session(_world("sweep", 3), 3, Manner(out_of_view=True))
    assert session.success
    tool = load_tool(paths.root() / tool_files.FOLDER / "brush" / "tool.yaml")
    eyes = [(CAMERAS[name].info((256, 192)), CAMERAS[name].T_mount_camera) for name in ("left", "right")]

    def seen(k: int) -> bool:
        at = [T.inverse() @ session.poses[k] for _, T in eyes]
        return any(Rasteriser(tool, info).draw(T).inside > 0 for (info, _), T in zip(eyes, at, strict=True))

    assert not any(seen(k) for k in np.flatnonzero(session.when(Phase.BEGIN))[::50])
    assert seen(int(np.flatnonzero(session.when(Phase.DEMONSTRATE))[-1]))


def test_what_is_recorded_does_not_show_how_the_hand_went_astray(recovery):
    recorded = recovery.when(Phase.BEGIN)
    positions = np.array([recovery.poses[k].position for k in np.flatnonzero(recorded)])
    assert np.ptp(positions, axis=0).max() < 0.015, "it is at rest from the gesture on"


def test_who_does_not_begin_off_course_does_what_they_always_did():
    always, spared, chosen = (_goals(Manner(recovery=share), ticks=1600) for share in (0.0, 0.5, 0.55))  # it draws 0.52
    np.testing.assert_array_equal(spared, always)
    np.testing.assert_array_equal(chosen[:600], always[:600], "in the dock")
    assert np.abs(chosen - always).max() > 0.03


def test_a_person_who_closed_on_nothing_opens_and_begins_anew():
    tried = _session(_world("pick_and_place", 3), 3, Manner(recovery=1.0, vain=1.0))
    assert tried.success and len(_gestures(tried)) == 2
    stamps, width = (values[tried.when(Phase.DEMONSTRATE)] for values in (tried.stamps_ns, tried.width))
    shut = int(np.flatnonzero(width < 0.005)[0])
    assert stamps[shut] - stamps[0] < 1.0e9 and width[shut : shut + 500].max() > 0.04
