"""The set-up's own rules: locked versions, nothing about the machine it was written on, wheels repaired once."""

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["bare.txt", "full_ros.txt"])
def test_lock_pins_every_package_once_and_names_no_host(name):
    lines = [line for line in (ROOT / "requirements" / name).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    packages = [line.partition("==")[0].lower() for line in lines]
    assert len(set(packages)) == len(packages) > 90


def test_the_lock_for_a_full_ros_brings_no_ros_of_its_own():
    bare, full = ((ROOT / "requirements" / name).read_text().splitlines() for name in ("bare.txt", "full_ros.txt"))
    assert [line for line in full if line.startswith("ros-")] == []
    assert {line for line in full if "==" in line} <= set(bare)


def test_the_environment_is_made_by_the_same_interpreter_from_inside_of_it():
    def picked(path: str) -> str:
        command = subprocess.run([ROOT / "tools/pick_python.sh"], env={"PATH": path}, capture_output=True, text=True)
        return command.stdout.strip()

    outside = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not p.startswith(sys.prefix))
    inside = f"{sys.prefix}/bin{os.pathsep}{outside}"
    assert picked(inside) == picked(outside) != ""
    assert not Path(picked(inside)).is_relative_to(sys.prefix)


def test_wheels_are_repaired_and_a_second_time_left_alone(tmp_path):
    cmake = tmp_path / "share/std_msgs/cmake/export.cmake"
    cmake.parent.mkdir(parents=True)
    stale = "/opt/python/cp311-cp311"
    cmake.write_text(f'set(x "{stale}/include/python3.11;{stale}/lib/python3.11/site-packages/numpy/_core/include")')
    spec = importlib.util.spec_from_file_location("fix_wheels", ROOT / "tools/fix_wheels.py")
    fix_wheels = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fix_wheels)
    assert fix_wheels.fix(tmp_path) == 1
    paths = re.findall(r"[^;\"]+", cmake.read_text().partition('"')[2].rpartition('"')[0])
    assert len(paths) == 2 and all(Path(path).is_dir() for path in paths)
    assert fix_wheels.fix(tmp_path) == 0


def test_the_graph_stays_on_this_machine():
    root = ElementTree.parse(ROOT / "tools/fastdds.xml").getroot()

    def leaves(name: str) -> list[str | None]:
        return [item.text for item in root.iter() if item.tag.rpartition("}")[2] == name]

    assert leaves("address") == ["127.0.0.1"]
    assert set(leaves("type")) == {"SHM", "UDPv4"}
    assert leaves("useBuiltinTransports") == ["false"]


def test_deploy_passes_its_variables_to_the_launch_file():
    command = subprocess.run(
        [
            *("make", "-n", "deploy", "EPISODES=7", "TASK=open_drawer", "ROBOT=virtual_xarm7", "POLICY=models/mine"),
            *("HEADLESS=1", "RECORD=true", "SEED=5"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    given = dict(re.findall(r"(\w+):=(\S+)", command))
    assert given == {
        "episodes": "7",
        "task": "open_drawer",
        "robot": "virtual_xarm7",
        "headless": "true",
        "record": "true",
        "policy": "models/mine",
        "require_approval": "false",
        "seed": "5",
    }
    declared = set(re.findall(r'"(\w+)"', (ROOT / "launch/deploy.launch.py").read_text()))
    assert set(given) <= declared


def test_scripts_are_valid_shell():
    scripts = [*ROOT.glob("tools/*.sh"), *ROOT.glob("requirements/*.sh"), ROOT / ".ci/run"]
    assert len(scripts) >= 5
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
