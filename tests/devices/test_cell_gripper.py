"""The gripper that a cell file names: its driver at the virtual gripper that the launch starts for it."""

import os

import pytest
import yaml

from kinema import cell_file
from kinema.apps import gripper_controller
from kinema.apps.drivers import open_gripper
from kinema.devices.virtual import VirtualGripper

ADDRESS = f"127.21.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"
GRIPPERS = {
    "robotiq": {"backend": "robotiq", "serial": "1", "address": ADDRESS, "activate": True},
    "servo": {"backend": "servo", "serial": "1", "port": "gripper.tty"},
}


@pytest.mark.parametrize("backend", GRIPPERS)
def test_it_opens_and_closes_the_jaw_of_the_cell(backend, cell, tmp_path, monkeypatch):
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 250)  # [ms] on a busy machine an answer takes long
    raw = yaml.safe_load(cell_file.VIRTUAL.read_text())
    raw["devices"]["gripper"] = GRIPPERS[backend]
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(raw))
    named = cell_file.load(tmp_path / "cell.yaml")
    jaw = VirtualGripper(cell.folder)
    served = gripper_controller.serve(named, jaw, cell.folder)
    gripper = open_gripper(named, cell.folder)
    try:
        for width in (0.03, 0.07):
            assert gripper.command(width, 0.15, 40.0).width == pytest.approx(width, abs=3e-4)
            states = (gripper.read(1.0) for _ in range(1000))
            assert any(state is not None and abs(state.width - width) < 2e-3 for state in states)
            assert cell.server.world.jaw_state().width == pytest.approx(width, abs=3e-3)
    finally:
        gripper.close()
        served.close()
        jaw.close()
