from setuptools import setup

NAME = "policy_bringup"

setup(
    name=NAME,
    version="0.1.0",
    description="Brings the whole cell up and runs episodes in it.",
    license="Apache-2.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/deploy.launch.py"]),
        (f"share/{NAME}/rviz", ["rviz/deploy.rviz"]),
    ],
    entry_points={"console_scripts": ["run_episodes = policy_bringup.run_episodes:main"]},
    zip_safe=True,
)
