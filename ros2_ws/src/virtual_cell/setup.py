from setuptools import setup

NAME = "virtual_cell"

setup(
    name=NAME,
    version="0.1.0",
    description="The simulated cell on the ROS graph: its status, its truth, its services.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={"console_scripts": ["virtual_cell = virtual_cell.node:main"]},
    zip_safe=True,
)
