"""The virtual UR controller without a client's library: its program step by step, and RTDE byte by byte."""

import os
import socket
import struct

import numpy as np
import pytest

from kinema import dh, robots
from kinema.errors import DeviceError
from kinema.robots import GRIPPER
from kinema.virtual.ur_controller import CB3, E_SERIES
from kinema.virtual.ur_controller_program import DONE, READY, Command, Installation, Program
from kinema.virtual.ur_controller_rtde import OUTPUTS, PORT, Rtde

_UR5E = robots.arm("ur5e")
_HOME = np.array(_UR5E.home)


@pytest.fixture
def address():
    """A loopback address of this process's own: UR's port numbers can't be chosen."""
    return f"127.{1 + os.getpid() % 200}.{os.getpid() // 200 % 250}.3"


@pytest.fixture
def rtde(address):
    served = Rtde(address, E_SERIES, 500.0, lambda names: None)
    yield served
    served.port.close()


@pytest.fixture
def program():
    installation = Installation(GRIPPER.T_flange_tcp, GRIPPER.mass, np.array([0.0, 0.0, GRIPPER.com]))
    return Program(_UR5E, dh.nominal(_UR5E), installation, _HOME, 0.002)


def _order(rtde, command, *doubles):
    rtde.inputs["input_int_register_0"] = (int(command),)
    for i, number in enumerate(doubles):
        rtde.inputs[f"input_double_register_{i}"] = (float(number),)


def _steps(program, rtde, count, wrench=None):
    for _ in range(count):
        program.step(rtde, np.zeros(6) if wrench is None else wrench)


def test_f16_the_watchdog_ends_the_program_40_ms_after_the_last_command(program, rtde):
    _order(rtde, Command.SET_WATCHDOG, 25.0)
    _steps(program, rtde, 10)
    program.kick()
    _steps(program, rtde, 19)
    assert not program.ended
    _steps(program, rtde, 1)
    assert "watchdog" in program.ended and "40 ms" in program.ended


def test_without_a_watchdog_the_servo_goes_on_for_ever(program, rtde):
    _order(rtde, Command.SERVOJ, *(_HOME + 0.01), 0.0, 0.0, 0.002, 0.03, 300.0)
    _steps(program, rtde, 2000)
    assert not program.ended and np.abs(program.reference - _HOME - 0.01).max() < 1e-6


def test_the_servo_keeps_the_joints_speeds_however_far_the_target(program, rtde):
    _order(rtde, Command.SERVOJ, *(_HOME + 2.0), 0.0, 0.0, 0.002, 0.03, 300.0)
    before = program.reference
    _steps(program, rtde, 1)
    assert np.abs(program.reference - before).max() <= _UR5E.limits("speed").max() * 0.002 + 1e-12


def test_a_regular_command_is_done_once_and_ready_comes_after_idle(program, rtde):
    _order(rtde, Command.SET_PAYLOAD, 1.5, 0.0, 0.0, 0.07)
    _steps(program, rtde, 3)
    assert program.state == DONE
    _order(rtde, Command.IDLE)
    _steps(program, rtde, 1)
    assert program.state == READY


def test_an_unknown_command_ends_the_program_and_is_named(program, rtde):
    _order(rtde, 99)
    _steps(program, rtde, 1)
    assert "command 99" in program.ended


def test_force_mode_moves_until_what_it_feels_balances_what_it_shall_press(program, rtde):
    _order(rtde, Command.FORCE_MODE, *np.zeros(6), *(0.0, 0.0, -20.0, 0.0, 0.0, 0.0), *np.full(6, 0.05))
    for i, selected in enumerate((0, 0, 1, 0, 0, 0)):
        rtde.inputs[f"input_int_register_{2 + i}"] = (selected,)
    chain, tcp = dh.nominal(_UR5E), GRIPPER.T_flange_tcp
    begin = chain.jacobian(_HOME, tcp)[0].position
    _steps(program, rtde, 100)
    moved = chain.jacobian(program.reference, tcp)[0].position - begin
    assert moved == pytest.approx([0.0, 0.0, -0.05 * 0.2], abs=2e-4)  # 20 N ask for 50 mm/s, which is the limit
    before = program.reference
    _steps(program, rtde, 10, np.array([5.0, 0.0, 20.0, 0.0, 0.0, 0.0]))
    assert np.abs(program.reference - before).max() < 1e-6


def _ask(rtde, client, kind, body=b""):
    client.sendall(struct.pack(">HB", 3 + len(body), kind) + body)
    client.settimeout(0.01)
    for _ in range(500):
        rtde.port.poll()
        try:
            answer = client.recv(65536)
        except TimeoutError:
            continue
        size, found = struct.unpack_from(">HB", answer)
        assert found == kind and size == len(answer)
        return answer[3:]
    raise AssertionError("no answer")


def _client(address):
    return socket.create_connection((address, PORT), 5.0)


def test_an_output_that_is_not_offered_is_not_found_and_nothing_is_sent(rtde, address):
    with _client(address) as client:
        assert _ask(rtde, client, ord("V"), b"\x00\x02") == b"\x01"
        assert _ask(rtde, client, ord("v")) == struct.pack(">4I", *E_SERIES)
        asked = struct.pack(">d", 500.0) + b"timestamp,nonsense,"
        assert _ask(rtde, client, ord("O"), asked) == b"\x00DOUBLE,NOT_FOUND"
        assert _ask(rtde, client, ord("S")) == b"\x00"


def test_data_comes_as_often_as_it_was_asked_for(rtde, address):
    with _client(address) as client:
        asked = struct.pack(">d", 125.0) + b"timestamp,actual_q"
        assert _ask(rtde, client, ord("O"), asked) == b"\x01DOUBLE,VECTOR6D"
        assert _ask(rtde, client, ord("S")) == b"\x01"
        for i in range(8):
            rtde.publish({"timestamp": i * 0.002, "actual_q": _HOME})
        package = struct.Struct(">HBB7d")
        received = b""
        while len(received) < 2 * package.size:
            received += client.recv(65536)
        assert len(received) == 2 * package.size
        for i, (_, kind, _, stamp, *q) in zip((3, 7), package.iter_unpack(received), strict=True):
            assert kind == ord("U") and stamp == pytest.approx(i * 0.002) and q == pytest.approx(_HOME)


def test_f21_an_input_has_one_writer_until_that_one_has_gone(rtde, address):
    with _client(address) as first, _client(address) as second:
        assert _ask(rtde, first, ord("I"), b"input_int_register_0") == b"\x01INT32"
        assert _ask(rtde, second, ord("I"), b"input_int_register_0") == b"\x00IN_USE"
        first.close()
        for _ in range(3):
            rtde.port.poll()
        assert _ask(rtde, second, ord("I"), b"input_int_register_0") == b"\x01INT32"


def test_a_cb3_offers_no_flange_sensor():
    assert OUTPUTS["ft_raw_wrench"].offered(E_SERIES) and not OUTPUTS["ft_raw_wrench"].offered(CB3)
    assert OUTPUTS["payload"].offered(CB3) and not OUTPUTS["payload"].offered((3, 14, 0, 0))


@pytest.mark.parametrize("garbage", [b"\x00\x00\x00", b"\x00\x04O\x00", b"\x00\x04I\xff"])
def test_garbage_ends_the_connection_and_not_the_controller(rtde, address, garbage):
    with _client(address) as client:
        client.sendall(garbage)
        for _ in range(100):
            rtde.port.poll()
        assert rtde.port.clients == []
    with _client(address) as client:
        assert _ask(rtde, client, ord("V"), b"\x00\x02") == b"\x01"


def test_a_taken_address_is_named(rtde, address):
    with pytest.raises(DeviceError, match=f"{address}:30004"):
        Rtde(address, E_SERIES, 500.0, lambda names: None)
