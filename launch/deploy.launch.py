"""The table of processes of one cell, from simulation to policy.

    ros2 launch policy_bringup deploy.launch.py robot:=virtual_ur5e task:=pick_and_place episodes:=3
    ros2 launch policy_bringup deploy.launch.py robot:=ur5e cell:=my_cell.yaml policy:=models/NAME episodes:=0

Every node is a row below, every process without ROS a row of `kinema.processes`. None is started again when it dies:
nothing re-engages by itself. With `episodes` above 0, which a real cell refuses, the launch ends when they are done;
with 0 the cell stays up for an operator.
"""

import os
import pathlib
from datetime import datetime

import yaml
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from kinema_ros.launching import (
    BOOLEAN,
    CALIBRATION_OVERRIDE,
    SHOWN,
    cameras,
    ends_with,
    node,
    plan,
    process,
    rviz,
    split_argument,
)

ARGUMENTS = (
    DeclareLaunchArgument("robot", default_value="virtual_ur5e", description="a robot that the cell file allows"),
    DeclareLaunchArgument(
        "cell",
        default_value="",
        description="the cell file, relative to the checkout; '': a virtual robot's own, launch/cells/<robot>.yaml, or "
        "launch/cells/virtual.yaml where it can't keep up",
    ),
    CALIBRATION_OVERRIDE,
    DeclareLaunchArgument("task", default_value="pick_and_place", description="one of docs/tasks.md"),
    DeclareLaunchArgument("episodes", default_value="3", description="how many; 0: stay up for an operator"),
    DeclareLaunchArgument(
        "seed",
        default_value="1000000",
        description="of the first episode's scenario; the next adds one; some below 182500 were demonstrated",
    ),
    split_argument("which objects and backgrounds are drawn"),
    DeclareLaunchArgument(
        "policy",
        default_value="",
        description="a policy by name, or the folder of a checkpoint; '': the virtual cell's",
    ),
    DeclareLaunchArgument(
        "episode",
        default_value="",
        description="folder of the demonstration for policy:=replay; names the scenario too",
    ),
    DeclareLaunchArgument("tool", default_value="", description="folder of the tool, for a policy that follows one"),
    DeclareLaunchArgument("goal_image", default_value="", description="file of the goal, for a policy that needs one"),
    DeclareLaunchArgument("mode", default_value="", description="of inference: single, few:4, paper; '': policy's own"),
    DeclareLaunchArgument("backend", default_value="", description="engine of the networks; '': torch"),
    DeclareLaunchArgument("device", default_value="", description="where the networks run, as cuda; '': cpu"),
    DeclareLaunchArgument(
        "execution",
        default_value="",
        choices=["", "overlap", "stop_and_go"],
        description="how chunks are played; '': as fits the policy",
    ),
    DeclareLaunchArgument(
        "executed", default_value="0", description="steps between two observations; 0: the policy's own number"
    ),
    DeclareLaunchArgument(
        "require_approval", default_value="false", choices=BOOLEAN, description="a person approves each chunk"
    ),
    DeclareLaunchArgument(
        "on_divergence",
        default_value="off",
        choices=["off", "ignore", "replan", "hold"],
        description="when what is seen is not what the policy imagined; off: it imagines only while somebody looks",
    ),
    DeclareLaunchArgument("speed_scale", default_value="0.0", description="stretch of every chunk; 0: the cell file's"),
    DeclareLaunchArgument("record", default_value="false", choices=BOOLEAN, description="record episodes as MCAP"),
    *SHOWN,
    DeclareLaunchArgument("run_dir", default_value="", description="folder of audit log and report; '': runs/<time>"),
)


def _scenario(episode: str) -> dict:
    """Task, split and seed of the scenario that a recorded episode names."""
    facts = yaml.safe_load(pathlib.Path(episode, "episode.yaml").read_text())
    if not facts["scenario"]:
        raise RuntimeError(f"{episode} names no scenario of the virtual cell that it could be replayed in")
    return facts["scenario"]


def _table(context: object) -> list:
    arguments = {row.name: LaunchConfiguration(row.name).perform(context) for row in ARGUMENTS}
    robot = arguments["robot"]
    episodes = int(arguments["episodes"])
    world = {"task": arguments["task"], "split": arguments["split"], "seed": int(arguments["seed"])}
    if arguments["episode"]:
        world, episodes = _scenario(arguments["episode"]), min(episodes, 1)  # the next seed would be another scene
    run = {
        "mode": arguments["mode"],
        "execution": arguments["execution"],
        "executed": int(arguments["executed"]),
        "speed_scale": float(arguments["speed_scale"]),
    }
    approval = arguments["require_approval"] == "true"
    reaction = arguments["on_divergence"]
    run_dir = arguments["run_dir"] or os.path.join("runs", datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    seen = arguments["headless"] == "false"

    override = arguments["calibration_override"]

    asked = {"robot": robot, "policy": arguments["policy"], "episodes": episodes, "calibration_override": override}
    planned = plan("deploy", arguments["cell"], **asked)
    policy, cell = planned["policy"], planned["cell"]
    calibrated = {"cell": cell, "calibration_override": override}
    passed = ("episode", "tool", "goal_image", "mode", "backend", "device", "robot")
    thinking = {"policy": policy, "cell": cell, **{name: arguments[name] for name in passed}}
    place = ("--cell", cell, "--robot", robot)
    scene = tuple(word for key, value in world.items() for word in (f"--{key}", str(value)))
    rows = [
        *([LogInfo(msg=planned["note"])] if planned["note"] else []),
        *(process(name, *place, *(scene if name == "cell" else ())) for name in planned["processes"]),
        *([node("virtual_cell", "virtual_cell", "virtual_cell")] if planned["simulated"] else []),
        *cameras(planned, **calibrated),
        node("sensor_nodes", "load_cell", "load_cell", **calibrated),
        node(
            "impedance_executor",
            "executor",
            "executor",
            cell=cell,
            robot=robot,
            run_dir=run_dir,
            require_approval=approval,
            on_divergence="ignore" if reaction == "off" else reaction,
        ),
        node("policy_inference", "policy", "policy", on_divergence=reaction, **thinking),
    ]
    if arguments["monitor"] == "true" and seen:
        rows.append(node("monitor", "monitor", "monitor", robot=robot, cell=cell, ghost=arguments["ghost"]))
    if arguments["record"] == "true":
        recorded = os.path.join(run_dir, "episodes")
        recorder = {**calibrated, "trigger": "policy", "robot": robot, "episodes_dir": recorded}
        rows.append(node("recording", "recorder", "recorder", **recorder))
    calibrating = arguments["calibrate"] == "true"
    if calibrating:
        rows.append(node("stereo_calibration", "stereo_calibration", "stereo_calibration", cell=cell, robot=robot))
    if arguments["rviz"] == "true" and seen:
        shown = ("stereo_calibration", "calibration") if calibrating else ("policy_bringup", "deploy")
        rows.append(rviz(context, *shown))
    if episodes > 0:
        runner = node(
            "policy_bringup",
            "run_episodes",
            "run_episodes",
            **world,
            **run,
            **calibrated,
            robot=robot,
            policy=policy,
            episodes=episodes,
            run_dir=run_dir,
        )
        rows += [runner, ends_with(runner, "the episodes")]
    return rows


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_table)])
