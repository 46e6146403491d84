"""A package of its own in an ament index of its own, and the stand-in's command to run its launch files with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SHOW = """#!{python}
# Prints what it was started with, parameter files by their content.
import json, os, sys, yaml
seen = ["yaml " + json.dumps(yaml.safe_load(open(text)), sort_keys=True) if "launch_params_" in text else text
        for text in sys.argv[1:]]
print(json.dumps({{"argv": seen, "GREETING": os.environ.get("GREETING")}}), flush=True)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The prefix of an installed package `demo` with one executable, `show`."""
    for folder in ("share/ament_index/resource_index/packages", "share/demo/launch", "lib/demo"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/demo").touch()
    show = tmp_path / "lib/demo/show"
    show.write_text(SHOW.format(python=sys.executable))
    show.chmod(0o755)
    return tmp_path


@pytest.fixture
def environment(package: Path) -> dict[str, str]:
    prefixes = os.pathsep.join([str(package), os.environ.get("AMENT_PREFIX_PATH", "")])
    return {**os.environ, "AMENT_PREFIX_PATH": prefixes, "ROS_LOG_DIR": str(package / "log"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def ros2() -> list[str]:
    return [sys.executable, "-c", "from ros2_standin.cli import main; main()"]


class Launched:
    """What a finished launch printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.returncode = done.returncode
        self.text = done.stdout + done.stderr

    def shown(self) -> list[dict]:
        """What each `show` was started with, in the order of their numbers."""
        lines = [line.split("] ", 1) for line in self.text.splitlines() if line.startswith("[show-")]
        return [
            json.loads(content) for _, content in sorted(lines, key=lambda line: int(line[0].removeprefix("[show-")))
        ]

    def logged(self) -> list[str]:
        """What LogInfo said, in order."""
        mark = "[INFO] [launch.user]: "
        return [line.removeprefix(mark) for line in self.text.splitlines() if line.startswith(mark)]


Launch = Callable[..., Launched]


@pytest.fixture
def launch(package: Path, environment: dict[str, str], ros2: list[str]) -> Launch:
    """`launch(body, "name:=value", …)` runs a launch file whose description is the list `body` to its end."""

    def run(body: str, *arguments: str) -> Launched:
        write_launch_file(package, body)
        command = [*ros2, "launch", "demo", "demo.launch.py", *arguments]
        return Launched(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120))

    return run


@pytest.fixture
def launch_file(package: Path) -> Callable[[str], Path]:
    return lambda body: write_launch_file(package, body)


IMPORTS = """
from launch import LaunchDescription
from launch.actions import *
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit, OnProcessStart, OnShutdown
from launch.events import Shutdown as ShutdownEvent
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import *
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

def show(**keywords):
    return Node(package="demo", executable="show", output="screen", **keywords)

def sh(script, **keywords):
    return ExecuteProcess(cmd=["sh", "-c", script], output="screen", **keywords)
"""


def write_launch_file(package: Path, body: str) -> Path:
    path = package / "share/demo/launch/demo.launch.py"
    path.write_text(f"{IMPORTS}\ndef generate_launch_description():\n    return LaunchDescription({body})\n")
    return path
