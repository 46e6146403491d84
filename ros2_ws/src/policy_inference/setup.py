from setuptools import setup

NAME = "policy_inference"

setup(
    name=NAME,
    version="0.1.0",
    description="Assembles what a policy declares to need, runs it, publishes its chunks and its predicted video.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    entry_points={"console_scripts": ["policy = policy_inference.node:main"]},
    zip_safe=True,
)
