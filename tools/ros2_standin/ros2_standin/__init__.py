"""A stand-in for the `ros2` command over the ROS wheels, for machines without a full ROS 2.

It runs launch files written for the real `launch` and `launch_ros`, covers the part of them that launch files commonly
use, and refuses the rest by name. It is never installed where the real `ros2` exists.
"""
