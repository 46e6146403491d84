import numpy as np
import pytest
from hypothesis import given, strategies as st

from kinema.errors import ConfigError
from kinema.virtual.faults import FAULTS, FaultBoard, FaultyStream

RECORD = np.dtype([("t_ns", "i8"), ("value", "f8")])
MS = 1_000_000


def _run(board, ticks=100, every=1):
    """What comes out of a stream of a record every `every` ticks of 1 ms: (tick of arrival, stamp, value)."""
    stream, out = FaultyStream(board, "left"), []
    for tick in range(ticks):
        record = np.array((tick * MS, tick), RECORD) if tick % every == 0 else None
        out += [(tick, int(r["t_ns"]) // MS, float(r["value"])) for r in stream.offer(record, tick * MS)]
    return out


def _board(name, value=0.0, delay=0.0, duration=0.0, target="left"):
    board = FaultBoard()
    board.inject(name, target, value, delay, duration, 0)
    return board


def test_without_a_fault_for_it_a_stream_passes_at_once():
    whole = [(tick, tick, float(tick)) for tick in range(100)]
    assert _run(FaultBoard()) == whole
    assert _run(_board("dropout", 1.0, target="right")) == whole


def test_a_fault_begins_and_ends_when_it_should():
    gone = set(range(100)) - {tick for tick, _, _ in _run(_board("disconnect", 0.0, 0.020, 0.030))}
    assert gone == set(range(20, 50))


def test_latency_delays_arrival_and_keeps_the_stamp():
    assert _run(_board("latency", 0.010), every=5) == [(t + 10, t, float(t)) for t in range(0, 90, 5)]


def test_what_waits_comes_out_when_the_latency_ends():
    out = _run(_board("latency", 0.050, 0.0, 0.020))
    assert [stamp for _, stamp, _ in out] == list(range(100))
    assert [tick for tick, stamp, _ in out if stamp < 20] == [20] * 20


@given(st.floats(0.0, 0.05))
def test_jitter_keeps_the_order_and_loses_nothing(value):
    out = _run(_board("jitter", value), ticks=200)
    stamps = [stamp for _, stamp, _ in out]
    assert stamps == list(range(len(stamps))) and len(stamps) >= 200 - 51
    assert all(0 <= tick - stamp <= value * 1000 + 1 for tick, stamp, _ in out)


def test_dropout_loses_about_its_share_and_the_same_ones_each_time():
    out = _run(_board("dropout", 0.3), ticks=2000)
    assert 1300 < len(out) < 1500 and out == _run(_board("dropout", 0.3), ticks=2000)


def test_frozen_content_has_fresh_stamps_and_thaws():
    out = _run(_board("frozen", 0.0, 0.010, 0.010))
    assert [stamp for _, stamp, _ in out] == list(range(100))
    assert [value for _, stamp, value in out if 10 <= stamp < 20] == [10.0] * 10
    assert out[20][2] == 20.0


@pytest.mark.parametrize("row", FAULTS.values(), ids=lambda row: row.name)
def test_every_row_says_what_it_does_and_is_accepted_for_its_targets(row):
    assert row.description and row.value and row.targets
    for target in row.targets:
        assert FaultBoard().inject(row.name, target, 0.5, 1.0, 2.0, 10).start_ns == 10 + 10**9


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("flood", "arm", 0.0, 0.0, 0.0), "'flood' is not in the table; allowed: latency"),
        (("diverge", "arm", 0.0, 0.0, 0.0), "no target 'arm'; allowed: physics"),
        (("dropout", "left", 1.5, 0.0, 0.0), "value is 1.5"),
        (("latency", "left", -0.1, 0.0, 0.0), "value is -0.1"),
        (("latency", "left", 0.1, -1.0, 0.0), "delay -1.0 s"),
        (("latency", "left", 0.1, 0.0, float("inf")), "duration inf s"),
    ],
)
def test_what_the_table_does_not_allow_is_refused(arguments, wanted):
    with pytest.raises(ConfigError, match=wanted):
        FaultBoard().inject(*arguments, 0)
