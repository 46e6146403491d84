"""Liveness of streams, in simulated time."""

import numpy as np
import pytest

from kinema.streams import FROZEN_AFTER, FrozenImages, Level, Stream
from kinema.topics import TOPICS


def fed(rate: float, stale_after: float, count: int, period_ns: int) -> Stream:
    stream = Stream(rate, stale_after)
    for i in range(count):
        stream.arrived(i * period_ns)
    return stream


def test_nothing_yet_is_stale_only_where_something_is_due():
    assert Stream(30, 0.1).health(0).level is Level.STALE
    assert Stream(0, 0.0).health(0).level is Level.OK


def test_rate_and_spread():
    stream = fed(100, 0.25, 200, 10_000_000)
    health = stream.health(199 * 10_000_000)
    assert health.level is Level.OK
    assert float(health.values["rate"]) == pytest.approx(100) and float(health.values["spread"]) == 0


def test_a_slow_stream_warns_with_both_rates():
    health = fed(100, 0.25, 200, 20_000_000).health(199 * 20_000_000)
    assert health.level is Level.WARN and "50.0 Hz" in health.text and "100 Hz" in health.text


@pytest.mark.parametrize("camera", ["gripper", "left", "right"])
def test_f09_an_unplugged_camera_is_stale_within_three_frames(camera):
    row = TOPICS[f"{camera}/image_raw"]
    stream = Stream.of(row)
    stream.arrived(0)
    three_frames_ns = round(3 / row.rate * 1e9)
    assert not stream.stale(three_frames_ns - 1)
    assert stream.stale(three_frames_ns + 1)
    assert stream.health(three_frames_ns + 1).level is Level.STALE
    stream.arrived(three_frames_ns + 2)
    assert not stream.stale(three_frames_ns + 3)


def test_a_stream_without_a_limit_never_goes_stale():
    stream = Stream(0, 0.0)
    stream.arrived(0)
    assert not stream.stale(10**15)


def test_f10_a_frozen_camera_is_found_within_ten_frames_and_forgiven_at_the_first_new_one():
    rng = np.random.default_rng(0)
    pictures = FrozenImages()
    assert not any(pictures.frozen(rng.integers(0, 255, (4, 5, 3), np.uint8)) for _ in range(50))
    still = rng.integers(0, 255, (4, 5, 3), np.uint8)
    assert [pictures.frozen(still.copy()) for _ in range(FROZEN_AFTER)] == [False] * (FROZEN_AFTER - 1) + [True]
    assert FROZEN_AFTER <= 10
    assert not pictures.frozen(still + 1)
