"""The RViz configuration against the table of topics: RViz itself needs a full ROS 2, a wrong topic shows here."""

import yaml

from kinema import paths
from kinema.topics import CAMERAS, TOPICS, Qos

CONFIG = yaml.safe_load((paths.root() / "rviz" / "deploy.rviz").read_text())
DISPLAYS = CONFIG["Visualization Manager"]["Displays"]
TYPES = {
    "rviz_default_plugins/RobotModel": "std_msgs/msg/String",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Pose": "geometry_msgs/msg/PoseStamped",
    "rviz_default_plugins/Wrench": "geometry_msgs/msg/WrenchStamped",
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
}
POLICIES = {
    Qos.SENSOR: ("Best Effort", "Volatile"),
    Qos.STATE: ("Reliable", "Volatile"),
    Qos.LATCHED: ("Reliable", "Transient Local"),
}


def subscriptions() -> dict[str, tuple[str, dict]]:
    """Topic -> class of the display and its topic section."""
    found = {}
    for display in DISPLAYS:
        section = display.get("Topic") or display.get("Description Topic")
        if section:
            found[section["Value"]] = (display["Class"], section)
    return found


def test_every_topic_is_in_the_table_with_its_type_and_quality_of_service():
    rows = {f"/{name.lstrip('/')}": row for name, row in TOPICS.items()}
    for name, (display, section) in subscriptions().items():
        assert name in rows, f"{name} of deploy.rviz is not in kinema.topics"
        assert rows[name].type == TYPES[display], name
        assert (section["Reliability Policy"], section["Durability Policy"]) == POLICIES[rows[name].qos], name


def test_everything_a_person_should_see_is_on():
    wanted = {f"/{camera}/{stream}" for camera in CAMERAS for stream in ("image_raw", "predicted")}
    wanted |= {"/robot_description", "/executor/planned_path"}
    assert wanted <= set(subscriptions())
    assert all(display["Enabled"] for display in DISPLAYS)
    assert any(display["Class"] == "rviz_default_plugins/TF" for display in DISPLAYS)
    assert CONFIG["Visualization Manager"]["Global Options"]["Fixed Frame"] == "base_link"


def test_the_markers_namespaces_are_shown():
    markers = next(display for display in DISPLAYS if display["Class"] == "rviz_default_plugins/MarkerArray")
    assert set(markers["Namespaces"]) == {"planned_path", "proposed_path", "workspace"} and all(
        markers["Namespaces"].values()
    )


def test_the_balls_to_click_on_are_those_of_the_executor():
    (display,) = (d for d in DISPLAYS if d["Class"] == "rviz_default_plugins/InteractiveMarkers")
    namespace = display["Interactive Markers Namespace"]
    assert {f"{namespace}/update", f"{namespace}/feedback"} <= {f"/{name}" for name in TOPICS}
