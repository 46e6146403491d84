from setuptools import setup

NAME = "kinema_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="What all nodes of Kinema share: topics by the table, conversions, the lifecycle base node.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={"console_scripts": []},
    zip_safe=True,
)
