"""The dashboard port of a UR controller: one line in, one line out.

Source: Universal Robots, "Dashboard Server" for CB3 and e-series. `is in remote control` exists on e-series alone.
"""

from typing import Protocol

from kinema.virtual.controller_ports import Connection, Port
from kinema.virtual.ur_controller_rtde import Version

PORT = 29999


class Robot(Protocol):
    """What the dashboard says and does."""

    version: Version
    serial: str
    model_name: str
    remote: bool

    @property
    def robot_mode(self) -> str: ...

    @property
    def safety_mode(self) -> str: ...

    @property
    def running(self) -> bool: ...

    def power_on(self) -> None: ...

    def power_off(self) -> None: ...

    def release_brakes(self) -> None: ...

    def stop_program(self) -> None: ...

    def unlock(self) -> bool:
        """Release a protective stop; False while it is too fresh."""
        ...


class Dashboard:
    """The dashboard server of one controller."""

    def __init__(self, address: str, robot: Robot) -> None:
        self._robot = robot
        self.port = Port(address, PORT, self._hear, self._welcome)

    def _welcome(self, client: Connection) -> None:
        client.send(b"Connected: Universal Robots Dashboard Server\n")

    def _hear(self, client: Connection) -> None:
        while b"\n" in client.data:
            line, client.data = client.data.split(b"\n", 1)
            client.send(self._answer(line.decode(errors="replace").strip()).encode() + b"\n")

    def _answer(self, line: str) -> str:
        robot = self._robot
        e_series = robot.version[0] >= 5
        match line.lower():
            case "polyscopeversion":
                return f"URSoftware {'.'.join(map(str, robot.version))} (Jan 01 2024)"
            case "get serial number":
                return robot.serial
            case "get robot model":
                return robot.model_name
            case "is in remote control" if e_series:
                return str(robot.remote).lower()
            case "robotmode":
                return f"Robotmode: {robot.robot_mode}"
            case "safetymode":
                return f"Safetymode: {robot.safety_mode}"
            case "safetystatus":
                return f"Safetystatus: {robot.safety_mode}"
            case "running":
                return f"Program running: {str(robot.running).lower()}"
            case "programstate":
                return f"{'PLAYING' if robot.running else 'STOPPED'} <unnamed>"
            case "close safety popup":
                return "closing safety popup"
            case _ if e_series and not robot.remote:
                return "Command is not allowed due to safety reasons"
            case _:
                return self._act(line)

    def _act(self, line: str) -> str:
        robot = self._robot
        match line.lower():
            case "power on":
                robot.power_on()
                return "Powering on"
            case "power off":
                robot.power_off()
                return "Powering off"
            case "brake release":
                robot.release_brakes()
                return "Brake releasing"
            case "stop":
                robot.stop_program()
                return "Stopped"
            case "unlock protective stop":
                if robot.unlock():
                    return "Protective stop releasing"
                return (
                    "Cannot unlock protective stop until 5s after occurrence. "
                    "Always inspect cause of protective stop before unlocking"
                )
        return f"could not understand: '{line}'"
