import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from kinema.errors import DeviceError, OwnershipError
from kinema.ring import RingReader, RingWriter

RECORD = np.dtype([("number", "i8"), ("values", "f8", (300,))])


def _record(number):
    record = np.zeros((), RECORD)
    record["number"], record["values"] = number, number
    return record


@pytest.fixture
def path(tmp_path):
    return tmp_path / "test.ring"


def test_records_come_back_in_order_and_the_oldest_are_overwritten(path):
    reader = RingReader(path, RECORD)
    assert reader.latest() is None and reader.since(0) == [] and reader.head == 0
    writer = RingWriter(path, RECORD, 4)
    assert reader.latest() is None
    for number in range(1, 7):
        assert writer.write(_record(number)) == number
    sequence, newest = reader.latest()
    assert sequence == 6 and newest["number"] == 6
    assert [(s, int(r["number"])) for s, r in reader.since(0)] == [(3, 3), (4, 4), (5, 5), (6, 6)]
    assert [s for s, _ in reader.since(4)] == [5, 6]
    assert [s for s, _ in reader.since(0, limit=2)] == [5, 6]
    assert reader.since(6) == []
    writer.close()


def test_a_record_that_was_read_does_not_change_when_the_writer_goes_on(path):
    writer, reader = RingWriter(path, RECORD, 1), RingReader(path, RECORD)
    writer.write(_record(1))
    _, kept = reader.latest()
    writer.write(_record(2))
    assert kept["number"] == 1 and (kept["values"] == 1).all()
    writer.close()


def test_readers_follow_a_new_writer_whose_numbers_go_on(path):
    reader = RingReader(path, RECORD)
    child = os.fork()
    if child == 0:
        first = RingWriter(path, RECORD, 4)
        first.write(_record(1))
        first.write(_record(2))
        os._exit(0)  # as a killed process leaves it: the file there, the lock gone
    os.waitpid(child, 0)
    assert reader.latest()[0] == 2
    second = RingWriter(path, RECORD, 8)
    assert reader.latest() is None and reader.since(2) == []
    second.write(_record(30))
    assert [(s, int(r["number"])) for s, r in reader.since(2)] == [(3, 30)]
    assert reader.latest()[0] == 3
    second.close()


def test_a_second_writer_is_refused_naming_the_first(path):
    writer = RingWriter(path, RECORD, 4)
    with pytest.raises(OwnershipError, match=f"process {os.getpid()}"):
        RingWriter(path, RECORD, 4)
    writer.close()
    RingWriter(path, RECORD, 4).close()
    assert list(path.parent.iterdir()) == []


def test_another_layout_is_refused(path):
    writer = RingWriter(path, RECORD, 4)
    writer.write(_record(1))
    with pytest.raises(DeviceError, match="same version"):
        RingReader(path, np.dtype([("number", "i8"), ("values", "f4", (600,))])).latest()
    writer.close()


_WRITER = """
import sys, pathlib
from kinema.ring import RingWriter
sys.path.insert(0, sys.argv[2])
from test_ring import RECORD, _record
writer = RingWriter(pathlib.Path(sys.argv[1]), RECORD, 3)
number = 0
while True:
    number += 1
    writer.write(_record(number))
"""


def test_no_reader_ever_sees_a_torn_record_even_when_the_writer_is_killed(path):
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), os.path.dirname(__file__)])
    reader, seen = RingReader(path, RECORD), set()
    try:
        while len(seen) < 2000:
            assert process.poll() is None
            records = [reader.latest()] if len(seen) % 2 else reader.since(max(seen, default=0))
            for found in filter(None, records):
                sequence, record = found
                assert record["number"] == sequence and (record["values"] == sequence).all()
                seen.add(sequence)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sequence, record = reader.latest()
    assert record["number"] == sequence and (record["values"] == sequence).all()
    successor = RingWriter(path, RECORD, 3)
    assert successor.write(_record(0)) > sequence - 1
    successor.close()
