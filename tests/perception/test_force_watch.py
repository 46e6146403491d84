"""What a force is worth: a zero that creeps is found, a grasp is not taken for one."""

import itertools
import sys
import threading

import numpy as np
import pytest

from kinema.interfaces import ForceSample
from kinema.perception.force_watch import ForceWatch
from kinema.streams import Level

PERIOD_NS = 12_500_000


def _watched(forces, *, tared=True, saturated=False):
    watch, rng = ForceWatch(), np.random.default_rng(0)
    for k, force in enumerate(forces):
        watch.take(ForceSample(k * PERIOD_NS, force + 0.05 * rng.standard_normal(), saturated, tared))
    return watch


def _work(seconds, zero=0.0):
    """Grasps of 8 s with a second of open jaw between them."""
    t = np.arange(0.0, seconds, PERIOD_NS * 1e-9)
    return np.where(t % 9.0 < 8.0, 12.0, 0.0) + zero


def test_grasps_are_no_drift_and_a_creeping_zero_below_them_is():
    assert _watched(_work(120.0)).health().level is Level.OK
    crept = _watched(_work(120.0, zero=0.8))
    assert crept.drift == pytest.approx(0.8, abs=0.05)
    assert crept.health().level is Level.WARN and "call ~/zero" in crept.health().text


def test_a_jaw_that_pulls_is_drift_at_once():
    watch = _watched(_work(20.0, zero=-0.7))
    assert watch.drift == pytest.approx(-0.7, abs=0.05) and watch.health().level is Level.WARN


def test_a_grasp_shorter_than_the_window_tells_nothing_a_longer_force_does():
    assert _watched(np.full(80 * 50, 5.0)).drift == 0.0
    assert _watched(np.full(80 * 61, 5.0)).drift == pytest.approx(5.0, abs=0.1)


def test_what_cannot_be_trusted_tells_nothing():
    assert _watched(np.full(80 * 70, 5.0), tared=False).drift == 0.0
    assert _watched(np.full(80 * 70, 98.0), saturated=True).drift == 0.0
    assert _watched(np.full(80 * 70, np.nan)).drift == 0.0


def test_samples_may_come_while_its_health_is_asked_for():
    watch, over = ForceWatch(), threading.Event()

    def take() -> None:
        for k in itertools.count():
            watch.take(ForceSample(k * 1_500_000_000, 0.1, False, True))
            if over.is_set():
                return

    before, taking = sys.getswitchinterval(), threading.Thread(target=take)
    sys.setswitchinterval(1e-6)
    try:
        taking.start()
        for _ in range(5000):
            watch.health()
    finally:
        over.set()
        taking.join()
        sys.setswitchinterval(before)


def test_a_new_tare_begins_anew():
    watch = _watched(np.full(80 * 70, 5.0))
    watch.take(ForceSample(81 * 10**9, 0.0, False, False))
    assert watch.drift == 0.0


@pytest.mark.parametrize(
    ("sample", "level", "words"),
    [
        (ForceSample(0, float("nan"), False, True), Level.ERROR, "no number"),
        (ForceSample(0, 98.0, True, True), Level.ERROR, "saturated"),
        (ForceSample(0, 1.0, False, False), Level.WARN, "not tared"),
        (ForceSample(0, 1.0, False, True), Level.OK, "tared"),
    ],
)
def test_f14_what_a_sample_says_of_its_cell(sample, level, words):
    watch = ForceWatch()
    assert watch.health().level is Level.STALE
    watch.take(sample)
    assert watch.health().level is level and words in watch.health().text
