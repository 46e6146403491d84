"""The table of processes for recording demonstrations with the handheld gripper.

    ros2 launch recording handheld_demo.launch.py task:="put the cup into the bowl" operator:=anna

Two quick squeezes of the jaw begin and end an episode, with the gripper in its dock for the first; so do the keys and
services of the recorder. In the virtual cell `episodes` above 0 lets a simulated person demonstrate until so many are
good, and then ends; with 0 everything stays up for whoever demonstrates.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
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
    DeclareLaunchArgument("task", default_value="", description="in words; '': as the virtual cell's scenario says"),
    DeclareLaunchArgument("operator", default_value="", description="who demonstrates"),
    DeclareLaunchArgument(
        "cell", default_value="launch/cells/virtual.yaml", description="the cell file; relative to the checkout"
    ),
    CALIBRATION_OVERRIDE,
    DeclareLaunchArgument("episodes_dir", default_value="episodes", description="relative to the checkout"),
    DeclareLaunchArgument(
        "compression", default_value="jpeg", choices=["none", "jpeg", "png"], description="of the images"
    ),
    DeclareLaunchArgument("quality", default_value="90", description="of JPEG, 1 to 100"),
    DeclareLaunchArgument("gesture", default_value="true", choices=BOOLEAN, description="two squeezes start and stop"),
    DeclareLaunchArgument("cue", default_value="beep", choices=["off", "beep", "spoken"], description="tells of it"),
    *SHOWN,
    DeclareLaunchArgument("episodes", default_value="0", description="virtual: how many good ones; 0: stay up"),
    DeclareLaunchArgument("scenario", default_value="pick_and_place", description="virtual: a task of docs/tasks.md"),
    split_argument("virtual: which objects and backgrounds are drawn"),
    DeclareLaunchArgument("seed", default_value="0", description="virtual: of the first scenario; the next adds one"),
)


def _table(context: object) -> list:
    arguments = {row.name: LaunchConfiguration(row.name).perform(context) for row in ARGUMENTS}
    cell, task, scenario = arguments["cell"], arguments["task"], arguments["scenario"]
    episodes, seed, split = int(arguments["episodes"]), int(arguments["seed"]), arguments["split"]
    if episodes > 0 and arguments["gesture"] == "false":
        raise RuntimeError("gesture:=false with episodes above 0: the simulated person knows no other way to begin")

    override = arguments["calibration_override"]
    calibrated = {"cell": cell, "calibration_override": override}
    planned = plan("handheld", cell, episodes=episodes, calibration_override=override)
    scene = ("--task", scenario, "--split", split, "--seed", str(seed))
    recorder = node(
        "recording",
        "recorder",
        "recorder",
        **calibrated,
        trigger="operator",
        task=task,
        operator=arguments["operator"],
        episodes_dir=arguments["episodes_dir"],
        compression=arguments["compression"],
        quality=int(arguments["quality"]),
        gesture=arguments["gesture"] == "true",
        cue=arguments["cue"],
    )
    rows = [
        *(process(name, "--cell", cell, *(scene if name == "handheld" else ())) for name in planned["processes"]),
        *([node("virtual_cell", "virtual_cell", "virtual_cell")] if planned["simulated"] else []),
        *cameras(planned, **calibrated),
        node("sensor_nodes", "load_cell", "load_cell", **calibrated),
        node("sensor_nodes", "pose_tracker", "pose_tracker", **calibrated),
        node("sensor_nodes", "jaw_tracker", "jaw_tracker", **calibrated),
        recorder,
        ends_with(recorder, "the recordings"),
    ]
    if arguments["monitor"] == "true" and arguments["headless"] == "false":
        rows.append(node("monitor", "recording_monitor", "monitor", cell=cell, ghost=arguments["ghost"]))
    calibrating = arguments["calibrate"] == "true"
    if calibrating:
        rows.append(node("stereo_calibration", "stereo_calibration", "stereo_calibration", cell=cell))
    if arguments["rviz"] == "true" and arguments["headless"] == "false":
        shown = ("stereo_calibration", "calibration") if calibrating else ("recording", "recording")
        rows.append(rviz(context, *shown))
    if episodes > 0:
        runner = node(
            "recording",
            "rehearsal",
            "rehearsal",
            task=task,
            scenario=scenario,
            split=split,
            seed=seed,
            episodes=episodes,
        )
        rows += [runner, ends_with(runner, "the demonstrations")]
    return rows


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_table)])
