from setuptools import setup

NAME = "sensor_nodes"

setup(
    name=NAME,
    version="0.1.0",
    description="One node a sensor: cameras, load cell, tracker, jaw.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "basler_camera = sensor_nodes.basler_camera:main",
            "realsense_camera = sensor_nodes.realsense_camera:main",
            "virtual_camera = sensor_nodes.virtual_camera:main",
            "load_cell = sensor_nodes.load_cell:main",
            "jaw_tracker = sensor_nodes.jaw_tracker:main",
            "pose_tracker = sensor_nodes.pose_tracker:main",
        ]
    },
    zip_safe=True,
)
