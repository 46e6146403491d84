import contextlib
import dataclasses
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema import wire
from kinema.chunk import ActionChunk
from kinema.control.messages import Event, Hold, Jog, Mode, PlayChunk, StartPolicy
from kinema.errors import DeviceError, OwnershipError
from kinema.geometry import Pose
from kinema.wire import Codec, LinkLostError, Server

CODEC = Codec(Hold, Jog, StartPolicy, PlayChunk, plain=(Event,))


def _chunk(numbers, steps):
    T_rel = np.resize(np.array(numbers), (steps, 4, 4))
    anchor = Pose.from_rotvec([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])
    return ActionChunk(3, "p", 123456789012345678, anchor, 0.05, 1 / 30, 0.01, T_rel, None, T_rel[:, 0, 0], steps)


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.floats(), min_size=1, max_size=40), st.integers(1, 64))
def test_a_chunk_comes_back_bit_for_bit_even_when_it_is_not_finite(numbers, steps):
    sent = _chunk(numbers, steps)
    packet = CODEC.encode(PlayChunk(sent, 7))
    order = CODEC.decode(packet)
    assert order.request == 7 and len(packet) <= wire.MAX_PACKET
    for field in dataclasses.fields(ActionChunk):
        mine, back = getattr(sent, field.name), getattr(order.chunk, field.name)
        if isinstance(mine, np.ndarray):
            assert back.shape == mine.shape and back.tobytes() == mine.tobytes() and back.flags.writeable
        elif isinstance(mine, Pose):
            assert back.matrix.tobytes() == mine.matrix.tobytes()
        else:
            assert back == mine


@pytest.mark.parametrize(
    "value",
    [
        Hold("because", latched=True),
        StartPolicy(Mode.STOP_AND_GO, 0.5, chunks=3),
        Event(1, "step", "step 3", "F04", {"chunk": 1, "reason": None, "pose": [1.0, 2.0]}),
    ],
)
def test_values_come_back_equal(value):
    assert CODEC.decode(CODEC.encode(value)) == value


def test_arrays_and_numpy_numbers_in_untyped_data_become_plain():
    event = Event(1, "clamped", "", data={"axis": np.int64(2), "values": np.array([1.0, 2.0]), "flag": np.bool_(True)})
    assert CODEC.decode(CODEC.encode(event)).data == {"axis": 2, "values": [1.0, 2.0], "flag": True}


def test_what_is_not_in_the_set_is_refused_naming_the_set():
    with pytest.raises(DeviceError, match="a Pose is not sent here; allowed: Hold, Jog"):
        CODEC.encode(Pose.identity())
    foreign = Codec(wire.Refused).encode(wire.Refused("no"))
    with pytest.raises(DeviceError, match="'Refused' is not understood here; allowed: Hold"):
        CODEC.decode(foreign)


@settings(derandomize=True, max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 60))
def test_a_malformed_packet_is_a_device_error_and_nothing_else(noise, cut):
    whole = CODEC.encode(Jog(np.arange(6.0), 0.5))
    for packet in (noise, whole[:cut], whole[:cut] + noise):
        with contextlib.suppress(DeviceError):
            CODEC.decode(packet)


def test_a_packet_above_the_limit_is_refused():
    with pytest.raises(DeviceError, match="allowed are 65536"):
        CODEC.encode(PlayChunk(_chunk([0.0], 600), 1))


def test_an_owner_is_welcomed_and_packets_pass_both_ways(tmp_path):
    server = Server(tmp_path / "a.sock", {"robot": "r"})
    link = _connect(server)
    assert link.facts == {"robot": "r"} and link.pid == os.getpid()
    assert link.send(b"there") and server.receive() == b"there" and server.receive() is None
    assert server.send(b"back") and link.receive() == b"back" and link.receive(0.001) is None
    link.close()
    assert server.receive() is None and server.losses == 1 and server.owner is None
    server.close()
    assert list(tmp_path.iterdir()) == []


def _connect(server):
    """Connect to a server of this same thread."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(server.path))
    server.receive()
    link = wire.Link(connection)
    greeting = wire._GREETING.decode(link.receive())
    if isinstance(greeting, wire.Refused):
        raise OwnershipError(greeting.reason)
    link.facts = greeting.facts
    return link


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -B -m kinema.apps.cell --robot -m", "kinema.apps.cell"),
        ("python /opt/bin/pytest -m slow", "pytest"),
        ("/usr/bin/cell", "cell"),
    ],
)
def test_a_peer_is_named_by_what_it_runs(command, name):
    assert Path(wire._program(command.split())).name == name


def test_f21_a_second_owner_is_refused_naming_the_first_who_is_not_disturbed(tmp_path):
    server = Server(tmp_path / "a.sock")
    first = _connect(server)
    name = re.escape(wire.program(os.getpid()))
    with pytest.raises(OwnershipError, match=rf"a\.sock belongs to {name} \(process {os.getpid()}\)"):
        _connect(server)
    assert server.losses == 0 and first.send(b"still mine") and server.receive() == b"still mine"
    server.close()
    with pytest.raises(LinkLostError):
        first.receive(0.1)


def test_the_end_of_an_owner_is_counted_even_when_the_next_comes_at_once(tmp_path):
    server = Server(tmp_path / "a.sock")
    _connect(server).close()
    second = _connect(server)
    assert server.losses == 1 and second.send(b"mine now") and server.receive() == b"mine now"
    server.close()


def test_a_reader_that_does_not_read_never_blocks_the_server(tmp_path):
    server = Server(tmp_path / "a.sock")
    link = _connect(server)
    sent = 0
    while server.send(bytes(1000)):
        sent += 1
    assert sent > 50 and not server.send(bytes(1000))
    assert link.receive() == bytes(1000)
    server.close()


def test_f21_a_second_server_is_refused_and_a_killed_one_is_succeeded(tmp_path):
    path = tmp_path / "a.sock"
    code = f"import pathlib,time; from kinema.wire import Server; s=Server(pathlib.Path({str(path)!r})); "
    code += "print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        with pytest.raises(OwnershipError, match=f"process {process.pid}"):
            Server(path)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(DeviceError, match="nobody serves there"):
        wire.connect(path)
    Server(path).close()


def test_ready_names_the_servers_at_which_something_waits(tmp_path):
    servers = [Server(tmp_path / f"{name}.sock") for name in "ab"]
    assert wire.ready(servers) == []
    visitor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    visitor.connect(str(servers[1].path))
    assert wire.ready(servers) == [servers[1]]
    assert servers[1].receive() is None and wire.ready(servers) == []  # welcomed
    visitor.send(b"packet")
    assert wire.ready(servers) == [servers[1]]
    assert servers[1].receive() == b"packet" and wire.ready(servers) == []
    visitor.close()
    assert wire.ready(servers) == [servers[1]]
    assert servers[1].receive() is None and servers[1].losses == 1 and wire.ready(servers) == []
    for server in servers:
        server.close()
