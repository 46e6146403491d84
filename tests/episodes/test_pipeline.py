"""From callbacks to disk: nobody waits, drops are counted, a full disk ends the recording and loses nothing of it."""

import errno
import threading

import numpy as np
import pytest

from kinema.episodes.messages import JawSample, Picture, decode, encode, typestore
from kinema.episodes.pipeline import RESERVE, Encoding, Pipeline
from kinema.topics import TOPICS

IMAGE, JAW = TOPICS["left/image_raw"], TOPICS["jaw/state"]
STORE = typestore()


def picture(i: int, size=(48, 64)) -> bytes:
    image = np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8)
    return bytes(encode(STORE, Picture(i, "left_optical_frame", image)))


def jaw(i: int) -> bytes:
    return bytes(encode(STORE, JawSample(i, 0.01, True)))


class Kept:
    """A sink that keeps what it is given; closed, it waits; full, it refuses as a disk does."""

    def __init__(self, room: int = 1_000_000):
        self.written, self.open, self._room = [], threading.Event(), room
        self.open.set()

    def write(self, topic, arrival_ns, message):
        self.open.wait()
        self.written.append((topic, arrival_ns, bytes(message)))
        if len(self.written) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("compression", ["none", "jpeg", "png"])
def test_every_message_is_written_once_and_pictures_as_asked_for(compression):
    sink, encoding = Kept(), Encoding(compression, 90)
    pipeline = Pipeline(sink, STORE, encoding, 1 << 24)
    for i in range(20):
        pipeline.put(IMAGE, i, picture(i))
        pipeline.put(JAW, i, jaw(i))
    pipeline.close()
    assert pipeline.dropped == {} and pipeline.failure is None
    assert sorted((i, m) for topic, i, m in sink.written if topic == JAW.name) == [(i, jaw(i)) for i in range(20)]
    kept = {i: message for topic, i, message in sink.written if topic == encoding.topic(IMAGE)}
    assert sorted(kept) == list(range(20)) and len(sink.written) == 40
    for i, message in kept.items():
        if compression == "none":
            assert message == picture(i)
            continue
        found = decode(STORE, TOPICS[encoding.topic(IMAGE)].type, message)
        original = decode(STORE, IMAGE.type, picture(i))
        assert found.stamp_ns == i and compression in found.format
        if compression == "png":
            assert np.array_equal(found.image, original.image)


def test_f27_a_slow_disk_costs_pictures_and_never_the_time_of_who_brings_them():
    sink, capacity = Kept(), 10 * len(picture(0)) + 30 * len(jaw(0))
    pipeline = Pipeline(sink, STORE, Encoding("none"), capacity)
    sink.open.clear()  # the disk stands still
    for i in range(30):
        pipeline.put(IMAGE, i, picture(i))  # would hang here if it waited
        pipeline.put(JAW, i, jaw(i))
    assert pipeline.dropped == {IMAGE.name: 20}
    sink.open.set()
    pipeline.close()
    assert [i for topic, i, _ in sink.written if topic == JAW.name] == list(range(30)), "numbers have a reserve"


def test_f27_the_reserve_for_numbers_is_bounded_too():
    sink = Kept()
    pipeline = Pipeline(sink, STORE, Encoding("none"), 0)
    sink.open.clear()
    large = bytes(RESERVE // 4)
    for i in range(10):
        pipeline.put(JAW, i, large)
    assert pipeline.dropped == {JAW.name: 6}
    sink.open.set()
    pipeline.close()
    assert len(sink.written) == 4


def test_f27_slow_encoders_cost_pictures_only():
    sink = Kept()
    frame = picture(0, (480, 640))
    pipeline = Pipeline(sink, STORE, Encoding("png"), 5 * len(frame))
    for i in range(60):
        pipeline.put(IMAGE, i, frame)
        pipeline.put(JAW, i, jaw(i))
    pipeline.close()
    pictures = [i for topic, i, _ in sink.written if topic != JAW.name]
    assert pipeline.dropped == {IMAGE.name: 60 - len(pictures)} and 4 <= len(pictures) < 60
    assert len(sink.written) - len(pictures) == 60


def test_what_cannot_be_encoded_is_counted_as_dropped():
    sink = Kept()
    pipeline = Pipeline(sink, STORE, Encoding("jpeg"), 1 << 24)
    pipeline.put(IMAGE, 0, picture(0).replace(b"rgb8", b"bgr8"))
    pipeline.put(IMAGE, 1, picture(1))
    pipeline.close()
    assert pipeline.dropped == {IMAGE.name: 1} and [i for _, i, _ in sink.written] == [1]


def test_f25_a_full_disk_is_the_end_and_says_when():
    sink = Kept(room=5)
    pipeline = Pipeline(sink, STORE, Encoding("none"), 1 << 24)
    for i in range(20):
        pipeline.put(JAW, 100 + i, jaw(i))
    pipeline.close()
    assert [i for _, i, _ in sink.written] == [100, 101, 102, 103, 104, 105]
    assert pipeline.failure.arrival_ns == 105 and "No space" in pipeline.failure.reason
    assert pipeline.dropped == {}, "the recording was over"
