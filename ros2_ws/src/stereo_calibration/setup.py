from setuptools import setup

NAME = "stereo_calibration"

setup(
    name=NAME,
    version="0.1.0",
    description="Calibration sessions as services: cameras, mounts, latencies, payload.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/rviz", ["rviz/calibration.rviz"]),
    ],
    entry_points={"console_scripts": ["stereo_calibration = stereo_calibration.node:main"]},
    zip_safe=True,
)
