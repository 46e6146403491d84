from setuptools import setup

NAME = "sensor_nodes"

setup(
    name=NAME,
    version="0.1.0",
    description="One node a sensor: cameras and the load cell between the jaws.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "virtual_camera = sensor_nodes.virtual_camera:main",
            "load_cell = sensor_nodes.load_cell:main",
            "jaw_tracker = sensor_nodes.jaw_tracker:main",
            "pose_tracker = sensor_nodes.pose_tracker:main",
        ]
    },
    zip_safe=True,
)
