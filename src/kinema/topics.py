"""One table of topics: name, type, rate, quality of service, recorded or not, stale after. Nobody else names a topic.

Names are relative; a launch may put an arm's prefix before them. The row feeds publishers, subscribers, staleness
checks, the recorder and the monitor alike.
"""

import enum
from dataclasses import dataclass

from kinema.errors import ConfigError

CAMERAS = ("gripper", "left", "right")  # the order of the paper's clip; the first is the reference camera


class Qos(enum.Enum):
    SENSOR = "best effort, depth 5"
    STATE = "reliable, depth 10"
    EVENT = "reliable, depth 1000"  # bursts of which none may be lost
    LATCHED = "reliable, transient local, depth 1"


@dataclass(frozen=True, slots=True)
class Topic:
    """`rate` [Hz], 0 for events; `stale_after` [s] since the last arrival, 0 for never."""

    name: str
    type: str
    rate: float
    qos: Qos
    recorded: bool
    stale_after: float = 0.0


def _camera_rows(camera: str) -> tuple[Topic, ...]:
    return (
        Topic(f"{camera}/image_raw", "sensor_msgs/msg/Image", 30, Qos.SENSOR, True, 0.1),
        Topic(f"{camera}/camera_info", "sensor_msgs/msg/CameraInfo", 30, Qos.SENSOR, True, 0.1),
        *(
            Topic(f"{camera}/{image}/image_raw", "sensor_msgs/msg/Image", 30, Qos.SENSOR, False, 0.1)
            for image in ("aligned_depth", "infra1", "infra2")  # of a camera that has them, where they are asked for
        ),
        # only in bags, in place of image_raw
        Topic(f"{camera}/image_raw/compressed", "sensor_msgs/msg/CompressedImage", 30, Qos.SENSOR, False),
        Topic(f"{camera}/predicted", "sensor_msgs/msg/Image", 0, Qos.STATE, False),
        Topic(f"{camera}/calibration", "sensor_msgs/msg/Image", 0, Qos.STATE, False),
    )


_ROWS = (
    *(row for camera in CAMERAS for row in _camera_rows(camera)),
    Topic("joint_states", "sensor_msgs/msg/JointState", 100, Qos.SENSOR, True, 0.25),
    Topic("/tf", "tf2_msgs/msg/TFMessage", 50, Qos.STATE, True, 0.5),
    Topic("/tf_static", "tf2_msgs/msg/TFMessage", 0, Qos.LATCHED, True),
    Topic("robot_description", "std_msgs/msg/String", 0, Qos.LATCHED, True),
    Topic("tcp_pose", "geometry_msgs/msg/PoseStamped", 100, Qos.SENSOR, True, 0.25),
    Topic("tcp_wrench", "geometry_msgs/msg/WrenchStamped", 100, Qos.SENSOR, True, 0.25),
    Topic("jaw/state", "kinema_interfaces/msg/JawState", 30, Qos.SENSOR, True, 0.25),  # by the tags; the gripper's 50
    Topic("load_cell/wrench", "geometry_msgs/msg/WrenchStamped", 80, Qos.SENSOR, True, 0.25),
    Topic("load_cell/force", "kinema_interfaces/msg/GraspForce", 80, Qos.SENSOR, True, 0.25),
    Topic("tracker/odometry", "kinema_interfaces/msg/TrackedPose", 200, Qos.SENSOR, True, 0.1),
    Topic("tracker/pose", "geometry_msgs/msg/PoseStamped", 200, Qos.SENSOR, True, 0.1),
    Topic("recorder/state", "kinema_interfaces/msg/RecorderState", 5, Qos.STATE, False, 1.0),
    Topic("executor/state", "kinema_interfaces/msg/ExecutorState", 50, Qos.STATE, True, 0.5),
    Topic("executor/events", "kinema_interfaces/msg/ExecutorEvent", 0, Qos.EVENT, True),
    Topic("executor/proposal", "kinema_interfaces/msg/Proposal", 0, Qos.LATCHED, False),
    Topic("executor/decision/update", "visualization_msgs/msg/InteractiveMarkerUpdate", 0, Qos.STATE, False),
    Topic("executor/decision/feedback", "visualization_msgs/msg/InteractiveMarkerFeedback", 0, Qos.STATE, False),
    Topic("executor/planned_path", "visualization_msgs/msg/MarkerArray", 0, Qos.STATE, False),
    Topic("policy/request", "kinema_interfaces/msg/PolicyRequest", 0, Qos.STATE, True),
    Topic("policy/chunk", "kinema_interfaces/msg/ActionChunk", 0, Qos.STATE, True),
    Topic("policy/info", "kinema_interfaces/msg/PolicyInfo", 0, Qos.LATCHED, True),
    Topic("policy/timing", "kinema_interfaces/msg/PolicyTiming", 0, Qos.STATE, True),
    Topic("policy/divergence", "kinema_interfaces/msg/Divergence", 0, Qos.STATE, False),
    Topic("task", "kinema_interfaces/msg/Task", 0, Qos.LATCHED, True),
    Topic("calibration/state", "kinema_interfaces/msg/CalibrationState", 5, Qos.STATE, False, 1.0),
    Topic("cell/status", "kinema_interfaces/msg/CellStatus", 10, Qos.STATE, True, 1.0),
    Topic("cell/truth", "kinema_interfaces/msg/WorldTruth", 30, Qos.SENSOR, False, 0.25),
    Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", 0, Qos.STATE, True),
)

TOPICS: dict[str, Topic] = {row.name: row for row in _ROWS}


def topic(name: str) -> Topic:
    """One row; raises ConfigError naming the rows there are."""
    row = TOPICS.get(name)
    if row is None:
        raise ConfigError(f"topic {name!r} is not in the table; allowed: {', '.join(TOPICS)}")
    return row
