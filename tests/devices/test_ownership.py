"""One opener a device: the second is refused with the owner named, also when the owner is another process."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.devices.ownership import claim
from kinema.devices.serial_port import SerialPort
from kinema.errors import ConfigError, DeviceError, OwnershipError


def test_f21_a_device_is_claimed_once_and_free_again_when_closed():
    first = claim("camera-1")
    with pytest.raises(OwnershipError, match=rf"camera-1 belongs to .*process {os.getpid()}"):
        claim("camera-1")
    claim("camera-2").close()
    first.close()
    claim("camera-1").close()


def test_f21_another_process_is_named_and_its_end_frees_the_device(start, wait_for):
    hold = "import sys; from kinema.devices.ownership import claim; c = claim('tracker-9'); print('held', flush=True)"
    owner = start([sys.executable, "-c", f"{hold}; sys.stdin.read()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"held\n"
    with pytest.raises(OwnershipError, match=rf"tracker-9 belongs to .* \(process {owner.pid}\)"):
        claim("tracker-9")
    owner.kill()
    owner.wait()
    claim("tracker-9").close()


def test_a_name_that_is_a_path_is_refused():
    with pytest.raises(ConfigError, match="letters, digits"):
        claim("../elsewhere")


@pytest.fixture
def terminal():
    """Controlling end and path of a fresh pty."""
    control, port = pty.openpty()
    yield control, Path(os.ttyname(port))
    for file in (control, port):
        os.close(file)


def test_f21_a_serial_port_has_one_opener_who_is_named(terminal):
    _, path = terminal
    port = SerialPort(path, 115200)
    with pytest.raises(OwnershipError, match=rf"{path} belongs to .*\(process {os.getpid()}\)"):
        SerialPort(path, 115200)
    port.close()
    SerialPort(path, 115200).close()


def test_a_serial_port_reads_what_comes_and_writes(terminal):
    control, path = terminal
    port = SerialPort(path, 115200)
    assert port.read(0.0) == b""
    os.write(control, b"one\ntwo\n")
    assert port.read(5.0) == b"one\ntwo\n"
    port.write(b"?\n")
    assert os.read(control, 16) == b"?\n"
    port.close()


def test_a_port_that_is_not_there_names_the_remedy(tmp_path):
    with pytest.raises(DeviceError, match=r"nothing cannot be opened .*plug it in"):
        SerialPort(tmp_path / "nothing", 115200)
