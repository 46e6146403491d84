"""A cell and a virtual UR controller before it, as processes, for tests that let the real ur_rtde connect."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import yaml

from kinema import paths, wire
from kinema.errors import DeviceError
from kinema.virtual.disturbances import DISTURB, Disturb


class UrCell:
    """`address` of the controller, `disturb` for what may happen to it; both processes are at rest between tests."""

    def __init__(self, name: str, address: str, generation: str, command: str) -> None:
        self.address, self.folder = address, paths.runtime(name)
        self.log = self.folder / "controller.log"
        cell = yaml.safe_load((paths.root() / "launch/cells/virtual_ur5e.yaml").read_text())
        cell["devices"]["arm"] |= {"address": address, "command": command}
        self.file = self.folder / "cell.yaml"
        self.file.write_text(yaml.safe_dump(cell))
        self.environment = {**os.environ, "KINEMA_CELL": name}
        self._log = self.log.open("w")
        self._processes = [self._start("cell"), self._start("ur_controller", "--generation", generation)]
        self._requests: wire.Link | None = None

    def _start(self, module: str, *more: str) -> subprocess.Popen:
        """A cell that is patient with its controller: on a busy machine it would brake, as it must."""
        run = f"from kinema.virtual import server; server.BRAKE_AFTER = 5000; from kinema.apps import {module} as app; "
        command = [sys.executable, "-c", run + "app.main()", "--cell", str(self.file), "--robot", "virtual_ur5e"]
        return subprocess.Popen([*command, *more], env=self.environment, stdout=self._log, stderr=subprocess.STDOUT)

    def served(self) -> bool:
        """Whether the controller is up; raises AssertionError when a process has ended."""
        assert all(process.poll() is None for process in self._processes), self.log.read_text()
        try:
            self._requests = wire.connect(self.folder / "ur_controller.sock")
        except DeviceError:
            return False
        return True

    def disturb(self, name: str) -> None:
        assert self._requests is not None
        self._requests.send(DISTURB.encode(Disturb(name)))
        packet = self._requests.receive(10.0)
        assert packet is not None and DISTURB.decode(packet).success

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(20.0)
        self._log.close()
        print(self.log.read_text())  # pytest shows it where a test failed
        shutil.rmtree(self.folder)


def cells(wait_for: Callable[..., object], generation: str, command: str = "position") -> Iterator[UrCell]:
    """The body of a module's fixture."""
    number = os.getpid()
    last = 4 + (generation == "cb3") + 2 * (command == "torque")
    address = f"127.{1 + number % 200}.{number // 200 % 250}.{last}"
    cell = UrCell(f"test-{number}-{generation}-{command}", address, generation, command)
    try:
        wait_for(cell.served, 60.0, what="the virtual UR controller")
        yield cell
    finally:
        cell.close()
