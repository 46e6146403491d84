"""Make the ROS wheels' prefix usable by CMake and colcon: the wheels keep paths of the machine that built them.

The interface generators refuse paths that do not exist, so every CMake file of the wheels is pointed at this
interpreter and its numpy. Run inside the environment; running it again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILD_MACHINE = {
    re.compile(r'/opt/python/[^";]*?/site-packages/numpy/[^";]*include'): numpy.get_include(),
    re.compile(r'/opt/python/[^";]*?/include/python3\.\d+'): sysconfig.get_paths()["include"],
}


def fix(prefix: Path) -> int:
    """Rewrite the CMake files under `prefix`/share; returns how many changed."""
    changed = 0
    for file in sorted(prefix.glob("share/*/cmake/*.cmake")):
        text = original = file.read_text()
        for pattern, here in BUILD_MACHINE.items():
            text = pattern.sub(here, text)
        if text != original:
            file.write_text(text)
            changed += 1
    (prefix / "local_setup.bash").touch()  # colcon knows an ament prefix by this file
    return changed


if __name__ == "__main__":
    print(f"{fix(Path(sys.prefix))} CMake files of the ROS wheels changed")
