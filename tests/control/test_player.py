"""The chunk player in both modes: timing, what is dropped, what is refused, what is never played."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.chunk import ActionChunk
from kinema.control.messages import Event, Mode, PlayChunk, StartPolicy
from kinema.control.pacing import Tempo, pace
from kinema.control.player import Player, RefusalError
from kinema.control.settings import ControlSettings, Execution
from kinema.geometry import Pose, distance, so3_exp

TICK_NS, DT = 2_000_000, 0.002
ANCHOR = Pose.from_rotvec([0.45, 0.0, 0.3], [math.pi, 0.0, 0.0])


def aside(metres: float) -> Pose:
    return Pose(ANCHOR.position + np.array([0.0, metres, 0.0]), ANCHOR.rotation)


def chunk(t0_ns: int = 0, n: int = 32, executable: int = 24, step: float = 0.003, **changes: object) -> ActionChunk:
    """Along base_link's x by `step` [m] a step, turning a little; the jaw closes by 1 mm a step."""
    T_rel = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        T_rel[i, 0, 3] = step * (i + 1)
        T_rel[i, :3, :3] = so3_exp(np.array([0.0, 0.0, 0.01 * (i + 1)]))
    width = -0.001 * np.arange(1, n + 1)
    values = (1, "test", t0_ns, ANCHOR, 0.08, 1 / 30, 1 / 30, T_rel, width, np.arange(n, dtype=float), executable)
    return replace(ActionChunk(*values), **changes)


class Deck:
    """A player with the clock in hand."""

    def __init__(self, mode: Mode = Mode.OVERLAP, scale: float = 1.0, chunks: int = 0, **execution: object):
        self.player = Player(ControlSettings(execution=replace(Execution(), **execution)))
        self.player.start(StartPolicy(mode, scale, chunks=chunks, uses_force=False), 0)
        self.t_ns = 0
        self.events: list[Event] = []

    def give(self, played: ActionChunk, request: int | None = None, at: Pose = ANCHOR, goal: Pose = ANCHOR) -> None:
        asked = self.player.request
        answers = (0 if asked is None else asked.id) if request is None else request
        self.events += self.player.accept(
            PlayChunk(played, answers), self.t_ns, at, goal, played.width_t0, lambda positions: (positions, "")
        )

    def tick(self, at_rest: bool = False) -> object:
        self.t_ns += TICK_NS
        playback = self.player.advance(self.t_ns, DT)
        self.reached = [i for _, i in self.player.reached()]
        self.events += self.player.watch(self.t_ns, at_rest, True)
        return playback

    def until_request(self, at_rest: bool = False) -> None:
        for _ in range(2000):
            self.tick(at_rest)
            if self.player.request is not None:
                return
        raise AssertionError("no request")


# ---- timing


@settings(max_examples=25)
@given(st.integers(0, 300_000_000), st.sampled_from([0.0, 0.01, 0.03]), st.sampled_from([1.0, 0.5, 0.25]))
def test_overlap_steps_go_out_at_their_time(age_ns: int, latency: float, scale: float) -> None:
    """Step i at t0 + (offset + i dt) / scale - L_arm, and the ones before that are dropped."""
    deck = Deck(scale=scale, arm_latency=latency)
    deck.t_ns = age_ns
    deck.give(chunk(0))
    spacing = 1 / 30 / scale
    first = max(0, math.floor((age_ns / 1e9 + latency) / spacing - 1 + 1e-9) + 1)
    dropped = [e.data["step"] for e in deck.events if e.kind == "step_dropped" and "passed" in e.text]
    assert dropped == list(range(first))
    while deck.player.playing.step < 20:  # the last steps are slowed down
        playback = deck.tick()
        for i in deck.reached:
            due = (i + 1) * spacing - latency
            assert 0.0 <= deck.t_ns / 1e9 - due < DT + 1e-9
            moved, turned = distance(playback.reference.pose, chunk().target(i))
            assert moved < 0.003 / spacing * DT + 1e-6 and turned < 1e-2


def test_stop_and_go_starts_after_the_lead_and_never_subtracts_inference() -> None:
    deck = Deck(Mode.STOP_AND_GO)
    deck.until_request(at_rest=True)
    asked = deck.t_ns
    for _ in range(2500):  # 5 s of inference
        deck.tick(at_rest=True)
    deck.give(chunk(asked))
    begun, times = deck.t_ns, []
    while len(times) < 20:
        deck.tick()
        times += [deck.t_ns for _ in deck.reached]
    lead = Execution().lead
    for i, t_ns in enumerate(times):
        assert (t_ns - begun) / 1e9 == pytest.approx(lead + i / 30, abs=DT)


@pytest.mark.parametrize("mode", Mode)
def test_latencies_are_applied_once(mode: Mode) -> None:
    """The jaw runs ahead of the arm by the difference of their latencies, the arm ahead of time by its own."""
    decks = [Deck(mode), Deck(mode, arm_latency=0.02, jaw_latency=0.08)]
    for deck in decks:
        deck.until_request(at_rest=True)
        deck.give(chunk(deck.t_ns))
    plain, early = decks
    for _ in range(150):
        for deck in decks:
            deck.last = deck.tick()
    ahead = (early.last.reference.pose.position - plain.last.reference.pose.position)[0]
    assert ahead == pytest.approx(0.003 * 30 * 0.02, rel=0.05)
    assert plain.last.width - early.last.width == pytest.approx(0.001 * 30 * 0.08, rel=0.05)


# ---- what is never played


@settings(max_examples=25)
@given(st.integers(4, 32), st.sampled_from(list(Mode)), st.sampled_from([1.0, 0.3]))
def test_never_past_executable(executable: int, mode: Mode, scale: float) -> None:
    deck = Deck(mode, scale)
    deck.until_request(at_rest=True)
    played = chunk(deck.t_ns, executable=executable)
    deck.give(played)
    last = played.target(executable - 1)
    before = None
    for _ in range(round((executable + 20) / 30 / scale / DT)):
        playback = deck.tick()
        if playback.reference is None:
            break
        x = playback.reference.pose.position[0]
        assert x <= last.position[0] + 1e-9
        assert playback.width >= 0.08 - 0.001 * executable - 1e-9
        if before is not None:  # and it never goes back
            assert x >= before - 1e-9
        before = x
    assert before == pytest.approx(last.position[0])
    assert not playback.reference.twist.any()
    assert deck.player.playing.ended
    dropped = [e.data["step"] for e in deck.events if e.kind == "step_dropped"]
    assert dropped == list(range(executable, 32))


def test_the_reference_slows_down_evenly_over_the_last_steps() -> None:
    deck = Deck()
    deck.give(chunk(0))
    speeds = []
    for _ in range(600):
        playback = deck.tick()
        speeds.append(float(np.linalg.norm(playback.reference.twist[:3])))
    changes = np.abs(np.diff(speeds)) / DT
    assert changes[30:].max() < 1.0  # [m/s^2] of 4 allowed: no jerk on coming to rest
    assert speeds[-1] == 0.0


# ---- joining and asking


def test_overlap_asks_every_eight_steps_and_the_new_chunk_takes_over() -> None:
    deck = Deck()
    deck.until_request()
    deck.give(chunk(deck.t_ns))
    for number in range(2, 6):
        playing = deck.player.playing
        deck.until_request()
        assert playing.step + 1 - playing.first == Execution().replan_steps
        t0 = deck.t_ns
        pose = playing.path.reference(playing.s, 1.0, 0.0).pose
        for _ in range(45):
            deck.tick()
        goal = playing.path.reference(playing.s, 1.0, 0.0).pose
        deck.give(replace(chunk(t0), id=number, T_base_tcp_t0=pose), goal=goal)
        assert deck.player.playing.chunk.id == number
        assert deck.player.playing.first == 2  # 90 ms have passed: steps 0 and 1, due after 33 and 67 ms
    superseded = [e for e in deck.events if e.kind == "step_dropped" and "superseded" in e.text]
    assert {e.data["chunk"] for e in superseded} == {1, 2, 3, 4}


def test_a_slow_first_chunk_meets_a_standing_arm_and_begins_with_its_first_step() -> None:
    deck = Deck()
    deck.until_request(at_rest=True)
    slow = chunk(deck.t_ns, step=0.015)
    for _ in range(250):  # 0.5 s: by its time it would begin 0.2 m away
        deck.tick(at_rest=True)
    deck.give(slow, at=aside(0.001))
    assert [e.data["first"] for e in deck.events if e.kind == "chunk_accepted"] == [0]
    reached = []
    for _ in range(600):
        deck.tick()
        reached += deck.reached
    assert reached == list(range(slow.executable))
    assert distance(deck.player.playing.path.reference(0.0, 1.0, 0.0).pose, ANCHOR)[0] < 1e-9


@pytest.mark.parametrize(("stands", "at"), [(False, ANCHOR), (True, aside(0.0022))])
def test_f03_a_slow_first_chunk_is_refused_where_the_arm_has_moved_since(stands: bool, at: Pose) -> None:
    deck = Deck()
    deck.until_request(at_rest=True)
    slow = chunk(deck.t_ns, step=0.015)
    for i in range(250):
        deck.tick(at_rest=stands or i != 100)
    with pytest.raises(RefusalError, match=r"begins 0\.\d* m") as refusal:
        deck.give(slow, at=at)
    assert refusal.value.fault == "F03"


def test_stop_and_go_asks_only_after_settling() -> None:
    deck = Deck(Mode.STOP_AND_GO)
    for _ in range(200):
        deck.tick(at_rest=False)
    assert deck.player.request is None
    begun = deck.t_ns
    deck.until_request(at_rest=True)
    assert (deck.t_ns - begun) / 1e9 == pytest.approx(Execution().settle_time, abs=2 * DT)
    assert deck.player.request.not_before_ns == deck.t_ns


def test_request_ids_must_match_and_observations_be_new() -> None:
    deck = Deck(Mode.STOP_AND_GO)
    deck.until_request(at_rest=True)
    asked = deck.player.request
    with pytest.raises(RefusalError, match=f"answers request {asked.id + 1}, the open one is {asked.id}"):
        deck.give(chunk(deck.t_ns), request=asked.id + 1)
    with pytest.raises(RefusalError, match="older than what was asked for"):
        deck.give(chunk(asked.not_before_ns - 10_000_000))
    with pytest.raises(RefusalError, match="ahead of the arm's time"):
        deck.give(chunk(deck.t_ns + 100_000_000))
    with pytest.raises(RefusalError, match="answers request 0"):
        deck.give(chunk(deck.t_ns), request=0)
    deck.player.refused(asked.id + 7)
    assert deck.player.request is asked  # somebody else's refusal
    deck.player.refused(asked.id)
    deck.until_request(at_rest=True)
    assert deck.player.request.id == asked.id + 1


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        (aside(0.0022), "drifted by 2.2 mm"),
        (Pose(ANCHOR.position, so3_exp(np.array([0.0, 0.0, 0.02])) @ ANCHOR.rotation), "1.15 deg"),
    ],
)
def test_stop_and_go_captures_again_after_a_drift(moved: Pose, message: str) -> None:
    deck = Deck(Mode.STOP_AND_GO)
    deck.until_request(at_rest=True)
    with pytest.raises(RefusalError, match=message):
        deck.give(chunk(deck.t_ns), at=moved)
    deck.give(chunk(deck.t_ns), at=aside(0.0018))


def test_stop_and_go_captures_again_after_fifteen_seconds() -> None:
    deck = Deck(Mode.STOP_AND_GO)
    deck.until_request(at_rest=True)
    t0 = deck.t_ns
    deck.t_ns += 15_100_000_000
    with pytest.raises(RefusalError, match=r"15\.1 s old"):
        deck.give(chunk(t0))


@pytest.mark.parametrize("age", [0.05, 0.3])
def test_a_measured_anchor_that_trails_the_plan_neither_stretches_nor_bends_it(age: float) -> None:
    """The arm trails what it is told by some millimetres: from the anchor to step 0 that looks like a leap."""
    trailing = chunk()
    T_rel = trailing.T_rel.copy()
    T_rel[:, 0, 3] += 0.03
    deck = Deck()
    deck.t_ns = round(age * 1e9)
    deck.give(replace(trailing, T_rel=T_rel))
    assert deck.events[0].data["stretch"] == 1.0
    for _ in range(100):
        assert deck.tick().reference.twist[0] == pytest.approx(0.003 * 30, rel=1e-6)


# ---- doubts


def test_a_doubted_chunk_is_played_on_while_another_one_is_asked_for() -> None:
    deck = Deck()
    deck.until_request()
    deck.give(chunk(deck.t_ns))
    for _ in range(50):  # 0.1 s: three steps of the eight after which it would ask
        deck.tick()
    assert deck.player.request is None
    assert deck.player.replan(deck.t_ns)
    deck.tick()
    request, playing = deck.player.request, deck.player.playing
    assert request.not_before_ns == deck.t_ns and playing.chunk.id == 1 and playing.step < 7
    assert not deck.player.replan(deck.t_ns), "it was doubted before"
    assert deck.player.request is request
    goal = playing.path.reference(playing.s, 1.0, 0.0).pose
    deck.give(replace(chunk(deck.t_ns, T_base_tcp_t0=goal), id=2), goal=goal)
    for _ in range(50):
        deck.tick()
    assert deck.player.request is None, "the new chunk is not doubted"


def test_only_an_observation_from_before_what_was_seen_is_not_waited_for() -> None:
    for seen, again in ((-0.01, False), (0.01, True)):
        deck = Deck()
        deck.until_request()
        deck.give(chunk(deck.t_ns))
        deck.until_request()
        request = deck.player.request
        for _ in range(30):  # its chunk is being thought
            deck.tick()
        assert deck.player.replan(request.not_before_ns + round(seen * 1e9))
        deck.tick()
        assert (deck.player.request.id > request.id) is again


def test_what_a_chunk_has_seen_is_no_reason_to_doubt_it() -> None:
    deck = Deck()
    assert not deck.player.replan(deck.t_ns), "nothing is being played"
    deck.until_request()
    seen = deck.t_ns
    deck.give(chunk(seen))
    deck.tick()
    assert not deck.player.replan(seen) and deck.player.request is None
    assert deck.player.replan(seen + 1)


# ---- refusals


@pytest.mark.parametrize("name", ["T_rel", "width_change", "force"])
def test_f01_not_finite(name: str) -> None:
    deck, bad = Deck(), chunk()
    array = getattr(bad, name).copy()
    array.flat[5] = math.nan
    with pytest.raises(RefusalError) as refusal:
        deck.give(replace(bad, **{name: array}))
    assert refusal.value.fault == "F01" and refusal.value.abandon


def test_f02_wrong_dimension() -> None:
    with pytest.raises(RefusalError, match=r"force has shape \(7,\), T_rel has 32 steps") as refusal:
        Deck().give(replace(chunk(), force=np.zeros(7)))
    assert refusal.value.fault == "F02" and not refusal.value.abandon


@settings(max_examples=20)
@given(st.floats(0.02, 2.5))
def test_f03_stretched_up_to_twice_then_refused(speed: float) -> None:
    deck, most = Deck(), 0.95 * 0.6
    fast = chunk(step=speed / 30, n=8, executable=8)
    if speed > 2 * most * 1.0001:
        with pytest.raises(RefusalError, match=r"stretched at most 2\.0 times") as refusal:
            deck.give(fast)
        assert refusal.value.fault == "F03"
    elif speed < 2 * most * 0.9999:
        deck.give(fast)
        stretch = next(e.data["stretch"] for e in deck.events if e.kind == "chunk_accepted")
        assert stretch == pytest.approx(max(1.0, speed / most), rel=1e-6)


def test_f03_speed_scale_counts_before_the_limit() -> None:
    deck = Deck(scale=0.25)
    deck.give(chunk(step=1.5 / 30, n=8, executable=8))
    assert deck.events[0].data["stretch"] == pytest.approx(4.0)


def test_f03_a_jump_is_refused() -> None:
    jump = chunk()
    T_rel = jump.T_rel.copy()
    T_rel[10:, 1, 3] += 0.1
    with pytest.raises(RefusalError, match="m/s") as refusal:
        Deck().give(replace(jump, T_rel=T_rel))
    assert refusal.value.fault == "F03"
    away = aside(0.2)
    with pytest.raises(RefusalError, match=r"begins 0.2\d\d m") as refusal:
        Deck().give(chunk(), goal=away)
    assert refusal.value.fault == "F03"


@pytest.mark.parametrize(("age", "usable"), [(0.66, 5), (0.699, 4), (0.705, 3), (2.0, 0)])
def test_f04_too_old_for_the_steps_that_are_left(age: float, usable: int) -> None:
    deck = Deck()
    deck.t_ns = round(age * 1e9)
    if usable >= Execution().min_steps:
        deck.give(chunk(0))
        assert 24 - deck.player.playing.first == usable
    else:
        with pytest.raises(RefusalError, match=f"{usable} of 24 executable steps are still ahead, needed are 4") as no:
            deck.give(chunk(0))
        assert no.value.fault == "F04"


@pytest.mark.parametrize("late", [0.12, 0.3, 0.6])
def test_an_answer_that_comes_later_than_declared_slows_nothing_down(late: float) -> None:
    """Eight steps between observations, paced for 0.12 s: the chunk before goes on meanwhile (F05 else)."""
    deck, found = Deck(), pace(Tempo(0.12, 0.1, 24), Execution(), 8)
    deck.player.start(
        StartPolicy(found.mode, 1.0, uses_force=False, replan_steps=found.replan_steps, executable=found.executable), 0
    )
    for id in range(1, 8):
        deck.until_request()
        seen_ns = deck.t_ns
        while deck.t_ns < seen_ns + round(late * 1e9):
            deck.tick()
        deck.give(chunk(seen_ns, step=0.0, id=id, dt=0.1, offset=0.1))
    assert [e.text for e in deck.events if e.fault] == []


def test_f05_late_inference_warns_and_then_is_an_error() -> None:
    deck = Deck()
    deck.give(chunk(0))
    for _ in range(2500):
        deck.tick(at_rest=deck.player.playing is None or deck.player.playing.ended)
    late = [e for e in deck.events if e.fault == "F05"]
    assert [e.kind for e in late] == ["warning", "error"]
    assert (late[1].t_ns - late[0].t_ns) / 1e9 == pytest.approx(Execution().chunk_timeout, abs=2 * DT)
    assert deck.player.playing is None and deck.player.request is not None  # at rest, and still asking


# ---- ends


def test_a_run_ends_after_its_chunks() -> None:
    deck = Deck(chunks=1)
    deck.give(chunk(0))
    for _ in range(600):
        deck.tick(at_rest=deck.player.playing is not None and deck.player.playing.ended)
    assert deck.player.run is None
    assert [e.kind for e in deck.events if e.kind == "policy_ended"] == ["policy_ended"]


def test_a_run_ends_after_its_time() -> None:
    deck = Deck()
    deck.player.start(StartPolicy(Mode.OVERLAP, 1.0, duration=0.2, uses_force=False), 0)
    deck.give(chunk(0))
    for _ in range(110):
        deck.tick()
    assert deck.player.run is None and deck.player.playing is None


def test_every_step_is_either_played_or_dropped_with_a_reason() -> None:
    deck = Deck()
    deck.t_ns = 100_000_000
    deck.give(chunk(0))
    reached: list[int] = []
    for _ in range(150):
        deck.tick()
        reached += deck.reached
    deck.events += deck.player.end(deck.t_ns, "held by a person")
    dropped = {e.data["step"]: e.data["reason"] for e in deck.events if e.kind == "step_dropped"}
    assert sorted(reached + list(dropped)) == list(range(32))
    assert all(dropped.values())
