"""The gripper force correction: what it may and may not do, whatever the forces are."""

import math

import pytest
from hypothesis import given, strategies as st

from kinema.clock import NS
from kinema.control.force_correction import Correction, force_fault, measured_force
from kinema.control.settings import ForceCorrection
from kinema.interfaces import ForceSample

SETTINGS, DT = ForceCorrection(), 0.002
GAP = 0.3 * 9.80665  # [N] of 300 g

forces = st.one_of(st.none(), st.floats(0.0, 60.0))
cycles = st.lists(st.tuples(st.floats(0.0, 0.085), forces, forces, st.integers(1, 200)), min_size=1, max_size=12)


def test_it_grows_by_half_a_millimetre_every_tenth_of_a_second() -> None:
    correction, grown = Correction(SETTINGS), []
    for k in range(500):
        before = correction.closing
        if correction.update(k * 2_000_000, DT, 0.04, 10.0, 2.0) > before:
            grown.append(k)
    assert grown == [0, 50, 100, 150, 200, 250, 300, 350, 400, 450]
    assert correction.closing == pytest.approx(0.005)
    for k in range(500, 700):
        correction.update(k * 2_000_000, DT, 0.04, 10.0, 2.0)
    assert correction.closing == pytest.approx(0.005)  # 5 mm a grasp, not more


def test_the_gap_is_strict() -> None:
    correction = Correction(SETTINGS)
    correction.update(0, DT, 0.04, GAP, 0.0)
    assert correction.closing == 0.0
    correction.update(0, DT, 0.04, GAP + 1e-6, 0.0)
    assert correction.closing == SETTINGS.step


@given(cycles)
def test_invariants(sequence: list[tuple[float, float | None, float | None, int]]) -> None:
    correction, t_ns, last_growth = Correction(SETTINGS), 0, -math.inf
    narrowest = math.inf
    for width, predicted, measured, ticks in sequence:
        for _ in range(ticks):
            t_ns += 2_000_000
            before = correction.closing
            narrowest = min(narrowest, width)
            after = correction.update(t_ns, DT, width, predicted, measured)
            assert 0.0 <= after <= SETTINGS.limit + 1e-9
            if after > before:
                assert measured is not None and predicted is not None and predicted - measured > GAP
                assert after - before == pytest.approx(SETTINGS.step)
                assert t_ns - last_growth >= SETTINGS.interval * NS
                last_growth = t_ns
            if after < before:  # only after the policy itself opened, slowly, and never blindly
                assert measured is not None
                assert before - after <= SETTINGS.reset_speed * DT + 1e-12
            if measured is None:
                assert after == before


def test_it_resets_slowly_when_the_policy_opens_and_begins_anew() -> None:
    correction = Correction(SETTINGS)
    for k in range(500):
        correction.update(k * 2_000_000, DT, 0.04, 10.0, 2.0)
    t = 500
    correction.update(t * 2_000_000, DT, 0.0415, 10.0, 2.0)  # 1.5 mm is no opening
    assert correction.closing == pytest.approx(0.005)
    ticks = 0
    while correction.closing > 0.0:
        ticks += 1
        correction.update((t + ticks) * 2_000_000, DT, 0.06, 0.0, 0.0)
    assert ticks * DT == pytest.approx(0.25, abs=2 * DT)
    correction.update(10**12, DT, 0.03, 10.0, 2.0)
    assert correction.closing == SETTINGS.step


def test_a_new_anchor_does_not_subtract_it_twice() -> None:
    correction = Correction(SETTINGS)
    for k in range(101):
        correction.update(k * 2_000_000, DT, 0.040, 10.0, 2.0)
    assert correction.closing == pytest.approx(0.0015)
    t0 = 100 * 2_000_000
    assert correction.anchor(0.0385, t0) == pytest.approx(0.040)  # the jaw followed the whole correction
    assert correction.anchor(0.0392, t0) == pytest.approx(0.040)  # the object gave way by a part of it
    assert correction.anchor(0.0400, t0) == pytest.approx(0.040)  # a rigid object: nothing moved
    assert correction.anchor(0.0420, t0) == pytest.approx(0.042)  # it stands wider than the policy wanted
    assert correction.anchor(0.0300, t0) == pytest.approx(0.0315)  # never more than the correction
    assert correction.anchor(0.0385, -1) == 0.0385  # before anything was known


@pytest.mark.parametrize(
    ("sample", "trusted", "fault"),
    [
        (ForceSample(0, 3.0, False, True), 3.0, ""),
        (ForceSample(0, 3.0, False, False), None, ""),  # not tared: frozen, but it works
        (ForceSample(0, 3.0, True, True), None, "F14"),
        (ForceSample(0, math.nan, False, True), None, "F14"),
        (ForceSample(-300_000_000, 3.0, False, True), None, "F13"),
        (None, None, "F13"),
    ],
)
def test_f13_f14_what_can_be_trusted(sample: ForceSample | None, trusted: float | None, fault: str) -> None:
    assert measured_force(sample, 0, SETTINGS.stale_after) == trusted
    assert force_fault(sample, 0, SETTINGS.stale_after) == fault
