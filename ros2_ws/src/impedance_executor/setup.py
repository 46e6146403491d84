from setuptools import setup

NAME = "impedance_executor"

setup(
    name=NAME,
    version="0.1.0",
    description="The control loop on the ROS graph: services, actions, states and the audit log.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={"console_scripts": ["executor = impedance_executor.node:main"]},
    zip_safe=True,
)
