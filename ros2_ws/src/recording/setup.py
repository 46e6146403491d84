from setuptools import setup

NAME = "recording"

setup(
    name=NAME,
    version="0.1.0",
    description="Records the recorded rows of the topic table as rosbag2 MCAP episodes.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/handheld_demo.launch.py"]),
        (f"share/{NAME}/rviz", ["rviz/recording.rviz"]),
    ],
    entry_points={
        "console_scripts": ["recorder = recording.recorder:main", "rehearsal = recording.rehearsal:main"],
    },
    zip_safe=True,
)
