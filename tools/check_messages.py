"""Check that the message packages and the numpy of this environment fit together; fails with an explanation.

The generated messages are C extensions built against one numpy. Beside ROS 2 from apt, that is the system's older one,
while Kinema brings numpy 2. A message with a fixed array and one with a sequence go through C and back in a process of
their own, because a mismatch may well be a crash.
"""

import subprocess
import sys

import numpy as np

ROUND_TRIP = """
import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, JointState
sent = CameraInfo(k=np.arange(9.0), d=[0.5, 0.25])
read = deserialize_message(serialize_message(sent), CameraInfo)
assert np.array_equal(read.k, sent.k) and list(read.d) == list(sent.d), (read.k, read.d)
sent = JointState(name=["a", "b"], position=np.array([1.0, 2.0]))
read = deserialize_message(serialize_message(sent), JointState)
assert list(read.position) == [1.0, 2.0] and read.name == ["a", "b"], read
print(np.__version__)
"""


def main() -> None:
    done = subprocess.run([sys.executable, "-c", ROUND_TRIP], capture_output=True, text=True)
    if done.returncode == 0:
        return
    sys.exit(
        f"ROS messages do not survive a round trip with numpy {np.__version__} (exit {done.returncode}):\n"
        f"{done.stderr.strip()}\n"
        "The message packages were built against another numpy. Use the ROS wheels instead (`make clean setup`\n"
        "in a shell without ROS), or rebuild the message packages in an overlay with this environment active."
    )


if __name__ == "__main__":
    main()
