"""The gesture that begins and ends a recording: seen when it is made, and never in what a demonstration does."""

import numpy as np
import pytest

from kinema.episodes.gesture import DEPTH, LASTS, DoubleSqueeze
from kinema.virtual import scenario
from kinema.virtual.hand import Hand, Phase
from kinema.virtual.handheld import HandheldWorld

RATE = 30  # [Hz] of the gripper camera


def found(widths, rate=RATE, origin=0):
    """Gestures in evenly sampled openings [m], as seconds."""
    detector = DoubleSqueeze()
    gestures = [detector.take(origin + round(i * 1e9 / rate), float(width)) for i, width in enumerate(widths)]
    return [((g.begin_ns - origin) * 1e-9, (g.end_ns - origin) * 1e-9) for g in gestures if g]


def squeezes(count=2, *, depth=0.036, flank=0.16, gap=0.08, level=0.060, rate=RATE, before=1.0, after=1.0):
    """An opening that is squeezed `count` times after a second at rest."""
    t = np.arange(0.0, before + count * (2 * flank + gap) + after, 1 / rate)
    width = np.full(len(t), level)
    for i in range(count):
        phase = (t - before - i * (2 * flank + gap)) / (2 * flank)
        inside = (phase > 0) & (phase < 1)
        width[inside] -= depth * 0.5 * (1 - np.cos(2 * np.pi * phase[inside]))
    return width


@pytest.mark.parametrize("rate", [30, 50])
@pytest.mark.parametrize("flank", [0.10, 0.16, 0.25])
def test_two_quick_squeezes_are_found_from_their_beginning_to_their_end(rate, flank):
    rng = np.random.default_rng(0)
    widths = squeezes(flank=flank, rate=rate)
    ((begin, end),) = found(widths + 0.0004 * rng.standard_normal(len(widths)), rate)
    assert begin == pytest.approx(1.0, abs=0.25 * flank + 1.5 / rate)
    assert 0.0 <= end - (1.0 + 4 * flank + 0.08) + 0.25 * flank < 0.25 * flank + 4 / rate


@pytest.mark.parametrize(
    "widths",
    [
        squeezes(count=1),
        squeezes(depth=DEPTH - 0.002),
        squeezes(flank=LASTS / 3),
        np.concatenate([squeezes(count=1), squeezes(count=1)]),  # more than a second between them
        np.concatenate([np.full(30, 0.085), np.linspace(0.085, 0.03, 15), np.full(60, 0.03), np.full(30, 0.085)]),
        np.where(np.isin(np.arange(90), (40, 50)), 0.02, 0.06),  # two misreadings
    ],
    ids=["one", "shallow", "slow", "two, far apart", "a grasp", "misreadings"],
)
def test_anything_else_is_no_gesture(widths):
    assert found(widths) == []


def test_a_jaw_that_came_from_a_wider_opening_is_squeezed_from_where_it_rests():
    widths = np.concatenate([np.full(20, 0.085), np.linspace(0.085, 0.06, 8), squeezes(before=0.3)])
    ((begin, _),) = found(widths)
    assert begin == pytest.approx(28 / RATE + 0.3, abs=0.08)


def test_three_squeezes_are_one_gesture():
    assert len(found(squeezes(count=3))) == 1


def test_a_gap_in_the_stream_is_never_bridged():
    widths = squeezes()
    detector = DoubleSqueeze()
    middle = round(RATE * 1.4)
    stamps = [round((i + 10 * (i > middle)) * 1e9 / RATE) for i in range(len(widths))]
    assert not any(detector.take(stamp, width) for stamp, width in zip(stamps, widths, strict=True))


@pytest.mark.parametrize(("task", "seed"), [("pick_and_place", 0), ("pick_and_place", 4), ("open_drawer", 1)])
def test_a_whole_demonstration_holds_the_two_gestures_that_the_person_makes_and_no_other(task, seed):
    world = HandheldWorld(scenario.draw(task, "train", seed), seed=seed)
    world.tare()
    hand, detector, rng = Hand(world, seed), DoubleSqueeze(), np.random.default_rng(seed)
    phases, gestures, frame = {}, [], 0
    while not hand.done:
        world.step(*hand.goal())
        phases.setdefault(hand.phase, world.t_ns)
        if world.t_ns * 1e-9 * RATE >= frame:
            frame += 1
            gesture = detector.take(world.t_ns, world.width() + 0.0005 * rng.standard_normal())
            gestures += [gesture] if gesture else []
    begin, end = gestures
    assert abs(begin.begin_ns - phases[Phase.BEGIN]) < 1e8 and begin.end_ns < phases[Phase.DEMONSTRATE]
    assert abs(end.begin_ns - phases[Phase.END]) < 1e8 and end.end_ns < phases[Phase.RETURN]
