"""What the launch files share: rows of their tables of processes, common arguments, the end that follows a script's."""

import json
import os
import subprocess
import sys

from launch.actions import DeclareLaunchArgument, EmitEvent, ExecuteProcess, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

BOOLEAN = ["true", "false"]

CALIBRATION_OVERRIDE = DeclareLaunchArgument(
    "calibration_override",
    default_value="",
    description="why calibration that is missing, old or bad is taken nonetheless; every episode says so",
)

SHOWN = (  # what a person looks at, and may calibrate by
    DeclareLaunchArgument(
        "calibrate", default_value="false", choices=BOOLEAN, description="serves calibration sessions; RViz shows them"
    ),
    DeclareLaunchArgument("monitor", default_value="true", choices=BOOLEAN, description="page on 127.0.0.1:8080"),
    DeclareLaunchArgument(
        "ghost", default_value="", description="an episode's folder: the page shows it over the live"
    ),
    DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEAN, description="RViz; needs a full ROS 2"),
    DeclareLaunchArgument("headless", default_value="false", choices=BOOLEAN, description="neither monitor nor RViz"),
)


def split_argument(about: str) -> DeclareLaunchArgument:
    """Which objects and backgrounds a scenario is drawn from."""
    return DeclareLaunchArgument(
        "split", default_value="train", choices=["train", "unseen_objects", "unseen_background"], description=about
    )


def _python() -> str:
    """The environment's interpreter: under a full ROS 2, `ros2` itself runs in the system's."""
    environment = os.environ.get("VIRTUAL_ENV")
    return os.path.join(environment, "bin", "python") if environment else sys.executable


def process(name: str, *arguments: str) -> ExecuteProcess:
    """`python -m kinema.apps.<name>`, one of the processes without ROS."""
    return ExecuteProcess(
        cmd=[_python(), "-m", f"kinema.apps.{name}", *arguments],
        name=name,
        output="screen",
        sigterm_timeout="10",
    )


def plan(launch: str, cell: str, **arguments: object) -> dict:
    """What a launch starts in a cell: see `kinema.apps.launch_plan`; RuntimeError with its reason for a refusal."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
    command = [_python(), "-m", "kinema.apps.launch_plan", launch, "--cell", cell, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{' '.join(command)} failed")
    return json.loads(done.stdout)


def cameras(plan: dict, **same: object) -> list[Node]:
    """The cell's camera nodes, with parameters that are the same for all."""
    return [
        node("sensor_nodes", executable, f"{name}_camera", camera=name, **same, **parameters)
        for name, (executable, parameters) in plan["cameras"].items()
    ]


def node(package: str, executable: str, name: str, **parameters: object) -> Node:
    return Node(
        package=package,
        executable=executable,
        name=name,
        output="screen",
        parameters=[parameters] if parameters else [],
    )


def rviz(context: object, package: str, name: str) -> Node:
    """RViz with one of the configurations of `rviz/`, as the package that uses it installs it."""
    config = os.path.join(FindPackageShare(package).perform(context), "rviz", f"{name}.rviz")
    return Node(package="rviz2", executable="rviz2", name="rviz2", arguments=["-d", config], output="screen")


def ends_with(node: Node, what: str) -> RegisterEventHandler:
    """Everything ends when the node does, and fails when it fails; `what` it works at, as in `the episodes`."""

    def finished(event: object, context: object) -> list:
        if context.is_shutdown:
            return []
        if event.returncode != 0:
            raise RuntimeError(f"{what} broke off (exit code {event.returncode}); see the lines above")
        return [EmitEvent(event=Shutdown(reason=f"{what} are done"))]

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=finished))
