"""A cell behind the vendors' drivers, by its file alone: every process that the table names for arm and jaw runs."""

import os
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from kinema import cell_file, paths, processes, records
from kinema.apps.clients import LoopClient
from kinema.apps.drivers import arm_driver, open_gripper
from kinema.control.messages import Enable, MoveJaw, Reset, State
from kinema.errors import ConfigError, DeviceError
from kinema.ring import RingReader

CELLS = paths.root() / "launch/cells"
PATIENT = """
import sys
from importlib import import_module
from kinema.devices import ur
from kinema.virtual import server
server.BRAKE_AFTER = 1_000_000  # a busy machine may keep one of them waiting; the watchdogs have tests of their own
ur._WATCHDOG = 5.0
sys.exit(import_module(f"kinema.apps.{sys.argv.pop(1)}").main())
"""


def _address():
    pid = os.getpid()
    return f"127.20.{pid // 250 % 250 + 1}.{pid % 250 + 1}"


@pytest.fixture
def running(start, tmp_path):
    """`running(name)`: the cell of a shipped file, at an address of this test's own; its loop's client."""
    name = f"{paths.runtime().name}-vendor"
    folder, clients = paths.runtime(name), []

    def run(file):
        raw = yaml.safe_load((CELLS / f"{file}.yaml").read_text())
        for device in ("arm", "gripper"):
            raw["devices"][device]["address"] = _address()
        raw["control"]["execution"]["max_gap"] = 3.0  # [s]
        (tmp_path / "cell.yaml").write_text(yaml.safe_dump(raw))
        cell = cell_file.load(tmp_path / "cell.yaml")
        for process in processes.of_launch("deploy", cell):
            if process in ("renderer", "load_cell_board"):
                continue
            command = [sys.executable, "-c", PATIENT, process, "--robot", cell.robots[0]]
            command += ["--cell", str(tmp_path / "cell.yaml"), *(["--silence", "20"] * (process == "control_loop"))]
            log = (tmp_path / f"{process}.log").open("w")
            start(command, env={**os.environ, "KINEMA_CELL": name}, stdout=log, stderr=subprocess.STDOUT)
        clients.append(_until(lambda: _client(folder), tmp_path))
        return clients[-1], folder

    yield run
    for client in clients:
        client.close()
    shutil.rmtree(folder)


def _client(folder):
    try:
        return LoopClient(folder)
    except DeviceError:  # not there yet, or busy with its arm
        return None


def _until(condition, tmp_path):
    end = time.monotonic() + 240.0  # it starts five processes
    while not (value := condition()):
        logs = "\n".join(file.read_text() for file in tmp_path.glob("*.log"))
        assert time.monotonic() < end, logs
        time.sleep(0.05)
    return value


@pytest.mark.parametrize("file", ["virtual_ur5e", pytest.param("virtual_xarm7", marks=pytest.mark.slow)])
def test_the_loop_finds_its_arm_and_the_jaw_moves_by_the_drivers_that_the_cell_file_names(running, tmp_path, file):
    node, folder = running(file)
    seen = _until(lambda: (t := node.telemetry()) and t.connected and t.ticks > 10 and t, tmp_path)
    if seen.state is State.FAULT:  # an xArm comes up stopped
        node.send(Reset())
        _until(lambda: node.telemetry().state is State.IDLE, tmp_path)
    assert node.telemetry().state is State.IDLE, "nothing is enabled by itself"
    node.send(Enable())
    _until(lambda: node.telemetry().state is State.READY, tmp_path)
    jaw = RingReader(folder / "jaw_state.ring", records.JAW)
    _until(lambda: jaw.latest() is not None, tmp_path)
    for width in (0.03, 0.07):
        node.send(MoveJaw(width))
        _until(lambda width=width: abs(float(jaw.latest()[1]["width"]) - width) < 2e-3, tmp_path)


def test_a_driver_that_finds_nobody_says_where_it_looked(tmp_path):
    for file in ("virtual_ur5e", "virtual_xarm7"):
        raw = yaml.safe_load((CELLS / f"{file}.yaml").read_text())
        for device in ("arm", "gripper"):
            raw["devices"][device]["address"] = "127.20.0.9"
        (tmp_path / "cell.yaml").write_text(yaml.safe_dump(raw))
        cell = cell_file.load(tmp_path / "cell.yaml")
        driver = arm_driver(cell, cell.robots[0])
        with pytest.raises(DeviceError, match=r"127\.20\.0\.9"):
            driver.connect(driver.model())
        with pytest.raises(DeviceError, match=r"127\.20\.0\.9"):
            open_gripper(cell)


def test_nobody_drives_a_handheld_gripper_and_a_cell_without_an_arm_has_no_driver():
    cell = cell_file.load(CELLS / "handheld.yaml")
    with pytest.raises(ConfigError, match="'tags', the handheld one: nobody drives it"):
        open_gripper(cell)
    with pytest.raises(ConfigError, match=r"devices\.arm is missing"):
        arm_driver(cell, "ur5e")
