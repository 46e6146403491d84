from setuptools import setup

NAME = "monitor"

setup(
    name=NAME,
    version="0.1.0",
    description="A web page for machines without RViz: live images, plots, buttons.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": ["monitor = monitor.node:main", "recording_monitor = monitor.recording:main"],
    },
    zip_safe=True,
)
