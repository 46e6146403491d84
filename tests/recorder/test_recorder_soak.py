"""A recording that nobody stops for minutes: it loses nothing, and what waits in memory does not pile up."""

import pytest

from kinema.episodes import facts as facts_file
from kinema.topics import CAMERAS

pytestmark = [pytest.mark.ros, pytest.mark.slow]

_EARLY, _LATE = 30.0, 240.0  # [s] into the episode
_GROWN = 60e6  # [bytes] the quality report's stamps; the messages of that time would be a gigabyte


def test_minutes_on_end_are_recorded_whole_and_the_recorder_does_not_grow(recorder):
    running = recorder(size=(320, 240))
    folder = running.start()
    running.lasts(_EARLY)
    early = running.resident()
    running.lasts(_LATE)
    grown = running.resident() - early
    assert running.stop() == folder and running.state.rejected == 0, running.state.message
    assert grown < _GROWN
    facts = facts_file.load(folder)
    assert facts.dropped == {} and facts.quality.duration > _LATE
    for topic in ("tracker/odometry", *(f"{camera}/image_raw" for camera in CAMERAS)):
        stream = facts.quality.streams[topic]
        assert stream.rate == pytest.approx(stream.nominal, rel=1e-3), topic
