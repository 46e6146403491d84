"""`kinema doctor` on machines and cells that are made up: file trees in place of /, this machine's own loopback."""

import datetime
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from kinema import cell_file, paths
from kinema.apps import cli, doctor, doctor_cell, doctor_machine
from kinema.apps.doctor_machine import SDKS, Sdk
from kinema.calibration.files import CameraInfo, load, save
from kinema.devices.serial_port import SerialPort
from kinema.errors import DeviceError
from kinema.streams import Level
from kinema.virtual.pty_port import PtyPort
from kinema.virtual.ur_controller import E_SERIES
from kinema.virtual.ur_controller_dashboard import Dashboard

ADDRESS = f"127.23.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"
TODAY = datetime.datetime.now(datetime.UTC).date()


def plug(root: Path, port: str, **told: object) -> None:
    """A USB device in a tree, and its node."""
    folder = root / "sys/bus/usb/devices" / port
    folder.mkdir(parents=True)
    for name, value in ({"busnum": 2, "devnum": 7} | told).items():
        (folder / name).write_text(f"{value}\n")
    node = root / "dev/bus/usb/002" / f"{told.get('devnum', 7):03d}"
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()


def put(root: Path, file: str, text: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)


# ---- the machine


def test_refused_real_time_is_an_error_for_a_real_arm_and_a_warning_else():
    refused = "garbage collector off, SCHED_FIFO refused (Operation not permitted), memory not locked (Cannot allocate)"
    for needed, level in ((True, Level.ERROR), (False, Level.WARN)):
        priority, memory = doctor_machine.judge_real_time(refused, needed)
        assert priority.level is memory.level is level
        assert "Operation not permitted" in priority.text and "rtprio 90" in priority.remedy
        assert "memlock unlimited" in memory.remedy
    granted = doctor_machine.judge_real_time("garbage collector off, SCHED_FIFO 50, memory locked", True)
    assert [found.level for found in granted] == [Level.OK, Level.OK]


def test_what_real_time_is_granted_is_tried_out_as_the_loop_would():
    command = [sys.executable, "-c", "from kinema.control.rate import set_up_real_time; print(set_up_real_time(50))"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = list(doctor_machine.real_time(needed=True))
    assert (found[0].level is Level.OK) == ("SCHED_FIFO 50" in told)
    assert (found[1].level is Level.OK) == ("memory locked" in told)


def test_the_kernel_and_its_governors(tmp_path):
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    put(tmp_path, "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")
    kernel, cores = doctor_machine.kernel(tmp_path)
    assert kernel.level is cores.level is Level.WARN and "powersave" in cores.text
    put(tmp_path, "sys/kernel/realtime", "1\n")
    put(tmp_path, "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n")
    assert [found.level for found in doctor_machine.kernel(tmp_path)] == [Level.OK, Level.OK]


def test_udev_rules_are_there_and_the_checkouts(tmp_path):
    assert doctor_machine.rules(True, tmp_path).level is Level.ERROR
    assert doctor_machine.rules(False, tmp_path).level is Level.WARN
    ours = (paths.root() / "firmware" / doctor_machine.RULES).read_text()
    installed = f"etc/udev/rules.d/{doctor_machine.RULES}"
    put(tmp_path, installed, ours)
    assert doctor_machine.rules(True, tmp_path).level is Level.OK
    put(tmp_path, installed, ours + "# old\n")
    found = doctor_machine.rules(True, tmp_path)
    assert found.level is Level.WARN and "sudo cp" in found.remedy


def test_groups_of_this_session_count(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: 4711)
    missing, unknown = doctor_machine.groups(("root", "no-such-group"))
    assert missing.level is Level.ERROR and "usermod -aG root" in missing.remedy
    assert unknown.level is Level.WARN and "no such group" in unknown.text
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    assert next(doctor_machine.groups(("root",))).level is Level.OK


def test_usb_devices_by_kind_speed_and_right(tmp_path, monkeypatch):
    plug(tmp_path, "2-1", idVendor="8086", idProduct="0b07", speed=480, serial="abc", devnum=1)
    plug(tmp_path, "2-2", idVendor="2676", idProduct="ba02", speed=5000, serial="40012345", devnum=2)
    plug(tmp_path, "2-3", idVendor="06c2", idProduct="003b", speed=12, serial="123456", devnum=3)
    plug(tmp_path, "2-4", idVendor="8086", idProduct="ffff", speed=480, devnum=4)  # none of ours
    slow, basler, phidget = map(doctor_machine.judge_usb, doctor_machine.usb(tmp_path))
    assert slow.level is Level.ERROR and "480 Mbit/s, needed are 5000" in slow.text and "USB 3" in slow.remedy
    assert basler.level is phidget.level is Level.OK and basler.subject == "Basler camera at 2-2"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    shut = doctor_machine.judge_usb(doctor_machine.usb(tmp_path)[1])
    assert shut.level is Level.ERROR and "002/002 may not be opened" in shut.text and "plugdev" in shut.remedy


def test_room_for_images_on_their_way(tmp_path):
    assert doctor_machine.usb_memory(tmp_path) is None
    for room, level in ((16, Level.WARN), (1000, Level.OK), (0, Level.OK)):
        put(tmp_path, "sys/module/usbcore/parameters/usbfs_memory_mb", f"{room}\n")
        assert doctor_machine.usb_memory(tmp_path).level is level


def test_sdks_are_pinned_loaded_and_of_the_proven_version(monkeypatch):
    assert {row.package for row in SDKS} <= doctor_machine.pinned().keys()
    assert doctor_machine.sdk(SDKS[-1]).level is Level.OK
    monkeypatch.setitem(doctor_machine.pinned(), "pyserial", "3.4")
    other = doctor_machine.sdk(SDKS[-1])
    assert other.level is Level.WARN and "proven with 3.4" in other.text and "pyserial==3.4" in other.remedy
    absent = doctor_machine.sdk(Sdk("no-such-sdk", "no_such_sdk", frozenset()))
    assert absent.level is Level.ERROR and absent.text == "is not installed"
    broken = doctor_machine.sdk(Sdk("pyserial", "serial.no_such_module", frozenset()))
    assert broken.level is Level.ERROR and "does not load: ModuleNotFoundError" in broken.text
    crashing = doctor_machine.sdk(Sdk("pyserial", "os; os.abort()", frozenset()))
    assert crashing.level is Level.ERROR and "crashed (status -6)" in crashing.text


# ---- the cell


@pytest.fixture
def dashboard():
    """The dashboard of the virtual UR controller, as far as it greets."""
    server, ended = Dashboard(ADDRESS, SimpleNamespace(version=E_SERIES, remote=True)), threading.Event()

    def serve():
        while not ended.wait(0.0005):
            server.port.poll()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    ended.set()
    thread.join()
    server.port.close()


def test_the_way_to_the_arm_is_timed_where_the_arm_answers(dashboard, monkeypatch):
    found = doctor_cell.network("arm", ADDRESS, doctor_cell.DASHBOARD)
    assert f"{ADDRESS}:29999 by " in found.text and "ms, at worst" in found.text
    monkeypatch.setattr(doctor_cell, "_handshakes", lambda address, port: [0.0003] * 39 + [0.004])
    late = doctor_cell.network("arm", ADDRESS, doctor_cell.DASHBOARD)
    assert late.level is Level.WARN and "at worst 4.00 ms; wanted" in late.text and "port of its own" in late.remedy
    monkeypatch.setattr(doctor_cell, "_handshakes", lambda address, port: [0.0003] * 40)
    assert doctor_cell.network("arm", ADDRESS, doctor_cell.DASHBOARD).level is Level.OK
    other = doctor_cell.network("gripper", ADDRESS, doctor_cell.URCAP, 29999)
    assert other.level is Level.ERROR and "is not a Robotiq URCap: b'Connected" in other.text


def test_an_arm_that_is_off_is_told_with_what_to_do():
    found = doctor_cell.network("arm", ADDRESS, doctor_cell.DASHBOARD)
    assert found.level is Level.ERROR and "refused" in found.text and "switch the arm on" in found.remedy


def test_a_serial_port_is_there_and_has_one_owner(tmp_path):
    link = tmp_path / "load_cell.tty"
    assert "is not there" in doctor_cell.port("load cell", link).text
    pty = PtyPort(link)
    assert doctor_cell.port("load cell", link).text.endswith("free")
    owner = SerialPort(link, 115200)
    found = doctor_cell.port("load cell", link)
    assert found.level is Level.OK and f"process {os.getpid()}" in found.text
    owner.close()
    pty.close()


@pytest.fixture
def make_cell(tmp_path) -> Callable[..., cell_file.Cell]:
    """The UR's cell file with other devices, and with the virtual cell's calibration as if measured ten days ago."""
    folder = tmp_path / "calibration"
    shutil.copytree(paths.root() / "calibration/virtual", folder)
    for file in folder.glob("*.yaml"):
        made = f"date: '{TODAY - datetime.timedelta(days=10)}', origin: measured"
        text = re.sub(r"date: '[\d-]+', origin: simulator truth", made, file.read_text())
        file.write_text(text)
    content = yaml.safe_load((paths.root() / "launch/cells/ur5e.yaml").read_text())
    content["calibration"] = str(folder)
    devices = content["devices"]
    devices["arm"] |= {"serial": "VIRTUAL-ARM", "address": ADDRESS}
    devices["gripper"] |= {"serial": "VIRTUAL-JAW", "address": ADDRESS}
    devices["load_cell"]["serial"] = "VIRTUAL-LOAD-CELL"
    for name, camera in devices["cameras"].items():
        camera["serial"] = f"VIRTUAL-{name.upper()}"

    def make(**others: dict) -> cell_file.Cell:
        path = tmp_path / "cell.yaml"
        path.write_text(yaml.safe_dump({**content, "devices": devices | others}))
        return cell_file.load(path)

    return make


def test_the_age_of_calibrations(make_cell):
    cell = make_cell()
    young = {found.subject: found for found in doctor_cell.calibration(cell, TODAY)}
    assert set(young) == {"gripper", "left", "right", "jaw", "load_cell", "arm", "force scale"}
    assert {found.level for found in young.values()} == {Level.OK}
    assert young["left"].text.startswith("left.yaml, T_base_left.yaml, latency.yaml: measured 10 days ago")
    for found in doctor_cell.calibration(cell, TODAY + datetime.timedelta(days=160)):
        assert found.level is Level.WARN and "is too old in 10 days" in found.text and found.remedy
    for found in doctor_cell.calibration(cell, TODAY + datetime.timedelta(days=171)):
        assert found.level is Level.ERROR and "too old, allowed are 180 days" in found.text


def test_f23_a_calibration_that_may_not_be_used_is_told_with_the_service_that_makes_it(make_cell):
    cell = make_cell()
    (cell.calibration_folder / "T_base_left.yaml").unlink()
    right = cell.calibration_folder / "right.yaml"
    info = load(right, CameraInfo, remedy="")
    save(right, info.model_copy(update={"provenance": info.provenance.model_copy(update={"serial": "OTHER"})}))
    found = {row.subject: row for row in doctor_cell.calibration(cell, TODAY)}
    assert found["left"].level is found["right"].level is Level.ERROR
    assert "T_base_left.yaml: cannot be read" in found["left"].text and "eye_on_base" in found["left"].remedy
    assert "is 'OTHER', the device's is 'VIRTUAL-RIGHT'" in found["right"].text
    assert found["gripper"].level is Level.OK


def test_cameras_that_the_sdk_does_not_see(make_cell):
    def present(camera):
        if camera.backend == "basler":
            raise DeviceError("pypylon can't be imported")
        return {"VIRTUAL-LEFT": "Intel RealSense D435, USB 3.2", "4711": "Intel RealSense D435, USB 3.2"}

    gripper, left, right = doctor_cell.cameras(make_cell(), present)
    assert gripper.level is Level.ERROR and "can't be imported" in gripper.text
    assert left.level is Level.OK and "USB 3.2" in left.text
    assert right.level is Level.ERROR and "present: 4711, VIRTUAL-LEFT" in right.text and "cell file" in right.remedy


def test_load_cell_and_tracker(make_cell, tmp_path):
    cell = make_cell(
        load_cell={"backend": "phidget", "serial": "123456"}, tracker={"backend": "t265", "serial": "VIRTUAL-TRACKER"}
    )
    force, tracker = doctor_cell.others(cell, [])
    assert force.level is tracker.level is Level.ERROR and "Phidget 123456 is not plugged in" in force.text
    plug(tmp_path, "2-3", idVendor="06c2", idProduct="003b", speed=12, serial="123456", devnum=3)
    plug(tmp_path, "2-5", idVendor="03e7", idProduct="2150", speed=5000, devnum=5)
    assert [row.level for row in doctor_cell.others(cell, doctor_machine.usb(tmp_path))] == [Level.OK, Level.OK]
    unfit = doctor_cell.t265_interpreter(lambda: (_ for _ in ()).throw(DeviceError("no Python can. make one")))
    assert (unfit.level, unfit.text, unfit.remedy) == (Level.ERROR, "no Python can", "make one")


# ---- the command


def test_a_simulated_cell_needs_its_packages_and_its_calibration(capsys):
    status = cli.main(["doctor", "--cell", str(paths.root() / "launch/cells/virtual.yaml")])
    out = capsys.readouterr().out
    assert status == 0 and "simulator truth" in out and "SDK" not in out and "network" not in out
    assert "0 errors" in out.splitlines()[-1]


def test_a_real_cell_without_its_devices_is_an_error(make_cell, capsys, monkeypatch):
    cell = make_cell()
    monkeypatch.setattr(doctor, "_present", lambda camera: {})
    monkeypatch.setattr(doctor_machine, "sdk", lambda row: doctor_machine.Finding("SDK", row.package, Level.OK, "1"))
    monkeypatch.setattr(cell_file, "load", lambda path: cell)
    assert cli.main(["doctor", "--cell", "cell.yaml"]) == 1
    out = capsys.readouterr().out
    for part in ("real time", "rights", "SDK", "device", "network", "calibration"):
        assert part in out
    assert "is not plugged in" in out and "switch the arm on" in out
    assert {line.split()[1] for line in out.splitlines() if line.startswith("SDK")} == {
        "pyrealsense2", "pypylon", "ur_rtde", "pyserial"
    }  # fmt: skip


def test_f22_a_cell_file_that_is_none_is_one_line_and_status_2(capsys):
    assert cli.main(["doctor", "--cell", "/no/such/cell.yaml"]) == 2
    assert "/no/such/cell.yaml: cannot be read" in capsys.readouterr().err
