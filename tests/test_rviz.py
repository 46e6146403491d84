"""The RViz configurations against the table of topics: RViz itself needs a full ROS 2, a wrong topic shows here."""

from typing import Any

import pytest
import yaml

from kinema import paths
from kinema.topics import CAMERAS, TOPICS, Qos

FILES = {file.stem: file for file in sorted((paths.root() / "rviz").glob("*.rviz"))}
CONFIGS = {name: yaml.safe_load(file.read_text())["Visualization Manager"] for name, file in FILES.items()}
TYPES = {
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Pose": "geometry_msgs/msg/PoseStamped",
    "rviz_default_plugins/Wrench": "geometry_msgs/msg/WrenchStamped",
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/Camera": "sensor_msgs/msg/Image",
}
POLICIES = {
    Qos.SENSOR: ("Best Effort", "Volatile"),
    Qos.STATE: ("Reliable", "Volatile"),
    Qos.LATCHED: ("Reliable", "Transient Local"),
}
ROWS = {f"/{name.lstrip('/')}": row for name, row in TOPICS.items()}
DEPTH = {  # key of a DepthCloud -> type
    "Depth Map Topic": "sensor_msgs/msg/Image",
    "Color Image Topic": "sensor_msgs/msg/Image",
    "CameraInfo Topic": "sensor_msgs/msg/CameraInfo",
}


def displays(name: str, kind: str = "") -> list[dict[str, Any]]:
    return [d for d in CONFIGS[name]["Displays"] if kind in ("", d["Class"].removeprefix("rviz_default_plugins/"))]


def subscriptions(name: str) -> dict[str, tuple[str, dict]]:
    """Topic -> class of the display and its topic section."""
    found = {}
    for display in displays(name):
        section = display.get("Topic") or display.get("Description Topic")
        if section:
            found[section["Value"]] = (display["Class"], section)
    return found


def test_there_is_one_for_each_of_the_three_ways_to_use_the_cell() -> None:
    assert set(FILES) == {"calibration", "deploy", "recording"}


@pytest.mark.parametrize("name", FILES)
def test_every_topic_is_in_the_table_with_its_type_and_quality_of_service(name: str) -> None:
    for topic, (display, section) in subscriptions(name).items():
        assert topic in ROWS, f"{topic} of {name}.rviz is not in kinema.topics"
        assert ROWS[topic].type == TYPES[display], topic
        assert (section["Reliability Policy"], section["Durability Policy"]) == POLICIES[ROWS[topic].qos], topic


@pytest.mark.parametrize("name", FILES)
def test_clouds_of_both_side_cameras_are_made_of_depth_colour_and_calibration(name: str) -> None:
    clouds = displays(name, "DepthCloud")
    assert [cloud["Depth Map Topic"] for cloud in clouds] == [f"/{c}/aligned_depth/image_raw" for c in CAMERAS[1:]]
    for cloud in clouds:
        assert len({cloud[key].split("/")[1] for key in DEPTH}) == 1, "of one camera"
        for key, kind in DEPTH.items():
            assert ROWS[cloud[key]].type == kind and ROWS[cloud[key]].qos is Qos.SENSOR
        assert cloud["Reliability Policy"].lower() == "best effort"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("deploy", {f"/{camera}/{stream}" for camera in CAMERAS for stream in ("image_raw", "predicted")}),
        ("deploy", {"/robot_description", "/executor/planned_path", "/tcp_pose", "/tcp_wrench"}),
        ("recording", {f"/{camera}/image_raw" for camera in CAMERAS} | {"/tracker/pose", "/load_cell/wrench"}),
        ("calibration", {f"/{camera}/calibration" for camera in CAMERAS} | {"/robot_description", "/left/image_raw"}),
    ],
)
def test_everything_a_person_should_see_is_on(name: str, wanted: set[str]) -> None:
    assert wanted <= set(subscriptions(name))
    assert all(display["Enabled"] for display in displays(name))
    assert displays(name, "TF")
    assert CONFIGS[name]["Global Options"]["Fixed Frame"] == "base_link"


def test_the_markers_namespaces_are_shown() -> None:
    (markers,) = displays("deploy", "MarkerArray")
    assert set(markers["Namespaces"]) == {"executed_path", "planned_path", "proposed_path", "workspace"}
    assert all(markers["Namespaces"].values())


def test_the_balls_to_click_on_are_those_of_the_executor() -> None:
    (display,) = displays("deploy", "InteractiveMarkers")
    namespace = display["Interactive Markers Namespace"]
    assert {f"{namespace}/update", f"{namespace}/feedback"} <= {f"/{name}" for name in TOPICS}


def test_the_robot_is_drawn_over_the_side_cameras_images_where_calibration_has_it() -> None:
    views = displays("calibration", "Camera")
    assert [view["Topic"]["Value"] for view in views] == [f"/{camera}/image_raw" for camera in CAMERAS[1:]]
    robot = displays("calibration", "RobotModel")[0]["Name"]
    assert all(view["Visibility"][robot] for view in views)


@pytest.mark.parametrize(
    ("name", "package"),
    [("deploy", "policy_bringup"), ("recording", "recording"), ("calibration", "stereo_calibration")],
)
def test_the_package_that_uses_it_installs_it(name: str, package: str) -> None:
    folder = paths.root() / "ros2_ws/src" / package
    assert (folder / f"rviz/{name}.rviz").resolve() == FILES[name].resolve()
    assert f'"rviz/{name}.rviz"' in (folder / "setup.py").read_text()
